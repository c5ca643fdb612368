//! Players who trace all that they do, and what their traces must look like.

use super::spans::WAY;
use super::{Jaeger, Span};
use fray_bot::client::tracing::{AcknowledgedMove, AnsweredCall, AppliedMove, Tracer};
use fray_bot::client::transport::Server;
use fray_bot::client::{Controls, Event, Options, Player};
use fray_bot::traces::Exporter;
use fray_proto::trace::TraceContext;
use fray_proto::v1;
use fray_server::telemetry::Traces;
use fray_server::telemetry::traces::{Settings, export};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MOVES: u32 = 20;
const JOIN: &str = "fray.v1.Lobby/Join";

/// An exporter for a process, or for what is to look like one.
pub fn traces(jaeger: &Jaeger, service: &'static str, instance: &str) -> Arc<Traces> {
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

/// Sends what waits to be sent, and ends.
pub async fn sent(traces: Arc<Traces>) {
    let shut_down = move || traces.shut_down(Duration::from_secs(20));
    tokio::task::spawn_blocking(shut_down).await.expect("no panic");
}

/// Remembers which moves it was told of.
#[derive(Debug)]
pub struct Witness {
    exporter: Exporter,
    begun: Mutex<Vec<TraceContext>>,
    applied: Mutex<Vec<AppliedMove>>,
    joined: Mutex<Option<TraceContext>>,
}

impl Witness {
    pub fn new(traces: Arc<Traces>) -> Arc<Self> {
        let exporter = Exporter(traces);
        Arc::new(Self {
            exporter,
            begun: Mutex::default(),
            applied: Mutex::default(),
            joined: Mutex::default(),
        })
    }

    /// The trace of its call of `Join`.
    pub fn joined(&self) -> String {
        self.joined.lock().expect("no panic").expect("a sampled call").trace_id_hex()
    }

    /// Of the moves that this one made, the first that the other has seen, and its trace.
    fn seen_by(&self, other: &Self) -> (AppliedMove, String) {
        let begun = self.begun.lock().expect("no panic");
        let applied = other.applied.lock().expect("no panic");
        let is_its = |applied: &&AppliedMove| {
            begun.iter().any(|begun| begun.trace_id == applied.traced.context.trace_id)
        };
        let seen = *applied.iter().find(is_its).expect("the trace is the client's");
        (seen, seen.traced.context.trace_id_hex())
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

pub async fn join(way: impl Server + 'static, name: &str) -> Player {
    let request = v1::JoinRequest { player_name: name.into(), ..Default::default() };
    Player::join(Arc::new(way), request, Options::default()).await.expect("a seat")
}

/// Lets both play until the first has its moves acknowledged and the second has seen one of them.
pub async fn play(mover: &mut Player, other: &mut Player, seen: &Witness) {
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

/// A player's number in the room.
pub fn number(player: &Player) -> u32 {
    player.session().welcome().map_or(0, |welcome| welcome.player)
}

/// A move of the first player's that the second has seen: all its spans, in a chain, in the order of [`WAY`].
pub async fn a_move_is_whole(
    jaeger: &Jaeger,
    (first, mover): (&Witness, u32),
    (second, other): (&Witness, u32),
) -> [Span; 7] {
    let (_, id) = first.seen_by(second);
    let spans = jaeger.trace(&id, |spans| spans.len() >= WAY.len()).await;
    assert_eq!(spans.len(), WAY.len(), "each once: {spans:#?}");
    let way = WAY.map(|name| spans.iter().find(|span| span.name == name).expect(name).clone());
    assert_eq!(way[0].parent, None);
    for pair in way.windows(2) {
        let [before, after] = pair else { continue };
        assert_eq!(after.parent.as_ref(), Some(&before.id), "{} -> {}", before.name, after.name);
    }
    let [made, received, queued, ticked, encoded, sent, applied] = &way;
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
    way
}

/// The context went with the call's metadata: the client's span, one for each that carried it on, the server's; each the child of the
/// one before.
pub async fn joining_is_one_trace(jaeger: &Jaeger, id: &str, carried_by: &[&str]) {
    let services = [&["fray-bot"], carried_by, &["fray-server"]].concat();
    let spans = jaeger.trace(id, |spans| spans.len() >= services.len()).await;
    assert_eq!(spans.len(), services.len(), "each once: {spans:#?}");
    let mut parent: Option<&Span> = None;
    for (at, service) in services.iter().enumerate() {
        let is_next = |span: &&Span| span.parent.as_ref() == parent.map(|parent| &parent.id);
        let span = spans.iter().find(is_next).unwrap_or_else(|| panic!("no {at}th of {spans:#?}"));
        assert_eq!(span.service, *service, "{at}: {spans:#?}");
        parent = Some(span);
    }
    let of = |service: &str| spans.iter().find(|span| span.service == service).expect("a span");
    assert_eq!((of("fray-bot").name.as_str(), of("fray-server").name.as_str()), (JOIN, JOIN));
    assert_eq!(of("fray-server").tag("rpc.response.status_code"), "OK");
}
