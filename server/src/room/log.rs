//! What a room's log says of it: inputs as they happen, a record a tick, hashes and checkpoints now and then. No I/O here.

use crate::game::{Controls, Game, Mark, Profile};
use crate::store::{Checkpoint, Chunk, End, EndReason, InputRef, SessionRef, Sessions, TickDraft};
use bytes::BytesMut;

/// How often a log does what, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The state's hash goes into the log.
    pub hash_ticks: u32,
    /// The whole state goes into the log.
    pub checkpoint_ticks: u32,
    /// What was gathered is handed over.
    pub chunk_ticks: u32,
}

/// Gathers a room's log until it is handed over, a few times a second. Without a store nothing is gathered.
#[derive(Debug)]
pub struct TickLog {
    rhythm: Option<Rhythm>,
    draft: TickDraft,
    marks: Vec<Mark>,
    records: BytesMut,
    has_checkpoint: bool,
    first_tick: u32,
    last_tick: u32,
    has_end: bool,
    sealed: Option<Chunk>,
    /// Somebody has a place, or a token, that no record of sessions tells of yet.
    sessions_changed: bool,
}

impl TickLog {
    /// A log that gathers nothing.
    pub fn off() -> Self {
        Self {
            rhythm: None,
            draft: TickDraft::default(),
            marks: Vec::new(),
            records: BytesMut::new(),
            has_checkpoint: false,
            first_tick: 1,
            last_tick: 0,
            has_end: false,
            sealed: None,
            sessions_changed: false,
        }
    }

    /// A log that begins with this state, before the first tick.
    pub fn begin(rhythm: Rhythm, game: &dyn Game) -> Self {
        Self::resume(rhythm, 0, game, 1, std::iter::empty())
    }

    /// A log that goes on after this tick, with this state.
    pub fn resume<'a>(
        rhythm: Rhythm,
        tick: u32,
        game: &dyn Game,
        next_player: u32,
        sessions: impl Iterator<Item = SessionRef<'a>>,
    ) -> Self {
        let off = Self { first_tick: tick + 1, last_tick: tick, ..Self::off() };
        let mut log = Self { rhythm: Some(rhythm), ..off };
        log.checkpoint(game);
        if !log.has_checkpoint {
            // Without its beginning a log is worth nothing.
            return Self::off();
        }
        log.put_sessions(next_player, sessions);
        log
    }

    /// Somebody new has a place, or a token. What becomes of players later is in the inputs.
    pub fn sessions_changed(&mut self) {
        self.sessions_changed = true;
    }

    /// A player comes in.
    pub fn join(&mut self, player: u32, profile: &Profile) {
        self.input(InputRef::Join(player, profile));
    }

    /// A player is gone.
    pub fn leave(&mut self, player: u32) {
        self.input(InputRef::Leave(player));
    }

    /// A player's stream comes or goes.
    pub fn connected(&mut self, player: u32, connected: bool) {
        self.input(InputRef::Connected(player, connected));
    }

    /// A move.
    pub fn controls(&mut self, player: u32, controls: &Controls) {
        self.input(InputRef::Controls(player, controls));
    }

    fn input(&mut self, input: InputRef<'_>) {
        if self.rhythm.is_some() {
            self.draft.input(input);
        }
    }

    /// A tick was made, and this is the game after it, and who has a place. Sessions are written with each checkpoint, and with
    /// the next chunk when somebody is new.
    pub fn tick<'a>(
        &mut self,
        tick: u32,
        game: &dyn Game,
        next_player: u32,
        sessions: impl Iterator<Item = SessionRef<'a>> + Clone,
    ) {
        let Some(rhythm) = self.rhythm else { return };
        self.marks.clear();
        game.marks(&mut self.marks);
        for mark in &self.marks {
            self.draft.mark(mark);
        }
        let hash = tick.is_multiple_of(rhythm.hash_ticks).then(|| game.state_hash());
        self.draft.finish(tick, hash, false, &mut self.records);
        self.last_tick = tick;
        let has_checkpoint = tick.is_multiple_of(rhythm.checkpoint_ticks);
        // Also before a checkpoint: what was gathered so far may go a tick before it.
        let is_due = has_checkpoint || tick.is_multiple_of(rhythm.chunk_ticks);
        if is_due && self.sessions_changed {
            self.put_sessions(next_player, sessions.clone());
        }
        if has_checkpoint {
            self.checkpoint(game);
            self.put_sessions(next_player, sessions);
        }
    }

    fn put_sessions<'a>(
        &mut self,
        next_player: u32,
        sessions: impl Iterator<Item = SessionRef<'a>>,
    ) {
        // Without a log there is nothing that they could follow.
        if self.rhythm.is_some() {
            Sessions::put(self.last_tick, next_player, sessions, &mut self.records);
            self.sessions_changed = false;
        }
    }

    /// The rules panicked in this tick, after the inputs that were noted.
    pub fn broken(&mut self, tick: u32) {
        // A panic after the tick's record, when a checkpoint was taken, has no place of its own.
        if self.rhythm.is_some() && tick > self.last_tick {
            self.draft.finish(tick, None, true, &mut self.records);
            self.last_tick = tick;
        }
    }

    /// The log ends.
    pub fn end(&mut self, reason: EndReason) {
        if self.rhythm.is_some() {
            End { tick: self.last_tick, reason }.put(&mut self.records);
            self.has_end = true;
        }
    }

    /// What is to be handed over now: at its rhythm, or all there is.
    pub fn take(&mut self, all: bool) -> Option<Chunk> {
        let rhythm = self.rhythm?;
        if let Some(sealed) = self.sealed.take() {
            return Some(sealed);
        }
        let is_due = self.last_tick.is_multiple_of(rhythm.chunk_ticks) || all;
        // A checkpoint alone waits for a tick to go with it.
        let has_ticks = self.last_tick >= self.first_tick || self.has_end;
        (is_due && has_ticks && !self.records.is_empty()).then(|| self.seal())
    }

    /// A checkpoint begins a chunk, so that a segment can begin there.
    fn checkpoint(&mut self, game: &dyn Game) {
        if !self.records.is_empty() {
            // The task takes what is due after every tick, so at most one chunk waits here.
            self.sealed = Some(self.seal());
        }
        let (hash, state) = (game.state_hash(), game.checkpoint());
        self.has_checkpoint = Checkpoint::put(self.last_tick, hash, &state, &mut self.records);
        if !self.has_checkpoint {
            tracing::error!(bytes = state.len(), "a state too large for a checkpoint");
        }
    }

    fn seal(&mut self) -> Chunk {
        let chunk = Chunk {
            records: self.records.split().freeze(),
            has_checkpoint: std::mem::take(&mut self.has_checkpoint),
            first_tick: self.first_tick,
            last_tick: self.last_tick,
            has_end: self.has_end,
        };
        self.first_tick = self.last_tick + 1;
        chunk
    }
}
