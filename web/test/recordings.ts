// Made-up recordings.

import { create } from "@bufbuild/protobuf";
import { type Marker_Kind, MarkerSchema, RecordingSchema, TimelineResponseSchema, type TimelineResponse } from "../src/gen/fray/v1/replays_pb";

export type MarkerTuple = [tick: number, kind: Marker_Kind, player: number, other?: number, text?: string];

export function timelineOf(markers: MarkerTuple[], recording: object = {}): TimelineResponse {
  return create(TimelineResponseSchema, {
    recording: create(RecordingSchema, { name: "r", tickRateHz: 20, firstTick: 100, lastTick: 1100, ...recording }),
    markers: markers.map(([tick, kind, player, other = 0, text = ""]) => create(MarkerSchema, { tick, kind, player, other, text })),
  });
}
