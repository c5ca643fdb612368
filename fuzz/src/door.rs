//! A whole server behind a pipe in memory, in virtual time: what comes in at the players' door.

use bytes::BufMut as _;
use fray_server::app::Parts;
use fray_server::config::Config;
use fray_server::game::arena::Arena;
use fray_server::room::Ending;
use fray_server::store::MemoryStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};

/// Whoever takes more goes away: answers are longer than what asks for them, and that is not what is looked for.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A peer that waits for answers goes on so much later (virtual): some ticks of a room.
const LINGERS: Duration = Duration::from_millis(120);
/// A connection whose peer says no more ends within this (virtual).
const END_WITHIN: Duration = Duration::from_secs(600);

/// When a peer says no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    /// It may not be answered at all.
    AtOnce,
    AfterAnswers,
}

/// One server for many inputs: to make one takes longer than to try an input. Its rooms end with the input that opened them.
pub struct Door {
    runtime: Runtime,
    parts: Parts,
}

impl Door {
    /// It takes guests, has few rooms, and believes so many proxies. `good` must get a player in.
    pub fn behind(trusted_hops: u32, good: Vec<u8>) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let config = Config {
            rooms_max: 3,
            room_capacity: 4,
            seed: Some(7),
            trusted_hops,
            ..Config::default()
        };
        let store = Arc::new(MemoryStore::new(1 << 20));
        let parts = {
            let _within = runtime.enter();
            Parts::with_store(&config, Arc::new(Arena::default()), store, 0).expect("a server")
        };
        parts.health().bound();
        let door = Self { runtime, parts };
        door.serve(&[&good], Closes::AfterAnswers);
        let metrics = door.parts.sessions().metrics.render();
        // The series are there from the beginning.
        let mut streams = metrics.lines().filter(|line| line.starts_with("fray_streams_total{"));
        assert!(streams.any(|line| !line.ends_with(" 0")), "a player gets in:\n{metrics}");
        door
    }

    /// A connection on which these pieces come, and then nothing more, at once or once all of them could be answered. It must end.
    /// Gives what was answered.
    pub fn serve(&self, pieces: &[&[u8]], closes: Closes) -> Vec<u8> {
        self.runtime.block_on(async {
            let (client, server) = tokio::io::duplex(64 * 1024);
            let (mut reader, mut writer) = tokio::io::split(client);
            let answer = async move {
                let mut answer = Vec::new();
                // Whoever was cut off has nothing to say to that.
                let _ = (&mut reader).take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer).await;
                answer
            };
            let talk = async move {
                for piece in pieces {
                    if writer.write_all(piece).await.is_err() {
                        break;
                    }
                    // So that what came is looked at before the rest comes.
                    tokio::task::yield_now().await;
                }
                if closes == Closes::AfterAnswers {
                    // Virtual time goes on when nobody has anything left to do.
                    sleep(LINGERS).await;
                }
                let _ = writer.shutdown().await;
            };
            let all = async { tokio::join!(self.parts.serve(server), talk, answer).2 };
            let answer = timeout(END_WITHIN, all).await.expect("the connection ends");
            self.end_rooms().await;
            answer
        })
    }

    async fn end_rooms(&self) {
        let rooms = &self.parts.sessions().rooms;
        let ended = async {
            let mut changes = rooms.changes();
            while !rooms.all().is_empty() || !rooms.ending().is_empty() {
                for room in rooms.all() {
                    let _ = room.end(Ending::Closed);
                }
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        timeout(END_WITHIN, ended).await.expect("rooms end");
    }
}

/// A message as gRPC frames it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.put_u32(message.len() as u32);
    bytes.extend(message);
    bytes
}
