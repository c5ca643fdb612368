//! Keeps the view as the directory is: makes the buckets, reads them in full, and hears of each change; after a break, again.

use super::request::{REQUEST_TIMEOUT, says_gone};
use super::view::{Entry, Life, held};
use super::{Buckets, Options, Shared, parse_room, parse_server};
use crate::room::RoomId;
use crate::session::directory::{InstanceId, Revision};
use async_nats::Event;
use async_nats::connection::State;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{ErrorCode, Message, kv, stream};
use futures_util::StreamExt as _;
use futures_util::future::{Either, pending};
use rand::RngExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How often the buckets are looked at: whether they are the same, and have lost nothing.
const PULSE_EVERY: Duration = Duration::from_secs(1);
/// So many looks without an answer, or with less in the buckets than there was, and all is read again.
const PULSES_BAD_MAX: u32 = 3;
/// How long the next record may take while all are read.
const READ_SILENCE_MAX: Duration = Duration::from_secs(2);
/// The shortest and the longest pause before the next try.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Words about records that are gone may run out, and are kept at least so long.
const MARKER: Duration = Duration::from_secs(60);

/// Keeps the view of a directory in NATS.
pub struct Follower {
    reader: Reader,
    events: mpsc::Receiver<Event>,
}

/// Reads buckets into the view.
struct Reader {
    shared: Arc<Shared>,
    options: Options,
}

/// Why following came to a break.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error("NATS is not connected")]
    NotConnected,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the directory was emptied or set back")]
    AnotherLife,
    #[error("{0}: {1}")]
    Failed(&'static str, async_nats::Error),
    #[error("a watch has ended")]
    WatchEnded,
}

fn failed<E: Into<async_nats::Error>>(what: &'static str) -> impl Fn(E) -> Break {
    move |error| Break::Failed(what, error.into())
}

/// A bucket that is watched.
struct Watched {
    messages: Ordered,
    /// How many records are still to be read until all that were there have been.
    unread: u64,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: Options,
        events: mpsc::Receiver<Event>,
    ) -> Self {
        Self { reader: Reader { shared, options }, events }
    }

    /// Follows the directory until `stop`. It does not end before, whatever happens to NATS.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSE.0;
        let mut was_away = false;
        loop {
            let began = Instant::now();
            let follow = Box::pin(self.reader.follow(&mut self.events));
            let broken = stop.run_until_cancelled(follow).await;
            let Some(Err(broken)) = broken else { return };
            match broken {
                Break::NotConnected if was_away => {}
                Break::AnotherLife => tracing::warn!("{broken}: read again"),
                _ => tracing::warn!(error = %broken, "the directory is read again"),
            }
            was_away = matches!(broken, Break::NotConnected);
            self.reader.shared.requests.metrics.directory.breaks.inc();
            if began.elapsed() > PAUSE.1 * 4 {
                pause = PAUSE.0;
            }
            // Not all at the same moment.
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.0));
            if stop.run_until_cancelled(sleep(jittered)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

impl Reader {
    /// Reads all, then hears of changes until something breaks.
    async fn follow(
        &self,
        events: &mut mpsc::Receiver<Event>,
    ) -> Result<std::convert::Infallible, Break> {
        if self.shared.requests.jetstream.client().connection_state() != State::Connected {
            return Err(Break::NotConnected);
        }
        // What they say is older than the look above.
        while events.try_recv().is_ok() {}
        let known = self.shared.state().view.life();
        let life = in_time(Box::pin(self.open())).await?;
        let is_another = known.is_some_and(|known| !known.goes_on_in(&life));
        if is_another {
            tracing::warn!("the directory is not the one that was known: its records are awaited");
            self.shared.requests.metrics.directory.wipes.inc();
        }
        let mut rooms = in_time(self.watch(&self.shared.buckets.rooms)).await?;
        let mut servers = in_time(self.watch(&self.shared.buckets.servers)).await?;
        self.shared.state().view.begin(life, is_another, Instant::now());
        let mut read_by = Instant::now() + READ_SILENCE_MAX;
        let mut is_read = false;

        let mut pulses = interval(PULSE_EVERY);
        pulses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut bad_pulses = 0;
        let mut pulse = pin!(Either::Left(pending()));
        loop {
            if !is_read && rooms.unread == 0 && servers.unread == 0 {
                is_read = true;
                self.shared.state().view.end(Instant::now());
                let (rooms, servers) = {
                    let state = self.shared.state();
                    (state.view.rooms().len(), state.view.servers().len())
                };
                tracing::info!(rooms, servers, "the directory is read");
                self.shared.changed();
            }
            tokio::select! {
                message = rooms.next() => {
                    self.hear(&message?, true);
                    read_by = Instant::now() + READ_SILENCE_MAX;
                }
                message = servers.next() => {
                    self.hear(&message?, false);
                    read_by = Instant::now() + READ_SILENCE_MAX;
                }
                () = sleep_until(read_by), if !is_read => {
                    // A word that was to be read may have run out meanwhile.
                    return Err(Break::Timeout(READ_SILENCE_MAX));
                }
                event = events.recv() => {
                    if matches!(event, None | Some(Event::Disconnected | Event::Closed)) {
                        return Err(Break::NotConnected);
                    }
                }
                _ = pulses.tick(), if matches!(*pulse, Either::Left(_)) => {
                    let known = self.shared.state().view.life();
                    pulse.set(Either::Right(Box::pin(self.pulse(known))));
                }
                is_same = &mut pulse => {
                    pulse.set(Either::Left(pending()));
                    match is_same {
                        Ok(true) => bad_pulses = 0,
                        Err(Break::AnotherLife) => return Err(Break::AnotherLife),
                        _ => bad_pulses += 1,
                    }
                    if bad_pulses >= PULSES_BAD_MAX {
                        return Err(is_same.err().unwrap_or(Break::AnotherLife));
                    }
                }
            }
        }
    }

    /// Looks at the buckets, and makes them if they are not there.
    async fn open(&self) -> Result<Life, Break> {
        let buckets = &self.shared.buckets;
        let rooms = self.bucket(&buckets.rooms).await?;
        let servers = self.bucket(&buckets.servers).await?;
        Ok(life(&rooms, &servers))
    }

    async fn bucket(&self, bucket: &str) -> Result<stream::Info, Break> {
        let jetstream = &self.shared.requests.jetstream;
        let name = Buckets::stream(bucket);
        match jetstream.get_stream(&name).await {
            Ok(stream) => return self.kept(stream.cached_info()).await,
            Err(error) if is_not_found(&error.kind()) => {}
            Err(error) => return Err(failed("a bucket cannot be looked at")(error)),
        }
        let config = kv::Config {
            bucket: bucket.to_owned(),
            description: "Fray: who owns which room".to_owned(),
            history: 1,
            max_age: Duration::ZERO,
            storage: StorageType::File,
            num_replicas: self.options.replicas,
            limit_markers: Some(MARKER),
            ..kv::Config::default()
        };
        match jetstream.create_key_value(config).await {
            Ok(made) => {
                tracing::info!(bucket, replicas = self.options.replicas, "a bucket was made");
                Ok(made.stream.cached_info().clone())
            }
            // Another server may have been first.
            Err(error) => match jetstream.get_stream(&name).await {
                Ok(stream) => Ok(stream.cached_info().clone()),
                Err(_) => Err(failed("a bucket cannot be made")(error)),
            },
        }
    }

    /// A bucket whose records do not run out: that one is not there must mean that somebody has removed it.
    async fn kept(&self, bucket: &stream::Info) -> Result<stream::Info, Break> {
        if bucket.config.max_age.is_zero() {
            return Ok(bucket.clone());
        }
        let config = stream::Config { max_age: Duration::ZERO, ..bucket.config.clone() };
        let kept = self.shared.requests.jetstream.update_stream(config).await;
        let kept =
            kept.map_err(failed("a bucket's records run out, and that cannot be changed"))?;
        tracing::warn!(stream = kept.config.name, "records of this bucket do not run out any more");
        Ok(kept)
    }

    async fn watch(&self, bucket: &str) -> Result<Watched, Break> {
        let jetstream = &self.shared.requests.jetstream;
        let stream = jetstream.get_stream_no_info(Buckets::stream(bucket)).await;
        let stream = stream.map_err(failed("a bucket cannot be watched"))?;
        let config = OrderedConfig {
            deliver_subject: jetstream.client().new_inbox(),
            description: Some(format!("fray-server {}", self.shared.me)),
            filter_subject: Buckets::subject(bucket, ">"),
            replay_policy: ReplayPolicy::Instant,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(failed("a bucket cannot be watched"))?;
        let unread = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(failed("a bucket cannot be watched"))?;
        Ok(Watched { messages, unread })
    }

    /// Whether the buckets are those that are known. [`Break::AnotherLife`]: certainly not.
    async fn pulse(&self, known: Option<Life>) -> Result<bool, Break> {
        let look = async {
            let (rooms, servers) = tokio::try_join!(
                self.info(&self.shared.buckets.rooms),
                self.info(&self.shared.buckets.servers)
            )?;
            Ok(life(&rooms, &servers))
        };
        let now = in_time(look).await?;
        let Some(known) = known else { return Ok(true) };
        if known.created_ns != now.created_ns {
            return Err(Break::AnotherLife);
        }
        // A cluster's leader that is one no more may answer with less than there is: that does not last.
        Ok(known.goes_on_in(&now))
    }

    async fn info(&self, bucket: &str) -> Result<stream::Info, Break> {
        let stream = self.shared.requests.jetstream.get_stream(Buckets::stream(bucket)).await;
        stream.map(|stream| stream.cached_info().clone()).map_err(|error| {
            if is_not_found(&error.kind()) {
                Break::AnotherLife
            } else {
                failed("a bucket cannot be looked at")(error)
            }
        })
    }

    /// Takes what a bucket says into the view.
    fn hear(&self, message: &Message, is_room: bool) {
        let shared = &self.shared;
        let buckets = &shared.buckets;
        let Ok(info) = message.info() else { return };
        let revision = info.stream_sequence;
        let bucket = if is_room { &buckets.rooms } else { &buckets.servers };
        let start = Buckets::subject(bucket, "");
        let Some(key) = message.subject.strip_prefix(start.as_str()) else { return };
        let is_gone = message.headers.as_ref().is_some_and(says_gone);
        let entry = match (is_room, is_gone) {
            (true, true) => RoomId::parse(key).map(|id| Entry::RoomGone(id, Revision(revision))),
            (true, false) => {
                parse_room(key, &message.payload).map(|record| Entry::Room(held(record, revision)))
            }
            (false, true) => {
                InstanceId::parse(key).map(|id| Entry::ServerGone(id, Revision(revision)))
            }
            (false, false) => parse_server(key, &message.payload)
                .map(|record| Entry::Server(held(record, revision))),
        };
        let Some(entry) = entry else {
            shared.requests.metrics.directory.malformed.inc();
            tracing::warn!(bucket, key, "the directory holds something that cannot be read");
            return;
        };
        shared.hear(entry);
        if !is_room && key == shared.me.as_str() {
            shared.state().view.heard(Revision(revision), Instant::now());
        }
    }
}

impl Watched {
    async fn next(&mut self) -> Result<Message, Break> {
        let message = self.messages.next().await.ok_or(Break::WatchEnded)?;
        let message = message.map_err(failed("a watch broke"))?;
        if self.unread > 0 {
            self.unread = message.info().map_or(self.unread - 1, |info| info.pending);
        }
        Ok(message)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Break>>) -> Result<T, Break> {
    // Looking, making and looking again, for each bucket.
    let within = REQUEST_TIMEOUT * 4;
    timeout(within, work).await.unwrap_or(Err(Break::Timeout(within)))
}

fn life(rooms: &stream::Info, servers: &stream::Info) -> Life {
    Life {
        created_ns: (rooms.created.unix_timestamp_nanos(), servers.created.unix_timestamp_nanos()),
        newest: (rooms.state.last_sequence, servers.state.last_sequence),
    }
}

fn is_not_found(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}
