//! What a room shows at one moment, as events.

use super::super::Error;
use crate::game::Entity;
use crate::replication::TickFrame;
use crate::replication::frame::GLOBAL_CELL;
use crate::room::Handle;
use bytes::Bytes;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The most players, and the most of anything else, that one event names; of the others it is said how many there are.
pub const LISTED_MAX: usize = 100;
/// What games show in their global cell is theirs. But one kind all of them, the page and the bots agree on: an entry on the score
/// board, whose attribute 0 is the player's number, attribute 2 its score, and whose payload is its name.
const KIND_ENTRY: u32 = 16;

/// An event: what it is called, and its JSON, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// "room", "scoreboard", "join", "leave" or "end".
    pub name: &'static str,
    /// One JSON object.
    pub json: Bytes,
}

impl Event {
    fn new(name: &'static str, value: &impl Serialize) -> Self {
        // Text and numbers can always be written.
        let json =
            serde_json::to_vec(value).map_or_else(|_| Bytes::from_static(b"{}"), Bytes::from);
        Self { name, json }
    }

    /// The last one: why there are no more.
    pub fn end(why: &Error) -> Self {
        #[derive(Serialize)]
        struct End {
            reason: &'static str,
        }
        Self::new("end", &End { reason: why.reason() })
    }
}

/// What a room shows at one moment; what is as in the picture before is shared with it.
pub(super) struct Picture {
    room: Arc<(RoomNow, Event)>,
    board: Arc<(Board, Event)>,
    /// By number.
    roster: Arc<BTreeMap<u32, String>>,
}

/// The room itself.
#[derive(PartialEq, Serialize)]
struct RoomNow {
    room: String,
    name: String,
    game: &'static str,
    /// Seats taken, reserved ones included.
    players: u32,
    capacity: u32,
    /// "playing" or "frozen".
    state: &'static str,
}

/// What the global cell holds.
#[derive(PartialEq, Serialize)]
struct Board {
    /// The best first.
    players: Vec<Entry>,
    players_left_out: usize,
    /// Whatever else is there, in the order of ids; of too many, the newest.
    others: Vec<Other>,
    others_left_out: usize,
}

/// The score board at a tick.
#[derive(Serialize)]
struct BoardAt<'a> {
    tick: u32,
    #[serde(flatten)]
    board: &'a Board,
}

#[derive(PartialEq, Serialize)]
struct Entry {
    player: i32,
    name: String,
    score: i32,
    attributes: [i32; 8],
}

#[derive(PartialEq, Serialize)]
struct Other {
    id: u32,
    kind: u32,
    attributes: [i32; 8],
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

/// Players who came or went.
#[derive(Serialize)]
struct Moved<'a> {
    players: Vec<Person<'a>>,
    left_out: usize,
}

#[derive(Serialize)]
struct Person<'a> {
    player: u32,
    name: &'a str,
}

impl Picture {
    pub(super) fn of(room: &Handle, last: Option<&Self>) -> Self {
        let frame = Arc::clone(&room.frames().borrow());
        let now = room_now(room);
        let board = Board::of(frame.entities(GLOBAL_CELL));
        let roster = roster(&frame);
        let kept_room = last.filter(|last| last.room.0 == now).map(|last| &last.room);
        let kept_board = last.filter(|last| last.board.0 == board).map(|last| &last.board);
        let kept_roster = last.filter(|last| *last.roster == roster).map(|last| &last.roster);
        Self {
            room: kept_room.map_or_else(
                || {
                    let event = Event::new("room", &now);
                    Arc::new((now, event))
                },
                Arc::clone,
            ),
            board: kept_board.map_or_else(
                || {
                    let at = BoardAt { tick: frame.tick, board: &board };
                    let event = Event::new("scoreboard", &at);
                    Arc::new((board, event))
                },
                Arc::clone,
            ),
            roster: kept_roster.map_or_else(|| Arc::new(roster), Arc::clone),
        }
    }

    /// What is new since another picture; since none, the room and its score board.
    pub(super) fn since(&self, seen: Option<&Self>) -> Vec<Event> {
        let Some(seen) = seen else {
            return vec![self.room.1.clone(), self.board.1.clone()];
        };
        let mut news = Vec::new();
        // Equal contents may be another's after a change and back; that is news all the same, and harmless.
        if !Arc::ptr_eq(&self.room, &seen.room) {
            news.push(self.room.1.clone());
        }
        if !Arc::ptr_eq(&self.roster, &seen.roster) {
            let came = moved(&self.roster, &seen.roster);
            let went = moved(&seen.roster, &self.roster);
            for (name, moved) in [("join", came), ("leave", went)] {
                if !moved.players.is_empty() {
                    news.push(Event::new(name, &moved));
                }
            }
        }
        if !Arc::ptr_eq(&self.board, &seen.board) {
            news.push(self.board.1.clone());
        }
        news
    }
}

fn room_now(room: &Handle) -> RoomNow {
    let info = room.info();
    let is_frozen = *room.frozen().borrow();
    RoomNow {
        room: info.id.to_string(),
        name: info.name.clone(),
        game: info.game,
        players: info.players(),
        capacity: info.capacity,
        state: if is_frozen { "frozen" } else { "playing" },
    }
}

/// Who is in this one and not in that one.
fn moved<'a>(here: &'a BTreeMap<u32, String>, there: &BTreeMap<u32, String>) -> Moved<'a> {
    let mut players: Vec<_> = here
        .iter()
        .filter(|(player, _)| !there.contains_key(player))
        .map(|(player, name)| Person { player: *player, name })
        .collect();
    let left_out = players.len().saturating_sub(LISTED_MAX);
    players.truncate(LISTED_MAX);
    Moved { players, left_out }
}

fn is_entry(entity: &Entity) -> bool {
    entity.kind == KIND_ENTRY
}

fn text(entity: &Entity) -> String {
    entity.payload.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

impl Board {
    fn of(globals: &[Entity]) -> Self {
        let mut entries: Vec<_> = globals.iter().filter(|entity| is_entry(entity)).collect();
        entries.sort_by_key(|entity| (Reverse(entity.attributes[2]), entity.attributes[0]));
        let others: Vec<_> = globals.iter().filter(|entity| !is_entry(entity)).collect();
        let others_left_out = others.len().saturating_sub(LISTED_MAX);
        Self {
            players_left_out: entries.len().saturating_sub(LISTED_MAX),
            players: entries.into_iter().take(LISTED_MAX).map(Entry::of).collect(),
            others: others.into_iter().skip(others_left_out).map(Other::of).collect(),
            others_left_out,
        }
    }
}

impl Entry {
    fn of(entity: &Entity) -> Self {
        let attributes = entity.attributes;
        Self { player: attributes[0], name: text(entity), score: attributes[2], attributes }
    }
}

impl Other {
    fn of(entity: &Entity) -> Self {
        let Entity { id, kind, attributes, .. } = *entity;
        Self { id, kind, attributes, text: text(entity) }
    }
}

/// Who is in the room, by number, with the names on the score board.
fn roster(frame: &TickFrame) -> BTreeMap<u32, String> {
    let entries = frame.entities(GLOBAL_CELL).iter().filter(|entity| is_entry(entity));
    let names: HashMap<i32, &Entity> =
        entries.map(|entity| (entity.attributes[0], entity)).collect();
    let here = frame.players.iter().filter(|player| !player.left);
    here.map(|player| {
        let name = names.get(&(player.player as i32)).map(|entity| text(entity));
        (player.player, name.unwrap_or_default())
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::arena::KIND_PLAYER;

    fn entry(player: i32, score: i32, name: &str) -> Entity {
        Entity {
            id: player as u32,
            kind: KIND_ENTRY,
            attributes: [player, 0, score, 0, 0, 0, 0, 0],
            payload: Some(name.as_bytes().into()),
            ..Entity::default()
        }
    }

    fn json(globals: &[Entity]) -> serde_json::Value {
        let board = Board::of(globals);
        let event = Event::new("scoreboard", &BoardAt { tick: 7, board: &board });
        serde_json::from_slice(&event.json).expect("JSON")
    }

    #[test]
    fn the_arena_keeps_to_what_all_agree_on() {
        assert_eq!(KIND_ENTRY, KIND_PLAYER);
    }

    #[test]
    fn the_board_has_the_best_first_and_all_else_as_the_game_shows_it() {
        let round = Entity { id: 9, kind: 17, attributes: [1; 8], ..Entity::default() };
        let hostile = "</script>\n\u{2028}data: x";
        let said = json(&[entry(1, 5, "Ada"), entry(2, 50, hostile), entry(3, 7, ""), round]);
        assert_eq!(
            said,
            serde_json::json!({
                "tick": 7,
                "players": [
                    {"player": 2, "name": hostile, "score": 50, "attributes": [2, 0, 50, 0, 0, 0, 0, 0]},
                    {"player": 3, "name": "", "score": 7, "attributes": [3, 0, 7, 0, 0, 0, 0, 0]},
                    {"player": 1, "name": "Ada", "score": 5, "attributes": [1, 0, 5, 0, 0, 0, 0, 0]},
                ],
                "players_left_out": 0,
                "others": [{"id": 9, "kind": 17, "attributes": [1, 1, 1, 1, 1, 1, 1, 1]}],
                "others_left_out": 0,
            })
        );
        let board = Board::of(&[entry(2, 50, hostile)]);
        assert!(
            !Event::new("scoreboard", &board).json.contains(&b'\n'),
            "one line, whatever the name"
        );
    }

    #[test]
    fn of_too_many_the_best_and_the_newest_are_named() {
        let many = LISTED_MAX as i32 + 5;
        let other = |id| Entity { id, kind: 18, ..Entity::default() };
        let globals: Vec<_> =
            (1..=many).flat_map(|n| [entry(n, n, "x"), other(1000 + n as u32)]).collect();
        let said = json(&globals);
        assert_eq!((&said["players_left_out"], &said["others_left_out"]), (&5.into(), &5.into()));
        assert_eq!(said["players"].as_array().map(Vec::len), Some(LISTED_MAX));
        assert_eq!(said["players"][0]["player"], many);
        assert_eq!(said["others"][LISTED_MAX - 1]["id"], 1000 + many);

        let all: BTreeMap<u32, String> = (1..=many as u32).map(|n| (n, "x".into())).collect();
        let came = moved(&all, &BTreeMap::new());
        assert_eq!((came.players.len(), came.left_out), (LISTED_MAX, 5));
        assert!(moved(&BTreeMap::new(), &all).players.is_empty());
    }
}
