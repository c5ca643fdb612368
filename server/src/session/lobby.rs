//! Asking for a room and a seat in it: what may be asked, and what was asked before. Where they are found: [`super::placing`].

use super::directory::{InstanceId, Seated};
use super::load::{List, UNREACHABLE_MAX};
use super::spectating::ASKING_MAX;
use super::{Error, Sessions};
use crate::game::Profile;
use crate::room::RoomId;
use crate::room::registry::NewRoom;
use lru::LruCache;
use rand::RngExt as _;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// The most characters of a player's name.
pub const PLAYER_NAME_CHARS_MAX: usize = 24;
/// The most characters of a room's name.
pub const ROOM_NAME_CHARS_MAX: usize = 40;
/// The most bytes of a request id.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// A request id of this many bytes is taken for one that nobody else has: then its player is the same on all servers.
const REQUEST_ID_BYTES_UNIQUE: usize = 16;
/// How long a request that is repeated is the same player and the same room on all servers, at most.
const REPEATED_WITHIN_S: u64 = 120;
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
    /// Proof of who it is, from an identity provider.
    pub id_token: Option<String>,
    /// Only look on.
    pub spectate: bool,
    /// Another server has passed it on: only this server's own rooms are meant.
    pub passed_on: bool,
}

impl JoinSpec {
    /// Whether nobody else will have the same request id: then the same request is the same player on all servers.
    pub(super) fn has_unique_id(&self) -> bool {
        self.request_id.len() >= REQUEST_ID_BYTES_UNIQUE
    }
}

/// Secrets do not get into logs.
impl fmt::Debug for JoinSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSpec")
            .field("has_request_id", &!self.request_id.is_empty())
            .field("player_name", &self.player_name)
            .field("player_hue", &self.player_hue)
            .field("room", &self.room)
            .field("has_resume_token", &self.resume_token.is_some())
            .field("has_id_token", &self.id_token.is_some())
            .field("spectate", &self.spectate)
            .field("passed_on", &self.passed_on)
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

/// Finds rooms and reserves seats, wherever they are.
pub struct Lobby {
    pub(super) sessions: Arc<Sessions>,
    remembered: Mutex<LruCache<String, Remembered>>,
    /// One at a time opens rooms on demand, so that a rush of players fills a new room instead of opening one each.
    pub(super) opening: tokio::sync::Mutex<()>,
    /// Servers that did not answer lately, and when.
    pub(super) unreachable: Mutex<LruCache<InstanceId, Instant>>,
    /// What those see who watch the list of rooms.
    pub(super) list: Mutex<List>,
    /// Who asks all servers for a recording.
    pub(super) asking: tokio::sync::Semaphore,
}

#[derive(Clone)]
struct Remembered {
    since: Instant,
    /// Names only: a room that ended must not be kept for the sake of a repetition.
    seat: Arc<OnceCell<(RoomId, String)>>,
}

impl Lobby {
    /// A lobby before the rooms of `sessions`, and those of the other servers.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self {
            sessions,
            remembered: Mutex::new(LruCache::new(JOINS_REMEMBERED_MAX)),
            opening: tokio::sync::Mutex::new(()),
            unreachable: Mutex::new(LruCache::new(UNREACHABLE_MAX)),
            list: Mutex::default(),
            asking: tokio::sync::Semaphore::new(ASKING_MAX),
        }
    }

    /// All that streams share.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Finds or opens a room, reserves a seat in it, and signs a ticket for it.
    pub async fn join(&self, spec: JoinSpec) -> Result<Seated, Error> {
        let joined = self.try_join(spec).await;
        joined.map_err(|error| match error {
            // Two requests crossed: the next try finds what the other has made.
            Error::RoomExists => Error::Overloaded,
            other => other,
        })
    }

    async fn try_join(&self, spec: JoinSpec) -> Result<Seated, Error> {
        if spec.resume_token.is_some() {
            return self.rejoin(spec).await;
        }
        let spec = checked(spec)?;
        let identity = self.sessions.identity.who(spec.id_token.as_deref()).await?;
        if spec.spectate {
            return self.spectate(spec).await;
        }
        // Whoever repeats somebody else's request, with another identity, is not seated as that player.
        // And what another server passes on is remembered apart: two servers that wait for each other would wait for long.
        let by = if spec.passed_on { "peer" } else { "own" };
        let who = identity.as_deref().unwrap_or("-");
        let request_of = format!("{by} {who} {}", spec.request_id);
        let player_id = identity.unwrap_or_else(|| self.guest(&spec));
        if spec.request_id.is_empty() {
            return self.seat(&spec, &player_id).await;
        }
        let remembered = self.remember(&request_of);
        let mut fresh = None;
        let seat = async || {
            let seated = self.seat(&spec, &player_id).await?;
            let seated = fresh.insert(seated);
            Ok::<_, Error>((seated.room.id.clone(), seated.player_id.clone()))
        };
        let (room, player_id) = remembered.get_or_try_init(seat).await?.clone();
        if let Some(seated) = fresh {
            return Ok(seated);
        }
        // The seat may have run out meanwhile; asking again for the same player keeps or renews it.
        let again = self.seat_again(&room, &spec, &player_id).await;
        if matches!(again, Err(Error::RoomNotFound)) {
            // The room has ended: the next try is a new one.
            self.forget(&request_of);
        }
        again
    }

    /// Who a guest is. The same request is the same player, on whichever server it arrives: proxies repeat requests elsewhere.
    fn guest(&self, spec: &JoinSpec) -> String {
        if spec.has_unique_id() {
            let request = within_window(&spec.request_id);
            return format!("guest-{}", self.sessions.token_key.derive("player", &request));
        }
        format!("guest-{:032x}", rand::rng().random::<u128>())
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
}

/// A request, for as long as it may be repeated: later the same id is another one, so that who learns it has nothing.
pub(super) fn within_window(request_id: &str) -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} {request_id}", since_1970.as_secs() / REPEATED_WITHIN_S)
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

pub(super) fn profile(spec: &JoinSpec, player_id: &str) -> Profile {
    let random = xxhash_rust::xxh3::xxh3_64(player_id.as_bytes());
    let name = if spec.player_name.is_empty() {
        format!("Guest {:04}", random % 10_000)
    } else {
        spec.player_name.clone()
    };
    let hue = spec.player_hue.unwrap_or((random % 360) as u16);
    Profile { name, hue }
}
