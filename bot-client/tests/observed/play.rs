//! A real server on real sockets, and all that can happen on it, so that every metric has something to tell.

use super::flags;
use super::programs::get;
use fray_bot::client::transport::{Channels, Server as Way, WebSocketServer};
use fray_bot::swarm::{self, Plan};
use fray_proto::v1;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_server::telemetry::traces::{Settings, export};
use fray_server::telemetry::{Telemetry, Traces};
use fray_server::{App, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

const RECORDING: &[u8] = include_bytes!("../../../server/tests/golden/arena-v1.fray");

pub(crate) async fn server() -> App {
    let config = flags::config(&["--rooms-max", "10"]);
    // Sampled, and sent nowhere: exemplars name the traces all the same.
    let provider = export::builder(export::default_sampler()).build();
    let often = Settings { moves: 0.5, ticks: 0.5, peers_per_s: 0 };
    let traces = Arc::new(Traces::on(provider, often));
    let telemetry = Telemetry { traces, ..Telemetry::default() };
    Server::builder().config(config).telemetry(telemetry).build().await.expect("a server")
}

/// Bots by both doors, some of which drop their streams and come back; until `stop`.
pub(crate) async fn bots(url: &str, stop: CancellationToken) -> swarm::Report {
    let plan = Plan {
        players: 6,
        ramp: Duration::from_millis(500),
        duration: None,
        churn: 0.5,
        ..Plan::default()
    };
    let mut channels = Channels::new(url, 100).expect("an address");
    let by_websocket = WebSocketServer::new(url, channels.clone().next(0)).expect("an address");
    let way = |index: usize, _| -> Arc<dyn Way> {
        if index.is_multiple_of(2) {
            Arc::new(by_websocket.clone())
        } else {
            Arc::new(channels.next(index))
        }
    };
    swarm::run(plan, stop, way, |_| ()).await
}

/// What bots do not do: calls that fail, a copy that is asked for again, a recording that is verified, somebody who looks on.
pub(crate) async fn oddities(app_address: std::net::SocketAddr, channel: Channel) {
    let (status, _) = get(app_address, "/").await.expect("the page");
    assert_eq!(status, 200);

    let mut lobby = LobbyClient::new(channel.clone());
    lobby.list_rooms(v1::ListRoomsRequest::default()).await.expect("listed");
    let nowhere = v1::join_request::Room::RoomId("nowhere".into());
    let request = v1::JoinRequest { room: Some(nowhere), ..Default::default() };
    lobby.join(request).await.expect_err("no such room");

    let pieces =
        RECORDING.chunks(60_000).map(|data| v1::VerifyRequest { data: data.to_vec().into() });
    let pieces: Vec<_> = pieces.collect();
    let mut replays = ReplaysClient::new(channel.clone());
    replays.verify(tokio_stream::iter(pieces)).await.expect("an answer");

    let mut play = PlayClient::new(channel);
    let mut watched =
        play.watch(v1::WatchRequest::default()).await.expect("a room to watch").into_inner();
    watched.message().await.expect("goes on").expect("a welcome");

    let (requests, outgoing) = mpsc::channel(4);
    let hello =
        v1::Hello { protocol_version: fray_proto::PROTOCOL_VERSION, ..v1::Hello::default() };
    let resync =
        v1::Resync { reason: v1::resync::Reason::BaseMismatch.into(), ..v1::Resync::default() };
    for message in [Message::Hello(hello), Message::Resync(resync)] {
        requests.send(v1::PlayRequest { message: Some(message) }).await.expect("room for it");
    }
    let mut responses =
        play.play(ReceiverStream::new(outgoing)).await.expect("seated").into_inner();
    responses.message().await.expect("goes on").expect("a welcome");
    // Half-closed: what was sent is taken before the stream ends.
    drop(requests);
    while responses.message().await.expect("ends well").is_some() {}
}
