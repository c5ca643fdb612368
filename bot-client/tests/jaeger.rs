//! A move's whole way, seen in the real Jaeger: two players on a real server, each of the three with an exporter of its own.
//!
//! To see it fail: leave out any of the spans, give one another parent, or let the server ignore the client's context.

#[path = "../../server/tests/support/flags.rs"]
mod flags;
mod jaeger_support;
mod programs;

use fray_bot::client::tracing::Tracer;
use fray_bot::client::transport::Channels;
use fray_bot::client::{Controls, Options, Player};
use fray_proto::v1;
use fray_server::Server;
use fray_server::telemetry::traces::{Settings, export};
use fray_server::telemetry::{Telemetry, Traces, log};
use jaeger_support::way::{self, Witness, a_move_is_whole, joining_is_one_trace, traces};
use jaeger_support::{Jaeger, Span};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_one_trace_from_the_client_that_made_it_to_the_one_that_saw_it() {
    let Some(jaeger) = Jaeger::start().await else { return };
    let server_traces = traces(&jaeger, "fray-server", "server");
    let (first_traces, second_traces) =
        (traces(&jaeger, "fray-bot", "first"), traces(&jaeger, "fray-bot", "second"));
    // The server's calls are spans of `tracing`; the bots write theirs themselves.
    let spans = log::traces(server_traces.tracer().expect("tracing is on"));
    let subscriber = tracing_subscriber::registry().with(vec![spans]);
    tracing::subscriber::set_global_default(subscriber).expect("nobody else here");
    let server = Server::builder().config(flags::config(&["--seed", "7"]));
    let telemetry = Telemetry { traces: Arc::clone(&server_traces), ..Telemetry::default() };
    let server = server.telemetry(telemetry);
    let app = server.build().await.expect("a server");
    let url = format!("http://{}", app.listen_addr());
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(app.run(stop.clone().cancelled_owned()));

    let (first, second) =
        (Witness::new(Arc::clone(&first_traces)), Witness::new(Arc::clone(&second_traces)));
    let way_of = |witness: &Arc<Witness>| {
        let tracer = Arc::clone(witness) as Arc<dyn Tracer>;
        Channels::new(&url, 1).expect("a url").traced(Some(tracer)).next(0)
    };
    let mut mover = way::join(way_of(&first), "mover").await;
    let mut other = way::join(way_of(&second), "other").await;
    tokio::time::timeout(Duration::from_secs(60), way::play(&mut mover, &mut other, &second))
        .await
        .expect("moves are seen");
    let (mover, other) = (way::number(&mover), way::number(&other));
    stop.cancel();
    let ended = running.join_next().await.expect("the server").expect("no panic");
    ended.expect("an orderly end");
    for traces in [server_traces, first_traces, second_traces] {
        way::sent(traces).await;
    }

    joining_is_one_trace(&jaeger, &first.joined(), &[]).await;
    let way = a_move_is_whole(&jaeger, (&first, mover), (&second, other)).await;
    times_are_consistent(&way);
    let [_, _, _, ticked, _, sent, _] = &way;
    let (tick_trace, _) = ticked.links.first().expect("a link to the tick's own trace");
    the_tick_is_a_trace_of_its_own(&jaeger, tick_trace, sent).await;
}

/// One after the other, and together no longer than the whole. All clocks are this machine's, so a ms is for rounding only.
fn times_are_consistent(way: &[Span; 7]) {
    let [made, received, queued, ticked, encoded, sent, applied] = way;
    for pair in way.windows(2) {
        assert!(pair[0].began_us <= pair[1].began_us + 1000, "{pair:#?}");
    }
    assert!(received.ended_us() <= queued.began_us + 1000);
    assert!(queued.ended_us() <= ticked.began_us + 1000);
    assert!(ticked.ended_us() <= encoded.began_us + 1000);
    assert!(encoded.ended_us() <= sent.began_us + 1000);
    assert!(applied.began_us + 1000 >= encoded.ended_us(), "shown after it was there");
    assert!(applied.took_us < 1_000_000, "and soon");
    let whole_us = applied.ended_us().max(sent.ended_us()) - made.began_us;
    let parts_us = queued.took_us + ticked.took_us + sent.took_us;
    assert!(parts_us <= whole_us + 1000, "{parts_us} of {whole_us}");
}

async fn the_tick_is_a_trace_of_its_own(jaeger: &Jaeger, id: &str, sent: &Span) {
    let spans = jaeger.trace(id, |spans| spans.len() >= 5).await;
    let tick = spans.iter().find(|span| span.name == "fray.tick").expect("the tick");
    assert_eq!(tick.parent, None);
    assert!(tick.links.iter().any(|(_, span)| *span == sent.id), "linked with the move");
    assert!(tick.tag("fray.recording").is_string(), "{tick:?}");
    for name in ["fray.tick.drain", "fray.tick.step", "fray.tick.replicate", "fray.tick.publish"] {
        let part = spans.iter().find(|span| span.name == name).expect(name);
        assert_eq!(part.parent.as_ref(), Some(&tick.id), "{name}");
        assert!(part.began_us >= tick.began_us && part.ended_us() <= tick.ended_us() + 1);
    }
}

/// What a collector's failure costs is spans, each of them counted. How long updates take is measured elsewhere
/// (`benches/collector_away.sh`): a busy machine would decide here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_or_is_gone_costs_spans_and_nothing_else() {
    const WAITING_MAX: usize = 50;
    let Some(jaeger) = Jaeger::start().await else { return };
    let target = export::Target {
        endpoint: Some(jaeger.endpoint()),
        trust: None,
        service: "fray-server",
        instance: "server".into(),
        version: "test",
        sampler: export::default_sampler(),
        delay: Duration::from_millis(100),
        waiting_max: WAITING_MAX,
    };
    let counts = export::Counts::default();
    let provider = export::provider(target, &counts).expect("a provider");
    let every = Settings { moves: 1.0, ticks: 1.0, peers_per_s: 0 };
    let traces = Arc::new(Traces::on(provider, every));
    let telemetry = Telemetry { traces: Arc::clone(&traces), ..Telemetry::default() };
    let server = Server::builder().config(flags::config(&[])).telemetry(telemetry);
    let app = server.build().await.expect("a server");
    let url = format!("http://{}", app.listen_addr());
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(app.run(stop.clone().cancelled_owned()));
    let channel = Channels::new(&url, 1).expect("a url").next(0);
    let request = v1::JoinRequest::default();
    let mut player =
        Player::join(Arc::new(channel), request, Options::default()).await.expect("a seat");

    plays_on(&mut player).await;
    let flushed = Arc::clone(&traces);
    tokio::task::spawn_blocking(move || flushed.flush()).await.expect("no panic");
    assert!(counts.exported.get() > 0, "it was there");
    programs::signal(jaeger.pid(), "STOP");
    // More spans than may wait: 5 a tick, and 5 a move.
    while counts.dropped.get() == 0 {
        plays_on(&mut player).await;
    }
    drop(jaeger);
    let before = counts.dropped.get() + counts.failed.get();
    while counts.dropped.get() + counts.failed.get() < before + 2 * WAITING_MAX as u64 {
        plays_on(&mut player).await;
    }
    player.leave();
    while player.next().await.expect("a good end").is_some() {}
    stop.cancel();
    let ended = running.join_next().await.expect("the server").expect("no panic");
    ended.expect("an orderly end");
}

/// The player's moves are applied, whatever else goes on.
async fn plays_on(player: &mut Player) {
    let played = async {
        for axis_x in [127, -127] {
            player.steer(Controls { axis_x, ..Controls::default() }).expect("room for it");
            while player.session().unacknowledged() > 0 {
                player.next().await.expect("the stream goes on");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), played).await.expect("moves are applied");
}
