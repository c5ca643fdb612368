//! A player that keeps all that it is told, and looks whether it fits.

use crate::naive::State;
use crate::players::Kind;
use fray_proto::replica::Replica;
use fray_proto::v1::{self, play_response::Message};
use prost::Message as _;

/// What one such player has.
#[derive(Debug)]
pub struct Kept {
    /// The message that is coming.
    pub message: Vec<u8>,
    /// Updates that did not fit.
    pub desyncs: u64,
    /// Ships that it sees.
    pub ships: usize,
    kind: Kind,
    replica: Option<Replica>,
}

impl Kept {
    /// One that has nothing yet.
    pub fn new(kind: Kind) -> Self {
        Self { message: Vec::new(), desyncs: 0, ships: 0, kind, replica: None }
    }

    /// Takes the message that has come; says when its tick was made, if it does.
    pub fn take(&mut self) -> Option<u32> {
        let made_us = if self.kind == Kind::Fray { self.of_fray() } else { self.of_others() };
        self.message.clear();
        made_us
    }

    fn of_others(&mut self) -> Option<u32> {
        let state = State::decode(&self.message[..]).ok()?;
        self.ships = state.ships.len();
        Some(state.made_us)
    }

    fn of_fray(&mut self) -> Option<u32> {
        match v1::PlayResponse::decode(&self.message[..]).ok()?.message? {
            Message::Welcome(welcome) => {
                self.replica = Replica::for_welcome(&welcome);
                None
            }
            Message::Update(update) => {
                let made_us = update.private.as_ref().and_then(|private| private.values.first());
                let made_us = made_us.map(|us| *us as u32);
                let replica = self.replica.as_mut()?;
                if replica.apply(&update).is_err() {
                    self.desyncs += 1;
                }
                self.ships = replica.entities().count();
                made_us
            }
            _ => None,
        }
    }
}
