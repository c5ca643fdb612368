//! A room that comes from another server, or from a store: its records, the game's state in them, and what goes before them.
//!
//! It is refused, or it is a room that can go on: ticks, publishes, is packed up, and is the same at its next owner's. Memory is
//! bounded by what came and by the largest checkpoint, whatever a packed one claims to hold.
//!
//! The first byte says what the input is: a game's state, or sessions, around which everything else is right; records whose checksums are put
//! right; a `TransferBegin`, then records. A hash that is wrong would be the end of it, so the right one is written where the
//! game takes the state at all, as a hostile server would.
#![no_main]

use bytes::BytesMut;
use fray_fuzz::cuts::parts;
use fray_fuzz::heap::{Counting, most_during};
use fray_fuzz::records::{mend_checksums, record};
use fray_proto::v1;
use fray_server::game::arena::Arena;
use fray_server::game::{Controls, Game, GameFactory, Profile, Published, Steering};
use fray_server::room::travel::{Arrival, ArrivalError};
use fray_server::room::{Settings, fuzzing};
use fray_server::store::{Checkpoint, Header, Reader, Record};
use fray_server::wire;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::time::Instant;

#[global_allocator]
static HEAP: Counting = Counting;

static GAMES: LazyLock<Vec<Arc<dyn GameFactory>>> =
    LazyLock::new(|| vec![Arc::new(Arena::default())]);
const RATE_HZ: u32 = 20;
const TICKS: u32 = 12;
/// A packed checkpoint says how long it is; so much is set aside for it before it is unpacked.
const STATE_BYTES_MAX: usize = 16 << 20;
/// A state becomes a game: entities with their names, and frames of them.
const EXPANSION_MAX: usize = 300;
const OVERHEAD_BYTES: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((how, rest)) = input.split_first() else { return };
    let ((), bytes) = most_during(|| match how % 4 {
        0 => state(rest),
        1 => sessions(rest),
        2 => records(rest),
        _ => offer(rest),
    });
    assert!(
        bytes <= 2 * STATE_BYTES_MAX + EXPANSION_MAX * input.len() + OVERHEAD_BYTES,
        "{bytes} bytes"
    );
});

/// A game from any bytes: an error, or one that goes on whatever happens in it, and that has one state only.
fn state(bytes: &[u8]) {
    let Ok(mut game) = GAMES[0].restore(bytes) else { return };
    let again = GAMES[0].restore(&game.checkpoint()).expect("its own checkpoint");
    assert_eq!(game.state_hash(), again.state_hash());
    live(game.as_mut());
    arrive(bytes, &record(5, &[1, 7, 1, 0, 0, 0, 0]));
}

fn live(game: &mut dyn Game) {
    let (mut shown, mut private) = (Published::default(), Vec::new());
    let profile = Profile { name: "Ada".into(), hue: 9 };
    for tick in 0..TICKS {
        match tick {
            1 => drop(game.join(u32::MAX, &profile)),
            2 => game.set_connected(1, false),
            4 => game.leave(u32::MAX),
            _ => {}
        }
        for player in [1, 2, u32::MAX] {
            let steering =
                Steering { axis_x: 127, axis_y: -127, aim: (tick % 2 == 0).then_some(9) };
            let _ =
                game.apply(player, &Controls { steering, buttons: tick, ..Controls::default() });
            game.private(player, &mut private);
        }
        game.step();
        game.publish(&mut shown);
        let _ = (game.view(None), game.view(Some(1)));
        game.marks(&mut Vec::new());
    }
}

/// Sessions of any kind, in a room that is as it should be.
fn sessions(payload: &[u8]) {
    static STATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let setup = fray_server::game::Setup { seed: 7, tick_rate_hz: RATE_HZ, capacity: 8 };
        let mut game = GAMES[0].create(&setup);
        game.join(1, &Profile { name: "Ada".into(), hue: 9 });
        game.step();
        game.checkpoint()
    });
    arrive(&STATE, &record(5, payload));
}

fn header() -> Header {
    Header {
        game: GAMES[0].name().into(),
        sim_version: GAMES[0].sim_version(),
        tick_rate_hz: RATE_HZ,
        capacity: 8,
        room: "abc123".into(),
        epoch: 3,
        first_tick: 8,
        ..Header::default()
    }
}

fn arrive(state: &[u8], sessions: &[u8]) {
    let Ok(game) = GAMES[0].restore(state) else { return };
    let mut bytes = BytesMut::new();
    header().put(&mut bytes);
    assert!(Checkpoint::put(7, game.state_hash(), state, &mut bytes));
    bytes.extend_from_slice(sessions);
    go_on(&bytes, None);
}

fn records(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mend_checksums(&mut bytes);
    go_on(&with_hashes(&bytes).unwrap_or(bytes), None);
}

fn offer(input: &[u8]) {
    let mut given = parts(input);
    let (begin, bytes) = (given.next().unwrap_or_default(), given.next().unwrap_or_default());
    let Ok(begin) = v1::TransferBegin::decode(begin) else { return };
    let mut bytes = bytes.to_vec();
    mend_checksums(&mut bytes);
    let bytes = with_hashes(&bytes).unwrap_or(bytes);
    let Ok(offer) = wire::offer(begin, bytes.into()) else { return };
    // What is sent on says the same.
    let again = wire::offer(wire::transfer_begin(&offer), offer.bytes.clone()).expect("its own");
    assert_eq!(
        (again.moves.len(), again.barred, again.restorations),
        (offer.moves.len(), offer.barred.clone(), offer.restorations.clone())
    );
    go_on(&offer.bytes.clone(), Some(offer));
}

/// The same records, with the hash that the game has.
fn with_hashes(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let Record::Header(header) = reader.next_record().ok()?? else { return None };
    let Record::Checkpoint(checkpoint) = reader.next_record().ok()?? else { return None };
    let hash = GAMES[0].restore(&checkpoint.state).ok()?.state_hash();
    let mut mended = BytesMut::new();
    header.put(&mut mended);
    Checkpoint::put(checkpoint.tick, hash, &checkpoint.state, &mut mended);
    mended.extend_from_slice(&bytes[reader.offset() as usize..]);
    Some(mended.to_vec())
}

/// A room of it, if it is one: it ticks here, and is packed up for another.
fn go_on(bytes: &[u8], offer: Option<fray_server::session::arriving::Offer>) {
    let arrival = match Arrival::parse(&GAMES, RATE_HZ, bytes) {
        Ok(arrival) => arrival,
        Err(ArrivalError::Checkpoint(problem)) => return assert_ne!(problem, "the rules panicked"),
        Err(_) => return,
    };
    // Whoever takes a room refuses more: see `session::arriving`.
    if arrival.sessions.sessions.len() > arrival.header.capacity as usize * 64 {
        return;
    }
    let header = arrival.header.clone();
    let (moves, barred) = offer.map(|offer| (offer.moves, offer.barred)).unwrap_or_default();
    let mut core = fuzzing::arrived(Arrival { moves, barred, ..arrival }, settings());
    for _ in 0..TICKS {
        core.tick(Instant::now());
    }
    let Ok(packed) = fuzzing::packed(&mut core, &header) else { return };
    let next = Arrival::parse(&GAMES, RATE_HZ, &packed).expect("what was packed up here");
    assert_eq!(next.game.state_hash(), core.game().state_hash());
    assert!(next.sessions.sessions.len() as u32 >= core.players() || packed.len() > 1 << 20);
    let mut next = fuzzing::arrived(next, settings());
    next.tick(Instant::now());
}

fn settings() -> Settings {
    let s = Duration::from_secs;
    Settings {
        tick_rate_hz: RATE_HZ,
        grace: s(5),
        idle_timeout: s(15),
        reservation: s(30),
        empty_ttl: s(600),
        catch_up_ticks_max: 4,
        checkpoint_every: s(10),
        chunk_every: s(1),
        incident_lateness: s(1),
    }
}
