//! Players who stop reading: they keep their connection, and go on saying what they say, but what comes stays where it is.

use super::{Crowd, READ_BYTES, stream::Gaps};
use crate::cost::rss_bytes;
use serde::{Deserialize, Serialize};
use socket2::Socket;
use std::time::Duration;

/// On the loopback a segment is 64 KiB, and the kernel keeps megabytes for a reader who does not come: with what an Ethernet
/// carries it keeps as much as of players who are elsewhere, and a server that writes on and on is found out within seconds.
const SEGMENT_BYTES: u32 = 1448;
const RECEIVE_BUFFER_BYTES: usize = 8 * 1024;

/// Who stops reading, and when.
#[derive(Clone, Copy, Debug)]
pub struct Stalls {
    /// How many of the connections, from 0 to 1.
    pub share: f64,
    /// How often they stop.
    pub rounds: usize,
    /// How long those who stopped may take to catch up. Nothing is measured meanwhile.
    pub pause: Duration,
}

/// How those did who read all the time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Phase {
    /// Players who did not read meanwhile.
    pub stalled: usize,
    /// Those who always read: updates that they got.
    pub updates: u64,
    /// Between two updates of one of them.
    pub gap_p50_ms: f64,
    /// The same.
    pub gap_p99_ms: f64,
    /// The server's memory at the end.
    pub rss_bytes: u64,
}

/// To be said before it is connected.
pub(super) fn as_over_a_network(socket: &Socket) -> anyhow::Result<()> {
    socket.set_tcp_mss(SEGMENT_BYTES)?;
    Ok(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?)
}

impl Crowd {
    /// All read; some do not; they catch up; and again.
    pub(super) fn take_turns(&mut self, stalls: Stalls) -> anyhow::Result<()> {
        // Spread evenly, so that each room has its share.
        let up_to = |count: usize| (count as f64 * stalls.share) as usize;
        let stops = |link: usize| up_to(link + 1) > up_to(link);
        let those: Vec<usize> = (0..self.links.len()).filter(|link| stops(*link)).collect();
        for link in &those {
            let streams = self.links[*link].streams.clone();
            self.streams[streams].iter_mut().for_each(|stream| stream.is_left_out = true);
        }
        for _ in 0..stalls.rounds {
            self.phase()?;
            for link in &those {
                self.links[*link].is_stalled = true;
            }
            self.phase()?;
            let mut buffer = vec![0; READ_BYTES];
            for link in &those {
                self.links[*link].is_stalled = false;
                // The poll has said so already, and does not say it again.
                self.receive(*link, &mut buffer);
            }
            self.run_for(stalls.pause)?;
        }
        Ok(())
    }

    fn phase(&mut self) -> anyhow::Result<()> {
        let updates_before = self.figures.updates;
        self.gaps = Gaps::none();
        self.measure()?;
        let stalled = self.links.iter().filter(|link| link.is_stalled);
        self.figures.phases.push(Phase {
            stalled: stalled.map(|link| link.streams.len()).sum(),
            updates: self.figures.updates - updates_before,
            gap_p50_ms: self.gaps.ms(0.5),
            gap_p99_ms: self.gaps.ms(0.99),
            rss_bytes: rss_bytes(self.plan.pid)?,
        });
        Ok(())
    }
}
