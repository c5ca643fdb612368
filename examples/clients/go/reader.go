package main

// Numbers on the wire: the section of that name in proto/REPLICATION.md.

// reader reads a cell's bytes. The first thing that does not fit is kept, and all that follows is 0.
type reader struct {
	data []byte
	err  error
}

func (r *reader) refuse(why string) {
	if r.err == nil {
		r.err = refused{why: why}
	}
	r.data = nil
}

func (r *reader) ensure(holds bool, why string) bool {
	if !holds {
		r.refuse(why)
	}
	return r.err == nil
}

func (r *reader) byte() byte {
	if len(r.data) == 0 {
		r.refuse("truncated")
		return 0
	}
	first := r.data[0]
	r.data = r.data[1:]
	return first
}

func (r *reader) varint() uint32 {
	var value uint64
	for shift := 0; shift < 35; shift += 7 {
		next := r.byte()
		value |= uint64(next&127) << shift
		if next < 128 {
			r.ensure(value < 1<<32, "a number out of range")
			return uint32(value)
		}
	}
	r.refuse("a number out of range")
	return 0
}

func (r *reader) signed() int32 {
	zigzag := r.varint()
	return int32(zigzag>>1) ^ -int32(zigzag&1)
}

func (r *reader) level() int32 {
	level := r.signed()
	r.ensure(-15 <= level && level <= 15, "a level out of range")
	return level
}

func (r *reader) velocity(before int32) int32 {
	velocity := before + r.signed()
	r.ensure(-velocityMax <= velocity && velocity <= velocityMax, "a velocity out of range")
	return velocity
}

func (r *reader) attributes(held *[8]int32) {
	mask := r.byte()
	for index := range held {
		if mask>>index&1 != 0 {
			held[index] += r.signed()
		}
	}
}

func (r *reader) payload() []byte {
	length := int(r.varint()) - 1
	if length < 0 || !r.ensure(length > 0 && length <= 256 && length <= len(r.data), "a payload out of range") {
		return nil
	}
	payload := append([]byte(nil), r.data[:length]...)
	r.data = r.data[length:]
	return payload
}

func (r *reader) end() error {
	r.ensure(len(r.data) == 0, "bytes left over")
	return r.err
}
