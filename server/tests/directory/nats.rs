//! The real NATS server, as a child of the test.

use super::programs::{program, signal};
use super::until;
use fray_server::cluster::nats::{NatsDirectory, Options};
use fray_server::session::directory::{Directory as _, InstanceId};
use fray_server::telemetry::Metrics;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long it may take to answer, on a machine that does other things, too.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A NATS server with JetStream; is killed when this is dropped, and its folder goes.
pub(crate) struct Nats {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    port: Option<u16>,
}

impl Nats {
    /// Starts one with an empty store, on a port that it finds itself.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[]).await
    }

    pub(crate) async fn start_with(test: &str, arguments: &[&str]) -> Option<Self> {
        let mut nats = Self::prepare(test, arguments)?;
        nats.launch().await;
        Some(nats)
    }

    /// One that does not run yet.
    pub(crate) fn prepare(test: &str, arguments: &[&str]) -> Option<Self> {
        let program = program("nats-server")?;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("nats-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Some(Self { program, folder, arguments, child: None, port: None })
    }

    /// Starts it, on the port that it had before, if it had one.
    pub(crate) async fn launch(&mut self) {
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        let child = Command::new(&self.program)
            .args(["--addr", "127.0.0.1", "--port", &port, "--jetstream"])
            .arg("--store_dir")
            .arg(self.folder.join("store"))
            .arg("--ports_file_dir")
            .arg(&self.folder)
            .arg("--log")
            .arg(self.folder.join("log"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let ports = self.folder.join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        let said = timeout(START_TIMEOUT, async {
            loop {
                if let Some(port) = port_in(&ports) {
                    return port;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        self.port = Some(said.await.unwrap_or_else(|_| panic!("no NATS: {}", log())));
    }

    /// Where it is, or, before it was started, would be.
    pub(crate) fn url(&mut self) -> String {
        let port = *self.port.get_or_insert_with(|| {
            let free =
                std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
            free.expect("a free port").port()
        });
        format!("nats://127.0.0.1:{port}")
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// All that it had stored is gone.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it does not run");
        fs::remove_dir_all(self.folder.join("store")).expect("a store");
    }

    /// Lets the process stand still, or go on.
    pub(crate) fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        signal(child.id(), name);
    }

    /// A server's access, that has read the directory.
    pub(crate) async fn join(&self) -> Joined {
        let port = self.port.expect("it runs");
        let url = format!("nats://127.0.0.1:{port}");
        let joined = Joined::start(Options { url, ..Options::default() }).await;
        until("the directory is read", || joined.directory.is_settled()).await;
        joined
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn port_in(file: &Path) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

/// A server's access to the directory, and the task that keeps it.
pub(crate) struct Joined {
    pub(crate) directory: Arc<NatsDirectory>,
    pub(crate) metrics: Arc<Metrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Joined {
    pub(crate) async fn start(options: Options) -> Self {
        let metrics = Arc::new(Metrics::default());
        let started =
            NatsDirectory::start(options, InstanceId::random(), Arc::clone(&metrics)).await;
        let (directory, follower) = started.expect("sound options");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(follower.run(stop.clone()));
        tasks.close();
        Self { directory: Arc::new(directory), metrics, tasks, stop }
    }

    /// Its task must end when it is told, whatever NATS does.
    pub(crate) async fn leave(self) {
        self.stop.cancel();
        timeout(super::DEADLINE, self.tasks.wait()).await.expect("it ends");
    }
}
