//! Servers of one fleet, in this process, on loopback ports of the system's choice.

use fray_bot::client::transport::GrpcServer;
use fray_proto::v1::lobby_client::LobbyClient;
use fray_proto::v1::replays_client::ReplaysClient;
use fray_server::Server;
use fray_server::cluster::memory::MemoryDirectory;
use fray_server::config::Config;
use fray_server::telemetry::Telemetry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Keys that all servers of a fleet share.
fn write_keys(folder: &Path) {
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).expect("a folder");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    std::fs::write(keys.join("first.pem"), pair.serialize_pem()).expect("a file");
    let session = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    std::fs::write(folder.join("session.key"), session).expect("a file");
}

/// Several servers that share a directory and keys.
pub struct Fleet {
    pub servers: Vec<Running>,
    tasks: JoinSet<()>,
}

/// One of them.
pub struct Running {
    pub players: SocketAddr,
    pub peers: SocketAddr,
    pub telemetry: Telemetry,
    stop: CancellationToken,
}

impl Fleet {
    /// So many servers with these flags, which share a directory in memory.
    pub async fn of(count: usize, flags: &[&str]) -> Self {
        let directory = MemoryDirectory::alone();
        Self::sharing(count, flags, |server| server.directory(directory.another())).await
    }

    /// So many servers with these flags, which say where the directory is.
    pub async fn at_nats(count: usize, flags: &[&str]) -> Self {
        Self::sharing(count, flags, |server| server).await
    }

    async fn sharing(count: usize, flags: &[&str], share: impl Fn(Server) -> Server) -> Self {
        let folder =
            std::env::temp_dir().join(format!("fray-fleet-{:016x}", rand::random::<u64>()));
        write_keys(&folder);
        let keys = [
            "--ticket-keys".to_owned(),
            folder.join("keys").display().to_string(),
            "--session-key".to_owned(),
            folder.join("session.key").display().to_string(),
        ];
        let mut fleet = Self { servers: Vec::new(), tasks: JoinSet::new() };
        for number in 0..count {
            let name = format!("server-{number}");
            let local = [
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--control",
                "127.0.0.1:0",
                "--peer",
                "127.0.0.1:0",
            ];
            let all = ["fray-server", "--name", &name].into_iter().chain(local);
            let config: Config = clap::Parser::parse_from(
                all.chain(keys.iter().map(String::as_str)).chain(flags.iter().copied()),
            );
            let telemetry = Telemetry::default();
            let server = Server::builder().config(config).telemetry(telemetry.clone());
            let app = share(server).build().await.expect("a server");
            let stop = CancellationToken::new();
            fleet.servers.push(Running {
                players: app.listen_addr(),
                peers: app.peer_addr().expect("it has peers"),
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
