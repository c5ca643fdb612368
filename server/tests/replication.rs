//! Whatever happens, a replica holds exactly what the server shows, bit for bit.
//!
//! A game that does arbitrary things is published, encoded and spliced for several streams that skip ticks, look elsewhere
//! and start again at will. After every update the replica is compared with the entities themselves, and checksums are
//! compared on the way. Then the other direction: any flipped bit is found.

use fray_proto::model::{Entity, LEVEL_MAX, Motion, VELOCITY_LIMIT, launched};
use fray_proto::replica::{Error, Replica};
use fray_proto::update::{GRPC_PREFIX_BYTES, MoveAck};
use fray_proto::v1;
use fray_server::game::{Motions, Published, Refusal, View, WorldLimits};
use fray_server::replication::{Encoder, Grid, PlayerFrame, Splicer, TickFrame};
use proptest::prelude::*;
use prost::Message as _;
use std::sync::Arc;

const RATE_HZ: u32 = 4;
/// The kind that others launch.
const LAUNCHED: u32 = 2;

fn grid() -> Grid {
    let mut motions = Motions::default();
    motions.set(
        1,
        Motion {
            turn_rate: 900,
            acceleration: 200,
            speed_max: 300,
            drag_shift: 5,
            ..Motion::default()
        },
    );
    let launched = Motion { launch_speed: 200, launch_distance: 40, ..Motion::default() };
    motions.set(LAUNCHED, launched);
    Grid::new(WorldLimits { position_bits: 13, unit_bits: 4, speed_max: 30 }, motions)
}

/// What may happen to a world between two ticks.
#[derive(Clone, Debug)]
enum Happening {
    Enter {
        global: bool,
        kind: u32,
        position: [i32; 2],
        velocity: [i32; 2],
        payload: Option<Vec<u8>>,
    },
    Leave(prop::sample::Index),
    Steer(prop::sample::Index, i8, i8),
    Kick(prop::sample::Index, [i32; 2]),
    Jump(prop::sample::Index, [i32; 2]),
    Turn(prop::sample::Index, u16),
    Attribute(prop::sample::Index, usize, i32),
    Payload(prop::sample::Index, Option<Vec<u8>>),
    Launch(prop::sample::Index),
}

/// What one stream does at a tick.
#[derive(Clone, Debug)]
enum Look {
    Skip,
    Update,
    Turn([i32; 2]),
    Restart,
}

fn extreme() -> impl Strategy<Value = i32> {
    prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(0), Just(-1), any::<i32>()]
}

fn happening() -> impl Strategy<Value = Happening> {
    let place = || [0..8192_i32, 0..8192_i32];
    let speed = || {
        let component = || prop_oneof![-300..300_i32, Just(VELOCITY_LIMIT), Just(-VELOCITY_LIMIT)];
        [component(), component()]
    };
    let level = || -LEVEL_MAX..=LEVEL_MAX;
    let index = any::<prop::sample::Index>;
    let payload = || prop::option::of(prop::collection::vec(any::<u8>(), 1..20));
    prop_oneof![
        3 => (any::<bool>(), 0..3_u32, place(), speed(), payload())
            .prop_map(|(global, kind, position, velocity, payload)| Happening::Enter { global, kind, position, velocity, payload }),
        1 => index().prop_map(Happening::Leave),
        4 => (index(), level(), level()).prop_map(|(of, turn, thrust)| Happening::Steer(of, turn, thrust)),
        2 => (index(), speed()).prop_map(|(of, velocity)| Happening::Kick(of, velocity)),
        1 => (index(), place()).prop_map(|(of, position)| Happening::Jump(of, position)),
        2 => (index(), 0..8_usize, extreme()).prop_map(|(of, which, value)| Happening::Attribute(of, which, value)),
        1 => (index(), payload()).prop_map(|(of, payload)| Happening::Payload(of, payload)),
        2 => index().prop_map(Happening::Launch),
        1 => (index(), any::<u16>()).prop_map(|(of, heading)| Happening::Turn(of, heading)),
    ]
}

fn look() -> impl Strategy<Value = Look> {
    prop_oneof![
        3 => Just(Look::Skip),
        8 => Just(Look::Update),
        2 => [any::<i32>(), any::<i32>()].prop_map(Look::Turn),
        1 => Just(Look::Restart),
    ]
}

/// A world that obeys the motion model, except where something happens to it.
#[derive(Default)]
struct World {
    shown: Published,
    next_id: u32,
}

impl World {
    fn step(&mut self, grid: &Grid, happenings: &[Happening]) {
        for happening in happenings {
            self.happen(happening);
        }
        for entity in &mut self.shown.local {
            let motion = grid.motions.of(entity.kind);
            fray_proto::model::advance(entity, motion, grid.world);
        }
        // What is launched does not move in the tick in which it is.
        for happening in happenings {
            if let Happening::Launch(of) = happening {
                self.launch(grid, *of);
            }
        }
    }

    fn launch(&mut self, grid: &Grid, of: prop::sample::Index) {
        let local = &mut self.shown.local;
        if local.is_empty() {
            return;
        }
        self.next_id += 1;
        let parent = &local[of.index(local.len())];
        let motion = grid.motions.of(LAUNCHED);
        local.push(launched(parent, self.next_id, LAUNCHED, motion, grid.world));
    }

    fn happen(&mut self, happening: &Happening) {
        let local = &mut self.shown.local;
        match happening.clone() {
            Happening::Enter { global, kind, position, velocity, payload } => {
                self.next_id += 1 + kind * 200;
                let mut entity = Entity {
                    id: self.next_id,
                    kind,
                    payload: payload.map(Into::into),
                    ..Entity::default()
                };
                if global {
                    self.shown.global.push(entity);
                } else {
                    (entity.position, entity.velocity) = (position, velocity);
                    local.push(entity);
                }
            }
            Happening::Leave(of) => {
                if !local.is_empty() {
                    local.remove(of.index(local.len()));
                }
                if !self.shown.global.is_empty() {
                    self.shown.global.remove(of.index(self.shown.global.len()));
                }
            }
            Happening::Steer(of, turn, thrust) => with(local, of, |entity| {
                (entity.turn, entity.thrust) = (turn, thrust);
            }),
            Happening::Kick(of, velocity) => with(local, of, |entity| entity.velocity = velocity),
            Happening::Jump(of, position) => with(local, of, |entity| entity.position = position),
            Happening::Attribute(of, which, value) => {
                with(local, of, |entity| entity.attributes[which] = value);
                with(&mut self.shown.global, of, |entity| {
                    entity.attributes[which] = value;
                });
            }
            Happening::Payload(of, payload) => {
                let payload: Option<Arc<[u8]>> = payload.map(Into::into);
                with(local, of, |entity| entity.payload.clone_from(&payload));
                with(&mut self.shown.global, of, |entity| {
                    entity.payload.clone_from(&payload);
                });
            }
            Happening::Turn(of, heading) => with(local, of, |entity| entity.heading = heading),
            Happening::Launch(_) => {}
        }
    }
}

fn with(entities: &mut [Entity], of: prop::sample::Index, change: impl FnOnce(&mut Entity)) {
    if !entities.is_empty() {
        change(&mut entities[of.index(entities.len())]);
    }
}

struct Stream {
    splicer: Splicer,
    replica: Replica,
    view: View,
}

impl Stream {
    fn new(grid: &Grid) -> Self {
        let replica = Replica::new(grid.world, grid.motions.clone()).expect("a sound world");
        let view = View { center: [100, 100], extent: [900, 600] };
        Self { splicer: Splicer::default(), replica, view }
    }

    fn update(&mut self, frame: &TickFrame) -> Option<v1::Update> {
        let framed = self.splicer.update(frame, frame.player(1), self.view)?;
        Some(decoded(&framed))
    }

    /// The replica holds the cells of its view as they are, and nothing else.
    fn compare(&self, frame: &TickFrame) {
        assert_eq!(self.replica.tick(), frame.tick);
        for (cell, entities) in self.replica.cells() {
            assert_eq!(entities, frame.entities(cell), "cell {cell} at tick {}", frame.tick);
        }
        assert!(self.replica.cells().any(|(cell, _)| cell == 0));
        let at = frame.grid().world.cell_of(self.view.center);
        assert!(self.replica.cells().any(|(cell, _)| cell == at), "it sees where it looks");
    }
}

fn decoded(framed: &[u8]) -> v1::Update {
    let response = v1::PlayResponse::decode(&framed[GRPC_PREFIX_BYTES..]).expect("a message");
    match response.message {
        Some(v1::play_response::Message::Update(update)) => update,
        other => panic!("an Update is expected, not {other:?}"),
    }
}

fn player_frame(tick: u32) -> PlayerFrame {
    PlayerFrame {
        player: 1,
        generation: 1,
        left: false,
        ack: MoveAck {
            input_ack: tick / 3,
            applied_count: tick / 3,
            applied_hash: 9,
            arrival_margin_ms: 1,
        },
        refusals: vec![(tick, tick, Refusal::NotAllowed)],
        private: ([tick as i32 / 5; 8], 3),
        view: View { center: [0, 0], extent: [1, 1] },
    }
}

fn frames(steps: &[Vec<Happening>]) -> impl Iterator<Item = Arc<TickFrame>> {
    let grid = grid();
    let mut world = World::default();
    let mut encoder = Encoder::new(grid.clone(), RATE_HZ);
    steps.iter().enumerate().map(move |(index, happenings)| {
        world.step(&grid, happenings);
        let tick = index as u32 + 1;
        let anywhere = View { center: [0, 0], extent: [1, 1] };
        encoder.encode(tick, &world.shown, vec![player_frame(tick)], anywhere, Vec::new())
    })
}

fn steps(ticks: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Happening>>> {
    prop::collection::vec(prop::collection::vec(happening(), 0..6), ticks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_deltas_keyframes_skips_and_views_leaves_the_replica_equal(
        steps in steps(1..60),
        looks in prop::collection::vec(prop::collection::vec(look(), 60), 3),
    ) {
        let grid = grid();
        let mut streams: Vec<Stream> = looks.iter().map(|_| Stream::new(&grid)).collect();
        for (index, frame) in frames(&steps).enumerate() {
            for (stream, looks) in streams.iter_mut().zip(&looks) {
                match &looks[index] {
                    Look::Skip => continue,
                    Look::Update => {}
                    Look::Turn(center) => stream.view.center = center.map(|c| grid.world.wrap(c)),
                    Look::Restart => stream.splicer.restart(),
                }
                let update = stream.update(&frame).expect("a newer tick");
                stream.replica.apply(&update).expect("it fits");
                stream.compare(&frame);
                prop_assert!(stream.update(&frame).is_none(), "nothing is written twice");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_cell_is_found_within_a_second(
        steps in steps(12..30),
        (at, part, bit) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let grid = grid();
        let mut stream = Stream::new(&grid);
        let at = at.index(steps.len() - RATE_HZ as usize - 1);
        let mut flipped_at = None;
        for frame in frames(&steps) {
            let mut update = stream.update(&frame).expect("a newer tick");
            if flipped_at.is_none() && frame.tick as usize > at {
                flipped_at = flip(&mut update, part, bit).then_some(frame.tick);
            }
            match stream.replica.apply(&update) {
                Ok(()) if stream.replica.cells().all(|(cell, entities)| entities == frame.entities(cell)) => {
                    // Flipped back by chance: a bit that says nothing, or an overwritten value.
                    if flipped_at.is_some_and(|tick| frame.tick > tick) { return Ok(()); }
                }
                Ok(()) => {
                    let since = frame.tick - flipped_at.expect("equal before the flip");
                    prop_assert!(since < RATE_HZ, "not found for {since} ticks");
                }
                Err(error) => {
                    prop_assert!(flipped_at.is_some(), "{error} without a flip");
                    return Ok(());
                }
            }
        }
    }
}

/// Flips a bit in one cell's body; false if the update has none.
fn flip(update: &mut v1::Update, part: prop::sample::Index, bit: prop::sample::Index) -> bool {
    use v1::cell_update::Encoding;
    if update.cells.is_empty() {
        return false;
    }
    let which = part.index(update.cells.len());
    let Some(Encoding::Delta(body) | Encoding::Keyframe(body)) = &mut update.cells[which].encoding
    else {
        return false;
    };
    let mut bytes = body.to_vec();
    let bit = bit.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    *body = bytes.into();
    true
}

#[test]
fn an_update_that_does_not_build_on_what_is_held_is_refused_and_empties_the_replica() {
    let steps = vec![Vec::new(); 5];
    let mut stream = Stream::new(&grid());
    let updates: Vec<_> =
        frames(&steps).map(|frame| stream.update(&frame).expect("a newer tick")).collect();
    let mut replica = stream.replica;
    replica.apply(&updates[0]).expect("from nothing");
    assert_eq!(replica.apply(&updates[2]), Err(Error::BaseMismatch { base: 2, held: 1 }));
    assert_eq!(replica.tick(), 0);
    assert!(replica.apply(&updates[3]).is_err(), "until one comes that starts from nothing");
    assert_eq!(replica.apply(&updates[0]), Ok(()));
}

#[test]
fn a_cell_kept_by_mistake_is_found_by_the_checksum_of_the_view() {
    let enter = Happening::Enter {
        global: false,
        kind: 0,
        position: [100, 100],
        velocity: [0, 0],
        payload: None,
    };
    let steps: Vec<_> = (0..RATE_HZ as usize * 2)
        .map(|tick| if tick == 0 { vec![enter.clone()] } else { Vec::new() })
        .collect();
    let mut stream = Stream::new(&grid());
    let mut found = false;
    for frame in frames(&steps) {
        if frame.tick == 2 {
            stream.view.center = [4000, 4000];
        }
        let mut update = stream.update(&frame).expect("a newer tick");
        update.cells_removed.clear();
        found |= matches!(stream.replica.apply(&update), Err(Error::ViewChecksum { .. }));
        if found {
            break;
        }
    }
    assert!(found);
}

#[test]
fn what_moves_as_predicted_costs_no_bytes_at_all() {
    let enter = |velocity| Happening::Enter {
        global: false,
        kind: 1,
        position: [5000, 5000],
        velocity,
        payload: None,
    };
    let mut steps = vec![vec![enter([3, -2]), enter([-7, 11])]];
    steps.extend(vec![Vec::new(); 2]);
    let mut stream = Stream::new(&grid());
    stream.view.center = [5000, 5000];
    let updates: Vec<_> =
        frames(&steps).map(|frame| stream.update(&frame).expect("a newer tick")).collect();
    assert!(!updates[0].cells.is_empty());
    let said: Vec<_> = updates[1..].iter().flat_map(|update| &update.cells).collect();
    // Once in a second a cell says its checksum; here these ticks fall on cells without anything in them.
    assert!(said.iter().all(|cell| cell.checksum.is_some()), "{said:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_read_but_never_a_panic(
        tick in 1..5_u32,
        place in 0..40_000_u32,
        is_delta in any::<bool>(),
        body in prop::collection::vec(any::<u8>(), 0..80),
        start in steps(3..4),
    ) {
        use v1::cell_update::Encoding;
        let mut stream = Stream::new(&grid());
        for frame in frames(&start) {
            let update = stream.update(&frame).expect("a newer tick");
            stream.replica.apply(&update).expect("it fits");
        }
        let encoding = if is_delta { Encoding::Delta(body.into()) } else { Encoding::Keyframe(body.into()) };
        let cell = v1::CellUpdate { place, encoding: Some(encoding), checksum: None, traced_moves: vec![] };
        let update = v1::Update { tick: 3 + tick, base_tick: Some(3), cells: vec![cell], ..Default::default() };
        if stream.replica.apply(&update).is_err() {
            prop_assert_eq!(stream.replica.tick(), 0, "a refused update leaves nothing behind");
        }
    }
}
