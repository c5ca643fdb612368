//! Finding a room and a seat in it.

use super::token::ResumeToken;
use super::{Error, Sessions};
use crate::game::Profile;
use crate::room::registry::NewRoom;
use crate::room::{self, Handle, RoomId};
use lru::LruCache;
use rand::RngExt as _;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The most characters of a player's name.
pub const PLAYER_NAME_CHARS_MAX: usize = 24;
/// The most characters of a room's name.
pub const ROOM_NAME_CHARS_MAX: usize = 40;
/// The most bytes of a request id.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// How many joins are remembered to answer repetitions; the oldest are forgotten first.
const JOINS_REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");
/// How long a join is remembered.
const JOIN_REMEMBERED: Duration = Duration::from_secs(60);

/// What a player asks for.
#[derive(Clone, Default)]
pub struct JoinSpec {
    /// Repetitions with the same id get the same seat; empty: none are recognised.
    pub request_id: String,
    /// What others see; empty: made up.
    pub player_name: String,
    /// Hue in degrees.
    pub player_hue: Option<u16>,
    /// Which room.
    pub room: RoomChoice,
    /// Return to this session instead of all the above.
    pub resume_token: Option<String>,
}

/// Secrets do not get into logs.
impl fmt::Debug for JoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSpec")
            .field("request_id", &self.request_id)
            .field("player_name", &self.player_name)
            .field("player_hue", &self.player_hue)
            .field("room", &self.room)
            .field("has_resume_token", &self.resume_token.is_some())
            .finish()
    }
}

/// Which room a player wants.
#[derive(Clone, Default)]
pub enum RoomChoice {
    /// The fullest public room with a free seat, else a new one.
    #[default]
    Any,
    /// The public room of this id.
    Id(String),
    /// The private room with this code.
    Code(String),
    /// A new room.
    New(NewRoom),
}

/// Without the code: whoever has it may enter.
impl fmt::Debug for RoomChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::Id(id) => f.debug_tuple("Id").field(id).finish(),
            Self::Code(_) => f.write_str("Code(…)"),
            Self::New(new) => f.debug_tuple("New").field(new).finish(),
        }
    }
}

/// A seat that waits for its player.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The room.
    pub room: Handle,
    /// Who the player is.
    pub player_id: String,
}

/// Finds rooms and reserves seats.
pub struct Lobby {
    sessions: Arc<Sessions>,
    remembered: Mutex<LruCache<String, Remembered>>,
    /// One at a time opens rooms on demand, so that a rush of players fills a new room instead of opening one each.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Remembered {
    since: Instant,
    /// Names only: a room that ended must not be kept for the sake of a repetition.
    seat: Arc<OnceCell<(RoomId, String)>>,
}

impl Lobby {
    /// A lobby before the rooms of `sessions`.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self {
            sessions,
            remembered: Mutex::new(LruCache::new(JOINS_REMEMBERED_MAX)),
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// All that streams share.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Finds or opens a room and reserves a seat in it.
    pub async fn join(&self, spec: JoinSpec) -> Result<Seat, Error> {
        if let Some(token) = &spec.resume_token {
            return self.rejoin(token).await;
        }
        if self.sessions.is_draining() {
            return Err(Error::ShuttingDown);
        }
        let spec = checked(spec)?;
        if spec.request_id.is_empty() {
            return self.seat(&spec).await;
        }
        let remembered = self.remember(&spec.request_id);
        let fresh = async || {
            let seat = self.seat(&spec).await?;
            Ok::<_, Error>((seat.room.info().id.clone(), seat.player_id))
        };
        let (room, player_id) = remembered.get_or_try_init(fresh).await?.clone();
        let Some(room) = self.sessions.rooms.get(&room) else {
            // The room has ended meanwhile: the next try is a new one.
            self.forget(&spec.request_id);
            return Err(Error::RoomNotFound);
        };
        // The seat may have run out meanwhile; asking again for the same player keeps or renews it.
        room.reserve(player_id.clone(), profile(&spec, &player_id)).await?;
        Ok(Seat { room, player_id })
    }

    /// A ticket for a seat.
    pub fn ticket(&self, seat: &Seat) -> Result<String, Error> {
        let ttl = self.sessions.limits.ticket_ttl;
        self.sessions.keys.sign(&seat.player_id, &seat.room.info().id, ttl)
    }

    /// The room that somebody who wants to look on means: by id, by code, or the fullest.
    pub fn find(&self, room: &RoomChoice) -> Result<Handle, Error> {
        let rooms = &self.sessions.rooms;
        match room {
            RoomChoice::Id(id) => {
                let room = RoomId::parse(id).and_then(|id| rooms.get(&id));
                // A private room is found by its code only.
                room.filter(|room| room.info().code.is_none()).ok_or(Error::RoomNotFound)
            }
            RoomChoice::Code(code) => rooms.by_code(code).ok_or(Error::RoomNotFound),
            RoomChoice::Any | RoomChoice::New(_) => {
                let fullest = rooms.public().into_iter().max_by_key(|room| room.info().players());
                fullest.ok_or(Error::RoomNotFound)
            }
        }
    }

    async fn rejoin(&self, token: &str) -> Result<Seat, Error> {
        let token = ResumeToken::parse(token).ok_or(Error::SessionNotFound)?;
        let room = self.sessions.rooms.get(&token.room).ok_or(Error::SessionNotFound)?;
        let player_id = room.find(token.hash()).await?;
        Ok(Seat { room, player_id })
    }

    fn remember(&self, request_id: &str) -> Arc<OnceCell<(RoomId, String)>> {
        let fresh = || Remembered { since: Instant::now(), seat: Arc::default() };
        // A panic while it was held cannot have left the cache half changed in a way that matters here.
        let mut cache = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = cache.get_or_insert_mut(request_id.to_owned(), fresh);
        if entry.since.elapsed() > JOIN_REMEMBERED {
            *entry = fresh();
        }
        Arc::clone(&entry.seat)
    }

    fn forget(&self, request_id: &str) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).pop(request_id);
    }

    async fn seat(&self, spec: &JoinSpec) -> Result<Seat, Error> {
        let player_id = format!("guest-{:032x}", rand::rng().random::<u128>());
        let profile = profile(spec, &player_id);
        let rooms = &self.sessions.rooms;
        match &spec.room {
            RoomChoice::Id(_) | RoomChoice::Code(_) => {
                let room = self.find(&spec.room)?;
                room.reserve(player_id.clone(), profile).await?;
                Ok(Seat { room, player_id })
            }
            RoomChoice::New(new) => {
                let room = rooms.open(new.clone())?;
                room.reserve(player_id.clone(), profile).await?;
                Ok(Seat { room, player_id })
            }
            RoomChoice::Any => {
                if let Some(seat) = self.seat_in_open_room(&player_id, &profile).await? {
                    return Ok(seat);
                }
                let _one_at_a_time = self.opening.lock().await;
                if let Some(seat) = self.seat_in_open_room(&player_id, &profile).await? {
                    return Ok(seat);
                }
                let room = rooms.open(NewRoom::default())?;
                room.reserve(player_id.clone(), profile).await?;
                Ok(Seat { room, player_id })
            }
        }
    }

    /// A seat in the fullest public room that has one: full rooms are good rooms.
    async fn seat_in_open_room(
        &self,
        player_id: &str,
        profile: &Profile,
    ) -> Result<Option<Seat>, Error> {
        let mut rooms = self.sessions.rooms.public();
        rooms.retain(|room| room.info().players() < room.info().capacity);
        rooms.sort_by_key(|room| std::cmp::Reverse(room.info().players()));
        for room in rooms {
            // What is known from outside may be old: the room itself decides.
            match room.reserve(player_id.to_owned(), profile.clone()).await {
                Ok(()) => {
                    let player_id = player_id.to_owned();
                    return Ok(Some(Seat { room, player_id }));
                }
                Err(room::Error::Full | room::Error::Ended) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(None)
    }
}

fn checked(mut spec: JoinSpec) -> Result<JoinSpec, Error> {
    if spec.request_id.len() > REQUEST_ID_BYTES_MAX {
        return Err(Error::Invalid { field: "request_id", problem: "longer than 64 bytes" });
    }
    if spec.player_hue.is_some_and(|hue| hue >= 360) {
        return Err(Error::Invalid { field: "player_hue", problem: "not in 0 to 359" });
    }
    spec.player_name = checked_name(&spec.player_name, "player_name", PLAYER_NAME_CHARS_MAX)?;
    if let RoomChoice::New(new) = &mut spec.room {
        new.name = checked_name(&new.name, "name", ROOM_NAME_CHARS_MAX)?;
    }
    Ok(spec)
}

/// A name as others see it: trimmed, and without anything that would not print.
fn checked_name(name: &str, field: &'static str, chars_max: usize) -> Result<String, Error> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    if name.chars().count() > chars_max {
        return Err(Error::Invalid { field, problem: "too long" });
    }
    Ok(name)
}

fn profile(spec: &JoinSpec, player_id: &str) -> Profile {
    let random = xxhash_rust::xxh3::xxh3_64(player_id.as_bytes());
    let name = if spec.player_name.is_empty() {
        format!("Guest {:04}", random % 10_000)
    } else {
        spec.player_name.clone()
    };
    let hue = spec.player_hue.unwrap_or((random % 360) as u16);
    Profile { name, hue }
}
