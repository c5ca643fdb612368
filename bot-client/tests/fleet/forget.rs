//! `fray-bot admin servers` and `forget`: a server that is gone for good, with an address that says nothing.

use super::servers::{Fleet, Running};
use fray_server::session::directory::{Directory as _, ServerRecord, Voter};
use serde_json::Value;
use std::process::{Command, Output};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

pub async fn told(server: &Running, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fray-bot"));
    command.args(["admin", "--url", &format!("http://{}", server.control)]).args(args);
    spawn_blocking(move || command.output()).await.expect("no panic").expect("started")
}

async fn servers(asked: &Running) -> Vec<Value> {
    let said = told(asked, &["servers", "--json"]).await;
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    said["servers"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_server_forgotten_that_does_not_come_back_and_no_other() {
    let fleet = Fleet::of(2, &[]).await;
    let asked = &fleet.servers[0];
    let both = async {
        while servers(asked).await.len() < 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(super::PATIENCE, both).await.expect("both are known");
    let running = told(asked, &["forget", "server-1"]).await;
    assert_eq!(running.status.code(), Some(1), "{running:?}");
    let why = String::from_utf8_lossy(&running.stderr);
    assert!(why.contains("SERVER_ALIVE") && why.contains("it answers"), "{why}");

    // Whoever connects there hears nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address").to_string();
    let directory = fleet.directory.as_ref().expect("in memory");
    let ghost = directory.another();
    let record = directory.servers().remove(0).record;
    let record = ServerRecord {
        instance: ghost.me().clone(),
        name: "ghost".into(),
        peer: address.clone(),
        electorate: vec![Voter { instance: ghost.me().clone(), votes: 1 }],
        ..(*record).clone()
    };
    ghost.announce(record).await.expect("announced");
    let refused = told(asked, &["forget", "ghost"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(why.contains("SERVER_ALIVE") && why.contains("within the last 8 s"), "{why}");
    let shown = servers(asked).await;
    let row = shown.iter().find(|row| row["name"] == "ghost").expect("a row");
    assert_eq!(row["peer"], address.as_str());

    let forgotten = async {
        loop {
            let said = told(asked, &["forget", ghost.me().as_str()]).await;
            if said.status.success() {
                return String::from_utf8(said.stdout).expect("text");
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let said = timeout(super::PATIENCE, forgotten).await.expect("it is forgotten");
    assert_eq!(said, format!("ghost ({}) is forgotten; it had no rooms\n", ghost.me()));
    let names: Vec<_> = servers(asked).await.iter().map(|row| row["name"].clone()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!names.contains(&"ghost".into()), "{names:?}");
    let unknown = told(asked, &["forget", "ghost"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let why = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(why.contains("the directory has no server of that instance or name"), "{why}");
    fleet.stop().await;
}
