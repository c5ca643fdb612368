//! The directory: what every implementation promises, and what the one in NATS does when NATS is away, slow, emptied, or
//! holds what nobody can read. NATS is a real one, a child of the test.

#[path = "../../../bot-client/tests/programs/mod.rs"]
mod programs;
#[path = "../support/mod.rs"]
mod support;

mod broken;
mod contract;
mod kept;
mod nats;

use fray_server::cluster::memory::MemoryDirectory;
use fray_server::room::RoomId;
use fray_server::session::directory::{
    Directory, Held, InstanceId, Revision, RoomRecord, ServerRecord,
};
use nats::{Joined, Nats};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Ends a hang; nothing is measured by it.
const DEADLINE: Duration = Duration::from_secs(60);

/// Several servers' accesses to one directory.
type Accesses = Vec<Arc<dyn Directory>>;

/// Runs a test against both, with so many servers.
async fn with_both(name: &str, servers: usize, run: impl AsyncFn(&Accesses)) {
    let first = MemoryDirectory::alone();
    let mut memory: Accesses = (1..servers).map(|_| Arc::new(first.another()) as _).collect();
    memory.insert(0, Arc::new(first));
    run(&memory).await;
    let Some(nats) = Nats::start(name).await else { return };
    let mut joined = Vec::new();
    for _ in 0..servers {
        joined.push(nats.join().await);
    }
    let accesses = joined.iter().map(|joined| Arc::clone(&joined.directory) as _).collect();
    run(&accesses).await;
    for joined in joined {
        joined.leave().await;
    }
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(DEADLINE, wait).await.is_ok(), "never: {what}");
}

fn id(room: &str) -> RoomId {
    RoomId::parse(room).expect("an id")
}

fn room(name: &str, owner: &InstanceId) -> RoomRecord {
    RoomRecord {
        room: id(name),
        owner: owner.clone(),
        epoch: 1,
        followers: Vec::new(),
        game: "arena".into(),
        sim_version: 1,
        name: format!("{name} – “quoted”"),
        capacity: 8,
        code_hash: None,
        lost: None,
        parked: false,
        parked_whole: false,
    }
}

fn server(instance: &InstanceId) -> ServerRecord {
    ServerRecord {
        instance: instance.clone(),
        name: "one".into(),
        route: "127.0.0.1:1".into(),
        peer: "127.0.0.1:2".into(),
        release: "1".into(),
        game: "arena".into(),
        sim_version: 1,
        sim_versions: Vec::new(),
        rooms_max: 8,
        room_capacity_max: 8,
        is_draining: false,
        players: BTreeMap::from([(id("one"), 3)]),
        electorate: Vec::new(),
        renewal_age_ms: 0,
        zone: String::new(),
        node: String::new(),
    }
}

fn held(record: RoomRecord, revision: Revision) -> Held<RoomRecord> {
    Held { record: Arc::new(record), revision }
}
