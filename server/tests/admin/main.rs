//! Operators' verbs: each does what it says, refuses what it should, and disturbs nobody else.

#[path = "../support/mod.rs"]
mod support;

mod door;
mod drain;
mod kick;
mod rooms;
mod servers;

use fray_proto::v1::join_request::Room;
use fray_proto::v1::{self, JoinRequest};
use fray_server::telemetry::log::{self, Format, Settings};
use serde_json::Value;
use std::sync::OnceLock;
use support::captured::Captured;
use support::{Net, Player, hello_with_ticket, reason};
use tonic::{Code, Status};
use tracing_subscriber::layer::SubscriberExt as _;

/// What is logged from now on, by all tests: what one thread alone listens to may be passed over while others begin and end.
fn logged() -> &'static Captured {
    static LOGGED: OnceLock<Captured> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let captured = Captured::default();
        let settings = Settings { filter: "info".into(), format: Format::Json, is_limited: false };
        let part = log::lines(&settings, None, captured.writer(), false).expect("a filter");
        let subscriber = tracing_subscriber::registry().with(vec![part]);
        tracing::subscriber::set_global_default(subscriber).expect("the only one");
        captured
    })
}

/// The lines about operators' calls in which something holds.
fn calls(holds: impl Fn(&Value) -> bool) -> Vec<Value> {
    let text = logged().text();
    let lines = text.lines().filter(|line| line.contains("an operator's call"));
    let lines = lines.map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| holds(&line["fields"])).collect()
}

/// A request for a new room.
fn create(name: &str, private: bool) -> JoinRequest {
    let room = v1::CreateRoom { name: name.into(), private, ..Default::default() };
    JoinRequest { room: Some(Room::Create(room)), ..Default::default() }
}

/// A request for this room, by this player.
fn into(room_id: &str, request_id: &str) -> JoinRequest {
    JoinRequest {
        request_id: request_id.into(),
        room: Some(Room::RoomId(room_id.into())),
        ..Default::default()
    }
}

async fn join(net: &Net, request: JoinRequest) -> Result<v1::JoinResponse, Status> {
    Ok(net.lobby().await.join(request).await?.into_inner())
}

/// Joins, and opens a stream.
async fn plays(net: &Net, request: JoinRequest) -> Player {
    let joined = join(net, request).await.expect("joined");
    net.open(hello_with_ticket(&joined.ticket)).await.expect("seated")
}

fn room_id(player: &Player) -> String {
    player.welcome.room.as_ref().expect("a room").room_id.clone()
}

fn refusal(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn because(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}
