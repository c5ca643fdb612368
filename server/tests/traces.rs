//! What is traced, and what peers can make a server trace. Streams in memory, virtual time, spans in memory.
//! The way to a collector and the client's own spans are tried with the real Jaeger, in `bot-client/tests/jaeger.rs`.

mod support;

use fray_proto::trace::{TraceContext, TracedMove};
use fray_proto::v1;
use fray_server::telemetry::traces::{Settings, export, names};
use fray_server::telemetry::{Telemetry, Traces, log};
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use support::{Net, Player, hello_with_token};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::Request;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

const OFF: Settings = Settings { moves: 0.0, ticks: 0.0, peers_per_s: 0 };
const PEERS_ONLY: Settings = Settings { peers_per_s: 1000, ..OFF };

/// The spans that a server of the test wrote.
#[derive(Clone)]
struct Seen(InMemorySpanExporter, #[allow(dead_code, reason = "held")] Arc<OwnedMutexGuard<()>>);

/// Subscribers of several threads, each with filters of its own, get into each other's way: a span is then seen by none.
static ONE_AT_A_TIME: LazyLock<Arc<Mutex<()>>> = LazyLock::new(Arc::default);

impl Seen {
    fn named(&self, name: &str) -> Vec<SpanData> {
        self.all().into_iter().filter(|span| span.name == name).collect()
    }

    fn names(&self) -> Vec<String> {
        self.all().into_iter().map(|span| span.name.into_owned()).collect()
    }

    fn all(&self) -> Vec<SpanData> {
        self.0.get_finished_spans().expect("spans in memory")
    }
}

async fn traced(settings: Settings) -> (Net, Seen, Telemetry) {
    let alone = Arc::new(Arc::clone(&ONE_AT_A_TIME).lock_owned().await);
    let seen = Seen(InMemorySpanExporter::default(), alone);
    let provider = export::builder(export::default_sampler())
        .with_span_processor(SimpleSpanProcessor::new(seen.0.clone()))
        .build();
    let traces = Arc::new(Traces::on(provider, settings));
    let telemetry = Telemetry { traces, ..Telemetry::default() };
    (Net::with_telemetry(&[], &telemetry), seen, telemetry)
}

/// Spans of `tracing` go to the provider too, for as long as the guard lives. The test has one thread.
fn subscribe(telemetry: &Telemetry) -> DefaultGuard {
    let tracer = telemetry.traces.tracer().expect("tracing is on");
    tracing::subscriber::set_default(tracing_subscriber::registry().with(vec![log::traces(tracer)]))
}

fn context(n: u64) -> TraceContext {
    TraceContext::new(u128::from(n) << 64 | 0xfeed, n).expect("not zero")
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string())
}

fn trace_id(span: &SpanData) -> u128 {
    u128::from_be_bytes(span.span_context.trace_id().to_bytes())
}

/// Lets the room write what it wrote of the moves that are acknowledged: a tick later.
async fn a_few_ticks(player: &mut Player) {
    let until = player.replica.tick() + 3;
    player.until("ticks go by", |player| player.replica.tick() >= until).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_s_trace_goes_on_through_the_server() {
    let (net, seen, _) = traced(PEERS_ONLY).await;
    let mut player = net.player("pilot").await;
    player.update().await.expect("an update");
    player.steer_traced(127, 0, Some(context(5).into())).await;
    player.until_all_is_acked().await;
    a_few_ticks(&mut player).await;

    let mut parent = SpanId::from(5);
    for name in ["receive", "queue", "tick", "encode", "send"] {
        let [span] = &seen.named(&format!("fray.move.{name}"))[..] else { panic!("one {name}") };
        assert_eq!(trace_id(span), context(5).trace_id.get(), "{name}");
        assert_eq!(span.parent_span_id, parent, "{name}");
        assert_eq!(attribute(span, names::SEQUENCE).as_deref(), Some("1"));
        assert_eq!(attribute(span, names::PLAYER), Some(player.welcome.player.to_string()));
        parent = span.span_context.span_id();
    }
    let [tick] = &seen.named(names::TICK)[..] else { panic!("the tick that applied it is traced") };
    assert_eq!(tick.links.len(), 1);
    assert_eq!(tick.links[0].span_context.span_id(), parent, "linked with what it sent");
    let in_tick = &seen.named(names::MOVE_TICK)[0];
    assert_eq!(
        in_tick.links[0].span_context.span_id(),
        tick.span_context.span_id(),
        "and the other way round"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_client_s_trace_the_server_samples_by_itself() {
    let (net, seen, _) = traced(Settings { moves: 1.0, ..OFF }).await;
    let mut player = net.player("pilot").await;
    player.update().await.expect("an update");
    player.steer(127, 0).await;
    player.until_all_is_acked().await;
    a_few_ticks(&mut player).await;
    let [receive] = &seen.named(names::MOVE_RECEIVE)[..] else { panic!("one move") };
    assert_eq!(receive.parent_span_id, SpanId::INVALID);
    assert_eq!(seen.named(names::MOVE_SEND).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_budget_a_client_s_trace_is_only_a_link() {
    for (moves, own) in [(0.0, 0), (1.0, 9)] {
        let (net, seen, _) = traced(Settings { moves, peers_per_s: 1, ..OFF }).await;
        let mut player = net.player("greedy").await;
        player.update().await.expect("an update");
        for n in 1..=10 {
            player.steer_traced(n, 0, Some(context(n as u64).into())).await;
        }
        player.until_all_is_acked().await;
        a_few_ticks(&mut player).await;
        let received = seen.named(names::MOVE_RECEIVE);
        let is_clients = |span: &&SpanData| trace_id(span) & 0xffff_ffff == 0xfeed;
        assert_eq!(received.iter().filter(is_clients).count(), 1, "as many as the budget allows");
        let rest: Vec<_> = received.iter().filter(|span| !is_clients(span)).collect();
        assert_eq!(rest.len(), own);
        for span in rest {
            assert_eq!(span.parent_span_id, SpanId::INVALID);
            assert_eq!(span.links.len(), 1, "linked with the client's");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sampled_move_rides_once_in_the_cell_of_who_made_it() {
    let (net, _, _) = traced(PEERS_ONLY).await;
    let (mut mover, mut other) = (net.player("mover").await, net.player("other").await);
    for player in [&mut mover, &mut other] {
        player.update().await.expect("an update");
    }
    // Holding still: nothing changes by it, and it is told of all the same.
    mover.steer_traced(0, 0, Some(context(9).into())).await;
    let mut told = Vec::new();
    for _ in 0..20 {
        mover.update().await.expect("an update");
        let update = other.update().await.expect("the stream goes on").expect("an update");
        for cell in &update.cells {
            told.extend(
                cell.traced_moves.iter().map(|traced| (update.tick, cell.place / 128, *traced)),
            );
        }
    }
    let [(tick, cell, traced)] = told[..] else { panic!("told once, not {told:?}") };
    let TracedMove { context: sent, player, sequence } = traced.parse().expect("a context");
    assert_eq!((player, sequence), (mover.welcome.player, 1));
    assert_eq!(sent.trace_id, context(9).trace_id);
    let ship = other.replica.entity(mover.welcome.entity).expect("the mover's ship");
    let world = other.replica.world();
    assert_eq!(cell, world.cell_of(ship.position), "at tick {tick} it was where it is");
}

#[tokio::test(start_paused = true)]
async fn contexts_that_name_nothing_and_servers_that_do_not_trace_change_nothing() {
    let (net, seen, _) = traced(PEERS_ONLY).await;
    for net in [net, Net::new(&[])] {
        let mut player = net.player("pilot").await;
        player.update().await.expect("an update");
        player
            .steer_traced(1, 0, Some(v1::TraceContext { span_id: 1, ..Default::default() }))
            .await;
        player
            .steer_traced(2, 0, Some(v1::TraceContext { trace_id_low: 1, ..Default::default() }))
            .await;
        player.until_all_is_acked().await;
        a_few_ticks(&mut player).await;
    }
    let silent = Net::new(&[]);
    let mut player = silent.player("pilot").await;
    player.update().await.expect("an update");
    player.steer_traced(1, 0, Some(context(3).into())).await;
    for _ in 0..5 {
        let update = player.update().await.expect("the stream goes on").expect("an update");
        assert!(update.cells.iter().all(|cell| cell.traced_moves.is_empty()));
    }
    assert!(seen.all().is_empty(), "{:?}", seen.names());
}

#[tokio::test(start_paused = true)]
async fn a_late_tick_is_traced_whatever_the_share_is() {
    let (net, seen, _) = traced(OFF).await;
    let mut player = net.player("patient").await;
    for _ in 0..10 {
        player.update().await.expect("an update");
    }
    assert!(seen.all().is_empty(), "in time");
    tokio::time::advance(Duration::from_millis(200)).await;
    a_few_ticks(&mut player).await;
    let ticks = seen.named(names::TICK);
    let late = ticks.first().expect("the late tick");
    let room = player.welcome.room.clone().expect("a room").room_id;
    assert_eq!(attribute(late, names::TICK_IS_LATE).as_deref(), Some("true"));
    assert_eq!(attribute(late, names::RECORDING), Some(room.clone()), "what to replay");
    assert_eq!(attribute(late, names::ROOM), Some(room));
    assert!(attribute(late, names::TICK_NUMBER).is_some(), "and from where");
    let lateness = attribute(late, names::TICK_LATENESS_MS).and_then(|ms| ms.parse::<f64>().ok());
    assert!(lateness.is_some_and(|ms| ms > 100.0), "{lateness:?}");
    for part in [names::TICK_DRAIN, names::TICK_STEP, names::TICK_REPLICATE, names::TICK_PUBLISH] {
        let spans = seen.named(part);
        let of_late = |span: &&SpanData| span.parent_span_id == late.span_context.span_id();
        assert_eq!(spans.iter().filter(of_late).count(), 1, "{part}");
    }
}

#[tokio::test(start_paused = true)]
async fn late_ticks_do_not_flood_the_collector() {
    let (_, seen, telemetry) = traced(OFF).await;
    let net = Net::with_telemetry(&["--tick-rate", "100"], &telemetry);
    let mut player = net.player("patient").await;
    player.update().await.expect("an update");
    let since = tokio::time::Instant::now();
    // Each update comes 8 ms late, where 5 would be late.
    for _ in 0..300 {
        tokio::time::advance(Duration::from_millis(18)).await;
        player.update().await.expect("an update");
    }
    let most = 20 * (since.elapsed().as_secs() as usize + 2);
    let ticks = seen.named(names::TICK).len();
    assert!((most / 2..=most).contains(&ticks), "{ticks} of at most {most}");
}

#[tokio::test(start_paused = true)]
async fn peers_cannot_fill_the_collector_with_calls() {
    let (net, seen, telemetry) = traced(PEERS_ONLY).await;
    let _guard = subscribe(&telemetry);
    let mut lobby = net.lobby().await;
    for _ in 0..500 {
        lobby.list_rooms(v1::ListRoomsRequest::default()).await.expect("a list");
    }
    let calls = seen.named("fray.v1.Lobby/ListRooms").len();
    assert!((1..=20).contains(&calls), "{calls} in no time at all");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_sample_is_not_traced() {
    let (net, seen, telemetry) = traced(PEERS_ONLY).await;
    let _guard = subscribe(&telemetry);
    let mut request = Request::new(v1::JoinRequest::default());
    let header = context(1).to_traceparent().replace("-01", "-00").parse().expect("a header");
    request.metadata_mut().insert("traceparent", header);
    net.lobby().await.join(request).await.expect("a seat");
    assert!(seen.all().is_empty(), "{:?}", seen.names());
}

#[tokio::test(start_paused = true)]
async fn one_client_cannot_use_up_what_all_may_have() {
    let (net, seen, _) = traced(Settings { peers_per_s: 10, ..OFF }).await;
    let (mut greedy, mut other) = (net.player("greedy").await, net.player("other").await);
    for player in [&mut greedy, &mut other] {
        player.update().await.expect("an update");
    }
    for n in 1..=30 {
        greedy.steer_traced(n, 0, Some(context(n as u64).into())).await;
    }
    greedy.until_all_is_acked().await;
    other.steer_traced(1, 0, Some(context(99).into())).await;
    other.until_all_is_acked().await;
    a_few_ticks(&mut other).await;
    let received = seen.named(names::MOVE_RECEIVE);
    assert!(received.iter().any(|span| trace_id(span) == context(99).trace_id.get()));
    assert_eq!(received.len(), 5 + 1, "half of the budget, and the other's");
}

#[tokio::test(start_paused = true)]
async fn joining_resuming_and_taking_over_are_spans_and_what_happens_is_told_with_them() {
    let (net, seen, telemetry) = traced(PEERS_ONLY).await;
    let _guard = subscribe(&telemetry);
    let mut first = net.player("pilot").await;
    first.update().await.expect("an update");
    let token = first.welcome.resume_token.clone();
    let mut second = net.open(hello_with_token(&token)).await.expect("taken over");
    second.update().await.expect("an update");
    assert!(first.raw.end().await.is_err(), "another has taken over");
    let resync =
        v1::Resync { reason: v1::resync::Reason::ChecksumMismatch.into(), ..Default::default() };
    second.raw.send(v1::play_request::Message::Resync(resync)).await;
    second.update().await.expect("an update");
    drop(second);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut third = net.open(hello_with_token(&token)).await.expect("resumed");
    third.leave().await.expect("a good end");
    drop(third);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let room = first.welcome.room.expect("a room").room_id;
    for name in [names::SESSION_JOIN, names::SESSION_TAKEOVER, names::SESSION_RESUME] {
        let [span] = &seen.named(name)[..] else { panic!("one {name}, not {:?}", seen.names()) };
        assert_eq!(attribute(span, names::ROOM).as_ref(), Some(&room), "{name}");
        assert_eq!(attribute(span, names::DOOR).as_deref(), Some("grpc"), "{name}");
    }
    let sessions = seen.named(names::SESSION);
    let reasons: Vec<_> =
        sessions.iter().filter_map(|span| attribute(span, names::REASON)).collect();
    assert_eq!(reasons, ["TAKEN_OVER", "STREAM_DROPPED", "OK"]);
    let takeover = &seen.named(names::SESSION_TAKEOVER)[0];
    assert_eq!(sessions[1].parent_span_id, takeover.span_context.span_id());
    let events: Vec<_> = sessions[1].events.iter().map(|event| event.name.as_ref()).collect();
    assert_eq!(events, [names::DESYNC]);
}

#[tokio::test(start_paused = true)]
async fn a_call_continues_its_caller_s_trace_within_the_budget() {
    let (net, seen, telemetry) = traced(Settings { peers_per_s: 1, ..OFF }).await;
    let _guard = subscribe(&telemetry);
    let mut lobby = net.lobby().await;
    for n in [1, 2] {
        let mut request = Request::new(v1::JoinRequest::default());
        let header = context(n).to_traceparent().parse().expect("a header");
        request.metadata_mut().insert("traceparent", header);
        lobby.join(request).await.expect("a seat");
    }
    let wrong = v1::JoinRequest { resume_token: "nonsense".into(), ..Default::default() };
    lobby.join(wrong).await.expect_err("no such session");
    let calls = seen.named("fray.v1.Lobby/Join");
    assert_eq!(calls.len(), 3, "{:?}", seen.names());
    assert_eq!(trace_id(&calls[0]), context(1).trace_id.get());
    assert_eq!(calls[0].parent_span_id, SpanId::from(1));
    assert_ne!(trace_id(&calls[1]), context(2).trace_id.get(), "past the budget");
    assert_eq!(calls[1].links[0].span_context.span_id(), SpanId::from(2));
    let status = |call: &SpanData| attribute(call, names::RPC_STATUS);
    assert_eq!(status(&calls[0]).as_deref(), Some("OK"));
    assert_eq!(status(&calls[2]).as_deref(), Some("NOT_FOUND"));
    assert_eq!(attribute(&calls[2], names::RPC_METHOD).as_deref(), Some("fray.v1.Lobby/Join"));
}

/// What is in the table is in the code, what is written is in the table, and nothing else is.
#[tokio::test(start_paused = true)]
async fn the_table_of_names_is_true() {
    let guide = include_str!("../../docs/TRACING.md");
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    let known = [names::SPANS, names::ATTRIBUTES, names::EVENTS].concat();
    assert_eq!(listed, known.into_iter().collect(), "docs/TRACING.md and names.rs");

    let (net, seen, telemetry) = traced(Settings { moves: 1.0, ticks: 1.0, peers_per_s: 1 }).await;
    let _guard = subscribe(&telemetry);
    let mut player = net.player("pilot").await;
    player.update().await.expect("an update");
    player.steer(1, 1).await;
    a_few_ticks(&mut player).await;
    player.leave().await.expect("a good end");
    drop(player);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for span in seen.all() {
        let is_call = span.name.starts_with("fray.v1.");
        assert!(is_call || names::SPANS.contains(&span.name.as_ref()), "{}", span.name);
        for attribute in &span.attributes {
            assert!(
                names::ATTRIBUTES.contains(&attribute.key.as_str()),
                "{}: {}",
                span.name,
                attribute.key
            );
        }
    }
}
