//! Servers of one fleet, in this process, on loopback ports of the system's choice.

use crate::flags::config;
use fray_bot::client::transport::GrpcServer;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_server::Server;
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::game::GameFactory;
use fray_server::game::arena::Arena;
use fray_server::telemetry::Telemetry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Keys that all servers of a fleet share, and the flags that name them.
pub fn write_keys(folder: &Path) -> [String; 4] {
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).expect("a folder");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    std::fs::write(keys.join("first.pem"), pair.serialize_pem()).expect("a file");
    let session = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let session_key = folder.join("session.key");
    std::fs::write(&session_key, session).expect("a file");
    let path = |path: &Path| path.display().to_string();
    ["--ticket-keys".into(), path(&keys), "--session-key".into(), path(&session_key)]
}

/// Several servers that share a directory and keys.
pub struct Fleet {
    pub servers: Vec<Running>,
    /// If it is in memory.
    pub directory: Option<MemoryDirectory>,
    tasks: JoinSet<()>,
}

/// One of them.
pub struct Running {
    pub name: String,
    pub players: SocketAddr,
    pub peers: SocketAddr,
    pub control: SocketAddr,
    pub telemetry: Telemetry,
    stop: CancellationToken,
}

impl Fleet {
    /// So many servers with these flags, which share a directory in memory.
    pub async fn of(count: usize, flags: &[&str]) -> Self {
        Self::of_game(Arena::default(), count, flags).await
    }

    /// The same with another game.
    pub async fn of_game(game: impl GameFactory + Clone, count: usize, flags: &[&str]) -> Self {
        let directory = MemoryDirectory::alone();
        let finish = |server: Server| server.game(game.clone()).directory(directory.another());
        let mut fleet = Self::start(&vec![flags; count], finish).await;
        fleet.directory = Some(directory);
        fleet
    }

    /// Servers that find each other at a NATS; each with flags of its own.
    pub async fn at_nats(url: &str, each: &[&[&str]]) -> Self {
        let each: Vec<_> =
            each.iter().map(|flags| [&["--nats", url][..], *flags].concat()).collect();
        let each: Vec<&[&str]> = each.iter().map(Vec::as_slice).collect();
        Self::start(&each, |server| server).await
    }

    async fn start(each: &[&[&str]], finish: impl Fn(Server) -> Server) -> Self {
        let folder =
            std::env::temp_dir().join(format!("fray-fleet-{:016x}", rand::random::<u64>()));
        let keys = write_keys(&folder);
        let mut fleet = Self { servers: Vec::new(), directory: None, tasks: JoinSet::new() };
        for (number, flags) in each.iter().enumerate() {
            let name = format!("server-{number}");
            let own = ["--name", &name, "--peer", "127.0.0.1:0"];
            let keys = keys.iter().map(String::as_str);
            let flags: Vec<_> = own.into_iter().chain(keys).chain(flags.iter().copied()).collect();
            let telemetry = Telemetry::default();
            let server = Server::builder().config(config(&flags)).telemetry(telemetry.clone());
            let app = finish(server).build().await.expect("a server");
            let stop = CancellationToken::new();
            fleet.servers.push(Running {
                name,
                players: app.listen_addr(),
                peers: app.peer_addr().expect("it has peers"),
                control: app.control_addr(),
                telemetry,
                stop: stop.clone(),
            });
            fleet.tasks.spawn(async move {
                app.run(stop.cancelled()).await.expect("an orderly end");
            });
        }
        std::fs::remove_dir_all(&folder).expect("its folder");
        fleet
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.players).collect()
    }

    /// The server at an address: what a ticket's route says.
    pub fn at(&self, address: &str) -> &Running {
        let at = |server: &&Running| server.players.to_string() == address;
        self.servers.iter().find(at).unwrap_or_else(|| panic!("nobody is at {address}"))
    }

    /// Ends one in order; the others go on.
    pub fn end(&mut self, server: usize) {
        self.servers[server].stop.cancel();
    }

    /// Ends all of them in order.
    pub async fn stop(mut self) {
        for server in &self.servers {
            server.stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no server panics");
        }
    }
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.players)
    }

    /// Waits until it takes rooms: the directory has heard of it.
    pub async fn until_in_fleet(&self) {
        while !self.telemetry.health.takes_rooms() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// As a player reaches it.
    pub fn grpc(&self) -> Arc<GrpcServer> {
        Arc::new(GrpcServer::at(&self.url()).expect("an address"))
    }

    pub async fn replays(&self) -> ReplaysClient<Channel> {
        ReplaysClient::connect(self.url()).await.expect("a connection")
    }

    pub async fn lobby(&self) -> LobbyClient<Channel> {
        LobbyClient::connect(self.url()).await.expect("a connection")
    }

    /// Streams that it carried on so far.
    pub fn relayed(&self) -> u64 {
        let doors = ["grpc", "websocket", "watch", "events"].map(|door| {
            let door = fray_server::telemetry::metrics::labels::Door { door };
            self.telemetry.metrics.relayed.get_or_create(&door).get()
        });
        doors.iter().sum()
    }
}
