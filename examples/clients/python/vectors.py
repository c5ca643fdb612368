"""Runs the replica against proto/vectors/updates.json: `python3 vectors.py`."""

import json

from messages import PROTO, generate
from replica import Refused, Replica

_, _, play_pb2, _ = generate()


class Numbers:
    """An object with the fields of a JSON object."""

    def __init__(self, fields):
        self.__dict__.update(fields)


def entity(held):
    plain = {"kind": held.kind, "heading": held.heading, "turn": held.turn, "thrust": held.thrust}
    plain["position"], plain["velocity"] = [held.x, held.y], [held.vx, held.vy]
    plain["attributes"], plain["payload"] = held.attributes, held.payload.hex()
    return {"id": held.id} | {name: value for name, value in plain.items() if value not in (0, "", [0, 0], [0] * 8)}


steps = 0
sequences = json.loads((PROTO / "vectors" / "updates.json").read_text())["sequences"]
for sequence in sequences:
    replica = Replica(Numbers(sequence["world"]), [Numbers(motion) for motion in sequence["motions"]])
    for number, step in enumerate(sequence["steps"]):
        steps += 1
        where = f"{sequence['name']}, step {number}"
        update = play_pb2.Update.FromString(bytes.fromhex(step["update"]))
        try:
            replica.apply(update)
            assert "refusal" not in step, f"{where}: it is to be refused: {step['refusal']}"
        except Refused as refused:
            assert "refusal" in step, f"{where}: {refused}"
        assert replica.tick == step.get("tick", 0), where
        if "view_checksum" in step:
            assert replica.view_checksum() == step["view_checksum"], where
        else:
            wanted = {int(cell): entities for cell, entities in step.get("cells", {}).items()}
            held = {cell: [entity(one) for one in entities] for cell, (_, entities) in replica.cells.items()}
            for cell in held.keys() | wanted.keys():
                assert held.get(cell) == wanted.get(cell), f"{where}, cell {cell}: {held.get(cell)} != {wanted.get(cell)}"
print(f"{len(sequences)} sequences, {steps} updates: as they should be")
