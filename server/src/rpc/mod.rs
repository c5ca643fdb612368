//! The gRPC services; the only place that knows tonic.
//!
//! - [`admin`]: operators' verbs, on a port of their own. [`address`]: how many streams an address may have. `patience.rs`: how long
//!   a request may take to arrive.
//! - [`lobby`]: finding rooms. [`play`]: the streams. [`replays`]: recordings. [`status`]: every error's gRPC status.
//! - `measure.rs`: counts calls and how they end.
//! - [`health`]: what this process says of itself, under the names that probes ask for.

pub mod address;
pub mod admin;
mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod health;
pub mod lobby;
mod measure;
mod patience;
pub mod peer;
pub mod play;
pub mod replays;
pub mod status;
mod trace;

use crate::session::{Lobby, Sessions};
use crate::telemetry::Health;
use crate::wire;
use fray_proto::v1::admin_server::AdminServer;
use fray_proto::v1::lobby_server::LobbyServer;
use fray_proto::v1::replays_server::ReplaysServer;
use std::sync::Arc;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;

/// All services for players, over HTTP/2 as gRPC and over HTTP/1.1 as gRPC-Web.
pub fn router(
    lobby: &Arc<Lobby>,
    health: &Arc<Health>,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let replays = ReplaysServer::new(replays::Service::new(Arc::clone(lobby.sessions())));
    let rooms = LobbyServer::new(lobby::Service::new(Arc::clone(lobby)));
    let routes = Routes::new(rooms.max_decoding_message_size(wire::INCOMING_BYTES_MAX))
        .add_service(play::Service::new(Arc::clone(lobby)))
        .add_service(replays.max_decoding_message_size(replays::MESSAGE_BYTES_MAX))
        .add_service(health::service(health).max_decoding_message_size(wire::INCOMING_BYTES_MAX));
    let named = ["fray.v1.Lobby", "fray.v1.Play", "fray.v1.Replays", "grpc.health.v1.Health"];
    Ok(observed(reflected(routes, &named)?, lobby.sessions())
        .layer(GrpcWebLayer::new())
        .layer(axum::middleware::from_fn(play::mark_grpc_web)))
}

/// The service for operators, as gRPC only.
pub fn control_router(
    sessions: &Arc<Sessions>,
) -> Result<axum::Router, tonic_reflection::server::Error> {
    let admin = AdminServer::new(admin::Service::new(Arc::clone(sessions)));
    let routes = Routes::new(admin.max_decoding_message_size(admin::MESSAGE_BYTES_MAX));
    Ok(observed(reflected(routes, &["fray.v1.Admin"])?, sessions)
        .layer(axum::middleware::from_fn(admin::keep_pages_out)))
}

/// With reflection, which names these services.
fn reflected(routes: Routes, services: &[&str]) -> Result<Routes, tonic_reflection::server::Error> {
    let reflection = |version: &str| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(fray_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that tools can show the details of our statuses.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(format!("grpc.reflection.{version}.ServerReflection"));
        services.iter().fold(builder, |builder, service| builder.with_service_name(*service))
    };
    Ok(routes
        .add_service(
            reflection("v1").build_v1()?.max_decoding_message_size(wire::INCOMING_BYTES_MAX),
        )
        .add_service(
            reflection("v1alpha")
                .build_v1alpha()?
                .max_decoding_message_size(wire::INCOMING_BYTES_MAX),
        ))
}

/// With what counts and traces calls.
fn observed(routes: Routes, sessions: &Arc<Sessions>) -> axum::Router {
    let calls = sessions.metrics.rpc.clone();
    measure::expect_all(&calls);
    routes
        .prepare()
        .into_axum_router()
        .layer(axum::middleware::from_fn_with_state(Arc::clone(sessions), patience::whole))
        .layer(axum::middleware::map_response_with_state(
            Arc::clone(sessions),
            status::blame_the_sender,
        ))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&sessions.traces), trace::calls))
        .layer(axum::middleware::from_fn_with_state(calls, measure::measure))
}
