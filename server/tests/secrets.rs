//! No ticket, no resume token and no private room's code gets into the log or a trace, whatever is asked to be logged, and
//! whatever clients do.
//!
//! A whole life is played with everything logged, also by the libraries, in both formats and with every span traced. To see it
//! fail: write `tracing::trace!(?ticket, "…");` into `session/play.rs`, or let dependencies log at trace.

mod support;

use fray_proto::v1;
use fray_proto::v1::CreateRoom;
use fray_proto::v1::join_request::Room;
use fray_proto::v1::play_client::PlayClient;
use fray_proto::v1::play_request::Message as Request;
use fray_server::room::RoomId;
use fray_server::session::lobby::{JoinSpec, RoomChoice};
use fray_server::session::message::{Hello, WelcomePlayer};
use fray_server::session::ticket::{Draft, Keys};
use fray_server::session::watch_past::Past;
use fray_server::store::Header;
use fray_server::telemetry::log::{self, Format, Settings};
use futures_util::{SinkExt as _, StreamExt as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use prost::Message as _;
use std::time::Duration;
use support::captured::Captured;
use support::{Net, hello, hello_with_ticket, hello_with_token, reason};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// All that must not be seen.
#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    fn keep(&mut self, secret: &str) -> String {
        assert!(secret.len() >= 6, "not by chance: {secret:?}");
        self.0.push(secret.to_owned());
        secret.to_owned()
    }

    /// A ticket or token is no less a secret in parts: what comes after its last dot is what cannot be guessed.
    fn found_in(&self, text: &str) -> Option<String> {
        let text = text.to_lowercase();
        let forms = |secret: &String| {
            let tail = secret.rsplit('.').next().unwrap_or_default();
            // As libraries show bytes.
            let hex = tail.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            [secret.to_lowercase(), tail.to_lowercase(), hex]
        };
        self.0.iter().flat_map(forms).find(|form| text.contains(form))
    }
}

struct Watched {
    logs: [Captured; 2],
    spans: InMemorySpanExporter,
}

/// Everything of this process is logged from here on: one test only.
fn watch_everything() -> Watched {
    let logs = [Captured::default(), Captured::default()];
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let mut parts = vec![log::traces(provider.tracer("secrets"))];
    for (captured, format) in logs.iter().zip([Format::Human, Format::Json]) {
        let settings = Settings { filter: "trace".into(), format, is_limited: false };
        // Without the limit: what it would keep back could be what is looked for.
        parts.push(log::lines(&settings, None, captured.writer(), false).expect("a filter"));
    }
    tracing_subscriber::registry().with(parts).try_init().expect("nobody else logs");
    Watched { logs, spans }
}

#[tokio::test(start_paused = true)]
async fn a_whole_life_leaves_no_secret_in_log_or_traces() {
    let watched = watch_everything();
    let mut secrets = Secrets::default();
    let net = Net::new(&["--allow-guests", "false"]);

    // A private room, found by its code, looked at, and not found by another.
    let create = CreateRoom { name: "Den\n{}%s".into(), private: true, ..Default::default() };
    let create = v1::JoinRequest {
        player_name: "Ada\r\n\u{1b}[2J".into(),
        room: Some(Room::Create(create)),
        request_id: "once".into(),
        ..Default::default()
    };
    let joined = net.lobby().await.join(create.clone()).await.expect("joined").into_inner();
    let code = secrets.keep(&joined.room.as_ref().expect("a room").code);
    let ticket = secrets.keep(&joined.ticket);
    let again = net.lobby().await.join(create).await.expect("the same seat").into_inner();
    secrets.keep(&again.ticket);
    for code in [code.clone(), secrets.keep("wrong-code-1")] {
        let by_code =
            v1::JoinRequest { room: Some(Room::Code(code.clone())), ..Default::default() };
        if let Ok(joined) = net.lobby().await.join(by_code).await {
            secrets.keep(&joined.into_inner().ticket);
        }
        let request = v1::WatchRequest { code, ..Default::default() };
        if let Ok(mut watcher) = net.watch(request).await {
            watcher.update().await.expect("an update");
        }
    }

    // Played with the ticket, dropped, resumed, taken over, left.
    let mut ada = net.open(hello_with_ticket(&ticket)).await.expect("seated");
    let token = secrets.keep(&ada.welcome.resume_token);
    ada.steer(0, 127).await;
    ada.until_all_is_acked().await;
    drop(ada);
    let mut ada = net.open(hello_with_token(&token)).await.expect("resumed");
    let mut taken = net.open(hello_with_token(&token)).await.expect("taken over");
    let ended = loop {
        match ada.update().await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "TAKEN_OVER");
    let rejoin = v1::JoinRequest { resume_token: token.clone(), ..Default::default() };
    let joined = net.lobby().await.join(rejoin).await.expect("joined").into_inner();
    secrets.keep(&joined.ticket);
    taken.update().await.expect("an update");
    taken.leave().await.expect("left");

    // Tickets and tokens that are none.
    let room = RoomId::parse(&taken.welcome.room.as_ref().expect("a room").room_id).expect("an id");
    let foreign = Keys::ephemeral().expect("keys").sign(
        Draft { player_id: "p", room: room.as_str(), route: "", version: "" },
        Duration::from_secs(60),
    );
    let foreign = secrets.keep(&foreign.expect("signed"));
    let altered = secrets.keep(&format!("{}Aaaa", &ticket[..ticket.len() - 4]));
    let unknown = secrets.keep(&format!("{room}.AAAAAAAAAAAAAAAAAAAAAA"));
    let garbled = secrets.keep("not-a-token-at-all\n\u{9b}");
    for hello in [
        hello_with_ticket(&foreign),
        hello_with_ticket(&altered),
        hello_with_ticket(&garbled),
        hello_with_token(&unknown),
        hello_with_token(&garbled),
        hello(),
    ] {
        net.open(hello).await.map(drop).expect_err("refused");
    }
    for resume_token in [unknown, garbled] {
        let request = v1::JoinRequest { resume_token, ..Default::default() };
        net.lobby().await.join(request).await.expect_err("refused");
    }
    let past =
        v1::WatchRequest { recording: room.to_string(), code: code.clone(), ..Default::default() };
    drop(net.watch(past).await);
    for code in [code, secrets.keep("wrong-code-2")] {
        let request = v1::TimelineRequest { name: room.to_string(), code, after_tick: 0 };
        let _ = net.replays().await.timeline(request).await;
    }

    // In metadata, in a subprotocol, and where they do not belong.
    for ticket in [net.ticket("Bob").await, foreign] {
        let ticket = secrets.keep(&ticket);
        in_metadata(&net, &ticket).await;
        if let Some(token) = over_websocket(&net, &ticket).await {
            secrets.keep(&token);
        }
    }

    // A stream that breaks the rules, and the end of the server while somebody plays.
    let mut eve = net.player("Eve").await;
    secrets.keep(&eve.welcome.resume_token);
    eve.raw.send(Request::Move(v1::Move { sequence: 9999, ..Default::default() })).await;
    eve.raw.end().await.expect_err("ended");
    let mut last = net.player("Last").await;
    secrets.keep(&last.welcome.resume_token);
    net.parts.sessions().drain();
    last.raw.end().await.expect_err("told");
    net.parts.sessions().rooms.close().await;

    let [human, json] = watched.logs.map(|log| log.text());
    for (what, text) in [("human", &human), ("json", &json)] {
        // It did listen: to us, and to those who could tell.
        for heard in
            ["a player's stream opened", "TAKEN_OVER", "TICKET_INVALID", "room opened", "h2::"]
        {
            assert!(text.contains(heard), "{heard} is not in the {what} log");
        }
        assert_eq!(secrets.found_in(text), None, "in the {what} log");
    }
    assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let spans = watched.spans.get_finished_spans().expect("spans");
    assert_eq!(secrets.found_in(&format!("{spans:?}")), None, "in a trace");
    assert!(secrets.found_in(&format!("x {} y", secrets.0[3])).is_some(), "it would be found");
}

/// A ticket where it belongs, and twice more where it does not.
async fn in_metadata(net: &Net, ticket: &str) {
    let (requests, outgoing) = tokio::sync::mpsc::channel(4);
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", format!("Bearer {ticket}").parse().expect("ASCII"));
    metadata.insert("x-hostile", format!("%0a{ticket}").parse().expect("ASCII"));
    metadata.insert("grpc-timeout", format!("{ticket}S").parse().expect("ASCII"));
    metadata.insert("traceparent", format!("00-{ticket}-01").parse().expect("ASCII"));
    metadata.insert("tracestate", format!("k={ticket}").parse().expect("ASCII"));
    let play = v1::PlayRequest { message: Some(Request::Hello(hello())) };
    requests.send(play).await.expect("open");
    let mut client = PlayClient::new(net.connect().await);
    if let Ok(response) = client.play(request).await {
        let _ = response.into_inner().message().await;
    }
}

/// The resume token of a stream by the other door, if it opens.
async fn over_websocket(net: &Net, ticket: &str) -> Option<String> {
    let mut request =
        format!("ws://localhost/ws?ticket={ticket}").into_client_request().expect("a request");
    let protocols = format!("fray.v1, ticket.{ticket}");
    request.headers_mut().insert("sec-websocket-protocol", protocols.parse().expect("a header"));
    let (mut socket, _) = tokio_tungstenite::client_async(request, net.pipe()).await.expect("open");
    let hello = v1::PlayRequest { message: Some(Request::Hello(hello())) };
    socket.send(Message::Binary(hello.encode_to_vec().into())).await.expect("sent");
    let Some(Ok(Message::Binary(first))) = socket.next().await else { return None };
    match v1::PlayResponse::decode(first).expect("a message").message? {
        v1::play_response::Message::Welcome(welcome) => Some(welcome.resume_token),
        _ => None,
    }
}

#[test]
fn what_carries_a_secret_does_not_show_it() {
    let secret = || "S3CR3T-S3CR3T".to_owned();
    let player = WelcomePlayer {
        player_id: "p".into(),
        player: 1,
        entity: 2,
        ack: fray_proto::update::MoveAck::default(),
        resume_token: secret(),
        resumed: true,
    };
    let hello = Hello { ticket: Some(secret()), resume_token: Some(secret()), ..Hello::default() };
    let room = RoomChoice::Code(secret());
    let spec = JoinSpec { resume_token: Some(secret()), room, ..JoinSpec::default() };
    let header = Header { code: secret(), ..Header::default() };
    let past = Past::of("den", secret()).expect("a name");
    let shown = format!("{player:?} {hello:?} {spec:?} {header:?} {past:?}");
    assert!(!shown.contains("S3CR3T"), "{shown}");
}
