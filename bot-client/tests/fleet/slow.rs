//! Players who do not read, behind a relay and without one: what waits for them is bounded, and nobody else waits.

use crate::chatty::Chatty;
use crate::servers::{Fleet, Running};
use crate::{PATIENCE, create, joins, seat};
use fray_bot::client::{Event, Options, Player};
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message as Request;
use fray_proto::v1::play_response::Message as Response;
use fray_proto::v1::{self, JoinRequest, PlayRequest, PlayResponse};
use fray_server::cluster::peer::STREAM_WINDOW_BYTES;
use futures_util::future::join_all;
use prost::Message as _;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// What may be under way to whoever does not read.
const OWN_WINDOW_BYTES: u32 = 4 * 1024;
/// The largest frame of HTTP/2: so much is taken out of a window before its message is whole.
const FRAME_BYTES_MAX: usize = 16 * 1024;
/// Messages that are held one at a time: at the room's server and at the one that relays, each in its hand and with HTTP/2.
const MESSAGES_HELD_MAX: usize = 4;
/// How many who do not read are behind the relay. What waits for them is more than a connection holds that has room for one of them.
const STALLED_FAR: u64 = 3;
/// For how many ticks they do not read: long enough for more updates than all that is on the way can hold.
const TICKS: u32 = 300;
const TICK_RATE_HZ: &str = "60";
/// Whoever reads misses less than a second.
const MISSED_TICKS_MAX: u32 = 60;

/// A client that does not read, and says that it has read everything.
struct Stalled {
    updates: Streaming<PlayResponse>,
    /// It talks on its own.
    talks: JoinSet<()>,
}

impl Stalled {
    /// Seated and welcomed, with its first update.
    async fn come(server: &Running, request: JoinRequest) -> Self {
        let ticket = seat(server, request).await.ticket;
        let endpoint = Endpoint::from_shared(server.url()).expect("an address");
        let endpoint = endpoint.initial_stream_window_size(OWN_WINDOW_BYTES);
        let channel = endpoint.connect().await.expect("a connection");
        let (requests, outgoing) = mpsc::channel(1);
        let hello = v1::Hello { protocol_version: 1, ticket, ..v1::Hello::default() };
        say(&requests, Request::Hello(hello)).await;
        let mut play = PlayClient::new(channel);
        let updates = play.play(ReceiverStream::new(outgoing)).await.expect("a stream");
        let mut stalled = Self { updates: updates.into_inner(), talks: JoinSet::new() };
        while stalled.update().await.is_none() {}
        stalled.talks.spawn(async move {
            let mut beat = interval(Duration::from_millis(100));
            loop {
                beat.tick().await;
                say(&requests, Request::Ping(v1::Ping { seen_tick: u32::MAX, echo: 0 })).await;
            }
        });
        stalled
    }

    /// The next message, if it is an update: its tick, the tick on which it builds, and its length.
    async fn update(&mut self) -> Option<(u32, u32, usize)> {
        let message = timeout(PATIENCE, self.updates.message()).await.expect("in time");
        let message = message.expect("it goes on").expect("it goes on");
        let bytes = message.encoded_len();
        match message.message {
            Some(Response::Update(update)) => {
                let base = update.base_tick.unwrap_or(update.tick - 1);
                Some((update.tick, base, bytes))
            }
            _ => None,
        }
    }

    /// Reads all that there is. How much had waited: that is, came before updates began to skip ticks.
    async fn reads(mut self, newest: u32) -> Waited {
        let mut waited = Waited { bytes: 0, longest: 0, until: 0, goes_on: 0 };
        loop {
            let Some((tick, _, bytes)) = self.update().await else { continue };
            waited.longest = waited.longest.max(bytes);
            if waited.until > 0 && tick > waited.until + MISSED_TICKS_MAX {
                assert!(tick >= newest, "{tick}: the newest comes next, not the past");
                waited.goes_on = tick;
                return waited;
            }
            waited.bytes += bytes;
            waited.until = tick;
            assert!(tick < newest, "nothing was ever held back: {waited:?}");
        }
    }
}

async fn say(requests: &mpsc::Sender<PlayRequest>, message: Request) {
    // If nobody hears it any more, the other side says why.
    let _ = requests.send(PlayRequest { message: Some(message) }).await;
}

/// What waited for somebody who did not read.
#[derive(Debug)]
struct Waited {
    bytes: usize,
    longest: usize,
    /// The last tick of it.
    until: u32,
    /// The first tick afterwards.
    goes_on: u32,
}

/// What somebody who reads got meanwhile.
#[derive(Debug, Default)]
struct Got {
    updates: u32,
    /// Over all updates but the first: how many ticks they span.
    spanned: u32,
    missed_max: u32,
    first: u32,
    tick: u32,
}

/// Reads until the tick.
async fn listens(player: &mut Player, until: impl Fn(u32) -> bool) -> Got {
    let mut got = Got::default();
    let listening = async {
        while !until(got.tick) {
            let event = player.next().await.expect("the session lives").expect("it goes on");
            let Event::Updated(update) = event else {
                assert!(!matches!(event, Event::Welcomed { .. } | Event::Disconnected(_)));
                continue;
            };
            got.updates += 1;
            if got.tick == 0 {
                got.first = update.tick;
            } else {
                assert!(!update.is_fresh, "it starts again");
                got.spanned += update.ticks;
                got.missed_max = got.missed_max.max(update.ticks);
            }
            got.tick = update.tick;
        }
    };
    timeout(PATIENCE, listening).await.expect("the room goes on for everybody");
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_behind_a_relay_holds_up_nobody_and_goes_on_with_the_newest() {
    // The server holds updates back from whoever has not acknowledged a second's worth, and ends whoever says nothing. Neither is what
    // this is about: with such times, only what is on the way holds anybody back.
    let flags = ["--tick-rate", TICK_RATE_HZ, "--staleness-window", "1h", "--idle-timeout", "1h"];
    let fleet = Fleet::of_game(Chatty, 2, &flags).await;
    let made = seat(&fleet.servers[0], create("Shared", false)).await;
    let mut players = Vec::new();
    for server in &fleet.servers {
        let player = Player::join(server.grpc(), joins(&made), Options::default()).await;
        players.push((player.expect("a stream"), server.relayed() == 1));
    }
    // Which of them has the room is its own choice.
    players.sort_by_key(|(_, is_relayed)| *is_relayed);
    let [(direct, false), (relayed, true)] = &mut players[..] else { panic!("one of each") };
    let owner = usize::from(fleet.servers[0].relayed() == 1);
    let (room, relay) = (&fleet.servers[owner], &fleet.servers[1 - owner]);

    let near_stalled = Stalled::come(room, joins(&made)).await;
    let mut far_stalled = Vec::new();
    for _ in 0..STALLED_FAR {
        far_stalled.push(Stalled::come(relay, joins(&made)).await);
    }
    // All of them, and the one who reads, share one connection of the servers'.
    assert_eq!((room.relayed(), relay.relayed()), (0, STALLED_FAR + 1));
    let begun = listens(direct, |tick| tick > 0).await.tick;
    let end = begun + TICKS;
    let (by_room, by_relay) =
        tokio::join!(listens(direct, |tick| tick >= end), listens(relayed, |tick| tick >= end));
    println!("who reads: {by_room:?} {by_relay:?}");
    for got in [&by_room, &by_relay] {
        assert_eq!(got.spanned, got.tick - got.first, "nothing is left out: {got:?}");
        assert!(got.missed_max < MISSED_TICKS_MAX, "{got:?}");
        // One for each tick, but on a machine that has no time for that.
        assert!(got.updates > TICKS / 10, "{got:?}");
    }

    // Those who read go on while the others read what waited for them.
    let far_stalled = far_stalled.into_iter().map(|stalled| stalled.reads(end));
    let waited = async { tokio::join!(near_stalled.reads(end), join_all(far_stalled)) };
    let others = async { tokio::join!(listens(direct, |_| false), listens(relayed, |_| false)) };
    let (near, far) = tokio::select! {
        waited = waited => waited,
        _ = others => unreachable!("they listen for ever"),
    };
    println!("who did not: {near:?} {far:?}");
    let far = far.into_iter().map(|waited| (waited, STREAM_WINDOW_BYTES as usize));
    for (waited, on_the_way) in far.chain([(near, 0)]) {
        let held = MESSAGES_HELD_MAX * waited.longest;
        let bytes_max = OWN_WINDOW_BYTES as usize + FRAME_BYTES_MAX + on_the_way + held;
        assert!(waited.bytes <= bytes_max, "{waited:?} of {bytes_max}");
        // All of it was full; the last message did not fit.
        assert!(waited.bytes + 2 * waited.longest >= on_the_way, "{waited:?} of {on_the_way}");
    }
    drop(players);
    fleet.stop().await;
}
