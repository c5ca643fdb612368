//! What a player gets: its messages, wherever they are cut, and how far apart its updates come.

use super::{Figures, Kind};
use crate::clock::since_us;
use crate::replica::Kept;

const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Gaps are counted in tenths of a millisecond, up to a second.
const GAP_BINS: usize = 10_000;
const GAP_BIN_US: usize = 100;

#[derive(Default)]
pub(super) struct Stream {
    pub(super) prefix: [u8; 5],
    pub(super) prefix_filled: usize,
    /// Bytes of the message that are still to come.
    pub(super) missing: usize,
    pub(super) head: [u8; 16],
    pub(super) head_filled: usize,
    pub(super) sequence: u32,
    pub(super) seen_tick: u32,
    pub(super) window_used: i64,
    pub(super) updated_us: Option<u32>,
    pub(super) is_ended: bool,
    /// It is not among those whose updates are measured.
    pub(super) is_left_out: bool,
    pub(super) turn: i8,
    pub(super) thrust: i8,
    pub(super) kept: Option<Box<Kept>>,
}

/// Between two updates of a player: how often.
pub(super) struct Gaps(Vec<u32>);

/// What is counted while messages are taken.
pub(super) struct Tally<'a> {
    pub(super) is_measured: bool,
    pub(super) gaps: &'a mut Gaps,
    pub(super) receipts_us: &'a mut Vec<u32>,
    pub(super) figures: &'a mut Figures,
}

impl Gaps {
    pub(super) fn none() -> Self {
        Self(vec![0; GAP_BINS])
    }

    fn note(&mut self, gap_us: u32) {
        self.0[(gap_us as usize / GAP_BIN_US).min(GAP_BINS - 1)] += 1;
    }

    /// Such a share is shorter.
    pub(super) fn ms(&self, share: f64) -> f64 {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all as f64 * share) as u64;
        let mut sum = 0;
        let bin = self.0.iter().position(|count| {
            sum += u64::from(*count);
            sum > wanted
        });
        bin.unwrap_or(GAP_BINS) as f64 / 10.0
    }
}

impl Stream {
    /// Takes bytes of messages, wherever they are cut.
    pub(super) fn take(&mut self, mut bytes: &[u8], kind: Kind, now: u32, tally: &mut Tally<'_>) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let wanted = (self.prefix.len() - self.prefix_filled).min(bytes.len());
                self.prefix[self.prefix_filled..][..wanted].copy_from_slice(&bytes[..wanted]);
                self.prefix_filled += wanted;
                bytes = &bytes[wanted..];
                if self.prefix_filled < self.prefix.len() {
                    return;
                }
                let [_, a, b, c, d] = self.prefix;
                self.missing = (u32::from_be_bytes([a, b, c, d]) as usize).min(MESSAGE_BYTES_MAX);
                self.head_filled = 0;
            }
            let (part, rest) = bytes.split_at(self.missing.min(bytes.len()));
            let wanted = (self.head.len() - self.head_filled).min(part.len());
            self.head[self.head_filled..][..wanted].copy_from_slice(&part[..wanted]);
            self.head_filled += wanted;
            if let Some(kept) = &mut self.kept {
                kept.message.extend_from_slice(part);
            }
            self.missing -= part.len();
            bytes = rest;
            if self.missing == 0 {
                self.prefix_filled = 0;
                self.finish(kind, now, tally);
            }
        }
    }

    fn finish(&mut self, kind: Kind, now: u32, tally: &mut Tally<'_>) {
        let length = self.prefix[1..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let head = &self.head[..self.head_filled];
        let tick = if kind == Kind::Fray { tick_of_update(head) } else { tick_of_state(head) };
        let made_us = self.kept.as_mut().and_then(|kept| kept.take());
        let Some(tick) = tick else { return };
        self.seen_tick = tick;
        let before = self.updated_us.replace(now);
        if !tally.is_measured || self.is_left_out {
            return;
        }
        tally.figures.updates += 1;
        tally.figures.update_bytes += length;
        if let Some(before) = before {
            tally.gaps.note(since_us(before, now));
        }
        if let Some(made_us) = made_us {
            tally.receipts_us.push(since_us(made_us, now));
        }
    }
}

/// Of a message that is an update: its tick.
fn tick_of_update(head: &[u8]) -> Option<u32> {
    let [0x12, rest @ ..] = head else { return None };
    let (_, rest) = varint(rest)?;
    tick_of_state(rest)
}

/// Of one whose first field is its tick.
fn tick_of_state(head: &[u8]) -> Option<u32> {
    let [0x08, rest @ ..] = head else { return None };
    varint(rest).map(|(tick, _)| tick)
}

fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let value =
        bytes[..length].iter().rev().fold(0_u32, |sum, byte| sum << 7 | u32::from(byte & 0x7f));
    Some((value, &bytes[length..]))
}
