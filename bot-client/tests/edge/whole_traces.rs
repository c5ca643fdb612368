//! Traces from one end to the other: players, the edge and a server, each with an exporter of its own to one Jaeger.

use crate::gate::Gate;
use crate::jaeger_support::Jaeger;
use crate::jaeger_support::way::{self, Witness, a_move_is_whole, joining_is_one_trace, traces};
use crate::server_process::{Folder, ServerProcess};
use fray_bot::client::tracing::Tracer;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What a busy machine may need.
const PATIENCE: Duration = Duration::from_secs(60);

/// The edge believes clients here, and begins no trace itself: whatever it has a span in is a client's trace. A stream of moves is no call,
/// and has none there; the moves' traces go through as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_is_one_trace_through_the_edge_and_so_is_a_move() {
    let Some(jaeger) = Jaeger::start().await else { return };
    let folder = Folder::new();
    let endpoint = jaeger.endpoint();
    // Of the server's own accord nothing is traced: what clients began is carried on.
    let flags = ["--trace-moves", "0", "--trace-ticks", "0", "--trace-budget", "10000"];
    // With this seed the two see each other.
    let flags = [&["--otlp-endpoint", &endpoint, "--seed", "7"], &flags[..]].concat();
    let server = ServerProcess::start(&folder.0, "server", &flags).await;
    let Some(gate) = Gate::before(&[server.players], |values| {
        let collector = endpoint.replace("http://", "");
        values["edge"]["tracing"] =
            json!({ "collector": collector, "samplingPercent": 0, "trustClients": true });
    })
    .await
    else {
        return;
    };

    let exporters = ["first", "second"].map(|name| traces(&jaeger, "fray-bot", name));
    let [first, second] = exporters.each_ref().map(|traces| Witness::new(Arc::clone(traces)));
    let way_of = |witness: &Arc<Witness>| {
        let tracer = Arc::clone(witness) as Arc<dyn Tracer>;
        gate.channels().traced(Some(tracer)).next(0)
    };
    let mut mover = way::join(way_of(&first), "mover").await;
    let mut other = way::join(way_of(&second), "other").await;
    let played = way::play(&mut mover, &mut other, &second);
    timeout(PATIENCE, played).await.expect("moves are seen");
    let (mover, other) = (way::number(&mover), way::number(&other));
    for traces in exporters {
        way::sent(traces).await;
    }
    server.stop().await;

    // What comes in at the edge, and what goes on from there.
    joining_is_one_trace(&jaeger, &first.joined(), &["fray-edge", "fray-edge"]).await;
    joining_is_one_trace(&jaeger, &second.joined(), &["fray-edge", "fray-edge"]).await;
    a_move_is_whole(&jaeger, (&first, mover), (&second, other)).await;
}
