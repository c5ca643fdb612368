// Why a call was refused, from the status of its answer.

import { Code, type ConnectError } from "@connectrpc/connect";

/** The reason of `google.rpc.ErrorInfo` in the status details: its field 1. */
export function reasonOf(error: ConnectError): string {
  for (const detail of error.details) {
    if (!("type" in detail) || !detail.type.endsWith("google.rpc.ErrorInfo") || !(detail.value instanceof Uint8Array)) continue;
    const [tag, length = 0] = detail.value;
    if (tag === 0x0a) return new TextDecoder().decode(detail.value.subarray(2, 2 + length));
  }
  return Code[error.code] ?? "UNKNOWN";
}
