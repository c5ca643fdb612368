//! Where two recordings part.

use super::dump::{fields, published, seek};
use super::open::{Recording, Scan};
use super::{ReplayArgs, exit_code};
use anyhow::{Context as _, ensure};
use fray_proto::model::Entity;
use fray_server::game::{Game, Input};
use fray_server::replay::simulation::Error;
use fray_server::replay::verify::Unanswered;
use fray_server::replay::{Games, Simulation, Step};
use fray_server::store::{Reader, Record};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::process::ExitCode;

/// One of the two.
struct Side<'a> {
    recording: &'a Recording,
    simulation: Simulation<Box<dyn Read + Send>>,
    /// Why it goes no further.
    ended: Option<String>,
}

/// What was found.
struct Parting {
    tick: u32,
    hashes: [u64; 2],
    /// The inputs of that tick that one has and the other has not.
    inputs: [Vec<String>; 2],
    entity: Option<Difference>,
    /// Where the checkpoints part, if all entities are the same.
    state: Option<String>,
}

struct Difference {
    id: u32,
    is_global: bool,
    sides: [Option<Entity>; 2],
    unit_bits: u32,
}

/// Plays both in lock step.
pub(super) fn diff(
    games: Games<'_>,
    recordings: &[Recording; 2],
    args: &ReplayArgs,
    out: &mut dyn Write,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<ExitCode> {
    let mut scans = Vec::new();
    for recording in recordings {
        scans.push(recording.scan(u32::MAX)?);
    }
    let what = |scan: &Scan| scan.header.as_ref().map(|h| (h.game.clone(), h.tick_rate_hz));
    ensure!(
        what(&scans[0]).is_some() && what(&scans[0]) == what(&scans[1]),
        "these are not recordings of the same game"
    );
    let start = scans.iter().map(Scan::first_tick).max().unwrap_or(1) - 1;
    let mut sides = Vec::new();
    for recording in recordings {
        let mut simulation = Simulation::new(games, recording.open()?);
        seek(&mut simulation, start, is_stopped).with_context(|| recording.name.clone())?;
        sides.push(Side { recording, simulation, ended: None });
    }
    let [left, right] = sides.as_mut_slice() else { unreachable!("two sides") };
    let until = args.until.unwrap_or(u32::MAX);
    let parting = part(left, right, until, is_stopped)?;
    let last = left.simulation.tick().min(right.simulation.tick());
    let ends: Vec<String> = [&*left, &*right].into_iter().filter_map(Side::end).collect();
    let is_same = parting.is_none();
    if args.json {
        let names = recordings.each_ref().map(|recording| recording.name.as_str());
        let parting = parting.map(|parting| parting.json());
        let answer = json!({
            "recordings": names, "first_tick": start + 1, "last_tick": last, "is_same": is_same,
            "differs": parting, "ends": ends,
        });
        writeln!(out, "{answer:#}")?;
    } else {
        for end in ends {
            writeln!(out, "{end}")?;
        }
        match parting {
            Some(parting) => parting.tell(recordings, out)?,
            None => writeln!(out, "SAME: the state is the same after ticks {start} to {last}")?,
        }
    }
    Ok(exit_code(is_same))
}

fn part(
    left: &mut Side<'_>,
    right: &mut Side<'_>,
    until: u32,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Parting>> {
    loop {
        if is_stopped() {
            return Err(Unanswered::Stopped.into());
        }
        let (Some(one), Some(other)) = (left.simulation.game(), right.simulation.game()) else {
            return Ok(None);
        };
        let ticks = [left.simulation.tick(), right.simulation.tick()];
        if ticks[0] == ticks[1] {
            let hashes = [one.state_hash(), other.state_hash()];
            if hashes[0] != hashes[1] {
                let inputs = [left.inputs(ticks[0])?, right.inputs(ticks[0])?];
                return Ok(Some(Parting::of(ticks[0], hashes, &inputs, [one, other])));
            }
        }
        // After a gap one of them is ahead.
        let goes_on = match ticks[0].cmp(&ticks[1]) {
            _ if ticks[0].max(ticks[1]) >= until && ticks[0] == ticks[1] => false,
            std::cmp::Ordering::Less => left.advance()?,
            std::cmp::Ordering::Greater => right.advance()?,
            std::cmp::Ordering::Equal => left.advance()? & right.advance()?,
        };
        if !goes_on {
            return Ok(None);
        }
    }
}

impl Side<'_> {
    /// Plays the next tick; `false` if there is none.
    fn advance(&mut self) -> anyhow::Result<bool> {
        let before = self.simulation.tick();
        loop {
            match self.simulation.step() {
                Ok(Step::Ticked(_)) => return Ok(true),
                Ok(Step::Waiting) => return Ok(false),
                Ok(_) => {}
                // It is not what it says it is; what it comes to is still compared.
                Err(error @ Error::Differs { .. }) => {
                    self.ended.get_or_insert(error.to_string());
                    if self.simulation.tick() != before {
                        return Ok(true);
                    }
                }
                Err(error @ (Error::Panicked { .. } | Error::NoPanic { .. })) => {
                    self.ended = Some(error.to_string());
                    return Ok(false);
                }
                Err(error) => return Err(error).context(self.recording.name.clone()),
            }
        }
    }

    fn end(&self) -> Option<String> {
        self.ended.as_ref().map(|end| format!("{}: {end}", self.recording.name))
    }

    /// What was fed to the game in a tick.
    fn inputs(&self, tick: u32) -> anyhow::Result<Vec<Input>> {
        let mut reader = Reader::new(self.recording.open()?);
        let mut inputs = Vec::new();
        while let Some(record) = reader.next_record()? {
            match record {
                Record::Tick(next) if next.tick == tick => inputs = next.inputs().collect(),
                Record::Tick(next) if next.tick > tick => break,
                _ => {}
            }
        }
        Ok(inputs)
    }
}

impl Parting {
    fn of(tick: u32, hashes: [u64; 2], inputs: &[Vec<Input>; 2], games: [&dyn Game; 2]) -> Self {
        let only = |this: &[Input], that: &[Input]| -> Vec<String> {
            this.iter().filter(|i| !that.contains(i)).map(|i| format!("{i:?}")).collect()
        };
        let [one, other] = inputs;
        let mut inputs = [only(one, other), only(other, one)];
        if one != other && inputs.iter().all(Vec::is_empty) {
            inputs = [one, other].map(|all| vec![format!("in the order {all:?}")]);
        }
        let unit_bits = games[0].world().unit_bits;
        let shown = games.map(published);
        let global = first_difference([&shown[0].global, &shown[1].global]);
        let local = || first_difference([&shown[0].local, &shown[1].local]);
        let found = global.map(|found| (true, found)).or_else(|| local().map(|f| (false, f)));
        let entity =
            found.map(|(is_global, (id, sides))| Difference { id, is_global, sides, unit_bits });
        let state = entity.is_none().then(|| {
            let [one, other] = games.map(Game::checkpoint);
            let offset = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
            format!("checkpoints of {} and {} bytes part at byte {offset}", one.len(), other.len())
        });
        Self { tick, hashes, inputs, entity, state }
    }

    fn tell(&self, recordings: &[Recording; 2], out: &mut dyn Write) -> std::io::Result<()> {
        let [one, other] = self.hashes;
        writeln!(out, "DIFFERS after tick {}: hashes {one:016x} and {other:016x}", self.tick)?;
        let names = recordings.each_ref().map(|recording| recording.name.as_str());
        if self.inputs.iter().all(Vec::is_empty) {
            writeln!(out, "The inputs of tick {} are the same.", self.tick)?;
        }
        for (name, inputs) in names.iter().zip(&self.inputs) {
            for input in inputs {
                writeln!(out, "input only in {name}: {input}")?;
            }
        }
        if let Some(difference) = &self.entity {
            difference.tell(names, out)?;
        }
        if let Some(state) = &self.state {
            writeln!(out, "All entities that are shown are the same; {state}.")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "tick": self.tick,
            "hashes": self.hashes.map(|hash| format!("{hash:016x}")),
            "inputs": self.inputs,
            "entity": self.entity.as_ref().map(Difference::json),
            "state": self.state,
        })
    }
}

/// The first by id that is not the same on both sides.
fn first_difference(lists: [&[Entity]; 2]) -> Option<(u32, [Option<Entity>; 2])> {
    let mut ids: Vec<u32> = lists.iter().flat_map(|list| list.iter().map(|e| e.id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().find_map(|id| {
        let sides = lists.map(|list| list.iter().find(|entity| entity.id == id));
        (sides[0] != sides[1]).then(|| (id, sides.map(Option::<&Entity>::cloned)))
    })
}

impl Difference {
    fn place(&self) -> &'static str {
        if self.is_global { "global" } else { "local" }
    }

    /// Field by field: name, and the value of each side; of those that are on both sides, only where they differ.
    fn fields(&self) -> Vec<(&'static str, [Option<Value>; 2])> {
        let sides = self.sides.each_ref().map(|side| {
            side.as_ref().map(|entity| fields(entity, self.unit_bits)).unwrap_or_default()
        });
        let longest = if sides[0].is_empty() { &sides[1] } else { &sides[0] };
        let value = |side: &[(&str, Value)], name: &str| {
            side.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone())
        };
        let both = longest
            .iter()
            .map(|(name, _)| (*name, [value(&sides[0], name), value(&sides[1], name)]));
        both.filter(|(_, [one, other])| one != other).collect()
    }

    fn tell(&self, names: [&str; 2], out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "first {} entity that differs: {}", self.place(), self.id)?;
        for (name, side) in names.iter().zip(&self.sides) {
            if side.is_none() {
                writeln!(out, "  it is not in {name}")?;
            }
        }
        for (field, values) in self.fields() {
            let [one, other] =
                values.map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
            writeln!(out, "  {field:<15} {one} and {other}")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let fields: Value = self
            .fields()
            .into_iter()
            .map(|(name, values)| (name.to_owned(), json!(values)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({ "id": self.id, "is": self.place(), "fields": fields })
    }
}
