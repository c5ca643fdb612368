//! A game with a heavy tick.

use bytes::BytesMut;
use fray_server::game::{
    Controls, Game, GameFactory, Motions, Profile, Published, Refusal, RestoreError, Setup, View,
    WorldLimits,
};
use fray_server::store::{Checkpoint, End, EndReason, Header, TickDraft};

/// A game one of whose ticks computes a thousand times as long as the others.
pub(crate) struct Burning;

struct Fire {
    ticks: u32,
    heat: u64,
}

impl Burning {
    /// The heavy one.
    pub(crate) const HEAVY_TICK: u32 = 40;

    pub(crate) fn recording() -> Vec<u8> {
        let mut out = BytesMut::new();
        let header = Header {
            game: "burning".into(),
            sim_version: 1,
            tick_rate_hz: 128,
            room: "burning".into(),
            epoch: 1,
            first_tick: 1,
            ..Header::default()
        };
        header.put(&mut out);
        let mut game = Fire { ticks: 0, heat: 1 };
        Checkpoint::put(0, game.state_hash(), &game.checkpoint(), &mut out);
        let mut draft = TickDraft::default();
        for tick in 1..=60 {
            game.step();
            draft.finish(tick, Some(game.state_hash()), false, &mut out);
        }
        End { tick: 60, reason: EndReason::RoomOver }.put(&mut out);
        out.to_vec()
    }
}

impl GameFactory for Burning {
    fn name(&self) -> &'static str {
        "burning"
    }
    fn sim_version(&self) -> u32 {
        1
    }
    fn create(&self, _: &Setup) -> Box<dyn Game> {
        Box::new(Fire { ticks: 0, heat: 1 })
    }
    fn restore(&self, checkpoint: &[u8]) -> Result<Box<dyn Game>, RestoreError> {
        let word = |at: usize| checkpoint.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (Some(ticks), Some(heat)) = (word(0), word(8)) else {
            return Err(RestoreError("sixteen bytes are".into()));
        };
        Ok(Box::new(Fire { ticks: ticks as u32, heat }))
    }
}

#[inline(never)]
fn burn(heat: u64, rounds: u32) -> u64 {
    (0..rounds)
        .fold(heat, |heat, round| (heat ^ u64::from(round)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl Game for Fire {
    fn world(&self) -> WorldLimits {
        WorldLimits { position_bits: 8, unit_bits: 0, speed_max: 0 }
    }
    fn motions(&self) -> Motions {
        Motions::default()
    }
    fn join(&mut self, player: u32, _: &Profile) -> u32 {
        player
    }
    fn leave(&mut self, _: u32) {}
    fn set_connected(&mut self, _: u32, _: bool) {}
    fn apply(&mut self, _: u32, _: &Controls) -> Result<(), Refusal> {
        Ok(())
    }
    fn step(&mut self) {
        self.ticks += 1;
        let is_heavy = self.ticks == Burning::HEAVY_TICK;
        self.heat = burn(self.heat, if is_heavy { 1_000_000 } else { 1_000 });
    }
    fn publish(&self, _: &mut Published) {}
    fn view(&self, _: Option<u32>) -> View {
        View { center: [0, 0], extent: [1, 1] }
    }
    fn private(&self, _: u32, _: &mut Vec<i32>) {}
    fn checkpoint(&self) -> Vec<u8> {
        [u64::from(self.ticks), self.heat].iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
