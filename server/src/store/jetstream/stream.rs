//! The stream, asked directly. Every answer comes within [`Options::answer_timeout`], or not at all.

use super::Options;
use super::message::{Meta, Stored};
use crate::store::Tail;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{ErrorCode, context};
use async_nats::{Client, StatusCode, connection};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use std::io;
use std::time::UNIX_EPOCH;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, timeout};

/// "End of batch": all that was asked for has come.
const END_OF_BATCH: u16 = 204;
/// Many logs may miss the stream at once; it is not made more often than this.
const ENSURE_EVERY: Duration = Duration::from_millis(500);
/// What is asked for at once.
pub(super) const BATCH_MESSAGES: usize = 64;
const BATCH_BYTES: usize = 4 << 20;

/// How the stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Changes when the stream is made anew: then sequences begin again.
    pub(super) created: i128,
    pub(super) first_sequence: u64,
    pub(super) bytes: u64,
}

/// Why a message was not taken; or nobody knows whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Somebody wrote in between, or what was there is gone.
    OtherLast,
    /// There is no stream.
    NoStream,
    /// The server will not take it, however often it is asked.
    TooLarge,
    /// Anything may have become of it.
    Unknown,
}

pub(super) struct Stream {
    client: Client,
    context: Context,
    options: Options,
    /// When the stream was last made, or given our limits.
    ensured: Mutex<Option<Instant>>,
}

impl Stream {
    /// Must be called within a runtime.
    pub(super) fn new(client: Client, options: Options) -> Self {
        let context = ContextBuilder::new().timeout(options.answer_timeout).build(client.clone());
        Self { client, context, options, ensured: Mutex::new(None) }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == connection::State::Connected
    }

    /// How many bytes of records a message may carry.
    pub(super) fn payload_bytes_max(&self) -> usize {
        let max = self.client.max_payload().min(self.options.message_bytes_max);
        max.saturating_sub(super::message::HEADERS_BYTES_MAX).max(1024)
    }

    pub(super) fn log_subject(&self, room: &str) -> String {
        format!("{}.log.{room}", self.options.prefix)
    }

    pub(super) fn incident_subject(&self, name: &str) -> String {
        format!("{}.incident.{name}", self.options.prefix)
    }

    /// Of a subject: whether it is an incident's, and what it is called.
    pub(super) fn name_of<'a>(&self, subject: &'a str) -> Option<(bool, &'a str)> {
        let rest = subject.strip_prefix(self.options.prefix.as_str())?.strip_prefix('.')?;
        let (kind, name) = rest.split_once('.')?;
        match kind {
            "log" => Some((false, name)),
            "incident" => Some((true, name)),
            _ => None,
        }
    }

    /// Makes the stream, or gives it our limits, unless that was done.
    pub(super) async fn ensure(&self) -> io::Result<()> {
        self.ensure_since(|_| true).await
    }

    /// Makes the stream again: it was not there.
    pub(super) async fn ensure_again(&self) -> io::Result<()> {
        self.ensure_since(|at| at.elapsed() < ENSURE_EVERY).await
    }

    async fn ensure_since(&self, is_enough: impl Fn(Instant) -> bool) -> io::Result<()> {
        let mut ensured = self.ensured.lock().await;
        if ensured.is_some_and(is_enough) {
            return Ok(());
        }
        let Options { prefix, retention_bytes, retention_age, replicas, .. } = &self.options;
        let config = Config {
            name: prefix.clone(),
            description: Some("What rooms play: logs and incidents.".into()),
            subjects: vec![format!("{prefix}.log.*"), format!("{prefix}.incident.*")],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            max_bytes: i64::try_from(*retention_bytes).unwrap_or(i64::MAX),
            max_age: *retention_age,
            num_replicas: *replicas,
            allow_direct: true,
            ..Config::default()
        };
        self.context.create_or_update_stream(config).await.map_err(io::Error::other)?;
        *ensured = Some(Instant::now());
        Ok(())
    }

    /// Publishes a message if the last one of its subject is `expected`, and says which number it got.
    pub(super) async fn publish(
        &self,
        subject: &str,
        meta: &Meta,
        payload: Bytes,
        expected: u64,
    ) -> Result<u64, NotTaken> {
        let message = PublishMessage::build()
            .payload(payload)
            .headers(meta.headers())
            .expected_stream(&self.options.prefix)
            .expected_last_subject_sequence(expected);
        let sent = self.context.send_publish(subject.to_owned(), message).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        acknowledged.map(|ack| ack.sequence).map_err(|error| {
            let not_taken = match error.kind() {
                PublishErrorKind::WrongLastSequence => NotTaken::OtherLast,
                PublishErrorKind::StreamNotFound => NotTaken::NoStream,
                PublishErrorKind::MaxPayloadExceeded => NotTaken::TooLarge,
                _ => NotTaken::Unknown,
            };
            tracing::debug!(subject, ?not_taken, %error, "a message was not acknowledged");
            not_taken
        })
    }

    /// The last message of a subject, as the stream's leader has it.
    pub(super) async fn last(&self, subject: &str) -> io::Result<Option<Stored>> {
        Ok(self.last_raw(subject).await?.map(|message| Stored {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            meta: Meta::parse(&message.headers),
            payload: message.payload,
        }))
    }

    /// The end of a log, as the stream's leader has it, and when JetStream took it.
    pub(super) async fn end(&self, subject: &str) -> io::Result<Option<Tail>> {
        Ok(self.last_raw(subject).await?.map(|message| {
            let since_1970 = u64::try_from(message.time.unix_timestamp_nanos()).ok();
            Tail {
                last_tick: Meta::parse(&message.headers).map_or(0, |meta| meta.last_tick),
                written_at: since_1970.map(|ns| UNIX_EPOCH + Duration::from_nanos(ns)),
            }
        }))
    }

    async fn last_raw(&self, subject: &str) -> io::Result<Option<StreamMessage>> {
        let stream = self.context.get_stream_no_info(&self.options.prefix).await;
        let stream = stream.map_err(io::Error::other)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(refused)
                    if refused.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(io::Error::other(error)),
            },
        }
    }

    /// The next messages of a subject, from this number on, a few at once.
    pub(super) async fn next(&self, subject: &str, sequence: u64) -> io::Result<Vec<Stored>> {
        let (batch, bytes) = (BATCH_MESSAGES, BATCH_BYTES);
        self.ask(json!({
            "seq": sequence, "next_by_subj": subject, "batch": batch, "max_bytes": bytes,
        }))
        .await
    }

    /// The next message of a subject, from this number on.
    pub(super) async fn next_one(
        &self,
        subject: &str,
        sequence: u64,
    ) -> io::Result<Option<Stored>> {
        let found =
            self.ask(json!({ "seq": sequence, "next_by_subj": subject, "batch": 1 })).await?;
        Ok(found.into_iter().next())
    }

    /// The last message of each of these subjects; those that have none are missing.
    pub(super) async fn last_of_each(&self, subjects: &[String]) -> io::Result<Vec<Stored>> {
        let mut found = Vec::with_capacity(subjects.len());
        for some in subjects.chunks(BATCH_MESSAGES) {
            let messages = self.ask(json!({ "multi_last": some })).await?;
            // An answer is limited in bytes; what did not fit is asked for alone.
            for subject in some {
                if !messages.iter().any(|message| message.subject == *subject) {
                    found.extend(self.ask(json!({ "multi_last": [subject] })).await?);
                }
            }
            found.extend(messages);
        }
        Ok(found)
    }

    /// Asks whichever server has the stream, and gathers its answer.
    async fn ask(&self, request: serde_json::Value) -> io::Result<Vec<Stored>> {
        let Options { prefix, answer_timeout, .. } = &self.options;
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(io::Error::other)?;
        let to = format!("$JS.API.DIRECT.GET.{prefix}");
        let request = request.to_string().into();
        self.client.publish_with_reply(to, inbox, request).await.map_err(io::Error::other)?;
        let mut found = Vec::new();
        loop {
            let answer = timeout(*answer_timeout, answers.next()).await?;
            let answer = answer.ok_or(io::ErrorKind::NotConnected)?;
            match answer.status {
                None => {}
                Some(status) if status.as_u16() == END_OF_BATCH => return Ok(found),
                // No such message; no such stream.
                Some(StatusCode::NOT_FOUND | StatusCode::NO_RESPONDERS) => return Ok(found),
                Some(status) => {
                    let why = answer.description.unwrap_or_default();
                    return Err(io::Error::other(format!("JetStream says {status}: {why}")));
                }
            }
            let headers = answer.headers.unwrap_or_default();
            let field = |name| headers.get(name).map(async_nats::HeaderValue::as_str);
            let sequence = field(async_nats::header::NATS_SEQUENCE).and_then(|n| n.parse().ok());
            let subject = field(async_nats::header::NATS_SUBJECT).map(str::to_owned);
            if let (Some(sequence), Some(subject)) = (sequence, subject) {
                let meta = Meta::parse(&headers);
                found.push(Stored { sequence, subject, meta, payload: answer.payload });
            }
        }
    }

    /// `None`: there is no stream.
    pub(super) async fn state(&self) -> io::Result<Option<State>> {
        match self.context.get_stream(&self.options.prefix).await {
            Ok(stream) => {
                let info = stream.cached_info();
                Ok(Some(State {
                    created: info.created.unix_timestamp_nanos(),
                    first_sequence: info.state.first_sequence,
                    bytes: info.state.bytes,
                }))
            }
            Err(error) => match error.kind() {
                context::GetStreamErrorKind::JetStream(refused)
                    if refused.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(io::Error::other(error)),
            },
        }
    }

    /// All subjects that have messages.
    pub(super) async fn subjects(&self) -> io::Result<Vec<String>> {
        let Options { prefix, answer_timeout, .. } = &self.options;
        let stream = self.context.get_stream_no_info(prefix).await.map_err(io::Error::other)?;
        let gather = async {
            let subjects = stream.info_with_subjects(format!("{prefix}.>")).await;
            let subjects = subjects.map_err(io::Error::other)?;
            subjects.map_ok(|(subject, _)| subject).try_collect().await.map_err(io::Error::other)
        };
        timeout(*answer_timeout, gather).await?
    }
}
