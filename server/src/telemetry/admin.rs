//! The admin port: probes and metrics; the live page is in `status`. Nothing here changes anything.

use super::{Health, Metrics};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{StatusCode, header};
use std::sync::Arc;

/// `/livez`, `/readyz`, `/metrics`.
pub fn router(health: &Arc<Health>, metrics: &Arc<Metrics>) -> Router {
    let probes = Router::new()
        .route(
            "/livez",
            get(async |State(health): State<Arc<Health>>| {
                answer(health.is_live(), "ticks have stopped")
            }),
        )
        .route(
            "/readyz",
            get(async |State(health): State<Arc<Health>>| {
                answer(health.takes_rooms(), "takes no rooms")
            }),
        )
        .with_state(Arc::clone(health));
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics = Router::new()
        .route(
            "/metrics",
            get(async move |State(metrics): State<Arc<Metrics>>| {
                ([(header::CONTENT_TYPE, text)], metrics.render())
            }),
        )
        .with_state(Arc::clone(metrics));
    probes.merge(metrics)
}

fn answer(is_well: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if is_well { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise) }
}
