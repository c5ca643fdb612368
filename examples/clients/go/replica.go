package main

// A copy of the world, as proto/REPLICATION.md describes it.

import (
	"cmp"
	"fmt"
	"slices"

	frayv1 "fray.example/client/gen/fray/v1"
)

const (
	entitiesMax = 1 << 16
	ticksMax    = 127
)

// refused: an update does not fit, cannot be read, or (isDesync) leads to another world than the server's.
type refused struct {
	why      string
	isDesync bool
}

func (r refused) Error() string { return r.why }

type heldCell struct {
	tick     uint32
	entities []*entity
}

type replica struct {
	mask       int32
	cellBits   uint32
	columnBits uint32
	motions    map[uint32]motion
	tick       uint32
	cells      map[uint32]*heldCell
	checksums  int
}

func newReplica(world *frayv1.World, told []*frayv1.Motion) *replica {
	motions := map[uint32]motion{}
	for _, one := range told {
		if one.Kind < 256 {
			motions[one.Kind] = motionOf(one)
		}
	}
	return &replica{
		mask:       int32(1)<<world.PositionBits - 1,
		cellBits:   world.CellBits,
		columnBits: world.PositionBits - world.CellBits,
		motions:    motions,
		cells:      map[uint32]*heldCell{},
	}
}

// apply leaves nothing behind if the update is refused.
func (r *replica) apply(update *frayv1.Update) error {
	err := r.tryApply(update)
	if err != nil {
		r.tick = 0
		clear(r.cells)
	}
	return err
}

func (r *replica) viewChecksum() uint32 {
	var sum uint32
	for number, cell := range r.cells {
		sum += cellChecksum(number, cell.entities)
	}
	return sum
}

func (r *replica) tryApply(update *frayv1.Update) error {
	base := update.Tick - 1
	if update.BaseTick != nil {
		base = *update.BaseTick
	}
	first := base
	if base == 0 {
		clear(r.cells)
		first = update.Tick - 1
	} else if base != r.tick {
		return refused{why: "another base"}
	}
	if update.Tick == 0 || update.Tick <= first || update.Tick-first > ticksMax {
		return refused{why: "a tick that cannot be"}
	}
	for _, number := range update.CellsRemoved {
		if r.cells[number] == nil {
			return refused{why: "a cell that is not held"}
		}
		delete(r.cells, number)
	}
	awaited := map[uint32]bool{}
	for _, number := range update.CellsAdded {
		awaited[number] = true
	}
	for _, message := range update.Cells {
		if err := r.applyCell(message, first, update.Tick, awaited); err != nil {
			return err
		}
	}
	if len(awaited) > 0 {
		return refused{why: "a cell without its keyframe"}
	}
	for number, cell := range r.cells {
		r.advance(number, cell, update.Tick)
	}
	r.tick = update.Tick
	if update.ViewChecksum != nil {
		return r.check(r.viewChecksum(), *update.ViewChecksum)
	}
	return nil
}

func (r *replica) check(own, told uint32) error {
	r.checksums++
	if own != told {
		return refused{why: fmt.Sprintf("a checksum is %08x and not %08x", own, told), isDesync: true}
	}
	return nil
}

func (r *replica) applyCell(message *frayv1.CellUpdate, first, last uint32, awaited map[uint32]bool) error {
	number := message.Place >> 7
	if uint64(number) > uint64(1)<<(2*r.columnBits) {
		return refused{why: "no such cell"}
	}
	tick := last - (last-message.Place)&127
	cell := r.cells[number]
	var err error
	switch encoding := message.Encoding.(type) {
	case *frayv1.CellUpdate_Keyframe:
		if tick != last || cell == nil && !awaited[number] {
			return refused{why: "a keyframe that may not come"}
		}
		bytes := reader{data: encoding.Keyframe}
		cell = &heldCell{tick: tick, entities: r.wholeEntities(&bytes, number)}
		err = bytes.end()
		r.cells[number] = cell
		delete(awaited, number)
	case *frayv1.CellUpdate_Delta:
		// The ticks may have wrapped around: what is before the first is none of this update's.
		if cell == nil || int32(tick-first) <= 0 || int32(tick-cell.tick) <= 0 {
			return refused{why: "a delta that may not come"}
		}
		r.advance(number, cell, tick-1)
		cell.entities, err = r.delta(encoding.Delta, number, cell.entities)
		cell.tick = tick
	default:
		err = refused{why: "an unknown encoding"}
	}
	if err == nil && message.Checksum != nil {
		err = r.check(cellChecksum(number, cell.entities), *message.Checksum)
	}
	return err
}

func (r *replica) advance(number uint32, cell *heldCell, tick uint32) {
	for ; cell.tick < tick; cell.tick++ {
		r.move(number, cell.entities)
	}
}

func (r *replica) move(number uint32, entities []*entity) {
	if number == 0 {
		return
	}
	for _, one := range entities {
		constants := r.motions[one.kind]
		one.moveHeading(constants)
		one.moveVelocity(constants)
		one.movePosition(one.velocity, r.mask)
	}
}

func (r *replica) wholeEntities(bytes *reader, number uint32) []*entity {
	count := int(bytes.varint())
	if !bytes.ensure(count <= min(len(bytes.data), entitiesMax), "too many entities") {
		return nil
	}
	var entities []*entity
	for next := uint64(0); len(entities) < count && bytes.err == nil; {
		id := next + uint64(bytes.varint())
		bytes.ensure(id < 1<<32, "an id out of range")
		next = id + 1
		entities = append(entities, r.whole(bytes, uint32(id), number))
	}
	return entities
}

func (r *replica) whole(bytes *reader, id, number uint32) *entity {
	mask := bytes.varint()
	bytes.ensure(mask < 128, "an unknown field")
	whole := &entity{id: id, kind: bytes.varint()}
	if number > 0 {
		column, row := (number-1)&(1<<r.columnBits-1), (number-1)>>r.columnBits
		whole.position = [2]int32{int32(column << r.cellBits), int32(row << r.cellBits)}
	}
	if mask&1 != 0 {
		whole.turn = bytes.level()
	}
	if mask&2 != 0 {
		whole.thrust = bytes.level()
	}
	if mask&4 != 0 {
		whole.heading = int32(bytes.varint())
		bytes.ensure(0 <= whole.heading && whole.heading < 1<<16, "a heading out of range")
	}
	if mask&8 != 0 {
		whole.velocity = [2]int32{bytes.velocity(0), bytes.velocity(0)}
	}
	if mask&16 != 0 {
		whole.movePosition([2]int32{int32(bytes.varint()), int32(bytes.varint())}, r.mask)
	}
	if mask&32 != 0 {
		bytes.attributes(&whole.attributes)
	}
	if mask&64 != 0 {
		whole.payload = bytes.payload()
	}
	return whole
}

func (r *replica) delta(data []byte, number uint32, entities []*entity) ([]*entity, error) {
	bytes := &reader{data: data}
	head := bytes.varint()
	next := uint64(0)
	if len(entities) > 0 {
		next = uint64(entities[len(entities)-1].id) + 1
	}
	if head&1 != 0 {
		entities = withoutLeaves(bytes, entities)
	}
	// A change is read while its entity moves, so entities are moved rank by rank.
	moved, rank := 0, 0
	for changes := head >> 3; changes > 0 && bytes.err == nil; changes-- {
		row := bytes.varint()
		rank += int(row >> 7)
		if !bytes.ensure(rank < len(entities), "an unknown rank") {
			break
		}
		r.move(number, entities[moved:rank])
		r.change(bytes, entities[rank], row&127, number)
		rank++
		moved = rank
	}
	r.move(number, entities[moved:])
	if head&4 != 0 {
		entities = append(entities, r.launches(bytes, entities, next)...)
	}
	if head&2 != 0 {
		entities = append(entities, r.wholeEntities(bytes, number)...)
		slices.SortFunc(entities, func(a, b *entity) int { return cmp.Compare(a.id, b.id) })
		for index := 1; index < len(entities); index++ {
			bytes.ensure(entities[index-1].id != entities[index].id, "an id that is there already")
		}
	}
	bytes.ensure(len(entities) <= entitiesMax, "too many entities")
	return entities, bytes.end()
}

func (r *replica) change(bytes *reader, held *entity, mask, number uint32) {
	constants := r.motions[held.kind]
	if mask&1 != 0 {
		held.turn = bytes.level()
	}
	if mask&2 != 0 {
		held.thrust = bytes.level()
	}
	if number != 0 {
		held.moveHeading(constants)
	}
	if mask&4 != 0 {
		held.heading = (held.heading + bytes.signed()) & 0xffff
	}
	if number != 0 {
		held.moveVelocity(constants)
	}
	if mask&8 != 0 {
		held.velocity = [2]int32{bytes.velocity(held.velocity[0]), bytes.velocity(held.velocity[1])}
	}
	if number != 0 {
		held.movePosition(held.velocity, r.mask)
	}
	if mask&16 != 0 {
		held.movePosition([2]int32{bytes.signed(), bytes.signed()}, r.mask)
	}
	if mask&32 != 0 {
		bytes.attributes(&held.attributes)
	}
	if mask&64 != 0 {
		held.payload = bytes.payload()
	}
}

func (r *replica) launches(bytes *reader, entities []*entity, next uint64) []*entity {
	count := int(bytes.varint())
	bytes.ensure(count <= len(bytes.data), "too many launches")
	var born []*entity
	for len(born) < count && bytes.err == nil {
		id, rank := next+uint64(bytes.varint()), bytes.varint()
		if !bytes.ensure(id < 1<<32 && int(rank) < len(entities), "an unknown rank") {
			break
		}
		next = id + 1
		kind := bytes.varint()
		born = append(born, launched(entities[rank], uint32(id), kind, r.motions[kind], r.mask))
	}
	return born
}

func withoutLeaves(bytes *reader, entities []*entity) []*entity {
	var remaining []*entity
	rank := 0
	for count := bytes.varint(); count > 0 && bytes.err == nil; count-- {
		leaves := rank + int(bytes.varint())
		if !bytes.ensure(leaves < len(entities), "an unknown rank") {
			break
		}
		remaining = append(remaining, entities[rank:leaves]...)
		rank = leaves + 1
	}
	return append(remaining, entities[rank:]...)
}
