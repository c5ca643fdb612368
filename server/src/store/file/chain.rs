//! A room's segments, read as one recording that may still grow.

use super::Files;
use super::index::Key;
use crate::store::{Error, Name};
use std::io::{self, Read};
use std::sync::Arc;

/// Shows whole records only, and moves on to the next segment at the end of one that is finished.
pub(super) struct Chain {
    files: Arc<Files>,
    name: Name,
    key: Key,
    file: Option<Box<dyn Read + Send>>,
    position: u64,
}

impl Chain {
    /// From the newest segment that begins not after `tick`, or from the oldest.
    pub(super) fn begin(files: Arc<Files>, name: Name, tick: u32) -> Result<Self, Error> {
        let key = {
            let index = files.index();
            let log = index.by_name.get(&name).ok_or(Error::NotFound)?;
            let begins = |key: &Key| key.first_tick <= tick.max(1);
            let mut keys = log.segments.iter().rev().map(|segment| segment.key);
            let oldest = log.segments.front().map(|segment| segment.key);
            keys.find(begins).or(oldest).ok_or(Error::NotFound)?
        };
        Ok(Self { files, name, key, file: None, position: 0 })
    }

    /// How much of this segment there is, and what comes after it.
    fn look(&self) -> io::Result<(u64, Option<Key>)> {
        let mut index = self.files.index();
        let log = index.by_name.get_mut(&self.name).ok_or_else(let_go)?;
        let next = log.segments.iter().map(|segment| segment.key).find(|key| *key > self.key);
        if let Some(segment) = log.segment(self.key) {
            return Ok((segment.bytes, next));
        }
        // The file is open, so it is still there. But if more is gone, then what is next is not what follows.
        match log.gone {
            Some((key, bytes)) if key == self.key && self.file.is_some() => Ok((bytes, next)),
            _ => Err(let_go()),
        }
    }
}

impl Read for Chain {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.file.is_none() {
                let path = {
                    self.files.look_at(&self.name, self.key)?;
                    let index = self.files.index();
                    let log = index.by_name.get(&self.name).ok_or_else(let_go)?;
                    log.path(&self.name, self.key)
                };
                self.file = Some(self.files.disk.read(&path)?);
                self.position = 0;
            }
            let (bytes, next) = self.look()?;
            let left = bytes.saturating_sub(self.position);
            let wanted = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if wanted > 0 {
                let Some(file) = &mut self.file else { continue };
                let got = file.read(&mut out[..wanted])?;
                self.position += got as u64;
                if got > 0 {
                    return Ok(got);
                }
            }
            let Some(next) = next.filter(|_| !out.is_empty()) else { return Ok(0) };
            self.key = next;
            self.file = None;
        }
    }
}

fn let_go() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "this part was let go meanwhile")
}
