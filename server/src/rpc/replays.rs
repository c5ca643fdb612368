//! `fray.v1.Replays`.

use crate::replay::{Report, Verdict};
use crate::session::replays::{Marker, MarkerKind, Timeline, VERIFY_TIMEOUT, place};
use crate::session::replays::{Replays, UPLOAD_TIMEOUT};
use crate::session::{Error, Sessions};
use crate::store::{Name, Summary};
use async_stream::stream;
use fray_proto::v1;
use futures_util::{Stream, StreamExt as _};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 500;
/// The most bytes of a message from a client: a chunk of an upload, and a little more.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Unary calls take no longer than this, whatever the client allows.
const DEADLINE_MAX: Duration = Duration::from_secs(10);
/// An upload and its verification have limits of their own; this is beyond both.
const VERIFY_DEADLINE_MAX: Duration =
    Duration::from_secs(UPLOAD_TIMEOUT.as_secs() + VERIFY_TIMEOUT.as_secs() + 5);

/// The service.
pub struct Service {
    sessions: Arc<Sessions>,
}

impl Service {
    /// Shows what these sessions' rooms have played.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    fn replays(&self) -> &Arc<Replays> {
        &self.sessions.replays
    }

    async fn try_list(
        &self,
        request: v1::ReplaysListRequest,
    ) -> Result<v1::ReplaysListResponse, Error> {
        let page_size = match request.page_size {
            0 => PAGE_SIZE_DEFAULT,
            1.. => request.page_size.min(PAGE_SIZE_MAX),
            _ => return Err(Error::Invalid { field: "page_size", problem: "negative" }),
        };
        let after = (!request.page_token.is_empty()).then(|| parse_token(&request.page_token));
        let after = after.transpose()?;
        let mut found = self.replays().list().await?;
        if let Some((started_at_ms, name)) = &after {
            found.retain(|recording| place(recording) < (*started_at_ms, name));
        }
        let is_last = found.len() <= page_size as usize;
        found.truncate(page_size as usize);
        let next = found.last().filter(|_| !is_last).map(page_token);
        Ok(v1::ReplaysListResponse {
            recordings: found.into_iter().map(recording).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn try_timeline(
        &self,
        request: v1::TimelineRequest,
    ) -> Result<v1::TimelineResponse, Error> {
        let name = parse_name(&request.name)?;
        let found = self.replays().timeline(name, &request.code, request.after_tick).await?;
        let Timeline { recording: of, markers } = found;
        Ok(v1::TimelineResponse {
            recording: Some(recording(of)),
            markers: markers.into_iter().map(marker).collect(),
        })
    }

    /// What is done until the client's deadline, ours, or the end of the server.
    async fn in_time<T>(
        &self,
        metadata: &MetadataMap,
        deadline_max: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<Response<T>, Status> {
        let _open = self.sessions.streams.token();
        let deadline = super::play::grpc_timeout(metadata).unwrap_or(deadline_max);
        let work = tokio::time::timeout(deadline.min(deadline_max), work);
        let done = tokio::select! {
            biased;
            () = self.sessions.drained() => Err(Error::ShuttingDown),
            done = work => done.unwrap_or(Err(Error::DeadlineExceeded)),
        };
        done.map(Response::new).map_err(|error| refused(&self.sessions, error))
    }
}

/// Counts a refusal on its way out.
fn refused(sessions: &Sessions, error: Error) -> Status {
    sessions.metrics.refused(error.reason());
    error.into()
}

#[tonic::async_trait]
impl v1::replays_server::Replays for Service {
    async fn list(
        &self,
        request: Request<v1::ReplaysListRequest>,
    ) -> Result<Response<v1::ReplaysListResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.in_time(&metadata, DEADLINE_MAX, self.try_list(request)).await
    }

    async fn timeline(
        &self,
        request: Request<v1::TimelineRequest>,
    ) -> Result<Response<v1::TimelineResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.in_time(&metadata, DEADLINE_MAX, self.try_timeline(request)).await
    }

    type DownloadStream = Pin<Box<dyn Stream<Item = Result<v1::DownloadResponse, Status>> + Send>>;

    async fn download(
        &self,
        request: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let deadline = super::play::grpc_timeout(request.metadata());
        let ends_at = deadline.map(|deadline| tokio::time::Instant::now() + deadline);
        let request = request.into_inner();
        let sessions = Arc::clone(&self.sessions);
        Ok(Response::new(Box::pin(stream! {
            let _open = sessions.streams.token();
            let (name, to_tick) = match parse_range(&request) {
                Ok(parsed) => parsed,
                Err(error) => {
                    yield Err(refused(&sessions, error));
                    return;
                }
            };
            let replays = &sessions.replays;
            let mut chunks = pin!(replays.download(name, request.code, request.from_tick, to_tick));
            loop {
                let next = tokio::select! {
                    biased;
                    () = sessions.drained() => Some(Err(Error::ShuttingDown)),
                    () = until(ends_at) => Some(Err(Error::DeadlineExceeded)),
                    next = chunks.next() => next,
                };
                match next {
                    Some(Ok(data)) => yield Ok(v1::DownloadResponse { data }),
                    Some(Err(error)) => {
                        yield Err(refused(&sessions, error));
                        return;
                    }
                    None => return,
                }
            }
        })))
    }

    async fn verify(
        &self,
        request: Request<Streaming<v1::VerifyRequest>>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let (metadata, _, upload) = request.into_parts();
        let upload = upload.map(|message| match message {
            Ok(message) => Ok(message.data),
            Err(status) => Err(super::status::from_transport(&status)),
        });
        let verify = async { Ok(verification(self.replays().verify(upload).await?)) };
        self.in_time(&metadata, VERIFY_DEADLINE_MAX, verify).await
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn parse_name(name: &str) -> Result<Name, Error> {
    Name::parse(name).ok_or(Error::Invalid { field: "name", problem: "not a name" })
}

fn parse_range(request: &v1::DownloadRequest) -> Result<(Name, u32), Error> {
    let name = parse_name(&request.name)?;
    let to_tick = if request.to_tick == 0 { u32::MAX } else { request.to_tick };
    if to_tick < request.from_tick {
        return Err(Error::Invalid { field: "to_tick", problem: "before from_tick" });
    }
    Ok((name, to_tick))
}

fn page_token(last: &Summary) -> String {
    format!("{}-{}", last.header.started_at_ms, last.name)
}

fn parse_token(token: &str) -> Result<(u64, Name), Error> {
    let parts = token.split_once('-');
    let parsed = parts.and_then(|(at, name)| Some((at.parse().ok()?, Name::parse(name)?)));
    parsed.ok_or(Error::Invalid { field: "page_token", problem: "not from this list" })
}

fn recording(summary: Summary) -> v1::Recording {
    let Summary { name, header, last_tick, is_running, size_bytes } = summary;
    v1::Recording {
        name: name.to_string(),
        room_name: header.room_name.clone(),
        game: header.game.clone(),
        sim_version: header.sim_version,
        tick_rate_hz: header.tick_rate_hz,
        first_tick: header.first_tick,
        last_tick,
        running: is_running,
        started_at_ms: header.started_at_ms,
        size_bytes,
        incident: header.incident.clone(),
        epoch: header.epoch,
    }
}

fn marker(marker: Marker) -> v1::Marker {
    use v1::marker::Kind;
    let kind = match marker.kind {
        MarkerKind::Joined => Kind::Joined,
        MarkerKind::Left => Kind::Left,
        MarkerKind::Kill => Kind::Kill,
        MarkerKind::Round => Kind::Round,
        MarkerKind::Other => Kind::Unspecified,
    };
    v1::Marker {
        tick: marker.tick,
        kind: kind.into(),
        player: marker.player,
        other: marker.other,
        text: marker.text,
    }
}

fn verification(report: Report) -> v1::VerifyResponse {
    use v1::verify_response::Verdict as Wire;
    let answer = v1::VerifyResponse {
        incomplete: report.end.is_none(),
        first_tick: report.header.map_or(0, |header| header.first_tick),
        last_tick: report.last_tick,
        hashes_compared: report.hashes_compared,
        gaps: report.gaps,
        ..Default::default()
    };
    match report.verdict {
        Verdict::Same { panicked } => v1::VerifyResponse {
            verdict: Wire::Same.into(),
            detail: panicked
                .map(|message| format!("the game panicked, as recorded: {message}"))
                .unwrap_or_default(),
            ..answer
        },
        Verdict::Differs { tick, recorded, replayed } => v1::VerifyResponse {
            verdict: Wire::Differs.into(),
            tick,
            recorded_hash: recorded,
            replayed_hash: replayed,
            ..answer
        },
        Verdict::Damaged { offset, problem } => {
            v1::VerifyResponse { verdict: Wire::Damaged.into(), offset, detail: problem, ..answer }
        }
        Verdict::Panicked { tick, message } => {
            v1::VerifyResponse { verdict: Wire::Panicked.into(), tick, detail: message, ..answer }
        }
    }
}
