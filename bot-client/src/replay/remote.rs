//! Recordings of a running server.

use super::open::Recording;
use crate::client::connection::{Chance as _, Random};
use crate::client::transport::{GrpcServer, Server as _, Trust, explain, with_ticket};
use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use fray_proto::v1::replays_client::ReplaysClient;
use fray_proto::v1::{self, join_request};
use fray_server::replay::verify::Unanswered;
use std::future::Future;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::Channel;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest part of a recording that is fetched.
const BYTES_MAX: usize = 256 << 20;
/// How many recordings are named to who did not say which.
const NAMED_MAX: i32 = 100;

/// Which part of which recording.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) name: Option<&'a str>,
    /// A private room's.
    pub(super) code: &'a str,
    /// From the newest checkpoint before this tick; 0: all.
    pub(super) from_tick: u32,
    /// Up to this tick; 0: all.
    pub(super) to_tick: u32,
}

/// The address, if the path is one of a server and none of a file.
pub(super) fn url(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| path.starts_with("http://") || path.starts_with("https://"))
}

/// Fetches it. Waits: not for async threads.
pub(super) fn fetch(
    url: &str,
    trust: &Trust,
    wanted: &Wanted<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Recording> {
    let endpoint = trust.endpoint(url).with_context(|| url.to_owned())?;
    let fetched = run(stop, async {
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await;
        let channel = channel.map_err(|error| match explain(&error) {
            Some(said) => anyhow::anyhow!(said),
            None => error.into(),
        })?;
        let mut replays = ReplaysClient::new(channel.clone());
        match wanted.name {
            Some(name) => {
                let ticket = ticket(channel, name).await;
                download(&mut replays, name, wanted, &ticket).await
            }
            None => bail!("--recording says which one: {}", names(&mut replays).await?),
        }
    })?;
    let bytes = fetched.with_context(|| url.to_owned())?;
    Ok(Recording::of_bytes(wanted.name.unwrap_or_default(), bytes))
}

/// Runs it on this thread until it is done, or stopped.
fn run<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().context("a runtime")?;
    runtime.block_on(async {
        tokio::select! {
            () = stop.cancelled() => Err(Unanswered::Stopped.into()),
            done = work => Ok(done),
        }
    })
}

/// A spectator's ticket, by which an edge finds the server that has the recording. Also a private room's is asked for by its name: when
/// the room is over, nobody knows its code any more but the server that has what was played.
async fn ticket(channel: Channel, recording: &str) -> String {
    let room = join_request::Room::RoomId(recording.to_owned());
    let request = v1::JoinRequest {
        request_id: Random.request_id(),
        room: Some(room),
        spectate: true,
        ..Default::default()
    };
    // Whatever is wrong: without a ticket the download is refused, and says why, if it needs one.
    GrpcServer::new(channel).join(request).await.map(|seat| seat.ticket).unwrap_or_default()
}

async fn download(
    replays: &mut ReplaysClient<Channel>,
    name: &str,
    wanted: &Wanted<'_>,
    ticket: &str,
) -> anyhow::Result<Bytes> {
    let request = v1::DownloadRequest {
        name: name.to_owned(),
        code: wanted.code.to_owned(),
        from_tick: wanted.from_tick,
        to_tick: wanted.to_tick,
    };
    let refused = |status: tonic::Status| {
        anyhow::anyhow!(
            "{name}: {:?}: {}",
            status.code(),
            super::summary::printable(status.message())
        )
    };
    let request = with_ticket(Request::new(request), ticket);
    let mut parts = replays.download(request).await.map_err(refused)?.into_inner();
    let mut bytes = BytesMut::new();
    while let Some(part) = parts.message().await.map_err(refused)? {
        ensure!(
            bytes.len() + part.data.len() <= BYTES_MAX,
            "{name} is larger than {} MiB: export a part of it where it is kept",
            BYTES_MAX >> 20
        );
        bytes.extend_from_slice(&part.data);
    }
    Ok(bytes.freeze())
}

async fn names(replays: &mut ReplaysClient<Channel>) -> anyhow::Result<String> {
    let request = v1::ReplaysListRequest { page_size: NAMED_MAX, page_token: String::new() };
    let page = replays.list(request).await?.into_inner();
    let mut names: Vec<String> =
        page.recordings.iter().map(|one| super::summary::printable(&one.name)).collect();
    if names.is_empty() {
        bail!("it has no recordings");
    }
    if !page.next_page_token.is_empty() {
        names.push("…".to_owned());
    }
    Ok(names.join(", "))
}
