// How finely the picture is drawn: as fine as the machine can draw sixty of them a second.

/** To begin with; machines without a GPU draw this many device pixels in time. */
const PIXELS_START = 2_200_000;
const PIXELS_MIN = 900_000;
const SLOW_MS = 21;
const FAST_MS = 17.6;
const WINDOW = 50;

export class Quality {
  framesPerS = 60;
  #pixelsMax = PIXELS_START;
  #times: number[] = [];
  #fastWindows = 0;
  /** Going up and at once down again is not tried for ever. */
  #patience = 4;

  /** A picture was drawn so long after the one before. */
  drawn(elapsedMs: number): void {
    // A hidden page says nothing about the machine.
    if (elapsedMs > 400) return;
    this.framesPerS += (1000 / Math.max(1, elapsedMs) - this.framesPerS) / 20;
    this.#times.push(elapsedMs);
    if (this.#times.length < WINDOW) return;
    const sorted = this.#times.sort((a, b) => a - b);
    const middle = sorted[WINDOW / 2]!;
    this.#times = [];
    if (middle > SLOW_MS) {
      this.#pixelsMax = Math.max(PIXELS_MIN, this.#pixelsMax * 0.72);
      this.#patience = Math.min(60, this.#patience * 2);
      this.#fastWindows = 0;
    } else if (middle < FAST_MS && ++this.#fastWindows >= this.#patience) {
      this.#pixelsMax = Math.min(9_000_000, this.#pixelsMax * 1.25);
      this.#fastWindows = 0;
    }
  }

  /** What the machine can take beyond what is needed, 0 to 1. */
  get richness(): number {
    return Math.min(1, Math.max(0, (this.#pixelsMax - PIXELS_MIN) / (PIXELS_START - PIXELS_MIN)));
  }

  /** Device pixels per CSS pixel, for a picture of this size. */
  pixel(cssWidth: number, cssHeight: number): number {
    const finest = Math.min(2, devicePixelRatio || 1);
    const affordable = Math.sqrt(this.#pixelsMax / Math.max(1, cssWidth * cssHeight));
    // In steps, so that sprites are not made anew all the time.
    const wanted = Math.min(finest, affordable);
    return wanted >= finest ? finest : Math.max(0.25, Math.floor(wanted * 8) / 8);
  }
}
