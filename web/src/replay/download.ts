// A recording as a file of one's own.

import type { Archive, Name } from "../net/archive";

/** Blobs that were saved are let go after this long. */
const KEPT_MS = 30_000;

/** Fetches all of it, telling how much there is so far, and has the browser save it. Throws `Trouble`. */
export async function download(archive: Archive, name: Name, signal: AbortSignal, got: (bytes: number) => void): Promise<void> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const piece of archive.download(name, signal)) {
    pieces.push(piece as Uint8Array<ArrayBuffer>);
    bytes += piece.length;
    got(bytes);
  }
  const url = URL.createObjectURL(new Blob(pieces, { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = fileName(name.recording);
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}

export function fileName(recording: string): string {
  return `${recording.replace(/[^\w.-]+/g, "_").replace(/^\.+/, "") || "recording"}.fray`;
}
