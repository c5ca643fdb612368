//! A tick as the room makes it (`fray_server::room::core`, and its log), each part measured.
//!
//! The functions of the parts are never inlined and have something to do after their calls: so they stay on the stack, where
//! [`super::stacks`] finds them, and nothing else of the process is taken for the tick.

use super::measure::Clock;
use bytes::BytesMut;
use fray_proto::update::MoveAck;
use fray_server::game::{Game, Input, Published};
use fray_server::replication::frame::PRIVATE_VALUES_MAX;
use fray_server::replication::{Encoder, Grid, PlayerFrame};
use fray_server::store::{Checkpoint, InputRef, Tick, TickDraft};
use std::collections::BTreeSet;

/// What is done in a tick.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) tick: u32,
    pub(super) inputs: Vec<Input>,
    /// The room took the state's hash after it.
    pub(super) has_hash: bool,
    /// The room wrote the whole state into its log after it.
    pub(super) has_checkpoint: bool,
}

impl Work {
    pub(super) fn new(tick: &Tick) -> Self {
        Self {
            tick: tick.tick,
            inputs: tick.inputs().collect(),
            has_hash: tick.hash.is_some(),
            has_checkpoint: false,
        }
    }
}

/// How many parts a tick has.
pub(super) const PHASES: usize = 4;
/// What they are called; so are their functions here.
pub(super) const PHASE_NAMES: [&str; PHASES] = ["inputs", "step", "publish", "log"];
/// Where those functions are.
pub(super) const PHASES_PATH: &str = concat!(module_path!(), "::");
/// The file that they are in.
pub(super) const PHASES_FILE: &str = file!();

/// How long each part of a tick took, ns.
pub(super) type PhasesNs = [u64; PHASES];

/// A game between two ticks, with what a room has around it.
pub(super) struct Stage {
    pub(super) game: Box<dyn Game>,
    encoder: Encoder,
    players: BTreeSet<u32>,
    published: Published,
    draft: TickDraft,
    records: BytesMut,
}

/// What a room has beside the game.
#[derive(Clone)]
pub(super) struct Around {
    encoder: Encoder,
    players: BTreeSet<u32>,
}

impl Stage {
    /// After this tick of a room with these players. The encoder has seen that tick, and none before it.
    pub(super) fn new(
        game: Box<dyn Game>,
        rate_hz: u32,
        tick: u32,
        players: &BTreeSet<u32>,
    ) -> Self {
        let encoder = Encoder::new(Grid::of(game.as_ref()), rate_hz);
        let mut stage = Self::with(game, Around { encoder, players: players.clone() });
        stage.show(tick);
        stage
    }

    /// The same around another copy of the game.
    pub(super) fn with(game: Box<dyn Game>, around: Around) -> Self {
        Self {
            game,
            encoder: around.encoder,
            players: around.players,
            published: Published::default(),
            draft: TickDraft::default(),
            records: BytesMut::new(),
        }
    }

    /// What is to be kept, to begin here again.
    pub(super) fn around(&self) -> Around {
        Around { encoder: self.encoder.clone(), players: self.players.clone() }
    }

    /// Players that are known, and entities: local and global ones.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.players.len(), self.published.local.len(), self.published.global.len()]
    }

    /// Plays one tick.
    pub(super) fn play(&mut self, work: &Work, clock: Clock<'_>) -> PhasesNs {
        [
            inputs(self, work, clock),
            step(self, clock),
            publish(self, work, clock),
            log(self, work, clock),
        ]
    }

    fn show(&mut self, tick: u32) {
        self.published.local.clear();
        self.published.global.clear();
        self.game.publish(&mut self.published);
        self.published.put_in_order();
        let players = self.player_frames();
        let view = self.game.view(None);
        self.encoder.encode(tick, &self.published, players, view, Vec::new());
    }

    /// As much of it as a recording knows: acknowledgements are the streams'.
    fn player_frames(&self) -> Vec<PlayerFrame> {
        let mut frames = Vec::with_capacity(self.players.len());
        let mut values = Vec::new();
        for player in &self.players {
            values.clear();
            self.game.private(*player, &mut values);
            let count = values.len().min(PRIVATE_VALUES_MAX);
            let mut private = [0; PRIVATE_VALUES_MAX];
            private[..count].copy_from_slice(&values[..count]);
            frames.push(PlayerFrame {
                player: *player,
                generation: 1,
                left: false,
                ack: MoveAck::default(),
                refusals: Vec::new(),
                private: (private, count),
                view: self.game.view(Some(*player)),
            });
        }
        frames
    }
}

/// What players did, fed to the game and noted.
#[inline(never)]
fn inputs(stage: &mut Stage, work: &Work, clock: Clock<'_>) -> u64 {
    let began = clock.now_ns();
    for input in &work.inputs {
        stage.draft.input(InputRef::from(input));
        // A refused move was refused then, too, and changed nothing.
        let _ = input.feed(stage.game.as_mut());
        match input {
            Input::Join { player, .. } => {
                stage.players.insert(*player);
            }
            Input::Leave { player } => {
                stage.players.remove(player);
            }
            Input::Connected { .. } | Input::Controls { .. } => {}
        }
    }
    clock.since(began)
}

/// The game's rules.
#[inline(never)]
fn step(stage: &mut Stage, clock: Clock<'_>) -> u64 {
    let began = clock.now_ns();
    stage.game.step();
    clock.since(began)
}

/// The frame: what the game shows, and its bytes for all streams.
#[inline(never)]
fn publish(stage: &mut Stage, work: &Work, clock: Clock<'_>) -> u64 {
    let began = clock.now_ns();
    stage.show(work.tick);
    clock.since(began)
}

/// The tick's record, and hash and checkpoint where the room took them.
#[inline(never)]
fn log(stage: &mut Stage, work: &Work, clock: Clock<'_>) -> u64 {
    let began = clock.now_ns();
    let mut marks = Vec::new();
    stage.game.marks(&mut marks);
    for mark in &marks {
        stage.draft.mark(mark);
    }
    let hash = work.has_hash.then(|| stage.game.state_hash());
    stage.draft.finish(work.tick, hash, false, &mut stage.records);
    if work.has_checkpoint {
        let (hash, state) = (stage.game.state_hash(), stage.game.checkpoint());
        Checkpoint::put(work.tick, hash, &state, &mut stage.records);
    }
    stage.records.clear();
    clock.since(began)
}
