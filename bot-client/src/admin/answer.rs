//! A server's answers, for programs (JSON) and for people (text).

use super::table::Table;
use crate::terminal::printable;
use fray_proto::v1;
use serde_json::{Value, json};
use std::time::Duration;

type Answer = (Value, String);

pub(super) fn server(said: &v1::GetServerResponse) -> Answer {
    let value = json!({
        "instance_id": said.instance_id,
        "name": said.name,
        "release": said.release,
        "draining": said.draining,
        "shutting_down": said.shutting_down,
        "rooms": said.rooms,
        "rooms_max": said.rooms_max,
        "players": said.players,
        "reaches_directory": said.reaches_directory,
        "lease_age_ms": said.lease_age_ms,
    });
    let takes = match (said.shutting_down, said.draining) {
        (true, _) => "no: it is shutting down",
        (false, true) => "no: it is drained",
        (false, false) => "yes",
    };
    let directory = if said.reaches_directory { "answers" } else { "does not answer" };
    let lease = said.lease_age_ms.map_or_else(|| "none".to_owned(), |ms| format!("{ms} ms old"));
    let lines = [
        ("name", printable(&said.name)),
        ("release", printable(&said.release)),
        ("instance", printable(&said.instance_id)),
        ("takes players", takes.to_owned()),
        ("rooms", format!("{} of {}", said.rooms, said.rooms_max)),
        ("players", said.players.to_string()),
        ("directory", directory.to_owned()),
        ("lease", lease),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<14} {value}\n"));
    (value, lines.concat())
}

pub(super) fn rooms(rooms: &[v1::AdminRoom]) -> Answer {
    let values: Vec<_> = rooms
        .iter()
        .map(|room| {
            json!({
                "room": room.room_id,
                "name": room.name,
                "game": room.game,
                "private": room.private,
                "players": room.players,
                "capacity": room.capacity,
                "epoch": room.epoch,
                "tick": room.tick,
                "since_tick_ms": room.since_tick_ms,
                "frozen": room.frozen,
            })
        })
        .collect();
    let mut table = Table::new(["ROOM", "NAME", "GAME", "PLAYERS", "EPOCH", "TICK", "STATE"]);
    for room in rooms {
        let mut state = Vec::new();
        state.extend(room.frozen.then(|| "frozen".to_owned()));
        state.extend(
            (!room.frozen && room.since_tick_ms >= SILENT_MS)
                .then(|| format!("no tick for {}", rough(room.since_tick_ms))),
        );
        state.extend(room.private.then(|| "private".to_owned()));
        table.row([
            printable(&room.room_id),
            printable(&room.name),
            printable(&room.game),
            format!("{}/{}", room.players, room.capacity),
            room.epoch.to_string(),
            room.tick.to_string(),
            state.join(", "),
        ]);
    }
    (json!({ "rooms": values }), table.text("no rooms\n"))
}

/// A room that has made no tick for this long does not tick; a server that has not renewed its record is silent.
const SILENT_MS: u64 = 5000;

pub(super) fn players(players: &[v1::AdminPlayer]) -> Answer {
    let mut table = Table::new(["PLAYER", "NAME", "STATE", "FOR", "STREAMS", "ID"]);
    for player in players {
        table.row([
            player.player.to_string(),
            printable(&player.name),
            state(player).to_owned(),
            rough(player.in_state_ms),
            player.streams.to_string(),
            printable(&player.player_id),
        ]);
    }
    let values: Vec<_> = players.iter().map(player_json).collect();
    (json!({ "players": values }), table.text("nobody has a seat\n"))
}

fn player_json(player: &v1::AdminPlayer) -> Value {
    json!({
        "player": player.player,
        "player_id": player.player_id,
        "name": player.name,
        "state": state(player),
        "in_state_ms": player.in_state_ms,
        "streams": player.streams,
    })
}

fn state(player: &v1::AdminPlayer) -> &'static str {
    use v1::admin_player::State;
    match player.state() {
        State::Reserved => "reserved",
        State::Playing => "playing",
        State::Dropped => "dropped",
        State::Unspecified => "unknown",
    }
}

pub(super) fn drained(said: &v1::DrainResponse) -> Answer {
    let value = json!({
        "draining": said.draining,
        "changed": said.changed,
        "rooms": said.rooms,
        "players": said.players,
    });
    let (rooms, players) = (counted(said.rooms, "room"), counted(said.players, "player"));
    let already = if said.changed { "" } else { ", as before" };
    let text = if said.draining {
        format!("drained{already}: no new rooms and players; {rooms} with {players} play on\n")
    } else {
        format!("takes rooms and players{already}\n")
    };
    (value, text)
}

pub(super) fn closed(room: &str, said: v1::CloseRoomResponse) -> Answer {
    let value = json!({ "room": room, "players": said.players, "last_tick": said.last_tick });
    let (room, players) = (printable(room), counted(said.players, "player"));
    (value, format!("{room} is closed, at tick {}; it had {players}\n", said.last_tick))
}

pub(super) fn kicked(room: &str, said: &v1::KickResponse) -> Answer {
    let player = said.player.clone().unwrap_or_default();
    let value = json!({
        "room": room,
        "player": player_json(&player),
        "barred_for_s": said.barred_for_s,
    });
    let (name, room, barred) =
        (printable(&player.name), printable(room), rough(u64::from(said.barred_for_s) * 1000));
    let text = format!(
        "{name} (player {}, {}) is out of {room}, and gets no seat there for {barred}\n",
        player.player,
        printable(&player.player_id)
    );
    (value, text)
}

pub(super) fn servers(servers: &[v1::AdminServer], reaches_directory: bool) -> Answer {
    let values: Vec<_> = servers
        .iter()
        .map(|server| {
            json!({
                "instance_id": server.instance_id,
                "name": server.name,
                "release": server.release,
                "peer": server.peer,
                "draining": server.draining,
                "rooms": server.rooms,
                "rooms_max": server.rooms_max,
                "players": server.players,
                "since_renewal_ms": server.since_renewal_ms,
                "is_asked": server.is_asked,
            })
        })
        .collect();
    let head = ["INSTANCE", "NAME", "RELEASE", "ROOMS", "PLAYERS", "PEER", "STATE"];
    let mut table = Table::new(head);
    for server in servers {
        let mut state = Vec::new();
        state.extend(server.is_asked.then(|| "this one".to_owned()));
        state.extend(server.draining.then(|| "draining".to_owned()));
        state.extend(
            (server.since_renewal_ms >= SILENT_MS)
                .then(|| format!("silent for {}", rough(server.since_renewal_ms))),
        );
        table.row([
            printable(&server.instance_id),
            printable(&server.name),
            printable(&server.release),
            format!("{}/{}", server.rooms, server.rooms_max),
            server.players.to_string(),
            printable(&server.peer),
            state.join(", "),
        ]);
    }
    let mut text = table.text("no servers\n");
    if !reaches_directory {
        text.push_str("the directory does not answer: this is what was known last\n");
    }
    (json!({ "servers": values, "reaches_directory": reaches_directory }), text)
}

pub(super) fn forgotten(said: &v1::ForgetServerResponse) -> Answer {
    let value = json!({
        "instance_id": said.instance_id,
        "name": said.name,
        "rooms": said.rooms,
    });
    let (name, instance) = (printable(&said.name), printable(&said.instance_id));
    let rooms = match said.rooms {
        0 => "it had no rooms".to_owned(),
        rooms => format!("{} may be declared lost in about 10 s", counted(rooms, "room")),
    };
    (value, format!("{name} ({instance}) is forgotten; {rooms}\n"))
}

pub(super) fn rebalanced(rooms: &[v1::RebalancedRoom]) -> Answer {
    let value = json!({ "rooms": rooms.iter().map(|room| json!({
        "room": room.room_id,
        "players": room.players,
        "server": room.server,
        "reason": room.reason,
    })).collect::<Vec<_>>() });
    let line = |room: &v1::RebalancedRoom| {
        let (id, players) = (printable(&room.room_id), counted(room.players, "player"));
        if room.server.is_empty() {
            format!("{id} ({players}) stays: {}\n", printable(&room.reason))
        } else {
            format!("{id} ({players}) plays on {} now\n", printable(&room.server))
        }
    };
    let text = match rooms {
        [] => "no room has to go\n".to_owned(),
        rooms => rooms.iter().map(line).collect(),
    };
    (value, text)
}

fn counted(count: u32, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A time in whole seconds.
fn rough(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_players_call_themselves_cannot_command_the_terminal() {
        let hostile = v1::AdminPlayer { name: "\u{1b}[2JEve".into(), ..Default::default() };
        let (value, text) = players(std::slice::from_ref(&hostile));
        assert!(!text.contains('\u{1b}') && text.contains("Eve"), "{text:?}");
        assert_eq!(value["players"][0]["name"], "\u{1b}[2JEve", "JSON escapes it");
        let kick = v1::KickResponse { player: Some(hostile), barred_for_s: 600 };
        let (_, text) = kicked("abc", &kick);
        assert_eq!(text, "[2JEve (player 0, ) is out of abc, and gets no seat there for 10m\n");
    }

    #[test]
    fn servers_are_shown_with_how_long_they_are_silent() {
        let server = |number: u32, since_renewal_ms| v1::AdminServer {
            instance_id: format!("{number:016x}"),
            name: format!("s{number}"),
            release: "1.0".into(),
            peer: format!("10.0.0.{number}:7782"),
            rooms: number,
            rooms_max: 64,
            since_renewal_ms,
            is_asked: number == 1,
            ..Default::default()
        };
        let (value, text) = servers(&[server(1, 300), server(2, 75_900)], true);
        assert_eq!(
            text,
            "INSTANCE          NAME  RELEASE  ROOMS  PLAYERS  PEER           STATE\n\
             0000000000000001  s1    1.0      1/64   0        10.0.0.1:7782  this one\n\
             0000000000000002  s2    1.0      2/64   0        10.0.0.2:7782  silent for 1m 15s\n"
        );
        assert_eq!(value["servers"][1]["since_renewal_ms"], 75_900);
        assert!(servers(&[], false).1.starts_with("no servers\nthe directory does not answer"));
        let said = v1::ForgetServerResponse {
            instance_id: "00000000000000bb".into(),
            name: "s\u{1b}b".into(),
            rooms: 1,
        };
        let (_, text) = forgotten(&said);
        let expected =
            "sb (00000000000000bb) is forgotten; 1 room may be declared lost in about 10 s\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let named = |name: &str| v1::AdminRoom {
            room_id: "abc".into(),
            name: name.into(),
            game: "arena".into(),
            players: 3,
            capacity: 64,
            epoch: 1,
            tick: 7,
            ..Default::default()
        };
        let (_, text) = rooms(&[named("漢字"), v1::AdminRoom { frozen: true, ..named("Amber") }]);
        assert_eq!(
            text,
            "ROOM  NAME   GAME   PLAYERS  EPOCH  TICK  STATE\n\
             abc   漢字   arena  3/64     1      7\n\
             abc   Amber  arena  3/64     1      7     frozen\n"
        );
        assert_eq!(rooms(&[]).1, "no rooms\n");
    }
}
