//! Whole `Update` messages, as they come from the wire, and what a replica holds after each.

use crate::cells::{WORLD, advanced, motions, ship};
use crate::json::{self, Value, list, number};
use fray_proto::cell::{self, Rules};
use fray_proto::hash::cell_checksum;
use fray_proto::model::Entity;
use fray_proto::replica::{Error, Replica};
use fray_proto::update::place;
use fray_proto::v1::cell_update::Encoding;
use fray_proto::v1::{CellUpdate, Update};
use prost::Message as _;
use serde_json::json;
use std::collections::BTreeMap;

/// The server's side: all cells at one tick.
#[derive(Clone, Default)]
struct Scene {
    tick: u32,
    cells: BTreeMap<u32, Vec<Entity>>,
}

impl Scene {
    fn at(tick: u32, cells: impl IntoIterator<Item = (u32, Vec<Entity>)>) -> Self {
        Self { tick, cells: cells.into_iter().collect() }
    }

    /// One tick later, with what the model cannot know.
    fn next(&self, change: impl FnOnce(&mut BTreeMap<u32, Vec<Entity>>)) -> Self {
        let cells = self.cells.iter().map(|(cell, held)| (*cell, advanced(held.clone(), *cell)));
        let mut next = Self::at(self.tick + 1, cells);
        change(&mut next.cells);
        next
    }

    fn keyframe(&self, cell: u32) -> CellUpdate {
        let mut bytes = Vec::new();
        cell::encode_keyframe(&self.cells[&cell], cell, WORLD, &mut bytes);
        self.message(cell, Encoding::Keyframe(bytes.into()))
    }

    /// From the tick before, which is `before`, to this one.
    fn delta(&self, before: &Self, cell: u32) -> CellUpdate {
        assert_eq!(self.tick, before.tick + 1);
        let mut bytes = Vec::new();
        let rules = Rules { world: WORLD, motions: &motions() };
        if !cell::encode_delta(&before.cells[&cell], &self.cells[&cell], cell, rules, &mut bytes) {
            cell::encode_empty_delta(&mut bytes);
        }
        self.message(cell, Encoding::Delta(bytes.into()))
    }

    fn message(&self, cell: u32, encoding: Encoding) -> CellUpdate {
        let checksum = Some(cell_checksum(cell, &self.cells[&cell]));
        CellUpdate {
            place: place(cell, self.tick),
            encoding: Some(encoding),
            checksum,
            traced_moves: vec![],
        }
    }

    fn view_checksum(&self, view: &[u32]) -> u32 {
        let sums = view.iter().map(|cell| cell_checksum(*cell, &self.cells[cell]));
        sums.fold(0, u32::wrapping_add)
    }

    /// The update that starts from nothing.
    fn start(&self, view: &[u32]) -> Update {
        Update {
            tick: self.tick,
            base_tick: Some(0),
            cells_added: view.to_vec(),
            view_checksum: Some(self.view_checksum(view)),
            cells: view.iter().map(|cell| self.keyframe(*cell)).collect(),
            ..Update::default()
        }
    }

    fn update(&self, cells: Vec<CellUpdate>) -> Update {
        Update { tick: self.tick, cells, ..Update::default() }
    }
}

/// A list of updates and what comes of each.
struct Sequence {
    name: &'static str,
    steps: Vec<Value>,
}

impl Sequence {
    fn new(name: &'static str) -> Self {
        Self { name, steps: Vec::new() }
    }

    /// The update is taken, and the replica then holds these cells of the scene.
    fn takes(mut self, update: &Update, scene: &Scene, view: &[u32]) -> Self {
        let cells = view.iter().map(|cell| (cell.to_string(), json::entities(&scene.cells[cell])));
        let cells: Value = cells.collect::<serde_json::Map<_, _>>().into();
        self.steps.push(json!({
            "update": json::hex(&update.encode_to_vec()), "tick": scene.tick, "cells": cells,
        }));
        self
    }

    /// The same, and only a checksum says what is held: for long sequences.
    fn takes_briefly(mut self, update: &Update, scene: &Scene, view: &[u32]) -> Self {
        self.steps.push(json!({
            "update": json::hex(&update.encode_to_vec()), "tick": scene.tick,
            "view_checksum": scene.view_checksum(view),
        }));
        self
    }

    /// The update is refused, and the replica is then empty.
    fn refuses(mut self, update: &Update, refusal: &str) -> Self {
        self.steps
            .push(json!({ "update": json::hex(&update.encode_to_vec()), "refusal": refusal }));
        self
    }

    fn json(self) -> Value {
        json!({
            "name": self.name, "world": json::world(WORLD), "motions": json::motions(&motions()),
            "steps": self.steps,
        })
    }
}

pub(crate) fn vectors() -> Value {
    let sequences = [
        starts_and_goes_on(),
        skips_ticks(),
        changes_the_view(),
        hands_an_entity_over(),
        starts_at_tick_one(),
        meets_a_newer_peer(),
        meets_an_unknown_encoding(),
        misses_an_update(),
        finds_desyncs(),
        refuses_contradictions(),
        refuses_malformed_bytes(),
        walks_at_random(),
    ];
    json!({ "sequences": sequences.map(Sequence::json) })
}

fn small_scene(tick: u32) -> Scene {
    let rock = Entity {
        id: 9,
        kind: 3,
        position: [20, 30],
        velocity: [-9, 11],
        attributes: [40, 7, 0, 0, 0, 0, 0, 0],
        ..Entity::default()
    };
    let player = Entity {
        id: 1,
        kind: 16,
        attributes: [1, 7, 0, 0, 0, 210, 3, 0],
        payload: Some((*b"Ada").into()),
        ..Entity::default()
    };
    Scene::at(tick, [(0, vec![player]), (1, vec![rock]), (16, vec![ship(7), ship(8)])])
}

fn starts_and_goes_on() -> Sequence {
    let a = small_scene(1000);
    let b = a.next(|cells| cells.get_mut(&16).expect("held")[0].thrust = 15);
    let c = b.next(|_| ());
    let d = c.next(|cells| {
        cells.get_mut(&16).expect("held").push(Entity { id: 12, kind: 2, ..ship(12) });
        cells.get_mut(&0).expect("held")[0].attributes[2] += 100;
    });
    let all = [0, 1, 16];
    let restart = c.start(&[16]);
    Sequence::new("starts from nothing, goes on by deltas, starts again")
        .takes(&a.start(&all), &a, &all)
        .takes(&b.update(vec![b.delta(&a, 16)]), &b, &all)
        .takes(&c.update(vec![]), &c, &all)
        .takes(&d.update(vec![d.delta(&c, 0), d.delta(&c, 16)]), &d, &all)
        .takes(&restart, &c, &[16])
        .takes(&d.update(vec![d.delta(&c, 16)]), &d, &[16])
}

fn skips_ticks() -> Sequence {
    let a = small_scene(254);
    let b = a.next(|cells| cells.get_mut(&16).expect("held")[1].turn = 15);
    let c = b.next(|cells| drop(cells.get_mut(&16).expect("held").remove(0)));
    let d = c.next(|_| ());
    let e = d.next(|cells| cells.get_mut(&16).expect("held")[0].velocity = [1, 1]);
    let mut far = e.clone();
    (0..127).for_each(|_| far = far.next(|_| ()));
    let all = [0, 1, 16];
    let skipped = Update {
        base_tick: Some(a.tick),
        view_checksum: Some(e.view_checksum(&all)),
        ..e.update(vec![b.delta(&a, 16), c.delta(&b, 16), e.delta(&d, 16)])
    };
    let mixed = Update {
        base_tick: Some(a.tick),
        ..d.update(vec![b.delta(&a, 16), c.delta(&b, 16), d.keyframe(1)])
    };
    let longest = Update {
        base_tick: Some(e.tick),
        view_checksum: Some(far.view_checksum(&all)),
        ..far.update(vec![])
    };
    Sequence::new("skips ticks, past a multiple of 128 and as far as one update goes")
        .takes(&a.start(&all), &a, &all)
        .takes(&skipped, &e, &all)
        .takes(&longest, &far, &all)
        .takes(&a.start(&all), &a, &all)
        .takes(&mixed, &d, &all)
        .takes(&e.update(vec![e.delta(&d, 16)]), &e, &all)
}

fn changes_the_view() -> Sequence {
    let a = small_scene(50);
    let b = a.next(|_| ());
    let c = b.next(|_| ());
    let d = c.next(|cells| cells.get_mut(&1).expect("held")[0].heading = 5);
    let added = Update { cells_added: vec![16], ..b.update(vec![b.keyframe(16)]) };
    let swapped = Update {
        base_tick: Some(b.tick),
        cells_added: vec![1],
        cells_removed: vec![16],
        view_checksum: Some(d.view_checksum(&[0, 1])),
        ..d.update(vec![d.keyframe(1)])
    };
    let again = Update {
        cells_added: vec![1],
        cells_removed: vec![1, 0],
        ..d.next(|_| ()).update(vec![d.next(|_| ()).keyframe(1)])
    };
    Sequence::new("cells come into view and go out of it")
        .takes(&a.start(&[0]), &a, &[0])
        .takes(&added, &b, &[0, 16])
        .takes(&swapped, &d, &[0, 1])
        .takes(&again, &d.next(|_| ()), &[1])
}

fn hands_an_entity_over() -> Sequence {
    // It flies over the far corner of the torus: from cell 16 to cell 1.
    let flyer = Entity { position: [65500, 65510], velocity: [50, 40], thrust: 15, ..ship(8) };
    let rock = Entity { id: 9, kind: 3, position: [20, 30], ..Entity::default() };
    let a = Scene::at(127, [(1, vec![rock]), (16, vec![ship(7), flyer])]);
    let b = a.next(|cells| {
        let flyer = cells.get_mut(&16).expect("held").remove(1);
        assert_eq!(WORLD.cell_of(flyer.position), 1);
        cells.get_mut(&1).expect("held").insert(0, flyer);
    });
    Sequence::new("an entity goes from one cell to another")
        .takes(&a.start(&[1, 16]), &a, &[1, 16])
        .takes(&b.update(vec![b.delta(&a, 1), b.delta(&a, 16)]), &b, &[1, 16])
}

fn starts_at_tick_one() -> Sequence {
    let a = small_scene(1);
    let b = a.next(|_| ());
    let absent = Update { base_tick: None, ..a.start(&[0, 16]) };
    Sequence::new("the first tick of all, where tick - 1 is nothing")
        .takes(&absent, &a, &[0, 16])
        .takes(&b.update(vec![b.delta(&a, 16)]), &b, &[0, 16])
}

/// Appends an unknown field (number 1000) of every wire type.
fn with_unknown_fields(update: &Update) -> Vec<u8> {
    let mut bytes = update.encode_to_vec();
    bytes.extend([0xc0, 0x3e, 0x96, 0x01]);
    bytes.extend([0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend([0xc2, 0x3e, 3, b'n', b'e', b'w']);
    bytes.extend([0xc5, 0x3e, 1, 2, 3, 4]);
    bytes
}

fn meets_a_newer_peer() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|cells| cells.get_mut(&16).expect("held")[0].turn = -3);
    // The same unknown fields inside a cell: field 15 of the update, once more.
    let cell = with_unknown_fields_in_cell(&b.delta(&a, 16));
    let mut second = b.update(vec![]).encode_to_vec();
    second.extend([0x7a, cell.len() as u8]);
    second.extend(cell);
    let mut sequence = Sequence::new("unknown fields of a newer peer are skipped")
        .takes(&a.start(&[16]), &a, &[16])
        .takes(&b.update(vec![b.delta(&a, 16)]), &b, &[16]);
    sequence.steps[0]["update"] = json!(json::hex(&with_unknown_fields(&a.start(&[16]))));
    sequence.steps[1]["update"] = json!(json::hex(&second));
    sequence
}

fn with_unknown_fields_in_cell(cell: &CellUpdate) -> Vec<u8> {
    let mut bytes = cell.encode_to_vec();
    bytes.extend(with_unknown_fields(&Update::default()));
    bytes
}

fn meets_an_unknown_encoding() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|_| ());
    let unknown = CellUpdate { encoding: None, ..b.delta(&a, 16) };
    Sequence::new("an unknown encoding is refused, and all that follows until a new start")
        .takes(&a.start(&[16]), &a, &[16])
        .refuses(&b.update(vec![unknown]), "unknown_encoding")
        .refuses(&b.next(|_| ()).update(vec![]), "base_mismatch")
        .takes(&b.start(&[1]), &b, &[1])
}

fn misses_an_update() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|_| ());
    let c = b.next(|_| ());
    let doubled = c.update(vec![]);
    Sequence::new("an update that builds on another tick is refused")
        .refuses(&b.update(vec![]), "base_mismatch")
        .takes(&a.start(&[16]), &a, &[16])
        .refuses(&c.update(vec![]), "base_mismatch")
        .takes(&b.start(&[16]), &b, &[16])
        .takes(&doubled, &c, &[16])
        .refuses(&doubled, "base_mismatch")
}

fn finds_desyncs() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|_| ());
    let wrong = CellUpdate { checksum: Some(7), ..b.delta(&a, 16) };
    let missing = Update { view_checksum: Some(b.view_checksum(&[0, 1, 16])), ..b.update(vec![]) };
    Sequence::new("checksums that differ are found")
        .takes(&a.start(&[16]), &a, &[16])
        .refuses(&b.update(vec![wrong]), "cell_checksum")
        .takes(&a.start(&[0, 16]), &a, &[0, 16])
        .refuses(&missing, "view_checksum")
}

fn refuses_contradictions() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|cells| cells.get_mut(&16).expect("held")[0].turn = -3);
    let c = b.next(|cells| cells.get_mut(&16).expect("held")[0].turn = 3);
    let start = a.start(&[1, 16]);
    let outside = CellUpdate { place: place(17, b.tick), ..b.delta(&a, 16) };
    let late = CellUpdate { place: place(16, a.tick), ..b.delta(&a, 16) };
    let cases = [
        Update { cells_removed: vec![0], ..b.update(vec![]) },
        Update { cells_added: vec![0], ..b.update(vec![]) },
        b.update(vec![b.keyframe(0)]),
        b.update(vec![b.delta(&a, 0)]),
        b.update(vec![outside]),
        b.update(vec![late]),
        b.update(vec![b.delta(&a, 16), b.delta(&a, 16)]),
        Update { base_tick: Some(a.tick), ..c.update(vec![c.delta(&b, 16), b.delta(&a, 16)]) },
        Update { base_tick: Some(a.tick), ..c.update(vec![b.keyframe(16)]) },
        Update { base_tick: Some(a.tick), ..a.update(vec![]) },
        Update { tick: a.tick + 128, base_tick: Some(a.tick), ..Update::default() },
        Update { tick: a.tick - 1, base_tick: Some(a.tick), ..Update::default() },
        Update::default(),
    ];
    let sequence = Sequence::new("updates that contradict themselves are refused");
    cases.iter().fold(sequence, |sequence, update| {
        let refusal = if *update == Update::default() { "base_mismatch" } else { "inconsistent" };
        sequence.takes(&start, &a, &[1, 16]).refuses(update, refusal)
    })
}

fn refuses_malformed_bytes() -> Sequence {
    let a = small_scene(300);
    let b = a.next(|_| ());
    let bad_delta =
        CellUpdate { encoding: Some(Encoding::Delta(vec![0x04].into())), ..b.delta(&a, 16) };
    let bad_keyframe =
        CellUpdate { encoding: Some(Encoding::Keyframe(vec![0x01].into())), ..b.keyframe(16) };
    Sequence::new("cells that cannot be decoded are refused")
        .takes(&a.start(&[16]), &a, &[16])
        .refuses(&b.update(vec![bad_delta]), "malformed")
        .takes(&a.start(&[16]), &a, &[16])
        .refuses(&b.update(vec![bad_keyframe]), "malformed")
}

/// Thirty entities that steer at random through a view of nine cells, which moves with the first of them.
fn walks_at_random() -> Sequence {
    let mut random = Random(0x0fae_b10c);
    let mut scene = Scene::at(1_000_000, (0..=16).map(|cell| (cell, Vec::new())));
    for id in 0..30 {
        let position = [random.below(65536), random.below(65536)];
        let velocity = [random.below(1400) - 700, random.below(1400) - 700];
        let flyer = Entity { kind: 1 + id % 3, position, velocity, ..ship(id) };
        scene.cells.get_mut(&WORLD.cell_of(position)).expect("all are there").push(flyer);
    }
    let mut view = view_of(&scene);
    let mut sequence = Sequence::new("a long flight").takes(&scene.start(&view), &scene, &view);
    // The scenes since the last written update.
    let mut kept = vec![scene];
    for tick in 0..120 {
        let next = kept[kept.len() - 1].next(|cells| fly(cells, &mut random));
        kept.push(next);
        if random.below(4) == 0 && tick < 119 {
            continue;
        }
        let (first, last) = (&kept[0], &kept[kept.len() - 1]);
        let wanted = view_of(last);
        let added: Vec<_> = wanted.iter().copied().filter(|cell| !view.contains(cell)).collect();
        let removed: Vec<_> = view.iter().copied().filter(|cell| !wanted.contains(cell)).collect();
        let mut cells = Vec::new();
        for pair in kept.windows(2) {
            for cell in wanted.iter().filter(|cell| view.contains(cell)) {
                let delta = pair[1].delta(&pair[0], *cell);
                if delta.encoding != Some(Encoding::Delta(vec![0].into())) {
                    cells.push(delta);
                }
            }
        }
        cells.extend(added.iter().map(|cell| last.keyframe(*cell)));
        let update = Update {
            base_tick: (kept.len() > 2).then_some(first.tick),
            cells_added: added,
            cells_removed: removed,
            view_checksum: (tick % 16 == 0).then(|| last.view_checksum(&wanted)),
            ..last.update(cells)
        };
        sequence = if tick == 119 {
            sequence.takes(&update, last, &wanted)
        } else {
            sequence.takes_briefly(&update, last, &wanted)
        };
        view = wanted;
        kept = kept.split_off(kept.len() - 1);
    }
    sequence
}

fn view_of(scene: &Scene) -> Vec<u32> {
    let found = scene.cells.iter().find(|(_, held)| held.iter().any(|entity| entity.id == 0));
    let (home, _) = found.expect("the first entity never leaves the world");
    let columns = WORLD.columns();
    let (x, y) = ((home - 1) % columns, (home - 1) / columns);
    let around = [columns - 1, 0, 1];
    let at = |dx, dy| 1 + (x + dx) % columns + (y + dy) % columns * columns;
    let mut view: Vec<_> = around.iter().flat_map(|dy| around.map(|dx| at(dx, *dy))).collect();
    view.push(0);
    view.sort_unstable();
    view
}

/// Some change their controls or are pushed; then everybody goes to the cell that covers it.
fn fly(cells: &mut BTreeMap<u32, Vec<Entity>>, random: &mut Random) {
    let mut all: Vec<Entity> = cells.values_mut().flat_map(std::mem::take).collect();
    all.sort_by_key(|entity| entity.id);
    for entity in &mut all {
        match random.below(24) {
            0 => entity.turn = random.below(31) as i8 - 15,
            1 => entity.thrust = random.below(31) as i8 - 15,
            2 => entity.velocity[0] = entity.velocity[0] / 2 - 3,
            3 => entity.position[1] = WORLD.wrap(entity.position[1] + random.below(300) - 150),
            4 => entity.attributes[random.below(8) as usize] += random.below(1000) - 500,
            5 => entity.heading = random.below(65536) as u16,
            6 => {
                entity.payload =
                    Some(vec![random.below(256) as u8; 1 + random.below(4) as usize].into());
            }
            _ => {}
        }
    }
    for entity in all {
        cells.get_mut(&WORLD.cell_of(entity.position)).expect("all are there").push(entity);
    }
}

/// Marsaglia's xorshift.
struct Random(u32);

impl Random {
    fn below(&mut self, end: i32) -> i32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 % end as u32) as i32
    }
}

pub(crate) fn check(file: &Value) {
    for sequence in list(file, "sequences") {
        let world = json::read_world(&sequence["world"]);
        let mut replica =
            Replica::new(world, json::read_motions(&sequence["motions"])).expect("a valid world");
        for (index, step) in list(sequence, "steps").enumerate() {
            let at = format!("{}, step {index}", sequence["name"]);
            let bytes = json::bytes(&step["update"]);
            let update = Update::decode(bytes.as_slice()).expect("a valid message");
            let result = replica.apply(&update);
            assert_eq!(
                result.map_or_else(|error| json!(refusal(&error)), |()| Value::Null),
                step["refusal"],
                "{at}: {result:?}"
            );
            assert_eq!(replica.tick(), number::<u32>(&step["tick"]), "{at}");
            if let Some(expected) = step.get("view_checksum") {
                assert_eq!(replica.view_checksum(), number::<u32>(expected), "{at}");
            } else {
                let held = replica
                    .cells()
                    .map(|(cell, entities)| (cell.to_string(), json::entities(entities)));
                let held: Value = held.collect::<serde_json::Map<_, _>>().into();
                assert_eq!(&held, step.get("cells").unwrap_or(&json!({})), "{at}");
            }
        }
    }
}

fn refusal(error: &Error) -> &'static str {
    match error {
        Error::BaseMismatch { .. } => "base_mismatch",
        Error::Malformed { .. } => "malformed",
        Error::Inconsistent(_) => "inconsistent",
        Error::UnknownEncoding { .. } => "unknown_encoding",
        Error::CellChecksum { .. } => "cell_checksum",
        Error::ViewChecksum { .. } => "view_checksum",
    }
}
