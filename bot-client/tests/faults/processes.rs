//! The processes of a fleet: NATS, and servers that are this very program, each at its own address.

use super::programs::{get, program, signal};
use super::world::{Host, World};
use clap::Parser as _;
use fray_server::config::Config;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// On a machine that is busy, starting takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const NATS_PORT: u16 = 4222;
const PLAYERS_PORT: u16 = 7777;
const ADMIN_PORT: u16 = 7780;
/// What a server that is started within is to do.
const FLAGS: &str = "FRAY_TEST_SERVER_FLAGS";

/// A child that ends with the test.
pub struct Process(Child);

impl Process {
    fn start(mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let (out, err) = (log.try_clone().expect("a log"), log);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Self(child.expect("it starts"))
    }

    /// At once, as a crash does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// It stands still until [`Self::wake`], as a machine does that swaps, or is moved.
    fn stop(&self) {
        self.signal("STOP");
    }

    fn wake(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder that goes with the test, unless it fails.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("fray-{name}-{:08x}", rand::random::<u32>()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what was logged is in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

pub struct Nats {
    pub host: Host,
    process: Process,
    folder: PathBuf,
}

impl Nats {
    /// `None`: it is not installed, and that was said.
    pub async fn start(host: Host, folder: &Path) -> Option<Self> {
        program("nats-server")?;
        let mut nats =
            Self { host, process: Self::process(host, folder), folder: folder.to_owned() };
        nats.ready().await;
        Some(nats)
    }

    fn process(host: Host, folder: &Path) -> Process {
        let program = program("nats-server").expect("it was there");
        let mut command = host.command(program);
        let address = host.address();
        let port = NATS_PORT.to_string();
        command.args(["--jetstream", "--addr", &address, "--port", &port, "--store_dir"]);
        command.arg(folder.join("nats"));
        Process::start(command, &folder.join("nats.log"))
    }

    async fn ready(&mut self) {
        let address = format!("{}:{NATS_PORT}", self.host.address());
        let deadline = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(self.process.is_running() && Instant::now() < deadline, "no NATS");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn url(&self) -> String {
        format!("nats://{}:{NATS_PORT}", self.host.address())
    }

    /// From now on it is not there. Whoever has a connection is told so at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again; `wiped`: without what it had.
    pub async fn start_again(&mut self, wiped: bool) {
        if wiped {
            std::fs::remove_dir_all(self.folder.join("nats")).expect("its store");
        }
        self.process = Self::process(self.host, &self.folder);
        self.ready().await;
    }
}

pub struct Server {
    pub name: String,
    pub host: Host,
    process: Process,
}

impl Server {
    pub async fn start(name: &str, host: Host, folder: &Path, nats: &str, more: &[&str]) -> Self {
        let address = host.address();
        let flags = [
            format!("--name={name}"),
            format!("--listen={address}:{PLAYERS_PORT}"),
            format!("--admin={address}:{ADMIN_PORT}"),
            format!("--peer={address}:7779"),
            format!("--nats={nats}"),
            format!("--ticket-keys={}", folder.join("keys").display()),
            format!("--session-key={}", folder.join("session.key").display()),
            "--log=info,fray_server=debug".to_owned(),
        ];
        let flags: Vec<&str> =
            flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let mut command = host.command(std::env::current_exe().expect("it runs"));
        command.args(["a_server_of_the_fleet", "--exact", "--ignored", "--nocapture"]);
        command.env(FLAGS, flags.join("\n"));
        let process = Process::start(command, &folder.join(format!("{name}.log")));
        let mut server = Self { name: name.to_owned(), host, process };
        server.ready().await;
        server
    }

    pub fn players(&self) -> SocketAddr {
        format!("{}:{PLAYERS_PORT}", self.host.address()).parse().expect("an address")
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.players())
    }

    fn admin(&self) -> SocketAddr {
        format!("{}:{ADMIN_PORT}", self.host.address()).parse().expect("an address")
    }

    /// Waits until it says that it takes rooms.
    pub async fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !matches!(get(self.admin(), "/readyz").await, Ok((200, _))) {
            assert!(self.process.is_running(), "{} ended", self.name);
            assert!(Instant::now() < deadline, "{} does not get ready", self.name);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// One of its metrics, all series of it together.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, body) = get(self.admin(), "/metrics").await.expect("it answers");
        let text = String::from_utf8(body).expect("text");
        let of_it = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// It stands still, and answers nobody. Its connections stay open.
    pub fn stop(&self) {
        self.process.stop();
    }

    pub fn wake(&self) {
        self.process.wake();
    }
}

/// What a server of the fleet does, in its own process.
pub fn serve() {
    let Ok(flags) = std::env::var(FLAGS) else {
        // Somebody runs all ignored tests: there is nothing to serve.
        return;
    };
    let config = Config::parse_from(["fray-server"].into_iter().chain(flags.lines()));
    // Into the file that the output goes to.
    let filter = tracing_subscriber::EnvFilter::new(&config.log);
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = fray_server::Server::builder().config(config);
        let app = server.build().await.expect("a server");
        app.run_until_signalled().await.expect("an orderly end");
    });
}

/// Keys that all servers share.
pub fn write_keys(folder: &Path) {
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).expect("a folder");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    std::fs::write(keys.join("first.pem"), pair.serialize_pem()).expect("a file");
    let session = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    std::fs::write(folder.join("session.key"), session).expect("a file");
}

/// Where this process listens in its world.
pub fn here() -> &'static str {
    World::HERE
}
