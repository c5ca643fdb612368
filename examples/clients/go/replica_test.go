package main

// Runs the replica against proto/vectors/updates.json: `go test`.

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"testing"

	frayv1 "fray.example/client/gen/fray/v1"
	"google.golang.org/protobuf/proto"
)

type vectors struct {
	Sequences []struct {
		Name    string
		World   map[string]uint32
		Motions []map[string]uint32
		Steps   []struct {
			Update       string
			Tick         uint32
			Refusal      string
			ViewChecksum *uint32 `json:"view_checksum"`
			Cells        map[uint32][]plain
		}
	}
}

type plain struct {
	ID, Kind              uint32
	Position, Velocity    [2]int32
	Heading, Turn, Thrust int32
	Attributes            [8]int32
	Payload               string
}

func (p plain) entity() entity {
	payload, _ := hex.DecodeString(p.Payload)
	return entity{p.ID, p.Kind, p.Position, p.Velocity, p.Heading, p.Turn, p.Thrust, p.Attributes, payload}
}

// text compares the same whether a payload is nil or empty.
func text(e entity) string { return fmt.Sprintf("%+v", e) }

func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../../../proto/vectors/updates.json")
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Sequences) == 0 {
		t.Fatal("no sequences")
	}
	for _, sequence := range all.Sequences {
		t.Run(sequence.Name, func(t *testing.T) {
			world := &frayv1.World{PositionBits: sequence.World["position_bits"], CellBits: sequence.World["cell_bits"]}
			var motions []*frayv1.Motion
			for _, one := range sequence.Motions {
				motions = append(motions, &frayv1.Motion{
					Kind: one["kind"], TurnRate: one["turn_rate"], Acceleration: one["acceleration"], SpeedMax: one["speed_max"],
					DragShift: one["drag_shift"], LaunchSpeed: one["launch_speed"], LaunchDistance: one["launch_distance"],
				})
			}
			held := newReplica(world, motions)
			for number, step := range sequence.Steps {
				data, _ := hex.DecodeString(step.Update)
				update := &frayv1.Update{}
				if err := proto.Unmarshal(data, update); err != nil {
					t.Fatal(err)
				}
				err := held.apply(update)
				if (err != nil) != (step.Refusal != "") || err != nil && !errors.As(err, new(refused)) {
					t.Fatalf("step %d: %v instead of %q", number, err, step.Refusal)
				}
				if held.tick != step.Tick {
					t.Fatalf("step %d: at tick %d instead of %d", number, held.tick, step.Tick)
				}
				if step.ViewChecksum != nil {
					if held.viewChecksum() != *step.ViewChecksum {
						t.Fatalf("step %d: another view", number)
					}
					continue
				}
				is, wanted := map[uint32][]string{}, map[uint32][]string{}
				for cell, one := range held.cells {
					is[cell] = []string{}
					for _, e := range one.entities {
						is[cell] = append(is[cell], text(*e))
					}
				}
				for cell, entities := range step.Cells {
					wanted[cell] = []string{}
					for _, e := range entities {
						wanted[cell] = append(wanted[cell], text(e.entity()))
					}
				}
				if !reflect.DeepEqual(is, wanted) {
					t.Fatalf("step %d:\n%v\ninstead of\n%v", number, is, wanted)
				}
			}
		})
	}
}
