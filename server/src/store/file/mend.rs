//! What has to be put right in a folder: ends that were cut off, and what is too old or too much.

use super::index::{Key, Removal, Retention, segment_path};
use super::load::scan;
use super::writer::FileWriter;
use super::{Options, Sync};
use crate::store::Name;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl FileWriter {
    /// Before a segment follows what is there: it must be later, and what is there must end with a whole record.
    pub(super) fn look_back(&mut self, name: &Name, key: Key) -> io::Result<()> {
        loop {
            let (last, last_tick) = {
                let index = self.files.index();
                let log = index.by_name.get(name).ok_or(io::ErrorKind::NotFound)?;
                (log.segments.back().map(|segment| segment.key), log.last_tick)
            };
            let Some(last) = last else { return Ok(()) };
            let has_begun = self.logs.get(name).is_some_and(|log| log.has_begun);
            if !has_begun {
                let path = segment_path(name, last);
                let found = scan(self.files.disk.read(&path)?)?;
                if let Some(damage) = &found.damage {
                    tracing::error!(path, error = %damage, "a damaged recording goes on");
                } else if found.last_tick.is_none_or(|tick| tick < last.first_tick) {
                    // Nothing happens in it, and what follows may want its name.
                    self.files.disk.remove(&path)?;
                    let mut index = self.files.index();
                    index.resize(name, last, 0);
                    if let Some(log) = index.by_name.get_mut(name) {
                        log.segments.pop_back();
                    }
                    continue;
                } else {
                    self.cut_off(&path, found.whole)?;
                }
            }
            let is_later = last.epoch < key.epoch
                || (last.epoch == key.epoch && last < key && last_tick < key.first_tick);
            return if is_later {
                Ok(())
            } else {
                Err(io::Error::other("what is there is later than what should follow it"))
            };
        }
    }

    fn cut_off(&self, path: &str, length: u64) -> io::Result<()> {
        self.files.disk.truncate(path, length)?;
        if self.options.sync == Sync::None { Ok(()) } else { self.files.disk.sync_file(path) }
    }

    /// Cuts off what a failed call left at a file's end.
    pub(super) fn mend(&mut self, name: &Name) -> io::Result<()> {
        let Some(log) = self.logs.get_mut(name) else { return Ok(()) };
        let Some((key, length)) = log.torn else { return Ok(()) };
        let path = segment_path(name, key);
        let mended =
            if length == 0 { self.files.disk.remove(&path) } else { self.cut_off(&path, length) };
        if let Err(error) = mended.or_else(is_gone) {
            self.files.counts.disk_errors.fetch_add(1, Relaxed);
            return Err(error);
        }
        let mut index = self.files.index();
        index.resize(name, key, length);
        if let Some(log) = index.by_name.get_mut(name).filter(|_| length == 0) {
            log.segments.retain(|segment| segment.key != key);
        }
        drop(index);
        if let Some(log) = self.logs.get_mut(name) {
            log.torn = None;
        }
        Ok(())
    }

    /// Removes what is too old or too much.
    pub(super) fn let_go(&self, now: Duration) {
        let Options { retention_bytes: bytes, retention_age: age, .. } = self.options;
        let removals = self.files.index().let_go(Retention { bytes, age }, self.wall(now));
        for Removal { path, dir } in removals {
            let removed = self.files.disk.remove(&path).or_else(is_gone);
            let removed = removed.and_then(|()| match dir {
                Some(dir) => self.files.disk.remove_dir(&dir),
                None => Ok(()),
            });
            if let Err(error) = removed {
                self.files.counts.disk_errors.fetch_add(1, Relaxed);
                tracing::error!(path, %error, "what is not kept any longer cannot be removed");
            }
        }
    }
}

fn is_gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
