//! What tracing costs a move: nothing to speak of while it is off, and little while it is on and the move is not sampled.
//!
//! `cargo bench -p fray-server --bench tracing_off`. Allocations are counted; where none are listed there were none.

use divan::{AllocProfiler, Bencher, black_box};
use fray_proto::trace::TraceContext;
use fray_server::telemetry::Traces;
use fray_server::telemetry::traces::{Settings, export};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn on(moves: f64) -> Traces {
    let provider = export::builder(export::default_sampler()).build();
    Traces::on(provider, Settings { moves, ticks: 0.0, peers_per_s: 0 })
}

#[divan::bench]
fn off(bencher: Bencher) {
    let traces = Traces::off();
    bencher.bench_local(|| black_box(&traces).receive_move(black_box(None), || true));
}

#[divan::bench]
fn off_with_a_client_s_context(bencher: Bencher) {
    let traces = Traces::off();
    let client = TraceContext::new(1, 2);
    bencher.bench_local(|| black_box(&traces).receive_move(black_box(client), || true));
}

#[divan::bench]
fn on_and_not_sampled(bencher: Bencher) {
    let traces = on(0.0);
    bencher.bench_local(|| black_box(&traces).receive_move(black_box(None), || true));
}

#[divan::bench]
fn on_and_sampled_at_one_per_cent(bencher: Bencher) {
    let traces = on(0.01);
    bencher.bench_local(|| black_box(&traces).receive_move(black_box(None), || true));
}

/// For comparison: to look at the clock once.
#[divan::bench]
fn a_look_at_the_clock(bencher: Bencher) {
    bencher.bench_local(|| black_box(tokio::time::Instant::now()));
}
