// Short blips, made as they are needed. Off until asked for.

const VOICES_MAX = 12;

export class Sound {
  isOn = false;
  /** What goes by too fast is not heard. */
  isMuted = false;
  #context: AudioContext | undefined;
  #voices = 0;

  toggle(): void {
    this.isOn = !this.isOn;
    if (this.isOn) {
      // Browsers let sound begin only by a hand's touch, which this is.
      this.#context ??= new AudioContext();
      void this.#context.resume();
      this.play("gain", 0.6);
    }
  }

  play(kind: "shot" | "hit" | "boom" | "gain", nearness: number): void {
    if (!this.isOn || this.isMuted || nearness < 0.05 || this.#voices >= VOICES_MAX) return;
    const volume = nearness * nearness;
    if (kind === "shot") this.#tone("triangle", 760, 190, 0.09, 0.05 * volume);
    else if (kind === "hit") this.#tone("square", 210, 90, 0.07, 0.05 * volume);
    else if (kind === "boom") this.#tone("sawtooth", 130, 28, 0.5, 0.14 * volume);
    else this.#tone("sine", 520, 1040, 0.18, 0.08 * volume);
  }

  #tone(type: OscillatorType, from: number, to: number, seconds: number, volume: number): void {
    const context = this.#context;
    if (context === undefined) return;
    const oscillator = context.createOscillator();
    const gain = context.createGain();
    const now = context.currentTime;
    oscillator.type = type;
    oscillator.frequency.setValueAtTime(from, now);
    oscillator.frequency.exponentialRampToValueAtTime(to, now + seconds);
    gain.gain.setValueAtTime(volume, now);
    gain.gain.exponentialRampToValueAtTime(0.0001, now + seconds);
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(now);
    oscillator.stop(now + seconds);
    this.#voices += 1;
    oscillator.addEventListener("ended", () => (this.#voices -= 1));
  }
}
