package main

// Entities, the motion model and the checksums of proto/REPLICATION.md.

import (
	"encoding/binary"
	"math"

	frayv1 "fray.example/client/gen/fray/v1"
)

const velocityMax = 1 << 24

type motion struct {
	turnRate, acceleration, speedMax, launchSpeed, launchDistance int64
	dragShift                                                     uint32
}

func motionOf(told *frayv1.Motion) motion {
	return motion{
		turnRate:       min(int64(told.TurnRate), 4096),
		acceleration:   min(int64(told.Acceleration), 65536),
		speedMax:       min(int64(told.SpeedMax), 1<<24),
		dragShift:      min(told.DragShift, 31),
		launchSpeed:    min(int64(told.LaunchSpeed), 1<<20),
		launchDistance: min(int64(told.LaunchDistance), 1<<20),
	}
}

type entity struct {
	id, kind              uint32
	position, velocity    [2]int32
	heading, turn, thrust int32
	attributes            [8]int32
	payload               []byte
}

func sine(angle int32) int64 {
	within := int64(angle & 32767)
	product := within * (32768 - within)
	value := product << 18 / (5<<30 - 4*product)
	if angle < 32768 {
		return value
	}
	return -value
}

func direction(heading int32) [2]int64 {
	return [2]int64{sine((heading + 16384) & 0xffff), sine(heading)}
}

func (e *entity) moveHeading(m motion) {
	e.heading = (e.heading + e.turn*int32(m.turnRate)) & 0xffff
}

func (e *entity) moveVelocity(m motion) {
	velocity := [2]int64{int64(e.velocity[0]), int64(e.velocity[1])}
	along := direction(e.heading)
	for i := range velocity {
		// A shift of a negative number floors, in Go as on that page.
		velocity[i] += along[i] * int64(e.thrust) * m.acceleration >> 18
		if m.dragShift != 0 && velocity[i] < 0 {
			velocity[i] += -velocity[i] >> m.dragShift
		} else if m.dragShift != 0 {
			velocity[i] -= velocity[i] >> m.dragShift
		}
		velocity[i] = max(-velocityMax, min(velocityMax, velocity[i]))
	}
	squared := velocity[0]*velocity[0] + velocity[1]*velocity[1]
	if m.speedMax != 0 && squared > m.speedMax*m.speedMax {
		// The root of a number below 2^50 is rounded correctly, so its floor is exact.
		speed := int64(math.Sqrt(float64(squared)))
		for i := range velocity {
			velocity[i] = floorDivision(velocity[i]*m.speedMax, speed)
		}
	}
	e.velocity = [2]int32{int32(velocity[0]), int32(velocity[1])}
}

func (e *entity) movePosition(by [2]int32, mask int32) {
	for i := range by {
		e.position[i] = (e.position[i] + by[i]) & mask
	}
}

// floorDivision: Go's own division truncates.
func floorDivision(a, b int64) int64 {
	quotient := a / b
	if a%b < 0 {
		quotient--
	}
	return quotient
}

func launched(parent *entity, id, kind uint32, m motion, mask int32) *entity {
	born := &entity{id: id, kind: kind, position: parent.position}
	along := direction(parent.heading)
	var ahead [2]int32
	for i := range along {
		ahead[i] = int32(along[i] * m.launchDistance >> 14)
		speed := int64(parent.velocity[i]) + along[i]*m.launchSpeed>>14
		born.velocity[i] = int32(max(-velocityMax, min(velocityMax, speed)))
	}
	born.movePosition(ahead, mask)
	born.attributes[0] = parent.attributes[0]
	return born
}

// hasher is MurmurHash3_x86_32 over words.
type hasher struct{ state, words uint32 }

func (h *hasher) add(words ...uint32) {
	for _, word := range words {
		word *= 0xcc9e2d51
		word = (word<<15 | word>>17) * 0x1b873593
		h.state ^= word
		h.state = (h.state<<13|h.state>>19)*5 + 0xe6546b64
		h.words++
	}
}

func (h *hasher) addPayload(payload []byte) {
	h.add(uint32(len(payload)))
	padded := append(append([]byte(nil), payload...), 0, 0, 0)
	for ; len(padded) >= 4; padded = padded[4:] {
		h.add(binary.LittleEndian.Uint32(padded))
	}
}

func (h *hasher) sum() uint32 {
	state := h.state ^ h.words*4
	state = (state ^ state>>16) * 0x85ebca6b
	state = (state ^ state>>13) * 0xc2b2ae35
	return state ^ state>>16
}

func cellChecksum(number uint32, entities []*entity) uint32 {
	h := hasher{state: number}
	for _, e := range entities {
		h.add(e.id, e.kind, uint32(e.position[0]), uint32(e.position[1]), uint32(e.velocity[0]), uint32(e.velocity[1]))
		h.add(uint32(e.heading | e.turn&255<<16 | e.thrust&255<<24))
		for _, attribute := range e.attributes {
			h.add(uint32(attribute))
		}
		h.addPayload(e.payload)
	}
	return h.sum()
}

func appliedHash(before uint32, move *frayv1.Move) uint32 {
	h := hasher{state: before}
	h.add(move.Sequence, uint32(move.AxisX), uint32(move.AxisY))
	for _, optional := range []*uint32{move.Aim, move.Target} {
		if optional == nil {
			h.add(0, 0)
		} else {
			h.add(1, *optional)
		}
	}
	h.add(move.Buttons)
	h.addPayload(move.Payload)
	return h.sum()
}
