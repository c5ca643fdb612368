//! gRPC health (`grpc.health.v1.Health`).

use crate::telemetry::Health;
use async_stream::stream;
use axum::extract::ConnectInfo;
use futures_util::Stream;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watched status is looked at.
const WATCHED_EVERY: Duration = Duration::from_millis(250);

/// The service; it reads the same facts as the admin port's probes.
pub fn service(health: &Arc<Health>) -> HealthServer<Service> {
    HealthServer::new(Service(Arc::clone(health)))
}

/// Answers from [`Health`].
pub struct Service(Arc<Health>);

/// What the edge asks about the servers that tickets may name.
const PLAY: &str = "fray.v1.Play";

/// `""` and `fray.v1.Lobby`: takes rooms; `fray.v1.Play`: its rooms can be reached; `live`: ticks advance.
fn status(health: &Health, name: &str) -> Option<ServingStatus> {
    let is_well = match name {
        "" | "fray.v1.Lobby" => health.takes_rooms(),
        PLAY => health.serves_rooms(),
        "live" => health.is_live(),
        _ => return None,
    };
    Some(if is_well { ServingStatus::Serving } else { ServingStatus::NotServing })
}

/// Remembers an edge that asks for the first time. Only this name counts: with others, kubelets ask, and the edge asks about
/// servers for new players, whose list it may have sooner than the one that tickets choose from.
fn note_caller<T>(health: &Health, name: &str, request: &Request<T>) {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if let Some(ConnectInfo(peer)) = peer
        && name == PLAY
    {
        health.note_caller(peer.ip());
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        note_caller(&self.0, &request.get_ref().service, &request);
        let status = status(&self.0, &request.get_ref().service);
        let status = status.ok_or_else(|| Status::not_found("there is no such service"))?;
        Ok(Response::new(answer(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let health = Arc::clone(&self.0);
        note_caller(&health, &request.get_ref().service, &request);
        let name = request.into_inner().service;
        Ok(Response::new(Box::pin(stream! {
            let mut said = None;
            let mut looks = tokio::time::interval(WATCHED_EVERY);
            loop {
                looks.tick().await;
                let now = status(&health, &name).unwrap_or(ServingStatus::ServiceUnknown);
                if said != Some(now) {
                    said = Some(now);
                    yield Ok(answer(now));
                }
                // Whoever watches has been told, and must not keep the process.
                if health.is_draining() {
                    return;
                }
            }
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use health_server::Health as _;
    use std::net::IpAddr;

    #[tokio::test]
    async fn only_who_asks_about_existing_rooms_is_taken_for_an_edge() {
        let health = Arc::new(Health::default());
        health.set_awaits_edges(true);
        let service = Service(Arc::clone(&health));
        let request = |name: &str, last_byte: u8| {
            let mut request = Request::new(HealthCheckRequest { service: name.into() });
            let peer = SocketAddr::from(([10, 0, 0, last_byte], 4000));
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        };
        for (name, peer) in [("", 1), ("fray.v1.Lobby", 2), ("live", 3), (PLAY, 4)] {
            service.check(request(name, peer)).await.expect("an answer");
        }
        drop(service.watch(request(PLAY, 5)).await.expect("a stream"));
        let edges = [[10, 0, 0, 4], [10, 0, 0, 5]].map(IpAddr::from);
        assert_eq!(health.callers(), edges.into());
    }
}
