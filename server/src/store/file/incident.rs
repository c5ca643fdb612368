//! A part of a log that is kept whatever happens to the log.

use super::Sync;
use super::chain::Chain;
use super::index::{INCIDENTS, Key, Log, Place, Segment, TEMPORARY, incident_path};
use super::writer::FileWriter;
use crate::store::{Error, Header, Incident, Reader, Record, cut};
use std::io;
use std::sync::Arc;
use std::time::Duration;

impl FileWriter {
    /// Copies the last part of a log, as it is now.
    pub(super) fn keep(&mut self, place: &Place, incident: &Incident, now: Duration) {
        let is_taken = {
            let index = self.files.index();
            index.by_name.get(&incident.name).is_some_and(|log| !log.is_incident)
        };
        let temporary = format!("{INCIDENTS}/{}{TEMPORARY}", incident.name);
        let kept = if is_taken {
            Err(Error::BadName(incident.name.to_string()))
        } else {
            self.copy(place, incident, &temporary, now)
        };
        match kept {
            Ok(()) => self.let_go(now),
            Err(error) => {
                let _ = self.files.disk.remove(&temporary);
                self.failed(&incident.name, "an incident cannot be kept", &io::Error::other(error));
            }
        }
    }

    fn copy(
        &self,
        place: &Place,
        incident: &Incident,
        temporary: &str,
        now: Duration,
    ) -> Result<(), Error> {
        let Incident { name, what, from_tick } = incident;
        let chain = Chain::begin(Arc::clone(&self.files), place.name.clone(), *from_tick)?;
        let to_tick = {
            let index = self.files.index();
            index.by_name.get(&place.name).ok_or(Error::NotFound)?.last_tick
        };
        let disk = &self.files.disk;
        // What a crash left.
        let _ = disk.remove(temporary);
        let mut file = disk.create(temporary)?;
        let (mut bytes, mut header, mut written) = (0, None, Ok(()));
        cut(&mut Reader::new(chain), *from_tick, to_tick, what, |piece| {
            if header.is_none() {
                header = first_header(piece);
            }
            bytes += piece.len() as u64;
            written = file.append(piece);
            piece.clear();
            written.is_ok()
        })?;
        written?;
        let header = header.ok_or(Error::NotFound)?;
        let is_safe = self.options.sync != Sync::None;
        if is_safe {
            file.sync()?;
        }
        disk.rename(temporary, &incident_path(name))?;
        if is_safe {
            disk.sync_dir(INCIDENTS)?;
        }

        let modified = self.wall(now);
        let key = Key { epoch: header.epoch, first_tick: header.first_tick };
        let mut index = self.files.index();
        let begun = (modified.as_millis() as u64, index.next_serial());
        let mut log = Log::new(header, true, begun);
        log.segments.push_back(Segment { key, bytes, is_scanned: true, modified });
        log.last_tick = to_tick;
        index.insert(name.clone(), log);
        Ok(())
    }
}

/// What the copy begins with: the first piece has it whole.
fn first_header(piece: &[u8]) -> Option<Header> {
    match Reader::new(piece).next_record() {
        Ok(Some(Record::Header(header))) => Some(*header),
        _ => None,
    }
}
