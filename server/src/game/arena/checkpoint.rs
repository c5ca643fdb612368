//! The state as bytes and back. Bytes may come from a file or from another pod, so they are checked before they are
//! played: a damaged checkpoint is an error with a reason, and never a panic later.

use super::rules::{HAPPENINGS_MAX, HULL_MAX, PLAYERS_MAX, Rules, SCORE_MAX, SHIELD, SHOTS_MAX};
use super::state::{Body, State};
use crate::game::RestoreError;
use fray_proto::model::{LEVEL_MAX, PAYLOAD_BYTES_MAX};

/// Changes whenever the state's layout does.
const VERSION: u8 = 1;
/// Ticks stay far from overflow; at 128 Hz this is 70,000 years.
const TICK_MAX: u64 = 1 << 48;
/// More rocks than options allow to come about.
const ROCKS_MAX: usize = 200 * 4 * 2;

/// The version, then the state in postcard's format.
pub(super) fn encode(state: &State) -> Vec<u8> {
    let bytes = postcard::to_extend(state, vec![VERSION]);
    bytes.expect("a Vec grows, and every type of the state can be serialized")
}

/// The state, if the bytes are one that can be played on.
pub(super) fn decode(bytes: &[u8]) -> Result<State, RestoreError> {
    let error = |why: &str| Err(RestoreError(why.to_owned()));
    let Some((&version, body)) = bytes.split_first() else {
        return error("no bytes");
    };
    if version != VERSION {
        return Err(RestoreError(format!("layout {version}, not {VERSION}")));
    }
    match postcard::take_from_bytes::<State>(body) {
        Err(why) => Err(RestoreError(why.to_string())),
        Ok((_, rest)) if !rest.is_empty() => error("bytes left over"),
        Ok((state, _)) => match check(&state) {
            Ok(()) => Ok(state),
            Err(what) => Err(RestoreError(format!("{what} out of range"))),
        },
    }
}

/// Says what is wrong with a state.
fn check(state: &State) -> Result<(), &'static str> {
    let require = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    require(state.options == state.options.clamped(), "options")?;
    require((1..=128).contains(&state.tick_rate_hz), "tick rate")?;
    let rules = Rules::new(state.options, state.tick_rate_hz);
    let tick = |tick: u64| tick <= TICK_MAX;
    require(tick(state.tick) && tick(state.next_rock_at) && tick(state.next_pickup_at), "tick")?;
    require(tick(state.round.ends_at), "end of the round")?;

    require(state.players.len() <= PLAYERS_MAX, "number of players")?;
    require(state.shots.len() <= SHOTS_MAX, "number of shots")?;
    require(state.rocks.len() <= ROCKS_MAX, "number of rocks")?;
    require(state.pickups.len() <= state.options.pickups as usize, "number of pick-ups")?;
    require(state.happenings.len() <= HAPPENINGS_MAX, "number of happenings")?;

    let place = |position: [i32; 2]| position.iter().all(|c| (0..rules.world.size()).contains(c));
    let body = |body: Body| {
        place(body.position)
            && body.velocity.iter().all(|v| v.abs_diff(0) <= rules.speed_max as u32)
    };
    for player in &state.players {
        let ship = &player.ship;
        require(body(ship.body), "ship")?;
        require((0..=HULL_MAX).contains(&ship.hull), "hull")?;
        require((0..=SHIELD).contains(&ship.shield), "shield")?;
        require(
            ship.turn.unsigned_abs() <= LEVEL_MAX as u8
                && ship.thrust.unsigned_abs() <= LEVEL_MAX as u8,
            "turn or thrust",
        )?;
        let ticks = [ship.respawn_at, ship.protected_until, ship.rapid_until];
        require(ticks.into_iter().flatten().all(tick), "ship's ticks")?;
        require(tick(ship.heat_until) && tick(ship.gun_ready_at), "gun's ticks")?;
        let counts = [player.score, player.kills, player.deaths];
        require(counts.iter().all(|c| (0..=SCORE_MAX).contains(c)), "score")?;
        require(player.hue < 360 && player.name.len() <= PAYLOAD_BYTES_MAX, "profile")?;
    }
    require(state.players.is_sorted_by(|a, b| a.number < b.number), "players' order")?;
    require(state.shots.iter().all(|s| body(s.body) && tick(s.ends_at)), "shot")?;
    require(state.rocks.iter().all(|r| body(r.body)), "rock")?;
    require(state.pickups.iter().all(|p| place(p.position) && tick(p.ends_at)), "pick-up")?;
    require(state.happenings.iter().all(|h| place(h.position) && tick(h.tick)), "happening")?;
    check_ids(state)
}

/// Every id is somebody's own, and older than the next one.
fn check_ids(state: &State) -> Result<(), &'static str> {
    let players = state.players.iter().flat_map(|p| [p.entry, p.ship.body.id]);
    let mut ids: Vec<u32> = players.chain([state.round.id]).collect();
    ids.extend(state.shots.iter().map(|s| s.body.id));
    ids.extend(state.rocks.iter().map(|r| r.body.id));
    ids.extend(state.pickups.iter().map(|p| p.id));
    ids.extend(state.happenings.iter().map(|h| h.id));
    ids.sort_unstable();
    let unique = ids.is_sorted_by(|a, b| a < b);
    let within = ids.iter().all(|id| (1..state.next_id).contains(id));
    if unique && within { Ok(()) } else { Err("ids") }
}
