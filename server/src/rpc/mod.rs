//! The gRPC services; the only place that knows tonic.
//!
//! - [`lobby`]: finding rooms. [`play`]: the streams. [`replays`]: recordings. [`status`]: every error's gRPC status.
//! - `measure.rs`: counts calls and how they end.
//! - [`health`]: what this process says of itself, under the names that probes ask for.

pub mod health;
pub mod lobby;
mod measure;
pub mod peer;
pub mod play;
pub mod replays;
pub mod status;
mod trace;

use crate::session::Lobby;
use crate::telemetry::Health;
use fray_proto::v1::lobby_server::LobbyServer;
use fray_proto::v1::replays_server::ReplaysServer;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;

/// All services, over HTTP/2 as gRPC and over HTTP/1.1 as gRPC-Web.
pub fn router(
    lobby: &Arc<Lobby>,
    health: &Arc<Health>,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(fray_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that tools can show the details of our statuses.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let calls = lobby.sessions().metrics.rpc.clone();
    measure::expect_all(&calls);
    let replays = ReplaysServer::new(replays::Service::new(Arc::clone(lobby.sessions())));
    let routes = Routes::new(LobbyServer::new(lobby::Service::new(Arc::clone(lobby))))
        .add_service(play::Service::new(Arc::clone(lobby)))
        .add_service(replays.max_decoding_message_size(replays::MESSAGE_BYTES_MAX))
        .add_service(health::service(health))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::map_response(status::blame_the_sender))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&lobby.sessions().traces),
            trace::calls,
        ))
        .layer(axum::middleware::from_fn_with_state(calls, measure::measure))
        .layer(GrpcWebLayer::new())
        .layer(axum::middleware::from_fn(play::mark_grpc_web)))
}
