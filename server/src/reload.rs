//! Files that may change while the server runs: keys and certificates. They are read again now and then; what cannot be used
//! leaves in place what was good, and is counted.
//!
//! Reading again instead of being told works everywhere: also where a folder is a symlink that is put elsewhere as a whole, as
//! Kubernetes does.

use crate::telemetry::Metrics;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// How often.
pub const EVERY: Duration = Duration::from_secs(10);

/// Something that is read from files.
pub trait Reload: Send + 'static {
    /// What it is, in metrics and in the log.
    const SOURCE: &'static str;

    /// Reads it again, and puts it to use if it is sound; true if it is another than before. Blocks. `Err`, for people: what of
    /// it cannot be used; what was good stays.
    fn reload(&mut self, now: Instant) -> Result<bool, String>;
}

/// Reads it again until `stop`.
pub async fn keep<T: Reload>(mut what: T, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut problem = None;
    let mut looks = interval_at(Instant::now() + EVERY, EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let now = Instant::now();
        // A disk may hang: that must not be a worker's business.
        let read = tokio::task::spawn_blocking(move || {
            let read = what.reload(now);
            (what, read)
        });
        let outcome = match read.await {
            Ok((back, outcome)) => {
                what = back;
                outcome
            }
            Err(error) => {
                tracing::error!(source = T::SOURCE, %error, "files are not read again any more");
                return;
            }
        };
        match &outcome {
            Ok(false) if problem.is_none() => {}
            Ok(_) => tracing::info!(source = T::SOURCE, "files were read again"),
            Err(why) => {
                metrics.reload_failed(T::SOURCE);
                if problem.as_ref() != Some(why) {
                    tracing::error!(source = T::SOURCE, %why, "files cannot be used: what was good stays");
                }
            }
        }
        problem = outcome.err();
    }
}

/// A file's bytes, if they are not more than that.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let problem = format!("it is larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}
