//! Single requests to the directory: each with a deadline, each counted, and none whose outcome is guessed.

use super::Buckets;
use crate::session::directory::{DirectoryError, Revision};
use crate::telemetry::Metrics;
use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, HeaderValue, header, jetstream};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the directory remembers that a record was removed, for those who look on.
const TOMBSTONE: Duration = Duration::from_secs(60);

/// What a write is for, as metrics name it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Read,
    Create,
    Swap,
    Remove,
    Announce,
    Withdraw,
    Dismiss,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Create => "create",
            Self::Swap => "swap",
            Self::Remove => "remove",
            Self::Announce => "announce",
            Self::Withdraw => "withdraw",
            Self::Dismiss => "dismiss",
        }
    }
}

/// What is in the directory under a key.
pub(super) struct Stored {
    pub(super) revision: Revision,
    /// `None`: it says that there is nothing any more.
    pub(super) value: Option<Bytes>,
}

/// What to write.
pub(super) struct Write {
    pub(super) kind: Kind,
    pub(super) bucket: String,
    pub(super) key: String,
    /// `None`: that there is nothing any more.
    pub(super) value: Option<Bytes>,
    /// In place of which revision; `None`: whatever is there.
    pub(super) old: Option<Revision>,
}

pub(super) struct Requests {
    pub(super) jetstream: jetstream::Context,
    pub(super) metrics: Arc<Metrics>,
}

impl Requests {
    /// What is there now, from whoever decides it.
    pub(super) async fn read(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Stored>, DirectoryError> {
        let read = self.read_uncounted(bucket, key).await;
        self.count(Kind::Read, read.as_ref().map(|_| ()).map_err(|error| *error));
        read
    }

    async fn read_uncounted(
        &self,
        bucket: &str,
        key: &str,
    ) -> Result<Option<Stored>, DirectoryError> {
        self.is_connected()?;
        let read = async {
            let stream = self.jetstream.get_stream_no_info(Buckets::stream(bucket)).await;
            let stream = stream.map_err(|_| DirectoryError::Away)?;
            match stream.get_last_raw_message_by_subject(&Buckets::subject(bucket, key)).await {
                Ok(message) => Ok(Some(Stored {
                    revision: Revision(message.sequence),
                    value: (!says_gone(&message.headers)).then_some(message.payload),
                })),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(_) => Err(DirectoryError::Away),
            }
        };
        timeout(REQUEST_TIMEOUT, read).await.unwrap_or(Err(DirectoryError::Away))
    }

    /// Writes, and if no answer comes, looks whether it was written: [`DirectoryError::Away`] means that it may yet be.
    pub(super) async fn write(&self, write: Write) -> Result<Revision, DirectoryError> {
        let done = self.write_uncounted(&write).await;
        self.count(write.kind, done.map(|_| ()));
        done
    }

    async fn write_uncounted(&self, write: &Write) -> Result<Revision, DirectoryError> {
        self.is_connected()?;
        let mut old = write.old;
        if old == Some(Revision(0)) {
            // Where a record was removed, there is still a word about it.
            match self.publish(write, old).await {
                Err(Refused::Conflict) => {
                    match self.read_uncounted(&write.bucket, &write.key).await? {
                        Some(Stored { revision, value: None }) => old = Some(revision),
                        // Forgotten meanwhile.
                        None => {}
                        Some(_) => return Err(DirectoryError::Conflict),
                    }
                }
                Ok(revision) => return Ok(revision),
                Err(Refused::Unknown) => return self.read_back(write).await,
            }
        }
        match self.publish(write, old).await {
            Ok(revision) => Ok(revision),
            Err(Refused::Conflict) => Err(DirectoryError::Conflict),
            Err(Refused::Unknown) => self.read_back(write).await,
        }
    }

    async fn publish(&self, write: &Write, old: Option<Revision>) -> Result<Revision, Refused> {
        let mut headers = HeaderMap::new();
        if let Some(Revision(old)) = old {
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(old));
        }
        if write.value.is_none() {
            headers.insert(KV_OPERATION, "PURGE");
            headers.insert(header::NATS_ROLLUP, "sub");
            headers.insert(header::NATS_MESSAGE_TTL, HeaderValue::from(TOMBSTONE.as_secs()));
        }
        let subject = Buckets::subject(&write.bucket, &write.key);
        let value = write.value.clone().unwrap_or_default();
        let publish =
            async { self.jetstream.publish_with_headers(subject, headers, value).await?.await };
        match timeout(REQUEST_TIMEOUT, publish).await {
            Ok(Ok(ack)) => Ok(Revision(ack.sequence)),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                Err(Refused::Conflict)
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, kind = write.kind.label(), "the directory did not take a write");
                Err(Refused::Unknown)
            }
            Err(_) => Err(Refused::Unknown),
        }
    }

    /// Whether a write of unknown outcome is there.
    async fn read_back(&self, write: &Write) -> Result<Revision, DirectoryError> {
        let Some(old) = write.old else { return Err(DirectoryError::Away) };
        let stored = self.read_uncounted(&write.bucket, &write.key).await?;
        match stored {
            Some(stored) if stored.value == write.value => Ok(stored.revision),
            // It is still as it was: the write may be on its way.
            Some(stored) if stored.revision == old => Err(DirectoryError::Away),
            Some(Stored { value: None, .. }) | None if old == Revision(0) => {
                Err(DirectoryError::Away)
            }
            // A word about a removal is forgotten after a while.
            None if write.value.is_none() => Ok(old),
            // Somebody else has written since, so that it cannot come through any more.
            _ => Err(DirectoryError::Conflict),
        }
    }

    /// Nothing is given to a connection that is not there: it would be sent whenever that comes back.
    fn is_connected(&self) -> Result<(), DirectoryError> {
        let is_connected = self.jetstream.client().connection_state() == State::Connected;
        if is_connected { Ok(()) } else { Err(DirectoryError::Away) }
    }

    fn count(&self, kind: Kind, outcome: Result<(), DirectoryError>) {
        let outcome = match outcome {
            Ok(()) => "ok",
            Err(DirectoryError::Away) => "away",
            Err(DirectoryError::Conflict) => "conflict",
            Err(DirectoryError::Malformed) => "malformed",
        };
        self.metrics.directory.requested(kind.label(), outcome);
    }
}

enum Refused {
    Conflict,
    Unknown,
}

pub(super) const KV_OPERATION: &str = "KV-Operation";

/// Whether a message says that there is nothing any more: it was removed, or has become too old.
pub(super) fn says_gone(headers: &HeaderMap) -> bool {
    let is_removal = |operation: &HeaderValue| matches!(operation.as_str(), "DEL" | "PURGE");
    headers.get(KV_OPERATION).is_some_and(is_removal)
        || headers.get(header::NATS_MARKER_REASON).is_some()
}
