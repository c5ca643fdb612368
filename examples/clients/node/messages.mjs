// The messages and services, read from the .proto files when the program starts.

import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

export const PROTO = fileURLToPath(new URL("../../../proto/", import.meta.url));

const definition = protoLoader.loadSync(["fray/v1/lobby.proto", "fray/v1/play.proto"], {
  includeDirs: [PROTO],
  // Numbers that are 0 are there; `optional` ones that are absent are not.
  defaults: true,
  oneofs: true,
  longs: Number,
});

export const { Lobby, Play } = grpc.loadPackageDefinition(definition).fray.v1;

/** An update from its bytes; the loader has no other way in than a method's. */
export function decodeUpdate(bytes) {
  // PlayResponse.update is field 2, of length-delimited type.
  const length = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest < 128 ? rest : (rest & 127) | 128);
    if (rest < 128) break;
  }
  const response = Buffer.concat([Buffer.from([0x12, ...length]), bytes]);
  return definition["fray.v1.Play"].Play.responseDeserialize(response).update;
}
