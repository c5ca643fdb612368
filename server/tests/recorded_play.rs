//! What rooms play is recorded, and comes out the same when it is played again.

#[path = "support/nats.rs"]
mod nats;
#[path = "support/program.rs"]
mod programs;
mod support;

use bytes::{Bytes, BytesMut};
use fray_proto::v1;
use fray_server::game::Input;
use fray_server::game::arena::Arena;
use fray_server::game::{Controls, GameFactory, Profile, Steering};
use fray_server::replay::{Games, Report, Verdict, verify};
use fray_server::room::handle::Claim;
use fray_server::room::registry::NewRoom;
use fray_server::room::{Attached, Handle, Move, RoomId};
use fray_server::store::{
    EndReason, JetStreamStore, MemoryStore, Name, Reader, Record, Sessions, Store, cut,
    last_sessions,
};
use nats::Nats;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::Net;
use tokio::time::Instant;

const PLAYERS: u32 = 64;
const TICK_RATE_HZ: u32 = 20;

fn arena() -> Vec<Arc<dyn GameFactory>> {
    vec![Arc::new(Arena::default())]
}

/// A number that depends on a tick and a bot alone (Steele, Lea and Flood's `SplitMix64`).
fn noise(tick: u32, bot: u32) -> u64 {
    let mut x = (u64::from(tick) << 32 | u64::from(bot)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn token(bot: u32) -> [u8; 32] {
    let mut token = [0; 32];
    token[..4].copy_from_slice(&bot.to_le_bytes());
    token
}

/// A bot that has its seat, without a stream in between.
struct Bot {
    number: u32,
    attached: Option<Attached>,
    sequence: u32,
}

impl Bot {
    async fn come(number: u32, room: &Handle) -> Self {
        let name = format!("bot {number}");
        room.reserve(name.clone(), Profile { name: name.clone(), hue: 7 }).await.expect("a seat");
        let claim = Claim::Ticket { player_id: name, token_hash: token(number) };
        let attached = room.attach(claim).await.expect("seated");
        Self { number, attached: Some(attached), sequence: 0 }
    }

    /// About two moves a second, and now and then the stream breaks for a while.
    async fn play(&mut self, tick: u32, room: &Handle) {
        let noise = noise(tick, self.number);
        let Some(attached) = &self.attached else {
            if noise.is_multiple_of(40) {
                let attached = room.attach(Claim::Token(token(self.number))).await.expect("kept");
                self.sequence = attached.ack.input_ack;
                self.attached = Some(attached);
            }
            return;
        };
        attached.attachment.look_at(tick);
        if noise.is_multiple_of(3001) {
            self.attached = None;
        } else if noise.is_multiple_of(9) {
            let byte = |shift: u32| i32::from((noise >> shift) as u8 as i8).max(-127);
            self.sequence += 1;
            let controls = Controls {
                steering: Steering {
                    axis_x: byte(8),
                    axis_y: byte(16).abs(),
                    aim: (noise & 1 << 24 != 0).then_some((noise >> 32) as u16),
                },
                buttons: u32::from(noise & 6 << 24 != 0),
                ..Controls::default()
            };
            let sent =
                Move { sequence: self.sequence, controls, arrived: Instant::now(), trace: None };
            attached.attachment.enqueue(sent);
        }
    }
}

/// A room of bots that play so many ticks in virtual time. After each, `pace` may hold everything up.
async fn play(net: &Net, players: u32, ticks: u32, pace: impl Fn(&Handle, u32)) -> Handle {
    let rooms = &net.parts.sessions().rooms;
    let room = rooms
        .open(rooms.draft(NewRoom { capacity: players, ..NewRoom::default() }, RoomId::random()))
        .expect("a room");
    let mut bots = Vec::new();
    for number in 1..=players {
        bots.push(Bot::come(number, &room).await);
    }
    let mut frames = room.frames();
    while frames.borrow().tick < ticks {
        frames.changed().await.expect("the room goes on");
        let tick = frames.borrow_and_update().tick;
        for bot in &mut bots {
            bot.play(tick, &room).await;
        }
        pace(&room, tick);
    }
    room
}

fn replayed(store: &dyn Store, name: &str) -> Report {
    let name = Name::parse(name).expect("a name");
    let from = store.read(&name, 0).expect("a recording");
    verify(Games(&arena()), from, u32::MAX, || false).expect("an answer")
}

async fn upload(net: &Net, file: &Bytes) -> v1::VerifyResponse {
    let pieces: Vec<_> = (0..file.len())
        .step_by(64 * 1024)
        .map(|at| v1::VerifyRequest { data: file.slice(at..file.len().min(at + 64 * 1024)) })
        .collect();
    let answer = net.replays().await.verify(tokio_stream::iter(pieces)).await;
    answer.expect("an answer").into_inner()
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_64_bots_come_out_the_same() {
    let net = Net::new(&[]);
    let ticks = 10 * 60 * TICK_RATE_HZ;
    let room = play(&net, PLAYERS, ticks, |_, _| ()).await;
    let store = Arc::clone(net.parts.sessions().rooms.store());

    let so_far = replayed(store.as_ref(), room.info().id.as_str());
    assert_eq!(so_far.verdict, Verdict::Same { panicked: None });
    assert_eq!(so_far.end, None, "the room still plays");

    net.parts.sessions().rooms.close().await;
    let report = replayed(store.as_ref(), room.info().id.as_str());
    assert_eq!(report.verdict, Verdict::Same { panicked: None });
    assert_eq!(report.end, Some(EndReason::ShutDown));
    assert!(report.last_tick >= ticks && report.ticks == report.last_tick, "{report:?}");
    assert_eq!(report.joins, PLAYERS);
    assert!(report.hashes_compared >= ticks / TICK_RATE_HZ, "a hash a second: {report:?}");
    assert!(
        report.moves > u64::from(PLAYERS) * 600,
        "bots that hardly play would prove little: {report:?}"
    );

    // And by whoever uploads it to another server, with nothing but the file.
    let name = Name::parse(room.info().id.as_str()).expect("a name");
    let mut reader = Reader::new(store.read(&name, 0).expect("a recording"));
    let mut file = BytesMut::new();
    let whole = cut(&mut reader, 0, u32::MAX, "", |piece| {
        file.unsplit(piece.split());
        true
    });
    whole.expect("a file");
    let elsewhere = Net::with_recordings(Arc::new(MemoryStore::new(1)), 0);
    let verdict = upload(&elsewhere, &file.freeze()).await;
    assert_eq!(verdict.verdict(), v1::verify_response::Verdict::Same, "{verdict:?}");
    assert_eq!((verdict.last_tick, verdict.incomplete), (report.last_tick, false));

    let summary = store.find(&Name::parse(room.info().id.as_str()).expect("a name"));
    let bytes = summary.expect("it is there").size_bytes;
    let player_minutes = f64::from(PLAYERS) * f64::from(report.ticks) / 1200.0;
    println!(
        "{bytes} bytes, {} moves, {:.0} bytes per player-minute",
        report.moves,
        bytes as f64 / player_minutes
    );
}

/// Each record of sessions tells how many moves of whom were applied before it. Says how many records there were.
fn sessions_are_right(records: &[Record], players: u32) -> usize {
    let mut moves: BTreeMap<u32, u32> = BTreeMap::new();
    let (mut count, mut last): (usize, Option<&Sessions>) = (0, None);
    for record in records {
        match record {
            Record::Tick(tick) => {
                for input in tick.inputs() {
                    if let Input::Controls { player, .. } = input {
                        *moves.entry(player).or_default() += 1;
                    }
                }
            }
            Record::Sessions(sessions) => {
                for session in &sessions.sessions {
                    let applied = moves.get(&session.player).copied().unwrap_or(0);
                    assert_eq!((session.input_ack, session.applied_count), (applied, applied));
                    assert_eq!(session.token_hash.is_some(), session.entity != 0, "{session:?}");
                }
                (count, last) = (count + 1, Some(sessions.as_ref()));
            }
            _ => {}
        }
    }
    let last = last.expect("sessions");
    assert_eq!(last.next_player, players + 1);
    let known: Vec<_> = last.sessions.iter().map(|s| (s.player, s.player_id.clone())).collect();
    let expected: Vec<_> = (1..=players).map(|bot| (bot, format!("bot {bot}"))).collect();
    assert_eq!(known, expected);
    for session in &last.sessions {
        assert_eq!(session.token_hash, Some(token(session.player)));
        assert_eq!(session.profile, Profile { name: session.player_id.clone(), hue: 7 });
        assert!(session.applied_count > 0);
    }
    count
}

#[tokio::test(start_paused = true)]
async fn two_minutes_of_32_bots_come_out_of_jetstream_the_same_with_their_sessions() {
    const BOTS: u32 = 32;
    let Some(nats) = Nats::start() else { return };
    let elsewhere = nats::runtime();
    let port = nats.port();
    // Time is virtual here, and not there.
    let open = || {
        std::thread::scope(|scope| {
            let open = || nats::open(&elsewhere, port, nats::options());
            scope.spawn(open).join().expect("a store")
        })
    };
    let store = Arc::new(open());
    let recordings: Arc<dyn Store> = Arc::<JetStreamStore>::clone(&store);
    let net = Net::with_recordings(recordings, 0);
    let ticks = 2 * 60 * TICK_RATE_HZ;
    // The game is far faster than time: it waits for the store, so that nothing is refused.
    let pace = |room: &Handle, tick: u32| {
        let name = Name::parse(room.info().id.as_str()).expect("a name");
        let progress = store.progress(&name).expect("it runs");
        for _ in 0..6000 {
            if progress.borrow().last_tick + 200 >= tick {
                return;
            }
            nats::pause();
        }
        panic!("the store does not follow");
    };
    let room = play(&net, BOTS, ticks, pace).await;
    net.parts.sessions().rooms.close().await;
    store.close().expect("all is written");
    let counts = store.counts();
    assert_eq!(counts.chunks_lost, 0);

    // Another server reads it.
    let another = open();
    let id = room.info().id.as_str();
    let report = replayed(&another, id);
    assert_eq!(report.verdict, Verdict::Same { panicked: None });
    assert_eq!((report.end, report.gaps), (Some(EndReason::ShutDown), 0));
    assert!(report.last_tick >= ticks && report.ticks == report.last_tick, "{report:?}");
    assert_eq!(report.joins, BOTS);
    assert!(report.moves > u64::from(BOTS) * 120, "{report:?}");
    let name = Name::parse(id).expect("a name");
    assert!(!another.find(&name).expect("it is there").is_running);

    let mut reader = Reader::new(another.read(&name, 0).expect("a recording"));
    let mut all = Vec::new();
    while let Some(record) = reader.next_record().expect("whole") {
        all.push(record);
    }
    // With each checkpoint, and when somebody came.
    assert!(sessions_are_right(&all, BOTS) > 12);
    let mut reader = Reader::new(another.read(&name, 0).expect("a recording"));
    let last = last_sessions(&mut reader).expect("whole").expect("sessions");
    assert_eq!(last.sessions.len(), BOTS as usize);

    // Nobody is told of them.
    let mut reader = Reader::new(another.read(&name, 0).expect("a recording"));
    let mut file = BytesMut::new();
    let whole = cut(&mut reader, 0, u32::MAX, "", |piece| {
        file.unsplit(piece.split());
        true
    });
    whole.expect("a file");
    assert!(last_sessions(&mut Reader::new(file.as_ref())).expect("whole").is_none());
    assert!(!file.windows(32).any(|bytes| bytes == token(BOTS)));
    let bytes = another.find(&name).expect("it is there").size_bytes;
    println!("{} messages, {} KiB", counts.syncs, bytes / 1024);
    // A runtime must not wait for another.
    elsewhere.shutdown_background();
}
