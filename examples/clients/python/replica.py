"""A copy of the world, as proto/REPLICATION.md describes it: the section titles of that page are in the comments."""

from dataclasses import dataclass, field
from math import isqrt

VELOCITY_MAX = 1 << 24
CELL_ENTITIES_MAX = 1 << 16
UPDATE_TICKS_MAX = 127
TURN, THRUST, HEADING, VELOCITY, POSITION, ATTRIBUTES, PAYLOAD = (1 << bit for bit in range(7))


class Refused(Exception):
    """An update does not fit, or cannot be read."""


class Desync(Refused):
    """A checksum differs: the copy is not what the server has."""


def i32(value):
    return (value + 2**31) % 2**32 - 2**31


def clamp(value, low, high):
    return max(low, min(high, value))


@dataclass
class Motion:
    turn_rate: int = 0
    acceleration: int = 0
    speed_max: int = 0
    drag_shift: int = 0
    launch_speed: int = 0
    launch_distance: int = 0

    @classmethod
    def of(cls, told):
        return cls(
            min(told.turn_rate, 4096),
            min(told.acceleration, 65536),
            min(told.speed_max, 1 << 24),
            min(told.drag_shift, 31),
            min(told.launch_speed, 1 << 20),
            min(told.launch_distance, 1 << 20),
        )


STILL = Motion()


@dataclass
class Entity:
    id: int
    kind: int
    x: int = 0
    y: int = 0
    vx: int = 0
    vy: int = 0
    heading: int = 0
    turn: int = 0
    thrust: int = 0
    attributes: list = field(default_factory=lambda: [0] * 8)
    payload: bytes = b""


# --- Motion model


def sine(angle):
    within = angle & 32767
    product = within * (32768 - within)
    value = (product << 18) // (5 * 2**30 - 4 * product)
    return value if angle < 32768 else -value


def direction(heading):
    return sine((heading + 16384) & 0xFFFF), sine(heading)


def move_heading(entity, motion):
    entity.heading = (entity.heading + entity.turn * motion.turn_rate) & 0xFFFF


def move_velocity(entity, motion):
    velocity = [entity.vx, entity.vy]
    if entity.thrust and motion.acceleration:
        push = entity.thrust * motion.acceleration
        velocity = [v + (d * push >> 18) for v, d in zip(velocity, direction(entity.heading))]
    if motion.drag_shift:
        velocity = [v - (abs(v) >> motion.drag_shift) * (1 if v > 0 else -1) for v in velocity]
    velocity = [clamp(v, -VELOCITY_MAX, VELOCITY_MAX) for v in velocity]
    squared = sum(v * v for v in velocity)
    if motion.speed_max and squared > motion.speed_max**2:
        speed = isqrt(squared)
        velocity = [v * motion.speed_max // speed for v in velocity]
    entity.vx, entity.vy = velocity


def move_position(entity, size):
    entity.x = (entity.x + entity.vx) & (size - 1)
    entity.y = (entity.y + entity.vy) & (size - 1)


# --- Numbers on the wire


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def byte(self):
        if self.at >= len(self.data):
            raise Refused("truncated")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self):
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                if value >= 2**32:
                    break
                return value
        raise Refused("a number out of range")

    def signed(self):
        zigzag = self.varint()
        return (zigzag >> 1) ^ -(zigzag & 1)

    def level(self):
        level = self.signed()
        if abs(level) > 15:
            raise Refused("a level out of range")
        return level

    def attributes(self, attributes):
        mask = self.byte()
        for index in range(8):
            if mask >> index & 1:
                attributes[index] = i32(attributes[index] + self.signed())

    def payload(self):
        length = self.varint() - 1
        if length < 0:
            return b""
        if length == 0 or length > 256 or length > self.left():
            raise Refused("a payload out of range")
        self.at += length
        return bytes(self.data[self.at - length : self.at])

    def end(self):
        if self.left():
            raise Refused("bytes left over")


def velocity_within(value):
    if abs(value) > VELOCITY_MAX:
        raise Refused("a velocity out of range")
    return value


# --- Checksums


def murmur(seed, words):
    state, count = seed, 0
    for word in words:
        word = word * 0xCC9E2D51 & 0xFFFFFFFF
        word = (word << 15 | word >> 17) * 0x1B873593 & 0xFFFFFFFF
        state ^= word
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
        count += 1
    state ^= count * 4
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def payload_words(payload):
    yield len(payload)
    padded = payload + bytes(-len(payload) % 4)
    for at in range(0, len(padded), 4):
        yield int.from_bytes(padded[at : at + 4], "little")


def cell_checksum(cell, entities):
    def words():
        for entity in entities:
            yield entity.id
            yield entity.kind
            yield from (entity.x, entity.y)
            yield from (entity.vx & 0xFFFFFFFF, entity.vy & 0xFFFFFFFF)
            yield entity.heading | (entity.turn & 255) << 16 | (entity.thrust & 255) << 24
            yield from (attribute & 0xFFFFFFFF for attribute in entity.attributes)
            yield from payload_words(entity.payload)

    return murmur(cell, words())


def applied_hash(before, move):
    words = [move.sequence, move.axis_x & 0xFFFFFFFF, move.axis_y & 0xFFFFFFFF]
    for name in ("aim", "target"):
        words += [1, getattr(move, name)] if move.HasField(name) else [0, 0]
    return murmur(before, [*words, move.buttons, *payload_words(move.payload)])


# --- Cells and updates


class Replica:
    """The cells in view, by number, each with its tick and its entities in the order of their ids."""

    def __init__(self, world, motions):
        self.size = 1 << world.position_bits
        self.cell_bits = world.cell_bits
        self.column_bits = world.position_bits - world.cell_bits
        self.motions = {told.kind: Motion.of(told) for told in motions if told.kind < 256}
        self.tick = 0
        self.cells = {}
        self.checksums = 0

    def apply(self, update):
        """Leaves nothing behind if the update is refused."""
        try:
            self._apply(update)
        except Refused:
            self.tick, self.cells = 0, {}
            raise

    def view_checksum(self):
        return sum(cell_checksum(cell, held[1]) for cell, held in self.cells.items()) & 0xFFFFFFFF

    def _apply(self, update):
        base = update.base_tick if update.HasField("base_tick") else update.tick - 1
        if base == 0:
            self.cells = {}
        elif base != self.tick:
            raise Refused("another base")
        first = base or update.tick - 1
        if not 0 < update.tick - first <= UPDATE_TICKS_MAX:
            raise Refused("a tick that cannot be")
        for cell in update.cells_removed:
            if self.cells.pop(cell, None) is None:
                raise Refused("a cell that is not held")
        awaited = set(update.cells_added)
        for message in update.cells:
            self._apply_cell(message, first, update.tick, awaited)
        if awaited:
            raise Refused("a cell without its keyframe")
        for cell, held in self.cells.items():
            self._advance(cell, held, update.tick)
        self.tick = update.tick
        if update.HasField("view_checksum"):
            self._check(self.view_checksum(), update.view_checksum)

    def _check(self, own, told):
        self.checksums += 1
        if own != told:
            raise Desync(f"{own:08x} instead of {told:08x}")

    def _apply_cell(self, message, first, last, awaited):
        cell = message.place >> 7
        if cell > 1 << 2 * self.column_bits:
            raise Refused("no such cell")
        tick = last - ((last - message.place) & 127)
        held = self.cells.get(cell)
        if message.WhichOneof("encoding") == "keyframe":
            if tick != last or (held is None and cell not in awaited):
                raise Refused("a keyframe that may not come")
            reader = Reader(message.keyframe)
            held = [tick, self._whole_entities(reader, cell)]
            reader.end()
            self.cells[cell] = held
            awaited.discard(cell)
        elif message.WhichOneof("encoding") == "delta":
            if held is None or tick <= first or tick <= held[0]:
                raise Refused("a delta that may not come")
            self._advance(cell, held, tick - 1)
            held[:] = [tick, self._delta(message.delta, cell, held[1])]
        else:
            raise Refused("an unknown encoding")
        if message.HasField("checksum"):
            self._check(cell_checksum(cell, held[1]), message.checksum)

    def _advance(self, cell, held, tick):
        while held[0] < tick:
            self._move(cell, held[1])
            held[0] += 1

    def _move(self, cell, entities):
        for entity in entities if cell else ():
            motion = self.motions.get(entity.kind, STILL)
            move_heading(entity, motion)
            move_velocity(entity, motion)
            move_position(entity, self.size)

    def _whole_entities(self, reader, cell):
        count = reader.varint()
        if count > min(reader.left(), CELL_ENTITIES_MAX):
            raise Refused("too many entities")
        entities, following = [], 0
        for _ in range(count):
            number = following + reader.varint()
            if number >= 2**32:
                raise Refused("an id out of range")
            following = number + 1
            entities.append(self._whole(reader, number, cell))
        return entities

    def _whole(self, reader, number, cell):
        mask = reader.varint()
        if mask > 127:
            raise Refused("an unknown field")
        entity = Entity(number, reader.varint())
        if cell:
            entity.x = (cell - 1 & (1 << self.column_bits) - 1) << self.cell_bits
            entity.y = (cell - 1 >> self.column_bits) << self.cell_bits
        if mask & TURN:
            entity.turn = reader.level()
        if mask & THRUST:
            entity.thrust = reader.level()
        if mask & HEADING:
            entity.heading = reader.varint()
            if entity.heading > 0xFFFF:
                raise Refused("a heading out of range")
        if mask & VELOCITY:
            entity.vx = velocity_within(reader.signed())
            entity.vy = velocity_within(reader.signed())
        if mask & POSITION:
            entity.x = (entity.x + reader.varint()) & (self.size - 1)
            entity.y = (entity.y + reader.varint()) & (self.size - 1)
        if mask & ATTRIBUTES:
            reader.attributes(entity.attributes)
        if mask & PAYLOAD:
            entity.payload = reader.payload()
        return entity

    def _delta(self, data, cell, entities):
        reader = Reader(data)
        head = reader.varint()
        following = entities[-1].id + 1 if entities else 0
        if head & 1:
            entities = without_leaves(reader, entities)
        # A change is read while its entity moves, so entities are moved rank by rank.
        rank = moved = 0
        for _ in range(head >> 3):
            row = reader.varint()
            rank += row >> 7
            if rank >= len(entities):
                raise Refused("an unknown rank")
            self._move(cell, entities[moved:rank])
            self._change(reader, entities[rank], row & 127, cell)
            rank += 1
            moved = rank
        self._move(cell, entities[moved:])
        if head & 4:
            entities = entities + self._launches(reader, entities, following)
        if head & 2:
            entered = self._whole_entities(reader, cell)
            ids = {entity.id for entity in entities}
            if any(entity.id in ids for entity in entered):
                raise Refused("an id that is there already")
            entities = sorted(entities + entered, key=lambda entity: entity.id)
        if len(entities) > CELL_ENTITIES_MAX:
            raise Refused("too many entities")
        reader.end()
        return entities

    def _change(self, reader, entity, mask, cell):
        motion = self.motions.get(entity.kind, STILL)
        if mask & TURN:
            entity.turn = reader.level()
        if mask & THRUST:
            entity.thrust = reader.level()
        if cell:
            move_heading(entity, motion)
        if mask & HEADING:
            entity.heading = (entity.heading + reader.signed()) & 0xFFFF
        if cell:
            move_velocity(entity, motion)
        if mask & VELOCITY:
            entity.vx = velocity_within(i32(entity.vx + reader.signed()))
            entity.vy = velocity_within(i32(entity.vy + reader.signed()))
        if cell:
            move_position(entity, self.size)
        if mask & POSITION:
            entity.x = (entity.x + reader.signed()) & (self.size - 1)
            entity.y = (entity.y + reader.signed()) & (self.size - 1)
        if mask & ATTRIBUTES:
            reader.attributes(entity.attributes)
        if mask & PAYLOAD:
            entity.payload = reader.payload()

    def _launches(self, reader, entities, following):
        count = reader.varint()
        if count > reader.left():
            raise Refused("too many launches")
        born = []
        for _ in range(count):
            number = following + reader.varint()
            following = number + 1
            rank = reader.varint()
            if number >= 2**32 or rank >= len(entities):
                raise Refused("an unknown rank")
            parent, kind = entities[rank], reader.varint()
            motion = self.motions.get(kind, STILL)
            along = [
                [d * n >> 14 for d in direction(parent.heading)]
                for n in (motion.launch_distance, motion.launch_speed)
            ]
            born.append(
                Entity(
                    number,
                    kind,
                    (parent.x + along[0][0]) & (self.size - 1),
                    (parent.y + along[0][1]) & (self.size - 1),
                    clamp(parent.vx + along[1][0], -VELOCITY_MAX, VELOCITY_MAX),
                    clamp(parent.vy + along[1][1], -VELOCITY_MAX, VELOCITY_MAX),
                    attributes=[parent.attributes[0]] + [0] * 7,
                )
            )
        return born


def without_leaves(reader, entities):
    remaining, rank = [], 0
    for _ in range(reader.varint()):
        leaves = rank + reader.varint()
        if leaves >= len(entities):
            raise Refused("an unknown rank")
        remaining += entities[rank:leaves]
        rank = leaves + 1
    return remaining + entities[rank:]
