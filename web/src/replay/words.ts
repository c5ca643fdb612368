// What spectators are told when a recording cannot be shown. Never a raw error.

const WORDS: Record<string, string> = {
  RECORDING_NOT_FOUND: "That recording is gone, or its link lacks the room's code.",
  ROOM_NOT_FOUND: "That room is no more.",
  SIM_VERSION_UNSUPPORTED: "That recording is of rules that this server does not have.",
  RECORDING_DAMAGED: "The server's copy of that recording is damaged from here on.",
  RECORDING_TOO_LARGE: "That recording is too large for this server.",
  INVALID_ARGUMENT: "That link is not one of this server's.",
  MALFORMED: "This page does not understand that recording: reload the page.",
  UNIMPLEMENTED: "This server keeps no recordings.",
  Unimplemented: "This server keeps no recordings.",
  OVERLOADED: "The server is busy with other recordings. Trying again…",
  SHUTTING_DOWN: "The server is going away. Trying again…",
  REPLICA_BROKE: "The stream broke. Trying again…",
};

export function troubleInWords(reason: string, isFinal: boolean): string {
  return WORDS[reason] ?? (isFinal ? "The server cannot show that recording." : "The server does not answer. Trying again…");
}
