//! Servers of a fleet as processes of their own, which can be killed and which trace for themselves: each is the test's own program,
//! started once more. The test has a function for it, ignored, which calls [`serve`]:
//!
//! ```ignore
//! #[test]
//! #[ignore = "a process that tests start"]
//! fn a_server_of_the_fleet() {
//!     server_process::serve();
//! }
//! ```

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use crate::flags::config;
use crate::programs::get;
use fray_server::telemetry::{Telemetry, log};
use fray_server::{Server, tls};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// On a machine that is busy, starting takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How a process is told what to do: flags, one a line, and where it says on which ports it listens.
const FLAGS: &str = "FRAY_TEST_SERVER_FLAGS";
const SAYS: &str = "FRAY_TEST_SERVER_SAYS";

/// A folder that goes with the test, unless it fails: logs are in it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name = format!("fray-servers-{:016x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the servers logged is in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A server that ends with the test, however the test ends.
pub struct ServerProcess {
    pub name: String,
    child: Child,
    says: PathBuf,
    pub players: SocketAddr,
    pub admin: SocketAddr,
}

impl ServerProcess {
    /// Starts it with these flags, on ports that are free, and waits until it is ready. Its log is in the folder.
    pub async fn start(folder: &Path, name: &str, flags: &[&str]) -> Self {
        let says = folder.join(format!("{name}.ports"));
        let log = File::create(folder.join(format!("{name}.log"))).expect("a file");
        let own = ["--name", name, "--peer", "127.0.0.1:0", "--log-format", "human"];
        let flags = [&own[..], flags].concat();
        let child = Command::new(std::env::current_exe().expect("it runs"))
            .args(["a_server_of_the_fleet", "--exact", "--ignored", "--nocapture"])
            .env(FLAGS, flags.join("\n"))
            .env(SAYS, &says)
            // Its end is the test's end.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { name: name.into(), child, says, players: nowhere, admin: nowhere };
        server.until_ready().await;
        server
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = std::fs::read_to_string(&self.says).unwrap_or_default();
            let mut addresses = said.lines().map(|line| line.parse().expect("an address"));
            if let (Some(players), Some(admin)) = (addresses.next(), addresses.next()) {
                (self.players, self.admin) = (players, admin);
                if get(admin, "/readyz").await.is_ok_and(|(status, _)| status == 200) {
                    return;
                }
            }
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            assert!(Instant::now() < deadline, "{} does not get ready", self.name);
            sleep(LOOK_EVERY).await;
        }
    }

    /// At once, as a crash does (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// In order (SIGTERM): what it has to say is said.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(told.success());
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.child.try_wait().expect("its state") {
                assert!(ended.success(), "{}: {ended}", self.name);
                return;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the process does. Without flags there is nothing to do: somebody runs all ignored tests.
pub fn serve() {
    let (Ok(flags), Some(says)) = (std::env::var(FLAGS), std::env::var_os(SAYS)) else { return };
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // Whoever held the other end is gone.
        std::process::abort();
    });
    let flags: Vec<&str> = flags.lines().collect();
    let ended = run(&flags, Path::new(&says));
    assert_eq!(ended, ExitCode::SUCCESS);
}

/// As the program itself does it.
fn run(flags: &[&str], says: &Path) -> ExitCode {
    tls::install_provider();
    let config = config(flags);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let within = runtime.enter();
    let mut telemetry = Telemetry::default();
    let counts = telemetry.metrics.span_counts();
    let (name, more) = (config.server_name(), Some(&config.server_traces));
    let complain = |what: &str| eprintln!("{what}");
    let traces = config.traces.start("fray-server", name, more, &counts, complain);
    let settings =
        log::Settings { filter: config.log.clone(), format: log::Format::Human, is_limited: false };
    let suppressed = telemetry.metrics.log_suppressed.clone();
    let _log = log::init(&settings, traces.tracer(), suppressed).expect("a log");
    drop(within);
    telemetry.traces = Arc::clone(&traces);
    runtime.block_on(async {
        let server = Server::builder().config(config).telemetry(telemetry);
        let app = server.build().await.expect("a server");
        let ports = format!("{}\n{}\n", app.listen_addr(), app.admin_addr());
        // All of it, or nothing yet.
        let draft = says.with_extension("draft");
        std::fs::write(&draft, ports).expect("a file");
        std::fs::rename(draft, says).expect("renamed");
        app.run_until_signalled().await.expect("an orderly end");
    });
    traces.shut_down(PATIENCE);
    ExitCode::SUCCESS
}
