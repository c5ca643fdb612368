//! The state after a tick, as text.

use super::open::Recording;
use super::summary::printable;
use super::{ReplayArgs, clock};
use anyhow::{Context as _, bail, ensure};
use fray_proto::model::Entity;
use fray_server::game::{Game, Input, Profile, Published};
use fray_server::replay::simulation::Error;
use fray_server::replay::verify::Unanswered;
use fray_server::replay::{Games, Simulation};
use fray_server::store::{Reader, Record};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::process::ExitCode;

/// Shows the state after a tick.
pub(super) fn dump(
    games: Games<'_>,
    recording: &Recording,
    tick: u32,
    args: &ReplayArgs,
    out: &mut dyn Write,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<ExitCode> {
    let scan = recording.scan(tick)?;
    let before = scan.first_tick() - 1;
    let last = scan.last_tick;
    ensure!(
        (before..=last).contains(&tick),
        "tick {tick} is not in {}: its states are those after ticks {before} to {last}",
        recording.name
    );
    let mut simulation = Simulation::new(games, recording.open()?);
    seek(&mut simulation, tick, is_stopped).with_context(|| recording.name.clone())?;
    let game = simulation.game().context("there is no state")?;
    let players = Players::before(recording, tick)?;
    let rate_hz = scan.tick_rate_hz();
    if args.json {
        writeln!(out, "{:#}", state_json(tick, game, &players))?;
    } else {
        out.write_all(state(tick, rate_hz, game, &players).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Goes to the state after this very tick.
pub(super) fn seek(
    simulation: &mut Simulation<impl Read>,
    tick: u32,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<()> {
    match simulation.seek(tick, is_stopped) {
        Ok(()) => {}
        Err(Error::Stopped) => return Err(Unanswered::Stopped.into()),
        // What it came to by the rules of today is what there is to see.
        Err(Error::Differs { tick: differs, .. })
            if differs == tick && simulation.game().is_some() => {}
        Err(error) => return Err(error.into()),
    }
    let there = simulation.tick();
    if simulation.game().is_none() || there != tick {
        bail!("the state after tick {tick} is not in the recording");
    }
    Ok(())
}

/// Who is in the room, as far as the inputs tell.
#[derive(Debug, Default)]
pub(super) struct Players(BTreeMap<u32, Player>);

#[derive(Debug, Default)]
struct Player {
    /// None: it came before the recording begins.
    profile: Option<Profile>,
    is_away: bool,
}

impl Players {
    /// Their numbers.
    pub(super) fn numbers(&self) -> BTreeSet<u32> {
        self.0.keys().copied().collect()
    }

    /// After this tick.
    pub(super) fn before(recording: &Recording, tick: u32) -> anyhow::Result<Self> {
        let mut players = Self::default();
        let mut reader = Reader::new(recording.open()?);
        while let Some(record) = reader.next_record()? {
            if let Record::Tick(next) = record {
                if next.tick > tick {
                    break;
                }
                next.inputs().for_each(|input| players.take(input));
            }
        }
        Ok(players)
    }

    fn take(&mut self, input: Input) {
        let players = &mut self.0;
        match input {
            Input::Join { player, profile } => {
                players.insert(player, Player { profile: Some(profile), is_away: false });
            }
            Input::Leave { player } => {
                players.remove(&player);
            }
            Input::Connected { player, connected } => {
                players.entry(player).or_default().is_away = !connected;
            }
            Input::Controls { player, .. } => {
                players.entry(player).or_default();
            }
        }
    }
}

/// What the game shows, in order.
pub(super) fn published(game: &dyn Game) -> Published {
    let mut shown = Published::default();
    game.publish(&mut shown);
    shown.local.sort_by_key(|entity| entity.id);
    shown.global.sort_by_key(|entity| entity.id);
    shown
}

fn state(tick: u32, rate_hz: u32, game: &dyn Game, players: &Players) -> String {
    let mut text = String::new();
    let hash = game.state_hash();
    let time = clock(tick, rate_hz);
    let _ = writeln!(text, "tick {tick} ({time}), state hash {hash:016x}");
    let _ = writeln!(text, "players: {}", players.0.len());
    for (number, player) in &players.0 {
        let who = player.profile.as_ref().map_or_else(
            || "(came before the recording begins)".to_owned(),
            |profile| format!("{:?}, hue {}", printable(&profile.name), profile.hue),
        );
        let away = if player.is_away { ", away" } else { "" };
        let private = private(game, *number);
        let _ = writeln!(text, "  #{number} {who}{away}, private {private:?}");
    }
    let shown = published(game);
    let unit_bits = game.world().unit_bits;
    for (name, entities) in [("global", &shown.global), ("local", &shown.local)] {
        let _ = writeln!(text, "{name} entities: {}", entities.len());
        for entity in entities {
            let _ = writeln!(text, "  {}", entity_text(entity, unit_bits, name == "local"));
        }
    }
    text
}

fn private(game: &dyn Game, player: u32) -> Vec<i32> {
    let mut values = Vec::new();
    game.private(player, &mut values);
    values
}

fn entity_text(entity: &Entity, unit_bits: u32, has_place: bool) -> String {
    let Entity { id, kind, heading, turn, thrust, attributes, .. } = entity;
    let mut text = format!("id {id} kind {kind} attributes {attributes:?}");
    if has_place {
        let [x, y] = entity.position;
        let [px, py] = entity.position.map(|p| units(p, unit_bits));
        let [vx, vy] = entity.velocity;
        let [ux, uy] = entity.velocity.map(|v| units(v, unit_bits));
        let degrees = f64::from(*heading) * 360.0 / 65536.0;
        let _ = write!(
            text,
            " at {px:.2} {py:.2} ({x} {y}) velocity {ux:.3} {uy:.3} ({vx} {vy}) \
             heading {degrees:.1}° ({heading}) turn {turn} thrust {thrust}"
        );
    }
    if let Some(payload) = &entity.payload {
        let _ = write!(text, " payload {}", payload_text(payload));
    }
    text
}

/// As text if it is one, else in hexadecimal digits.
fn payload_text(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => format!("{:?}", printable(text)),
        Err(_) => payload.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

fn units(sub_units: i32, unit_bits: u32) -> f64 {
    f64::from(sub_units) / f64::from(1_u32 << unit_bits.min(30))
}

/// The fields of an entity, by name; both dumps and differences show them.
pub(super) fn fields(entity: &Entity, unit_bits: u32) -> Vec<(&'static str, Value)> {
    vec![
        ("kind", json!(entity.kind)),
        ("position", json!(entity.position)),
        ("position_units", json!(entity.position.map(|p| units(p, unit_bits)))),
        ("velocity", json!(entity.velocity)),
        ("velocity_units", json!(entity.velocity.map(|v| units(v, unit_bits)))),
        ("heading", json!(entity.heading)),
        ("turn", json!(entity.turn)),
        ("thrust", json!(entity.thrust)),
        ("attributes", json!(entity.attributes)),
        ("payload", json!(entity.payload.as_deref().map(payload_text))),
    ]
}

fn entity_json(entity: &Entity, unit_bits: u32) -> Value {
    let mut value = json!({ "id": entity.id });
    for (name, field) in fields(entity, unit_bits) {
        value[name] = field;
    }
    if let Some(payload) = &entity.payload {
        value["payload"] = std::str::from_utf8(payload)
            .map_or_else(|_| json!({ "hex": payload_text(payload) }), |text| json!(text));
    }
    value
}

fn state_json(tick: u32, game: &dyn Game, players: &Players) -> Value {
    let shown = published(game);
    let unit_bits = game.world().unit_bits;
    let entities =
        |list: &[Entity]| -> Value { list.iter().map(|e| entity_json(e, unit_bits)).collect() };
    let players: Vec<Value> = players
        .0
        .iter()
        .map(|(number, player)| {
            json!({
                "player": number,
                "name": player.profile.as_ref().map(|profile| profile.name.as_str()),
                "hue": player.profile.as_ref().map(|profile| profile.hue),
                "connected": !player.is_away,
                "private": private(game, *number),
            })
        })
        .collect();
    json!({
        "tick": tick,
        "state_hash": format!("{:016x}", game.state_hash()),
        "players": players,
        "global": entities(&shown.global),
        "local": entities(&shown.local),
    })
}
