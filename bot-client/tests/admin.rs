//! `fray-bot admin` against a server: what it does, prints, and returns.

#[path = "../../server/tests/support/flags.rs"]
mod flags;

use fray_bot::client::transport::GrpcServer;
use fray_bot::client::{Ended, Options, Player};
use fray_proto::v1;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_server::{App, Server};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, spawn_blocking};

/// A server with sockets.
struct Running {
    players: SocketAddr,
    control: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinSet<Result<(), fray_server::Error>>,
}

impl Running {
    async fn new() -> Self {
        let config = flags::config(&["--name", "ada", "--rooms-max", "9"]);
        let app: App = Server::builder().config(config).build().await.expect("a server");
        let (players, control) = (app.listen_addr(), app.control_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let server = JoinSet::from_iter([app.run(async {
            let _ = stopped.await;
        })]);
        Self { players, control, stop, server }
    }

    /// Somebody who plays in a room of that name.
    async fn plays(&self, name: &str, room: &str) -> (Player, String) {
        let server = GrpcServer::at(&format!("http://{}", self.players)).expect("an address");
        let room = v1::CreateRoom { name: room.into(), ..Default::default() };
        let request = v1::JoinRequest {
            player_name: name.into(),
            room: Some(v1::join_request::Room::Create(room)),
            ..Default::default()
        };
        let player = Player::join(Arc::new(server), request, Options::default()).await;
        let player = player.expect("joined");
        let room = player.seat().and_then(|seat| seat.room.clone()).expect("a room");
        (player, room.room_id)
    }

    /// What the program does, told this.
    async fn told(&self, args: &[&str]) -> Output {
        run(&format!("http://{}", self.control), args).await
    }

    async fn text(&self, args: &[&str]) -> String {
        let done = self.told(args).await;
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert!(done.stderr.is_empty(), "{done:?}");
        String::from_utf8(done.stdout).expect("text")
    }

    async fn json(&self, args: &[&str]) -> Value {
        let with_json: Vec<_> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.text(&with_json).await).expect("JSON")
    }

    async fn ends(self) {
        self.stop.send(()).expect("it runs");
        assert!(self.server.join_all().await.iter().all(Result::is_ok), "it ends in order");
    }
}

async fn run(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fray-bot"));
    command.args(["admin", "--url", url]).args(args);
    spawn_blocking(move || command.output()).await.expect("no panic").expect("started")
}

/// Its exit code and what it says of why.
async fn refused(server: &Running, args: &[&str]) -> (Option<i32>, String) {
    let done = server.told(args).await;
    assert!(done.stdout.is_empty(), "{done:?}");
    (done.status.code(), String::from_utf8(done.stderr).expect("text"))
}

/// How a player's game ends.
async fn end(player: &mut Player) -> Option<Ended> {
    loop {
        match player.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(ended) => return Some(ended),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_looks_kicks_and_closes() {
    let server = Running::new().await;
    let (mut ada, duel) = server.plays("Ada", "Duel").await;
    let (mut bob, other) = server.plays("Bob", "Other").await;

    let text = server.text(&["server"]).await;
    assert!(
        text.contains("name           ada\n") && text.contains("takes players  yes\n"),
        "{text}"
    );
    assert!(
        text.contains("rooms          2 of 9\n") && text.contains("players        2\n"),
        "{text}"
    );
    let said = server.json(&["server"]).await;
    assert_eq!((&said["rooms"], &said["draining"]), (&2.into(), &false.into()));

    let text = server.text(&["rooms"]).await;
    let mut lines = text.lines();
    assert!(lines.next().expect("a head").starts_with("ROOM        NAME   GAME"), "{text}");
    let line = lines.find(|line| line.starts_with(&duel)).expect("a row");
    assert!(line.contains("  Duel   arena  1/64     1      "), "{line}");

    let text = server.text(&["players", &duel]).await;
    assert!(text.contains("1       Ada   playing  "), "{text}");
    let rows = server.json(&["players", &duel]).await;
    let id = rows["players"][0]["player_id"].as_str().expect("an id").to_owned();
    assert_eq!(rows["players"][0]["state"], "playing");

    let (code, why) = refused(&server, &["kick", &duel, "7"]).await;
    assert_eq!(code, Some(1));
    assert!(why.ends_with("nobody of that number or id has a seat in that room\n"), "{why}");
    let text = server.text(&["kick", &duel, &id]).await;
    let said = format!("Ada (player 1, {id}) is out of {duel}, and gets no seat there for 10m\n");
    assert_eq!(text, said);
    let ended = end(&mut ada).await.expect("with a reason");
    assert_eq!(ended.label(), "PERMISSION_DENIED/KICKED");

    let text = server.text(&["close", &other]).await;
    assert!(text.starts_with(&format!("{other} is closed, at tick ")), "{text}");
    assert!(text.ends_with("; it had 1 player\n"), "{text}");
    assert_eq!(end(&mut bob).await.expect("with a reason").label(), "ABORTED/ROOM_ENDED");
    for verb in ["close", "players"] {
        let (code, why) = refused(&server, &[verb, &other]).await;
        assert_eq!(code, Some(1));
        assert!(why.ends_with("there is no such room on this server\n"), "{why}");
    }
    server.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_drains_a_server_and_takes_it_back() {
    let server = Running::new().await;
    let (mut ada, _) = server.plays("Ada", "Duel").await;
    let text = server.text(&["drain"]).await;
    assert_eq!(text, "drained: no new rooms and players; 1 room with 1 player play on\n");
    assert!(server.text(&["drain"]).await.starts_with("drained, as before: "));
    assert!(server.text(&["server"]).await.contains("takes players  no: it is drained\n"));
    // As a player would, but it would try for a minute.
    let lobby = LobbyClient::connect(format!("http://{}", server.players)).await;
    let late = lobby.expect("connected").join(v1::JoinRequest::default()).await;
    assert_eq!(Ended::from(late.expect_err("refused")).label(), "UNAVAILABLE/DRAINING");
    assert!(ada.next().await.is_ok(), "who is there plays on");
    assert_eq!(server.json(&["drain", "--off"]).await["changed"], true);
    assert_eq!(server.text(&["drain", "--off"]).await, "takes rooms and players, as before\n");
    server.plays("Bob", "Other").await;
    server.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_at_the_wrong_place_is_told_so() {
    let server = Running::new().await;
    let done = run(&format!("http://{}", server.players), &["server"]).await;
    assert_eq!(done.status.code(), Some(2));
    let why = String::from_utf8(done.stderr).expect("text");
    assert!(why.contains("--url is the server's --control address"), "{why}");
    let nobody = format!("http://{}", server.control);
    server.ends().await;
    let done = run(&nobody, &["server"]).await;
    assert_eq!(done.status.code(), Some(2));
    let why = String::from_utf8(done.stderr).expect("text");
    assert!(why.contains("the server cannot be asked: "), "{why}");
    let done = run("nonsense at all", &["server"]).await;
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("not an address"), "{done:?}");
}
