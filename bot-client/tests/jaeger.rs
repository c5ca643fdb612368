//! A move's whole way, seen in the real Jaeger: two players on a real server, each of the three with an exporter of its own.
//!
//! To see it fail: leave out any of the spans, give one another parent, or let the server ignore the client's context.

mod jaeger_support;
mod programs;

use clap::Parser as _;
use fray_bot::client::tracing::{AcknowledgedMove, AnsweredCall, AppliedMove, Tracer};
use fray_bot::client::transport::Channels;
use fray_bot::client::{Controls, Event, Options, Player};
use fray_bot::traces::Exporter;
use fray_proto::trace::TraceContext;
use fray_proto::v1;
use fray_server::Server;
use fray_server::config::Config;
use fray_server::telemetry::traces::{Settings, export};
use fray_server::telemetry::{Telemetry, Traces, log};
use jaeger_support::{Jaeger, Span};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

/// The way of a move, in order; each span's parent is the one before.
const WAY: [&str; 7] = [
    "fray.move",
    "fray.move.receive",
    "fray.move.queue",
    "fray.move.tick",
    "fray.move.encode",
    "fray.move.send",
    "fray.move.apply",
];
const MOVES: u32 = 20;

fn traces(jaeger: &Jaeger, service: &'static str, instance: &str) -> Arc<Traces> {
    let target = export::Target {
        endpoint: Some(jaeger.endpoint()),
        trust: None,
        service,
        instance: instance.into(),
        version: "test",
        sampler: export::default_sampler(),
        delay: Duration::from_millis(100),
        waiting_max: 10_000,
    };
    let provider = export::provider(target, &export::Counts::default()).expect("a provider");
    Arc::new(Traces::on(provider, Settings { moves: 1.0, ticks: 0.0, peers_per_s: 10_000 }))
}

/// Remembers which moves it was told of.
#[derive(Debug)]
struct Witness {
    exporter: Exporter,
    begun: Mutex<Vec<TraceContext>>,
    applied: Mutex<Vec<AppliedMove>>,
    joined: Mutex<Option<TraceContext>>,
}

impl Witness {
    fn new(traces: Arc<Traces>) -> Arc<Self> {
        let exporter = Exporter(traces);
        Arc::new(Self {
            exporter,
            begun: Mutex::default(),
            applied: Mutex::default(),
            joined: Mutex::default(),
        })
    }
}

impl Tracer for Witness {
    fn begin(&self) -> Option<TraceContext> {
        let context = self.exporter.begin();
        self.begun.lock().expect("no panic").extend(context);
        context
    }

    fn begin_call(&self) -> Option<TraceContext> {
        self.exporter.begin_call()
    }

    fn answered(&self, call: &AnsweredCall) {
        self.exporter.answered(call);
        *self.joined.lock().expect("no panic") = Some(call.context);
    }

    fn acknowledged(&self, sent: &AcknowledgedMove) {
        self.exporter.acknowledged(sent);
    }

    fn applied(&self, applied: &AppliedMove) {
        self.applied.lock().expect("no panic").push(*applied);
        self.exporter.applied(applied);
    }
}

async fn join(url: &str, witness: &Arc<Witness>, name: &str) -> Player {
    let tracer = Arc::clone(witness) as Arc<dyn Tracer>;
    let mut channels = Channels::new(url, 1).expect("a url").traced(Some(tracer));
    let request = v1::JoinRequest { player_name: name.into(), ..Default::default() };
    Player::join(Arc::new(channels.next(0)), request, Options::default()).await.expect("a seat")
}

/// Lets both play until the first has its moves acknowledged and the second has seen one of them.
async fn play(mover: &mut Player, other: &mut Player, seen: &Witness) {
    let mut moves = 0;
    while moves < MOVES
        || mover.session().unacknowledged() > 0
        || seen.applied.lock().expect("no panic").is_empty()
    {
        tokio::select! {
            event = mover.next() => {
                let event = event.expect("a stream");
                if let Some(Event::Updated(_)) = event && moves < MOVES {
                    moves += 1;
                    let axis_x = if moves % 2 == 0 { 127 } else { -127 };
                    mover.steer(Controls { axis_x, ..Controls::default() }).expect("room for it");
                }
            }
            event = other.next() => { event.expect("a stream"); }
        }
    }
}

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
    let flags = [
        "fray-server",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
        "--seed",
        "7",
    ];
    let config = Config::parse_from(flags);
    let server = Server::builder().config(config);
    let telemetry = Telemetry { traces: Arc::clone(&server_traces), ..Telemetry::default() };
    let server = server.telemetry(telemetry);
    let app = server.build().await.expect("a server");
    let url = format!("http://{}", app.listen_addr());
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(app.run(stop.clone().cancelled_owned()));

    let (first, second) =
        (Witness::new(Arc::clone(&first_traces)), Witness::new(Arc::clone(&second_traces)));
    let mut mover = join(&url, &first, "mover").await;
    let mut other = join(&url, &second, "other").await;
    tokio::time::timeout(Duration::from_secs(60), play(&mut mover, &mut other, &second))
        .await
        .expect("moves are seen");
    let player = |player: &Player| player.session().welcome().map_or(0, |welcome| welcome.player);
    let (mover, other) = (player(&mover), player(&other));
    stop.cancel();
    let ended = running.join_next().await.expect("the server").expect("no panic");
    ended.expect("an orderly end");
    for traces in [server_traces, first_traces, second_traces] {
        tokio::task::spawn_blocking(move || traces.shut_down(Duration::from_secs(20)))
            .await
            .expect("no panic");
    }

    let joined = first.joined.lock().expect("no panic").expect("a sampled call").trace_id_hex();
    joining_is_one_trace(&jaeger, &joined).await;
    let seen = second.applied.lock().expect("no panic")[0];
    let begun = first.begun.lock().expect("no panic").clone();
    let context =
        begun.into_iter().find(|context| context.trace_id == seen.traced.context.trace_id);
    let id = context.expect("the trace is the client's").trace_id_hex();
    let spans = jaeger.trace(&id, |spans| spans.len() >= WAY.len()).await;

    assert_eq!(spans.len(), WAY.len(), "each once: {spans:#?}");
    let way = WAY.map(|name| spans.iter().find(|span| span.name == name).expect(name));
    assert_eq!(way[0].parent, None);
    for pair in way.windows(2) {
        assert_eq!(
            pair[1].parent.as_ref(),
            Some(&pair[0].id),
            "{} -> {}",
            pair[0].name,
            pair[1].name
        );
    }
    let [made, received, queued, ticked, encoded, sent, applied] = way;
    for span in [received, queued, ticked, encoded, sent] {
        assert_eq!((span.service.as_str(), span.instance.as_str()), ("fray-server", "server"));
        assert_eq!(span.tag("fray.player"), mover);
    }
    assert_eq!((made.service.as_str(), made.instance.as_str()), ("fray-bot", "first"));
    assert_eq!((applied.service.as_str(), applied.instance.as_str()), ("fray-bot", "second"));
    assert_eq!(made.tag("fray.player"), mover);
    assert_eq!(
        (applied.tag("fray.player"), applied.tag("fray.mover")),
        (other.into(), mover.into())
    );
    assert_eq!(ticked.tag("fray.tick.number"), applied.tag("fray.tick.number"));
    times_are_consistent(&way);
    let (tick_trace, _) = ticked.links.first().expect("a link to the tick's own trace");
    the_tick_is_a_trace_of_its_own(&jaeger, tick_trace, sent).await;
}

/// The context went with the call's metadata.
async fn joining_is_one_trace(jaeger: &Jaeger, id: &str) {
    let spans = jaeger.trace(id, |spans| spans.len() >= 2).await;
    let of = |service: &str| spans.iter().find(|span| span.service == service).expect("a span");
    let (asked, answered) = (of("fray-bot"), of("fray-server"));
    assert_eq!(
        (asked.name.as_str(), answered.name.as_str()),
        ("fray.v1.Lobby/Join", "fray.v1.Lobby/Join")
    );
    assert_eq!((asked.parent.as_ref(), answered.parent.as_ref()), (None, Some(&asked.id)));
    assert_eq!(answered.tag("rpc.response.status_code"), "OK");
}

/// One after the other, and together no longer than the whole. All clocks are this machine's, so a ms is for rounding only.
fn times_are_consistent(way: &[&Span; 7]) {
    let [made, received, queued, ticked, encoded, sent, applied] = *way;
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

/// Sends a signal to a process that the test started.
fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill {name} {pid}");
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
    let flags = [
        "fray-server",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--control",
        "127.0.0.1:0",
    ];
    let server = Server::builder().config(Config::parse_from(flags)).telemetry(telemetry);
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
    signal(jaeger.pid(), "-STOP");
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
