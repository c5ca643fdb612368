//! What operators tell a server: `fray-bot admin`.

mod answer;
mod table;

use crate::client::Ended;
use crate::terminal::printable;
use clap::{Args, Subcommand};
use fray_proto::v1;
use fray_proto::v1::admin_client::AdminClient;
use fray_proto::v1::kick_request::Who;
use serde_json::Value;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// The server refused, or has no such room or player.
const REFUSED: u8 = 1;
/// The server could not be asked.
const UNANSWERED: u8 = 2;
/// As after Ctrl-C.
const STOPPED: u8 = 130;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server answers within 5 s, whatever its rooms do.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const PAGE_SIZE: i32 = 500;
/// Rooms move one after the other.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
const ROOMS_AT_ONCE: usize = 16;

/// Tell a server what to do: drain it, close a room, kick a player
///
/// One server and its own rooms, and what it knows of the others, at the address that its --control says. The exit code is 0 when it was done, 1 when the server
/// refused or has no such room or player, 2 when it could not be asked.
#[derive(Clone, Debug, Args)]
pub struct AdminArgs {
    /// Where the server listens to operators
    #[arg(long, env = "FRAY_CONTROL_URL", default_value = "http://127.0.0.1:7781", global = true)]
    url: String,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// The server itself
    Server,
    /// Its rooms, private ones included
    Rooms,
    /// Who has a seat in a room
    Players {
        /// The room's id
        room: String,
    },
    /// Take no new rooms and players; those that are there play on
    Drain {
        /// Take them again
        #[arg(long)]
        off: bool,
    },
    /// End a room: all who are in it are told that it ended
    Close {
        /// The room's id
        room: String,
    },
    /// Remove a player from a room; for 10 minutes it gets no seat there
    Kick {
        /// The room's id
        room: String,
        /// The player's number in the room, or its id
        player: String,
        /// PLAYER is an id, though it looks like a number
        #[arg(long)]
        id: bool,
    },
    /// All servers of the fleet, as the directory has them
    Servers,
    /// Say that a server is gone for good: its rooms are declared lost
    ///
    /// Servers find that out by themselves, unless too many are gone at once and their addresses are silent. Be sure: a server
    /// that runs, cut off from the directory, loses its rooms by this.
    Forget {
        /// The server's instance, or its name
        server: String,
    },
    /// Give rooms to other servers: as many as it takes to have no more than its share of the players
    ///
    /// Their players wait for a moment and lose nothing. With --all, after `drain`, the server is empty when this is done.
    Rebalance {
        /// These rooms
        rooms: Vec<String>,
        /// To this server, by its instance, or its name
        #[arg(long, value_name = "SERVER", requires = "rooms")]
        to: Option<String>,
        /// All rooms
        #[arg(long, conflicts_with_all = ["rooms", "max"])]
        all: bool,
        /// No more rooms than this
        #[arg(long, value_name = "COUNT", conflicts_with = "rooms", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
        max: u32,
    },
}

/// Why there is no answer.
#[derive(Debug)]
enum Failed {
    /// The address is none.
    Address(String),
    /// The server refused, or cannot be reached.
    Ended(Ended),
    /// Nobody waits for it any more.
    Stopped,
    /// It cannot be written.
    Output(io::Error),
}

impl From<tonic::Status> for Failed {
    fn from(status: tonic::Status) -> Self {
        Self::Ended(status.into())
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(problem) => f.write_str(problem),
            Self::Ended(ended) => f.write_str(&words(ended)),
            Self::Stopped => f.write_str("stopped"),
            Self::Output(error) => write!(f, "the answer cannot be written: {error}"),
        }
    }
}

impl Failed {
    fn code(&self) -> u8 {
        match self {
            // Only the server itself gives a reason.
            Self::Ended(ended) if !ended.reason.is_empty() => REFUSED,
            Self::Stopped => STOPPED,
            // Whoever reads the answer has read enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => UNANSWERED,
        }
    }
}

/// What went wrong, for who typed the command.
fn words(ended: &Ended) -> String {
    let message = printable(&ended.message);
    let known = match (ended.reason.as_str(), ended.code) {
        ("ROOM_NOT_FOUND", _) => "there is no such room on this server",
        ("SESSION_NOT_FOUND", _) => "nobody of that number or id has a seat in that room",
        ("SERVER_NOT_FOUND", _) => "the directory has no server of that instance or name",
        ("DEADLINE_EXCEEDED", _) => "the room does not answer: its game may hang",
        ("", Code::Unimplemented | Code::PermissionDenied) => {
            "no operators' verbs there: --url is the server's --control address, not its --listen or --admin"
        }
        ("", _) => return format!("the server cannot be asked: {message}"),
        (reason, _) => return format!("the server refuses ({}): {message}", printable(reason)),
    };
    known.to_owned()
}

/// Does it, and says on standard output what was done, on standard error what was not.
pub async fn run(args: AdminArgs, stop: CancellationToken) -> ExitCode {
    let mut answer = Vec::new();
    let done = answered(&args, &mut answer, stop).await;
    let done = done.and_then(|()| Ok(io::stdout().lock().write_all(&answer)?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            if failed.code() != 0 {
                eprintln!("{}: {failed}", args.url);
            }
            ExitCode::from(failed.code())
        }
    }
}

async fn answered(
    args: &AdminArgs,
    out: &mut dyn Write,
    stop: CancellationToken,
) -> Result<(), Failed> {
    let endpoint = Endpoint::from_shared(args.url.clone())
        .map_err(|error| Failed::Address(format!("not an address: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(match args.verb {
            Verb::Rebalance { .. } => REBALANCE_TIMEOUT,
            _ => ANSWER_TIMEOUT,
        });
    let mut admin = AdminClient::new(endpoint.connect_lazy());
    let (value, text) = tokio::select! {
        () = stop.cancelled() => return Err(Failed::Stopped),
        told = tell(&mut admin, args.verb.clone()) => told?,
    };
    if args.json {
        writeln!(out, "{value:#}")?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// The answer, for programs and for people.
async fn tell(
    admin: &mut AdminClient<Channel>,
    verb: Verb,
) -> Result<(Value, String), tonic::Status> {
    Ok(match verb {
        Verb::Server => {
            answer::server(&admin.get_server(v1::GetServerRequest {}).await?.into_inner())
        }
        Verb::Rooms => answer::rooms(&all_rooms(admin).await?),
        Verb::Players { room } => {
            let request = v1::ListPlayersRequest { room_id: room };
            answer::players(&admin.list_players(request).await?.into_inner().players)
        }
        Verb::Drain { off } => {
            answer::drained(&admin.drain(v1::DrainRequest { off }).await?.into_inner())
        }
        Verb::Close { room } => {
            let request = v1::CloseRoomRequest { room_id: room.clone() };
            answer::closed(&room, admin.close_room(request).await?.into_inner())
        }
        Verb::Kick { room, player, id } => {
            let request = v1::KickRequest { room_id: room.clone(), who: Some(who(player, id)) };
            answer::kicked(&room, &admin.kick(request).await?.into_inner())
        }
        Verb::Servers => {
            let (servers, reaches) = all_servers(admin).await?;
            answer::servers(&servers, reaches)
        }
        Verb::Forget { server } => {
            let request = v1::ForgetServerRequest { server };
            answer::forgotten(&admin.forget_server(request).await?.into_inner())
        }
        Verb::Rebalance { rooms, to, all, max } => {
            let rooms = if all {
                all_rooms(admin).await?.into_iter().map(|room| room.room_id).collect()
            } else {
                rooms
            };
            if all && rooms.is_empty() {
                return Ok(answer::rebalanced(&[]));
            }
            answer::rebalanced(&rebalance(admin, &rooms, to, max).await?)
        }
    })
}

async fn all_rooms(admin: &mut AdminClient<Channel>) -> Result<Vec<v1::AdminRoom>, tonic::Status> {
    let mut rooms = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::AdminListRoomsRequest { page_size: PAGE_SIZE, page_token };
        let page = admin.list_rooms(request).await?.into_inner();
        rooms.extend(page.rooms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rooms);
        }
    }
}

/// A few at a time.
async fn rebalance(
    admin: &mut AdminClient<Channel>,
    rooms: &[String],
    to: Option<String>,
    max: u32,
) -> Result<Vec<v1::RebalancedRoom>, tonic::Status> {
    let server = to.unwrap_or_default();
    let mut gone = Vec::new();
    let mut ask = async |room_ids: &[String]| {
        let rooms_max = if room_ids.is_empty() { max } else { 0 };
        let (room_ids, server) = (room_ids.to_vec(), server.clone());
        let request = v1::RebalanceRequest { room_ids, server, rooms_max };
        let mut request = tonic::Request::new(request);
        request.set_timeout(REBALANCE_TIMEOUT);
        gone.extend(admin.rebalance(request).await?.into_inner().rooms);
        Ok::<_, tonic::Status>(())
    };
    if rooms.is_empty() {
        ask(&[]).await?;
    }
    for rooms in rooms.chunks(ROOMS_AT_ONCE) {
        ask(rooms).await?;
    }
    Ok(gone)
}

/// All servers, and whether the one that is asked reaches the directory.
async fn all_servers(
    admin: &mut AdminClient<Channel>,
) -> Result<(Vec<v1::AdminServer>, bool), tonic::Status> {
    let mut servers = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListServersRequest { page_size: PAGE_SIZE, page_token };
        let page = admin.list_servers(request).await?.into_inner();
        servers.extend(page.servers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok((servers, page.reaches_directory));
        }
    }
}

fn who(player: String, is_id: bool) -> Who {
    match player.parse() {
        Ok(number) if !is_id => Who::Player(number),
        _ => Who::PlayerId(player),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_is_meant_by_number_unless_it_is_said_otherwise() {
        assert_eq!(who("7".into(), false), Who::Player(7));
        assert_eq!(who("7".into(), true), Who::PlayerId("7".into()));
        assert_eq!(who("guest-7".into(), false), Who::PlayerId("guest-7".into()));
        // Longer than any number: an identity provider's.
        let long = "110248495921238986420";
        assert_eq!(who(long.into(), false), Who::PlayerId(long.into()));
    }
}
