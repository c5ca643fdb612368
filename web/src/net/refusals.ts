// Why a call was refused, from the status of its answer.

import { Code, ConnectError } from "@connectrpc/connect";
import type { Ended } from "./connection";

/** The reason of `google.rpc.ErrorInfo` in the status details, or the status where there is none. */
export function reasonOf(error: ConnectError): string {
  return ownReasonOf(error) || (Code[error.code] ?? "UNKNOWN");
}

/** How a call ended. */
export function endedOf(error: unknown): Ended {
  const connectError = ConnectError.from(error);
  const reason = ownReasonOf(connectError);
  // A request that did not get through at all is UNKNOWN to the library.
  return { code: connectError.code, reason };
}

/** Field 1 of `google.rpc.ErrorInfo`; empty: it is not the server's own error. */
function ownReasonOf(error: ConnectError): string {
  for (const detail of error.details) {
    if (!("type" in detail) || !detail.type.endsWith("google.rpc.ErrorInfo") || !(detail.value instanceof Uint8Array)) continue;
    const [tag, length = 0] = detail.value;
    if (tag === 0x0a) return new TextDecoder().decode(detail.value.subarray(2, 2 + length));
  }
  return "";
}
