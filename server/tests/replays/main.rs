//! Service `Replays`: finding, fetching and verifying recordings, and every status that it ends with.
//!
//! What is about time has virtual time and a pool without threads; what is about work in progress has real threads.

mod finding;
#[path = "../support/mod.rs"]
mod support;
mod verifying;

use fray_proto::v1::{self, VerifyRequest};
use fray_server::game::GameFactory;
use fray_server::replay::{self, Games};
use std::sync::{Arc, LazyLock};
use support::recorded::{Recorded, factory, store_of};
use support::{Net, reason};
use tonic::{Code, Status};

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| Recorded::finished("past", 400));

fn is(status: &Status, code: Code, why: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, why), "{status:?}");
}

fn net() -> Net {
    Net::with_recordings(store_of(&[&RECORDED]), 0)
}

/// A file in messages.
fn pieces(file: &[u8]) -> Vec<VerifyRequest> {
    file.chunks(60_000).map(|data| VerifyRequest { data: data.to_vec().into() }).collect()
}

async fn verify(net: &Net, file: &[u8]) -> Result<v1::VerifyResponse, Status> {
    let upload = tokio_stream::iter(pieces(file));
    Ok(net.replays().await.verify(upload).await?.into_inner())
}

async fn download(net: &Net, request: v1::DownloadRequest) -> Result<Vec<u8>, Status> {
    let mut chunks = net.replays().await.download(request).await?.into_inner();
    let mut file = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        assert!(!chunk.data.is_empty() && chunk.data.len() <= 64 * 1024);
        file.extend_from_slice(&chunk.data);
    }
    Ok(file)
}

fn verified(file: &[u8]) -> replay::Report {
    let games: [Arc<dyn GameFactory>; 1] = [Arc::new(factory())];
    replay::verify(Games(&games), file, u32::MAX, || false).expect("an answer")
}

fn whole(name: &str) -> v1::DownloadRequest {
    v1::DownloadRequest { name: name.into(), ..Default::default() }
}
