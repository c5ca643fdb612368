//! What rooms play is recorded, and comes out the same when it is played again.

mod support;

use bytes::{Bytes, BytesMut};
use fray_proto::v1;
use fray_server::game::arena::Arena;
use fray_server::game::{Controls, GameFactory, Profile, Steering};
use fray_server::replay::{Games, Report, Verdict, verify};
use fray_server::room::handle::Claim;
use fray_server::room::registry::NewRoom;
use fray_server::room::{Attached, Handle, Move, RoomId};
use fray_server::store::{EndReason, MemoryStore, Name, Reader, Store, cut};
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
            attached.attachment.enqueue(sent).expect("there is room");
        }
    }
}

/// A room of bots that play so many ticks in virtual time.
async fn play(net: &Net, ticks: u32) -> Handle {
    let rooms = &net.parts.sessions().rooms;
    let room = rooms
        .open(rooms.draft(NewRoom { capacity: PLAYERS, ..NewRoom::default() }, RoomId::random()))
        .expect("a room");
    let mut bots = Vec::new();
    for number in 1..=PLAYERS {
        bots.push(Bot::come(number, &room).await);
    }
    let mut frames = room.frames();
    while frames.borrow().tick < ticks {
        frames.changed().await.expect("the room goes on");
        let tick = frames.borrow_and_update().tick;
        for bot in &mut bots {
            bot.play(tick, &room).await;
        }
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
    let room = play(&net, ticks).await;
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
