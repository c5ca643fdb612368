//! Tickets' keys as files: `NAME.pem` in a folder, where NAME is the key's id. All of them verify; the newest that everybody
//! can have heard of signs.

use super::{Error, FILE_BYTES_MAX};
use crate::reload::{self, Reload};
use crate::session::keyring::{Ring, TicketKey};
use crate::session::ticket::Keys;
use crate::telemetry::Metrics;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The most keys of a folder; rotation needs two.
pub const KEYS_MAX: usize = 32;
const EXTENSION: &str = "pem";

/// A folder of keys, and what was good in it.
pub struct Folder {
    dir: PathBuf,
    /// How old a key must be to sign.
    age_min: Duration,
    known: BTreeMap<String, Known>,
    /// The ids of those in use, and of the one that signs; a change is told.
    told: (Vec<String>, String),
    keys: Arc<Keys>,
    metrics: Arc<Metrics>,
}

struct Known {
    key: Arc<TicketKey>,
    pem: Vec<u8>,
    seen: Instant,
    /// How old it was when it was first seen.
    age: Duration,
}

/// A file, as it was found.
struct Found {
    id: String,
    content: io::Result<Vec<u8>>,
    age: Duration,
}

impl Folder {
    /// Reads the folder for the first time. The public keys may be kept by others for `jwks_max_age`; a key signs once it is
    /// twice as old.
    pub fn open(
        dir: &Path,
        jwks_max_age: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<(Arc<Keys>, Self), Error> {
        let now = Instant::now();
        let found = scan(dir).map_err(|error| Error::Io(dir.to_owned(), error))?;
        let mut known = BTreeMap::new();
        // What is here already when the process starts may have been here for long: its file says.
        let problems = merge(&mut known, found, now, |found| found.age);
        for problem in &problems {
            tracing::error!(dir = %dir.display(), %problem, "a ticket key cannot be used");
        }
        let age_min = jwks_max_age.saturating_mul(2);
        let ring = ring(&known, now, age_min);
        let ring = ring.map_err(|error| Error::Key(dir.to_owned(), error))?;
        let told = names(&ring);
        metrics.ticket_keys.set(ring.len() as i64);
        let keys = Arc::new(Keys::new(ring, jwks_max_age));
        let folder = Self {
            dir: dir.to_owned(),
            age_min,
            known,
            told,
            keys: Arc::clone(&keys),
            metrics: Arc::clone(metrics),
        };
        Ok((keys, folder))
    }
}

impl Reload for Folder {
    const SOURCE: &'static str = "ticket_keys";

    fn reload(&mut self, now: Instant) -> Result<bool, String> {
        let found = scan(&self.dir).map_err(|error| error.to_string())?;
        // Whatever its file says, others cannot have heard of it from this server before.
        let problems = merge(&mut self.known, found, now, |_| Duration::ZERO);
        let ring = ring(&self.known, now, self.age_min).map_err(|error| error.to_string())?;
        self.metrics.ticket_keys.set(ring.len() as i64);
        let names = names(&ring);
        let is_news = names != self.told;
        if is_news {
            tracing::info!(keys = ?names.0, signs = names.1, "other ticket keys");
        }
        self.told = names;
        self.keys.replace(ring);
        if problems.is_empty() { Ok(is_news) } else { Err(problems.join("; ")) }
    }
}

fn ring(
    known: &BTreeMap<String, Known>,
    now: Instant,
    age_min: Duration,
) -> Result<Ring, crate::session::keyring::KeyError> {
    let aged = known.values().map(|known| {
        let here = now.saturating_duration_since(known.seen);
        (Arc::clone(&known.key), known.age.saturating_add(here))
    });
    Ring::new(aged, age_min)
}

fn names(ring: &Ring) -> (Vec<String>, String) {
    let ids = ring.ids().map(str::to_owned).collect();
    (ids, ring.signer().id().to_owned())
}

/// All files that may be keys, in the order of their names.
fn scan(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(id) = path.file_stem().and_then(|name| name.to_str()).map(str::to_owned) else {
            continue;
        };
        // What begins with a dot is somebody's scaffold: an editor's, or Kubernetes'.
        if path.extension().is_none_or(|extension| extension != EXTENSION) || id.starts_with('.') {
            continue;
        }
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        let content = reload::read(&path, FILE_BYTES_MAX);
        found.push(Found { id, content, age: age.unwrap_or_default() });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Brings what is known up to date: new keys come in, those that are gone go, and of what cannot be used now, what was good
/// stays. Says, for people, what cannot be used.
fn merge(
    known: &mut BTreeMap<String, Known>,
    found: Vec<Found>,
    now: Instant,
    age: impl Fn(&Found) -> Duration,
) -> Vec<String> {
    let mut problems = Vec::new();
    // An empty folder is a mistake, or half of a swap: without any key nobody could play.
    if found.is_empty() {
        return vec![format!("there is no *.{EXTENSION} in the folder")];
    }
    known.retain(|id, _| found.iter().any(|found| found.id == *id));
    for found in found {
        let age = age(&found);
        let pem = match found.content {
            Ok(pem) => pem,
            Err(error) => {
                problems.push(format!("{}: {error}", found.id));
                continue;
            }
        };
        if known.get(&found.id).is_some_and(|known| known.pem == pem) {
            continue;
        }
        if known.len() >= KEYS_MAX && !known.contains_key(&found.id) {
            problems.push(format!("{}: there are more than {KEYS_MAX} keys", found.id));
            continue;
        }
        match TicketKey::from_pem(&found.id, &String::from_utf8_lossy(&pem)) {
            Ok(key) => {
                let key = Known { key: Arc::new(key), pem, seen: now, age };
                known.insert(found.id, key);
            }
            Err(error) => problems.push(format!("{}: {error}", found.id)),
        }
    }
    problems
}

#[cfg(test)]
mod tests;
