//! A room's end of the queue.

use super::Files;
use super::index::Place;
use super::queue::Message;
use crate::store::{Chunk, Error, Incident, Writer};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub(super) struct Handle {
    files: Arc<Files>,
    place: Arc<Place>,
    /// Something was refused, or nothing was taken yet.
    needs_checkpoint: bool,
}

impl Handle {
    pub(super) fn new(files: Arc<Files>, place: Arc<Place>) -> Self {
        Self { files, place, needs_checkpoint: true }
    }

    fn check_owner(&self) -> Result<(), Error> {
        let owner = &self.place.owner;
        if owner.serial.load(Relaxed) == self.place.serial {
            Ok(())
        } else {
            Err(Error::Fenced(owner.epoch.load(Relaxed)))
        }
    }
}

impl Writer for Handle {
    fn append(&mut self, chunk: Chunk) -> Result<(), Error> {
        self.check_owner()?;
        let begins = chunk.has_checkpoint;
        let failed = &self.place.owner.needs_checkpoint;
        if !begins && (self.needs_checkpoint || failed.load(Relaxed)) {
            self.needs_checkpoint = true;
            return Err(Error::Full);
        }
        let pushed = self.files.queue.push(Message::Append(Arc::clone(&self.place), chunk));
        self.needs_checkpoint = pushed.is_err();
        if begins && pushed.is_ok() {
            failed.store(false, Relaxed);
        }
        pushed
    }

    fn keep(&mut self, incident: Incident) -> Result<(), Error> {
        self.check_owner()?;
        self.files.queue.push(Message::Keep(Arc::clone(&self.place), incident))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // After closing there is nobody to tell, and no need to.
        let _ = self.files.queue.push(Message::Gone(Arc::clone(&self.place)));
    }
}
