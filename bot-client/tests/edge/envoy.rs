//! The real Envoy as a child process, with the edge's configuration as the chart renders it.

use crate::programs::{get, program};
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// On a machine that is busy, starting takes seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An edge that ends with the test.
pub struct Edge {
    child: Child,
    pub folder: PathBuf,
    /// Where players come in.
    pub address: SocketAddr,
    /// Envoy's own port.
    pub admin: SocketAddr,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("Envoy's files are kept in {}", self.folder.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A folder for an edge; whoever wants TLS puts certificates in before the start.
pub fn folder() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("fray-edge-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Values that most tests want: any free ports, no TLS, health that is soon known, and limits that are in nobody's way.
pub fn values(servers: &[SocketAddr], jwks: &str) -> Value {
    json!({ "tls": { "mode": "none" }, "edge": {
        "listen": { "address": "127.0.0.1", "port": 0 },
        "admin": { "port": 0 },
        "servers": { "addresses": servers },
        "versions": [{ "name": "v1", "weight": 100, "addresses": servers }],
        "tickets": { "jwks": jwks },
        "health": { "interval": "0.2s" },
        "limits": { "join": {
            "address": { "burst": 100_000, "perSecond": 100_000 },
            "all": { "burst": 100_000, "perSecond": 100_000 },
        } },
    } })
}

impl Edge {
    /// Starts it with these values, over those of `make edge`, and waits until it serves. `None`: something is not installed,
    /// and that was said.
    pub async fn start(values: &Value) -> Option<Self> {
        Self::start_in(folder(), values).await
    }

    pub async fn start_in(folder: PathBuf, values: &Value) -> Option<Self> {
        let (envoy, _) = program("envoy").zip(program("helm"))?;
        render(&folder, values);
        let log = |name: &str| File::create(folder.join(name)).expect("a file");
        let mut child = Command::new(envoy)
            .args(["--config-path", "envoy.yaml", "--admin-address-path", "admin"])
            // Other tests have one, too.
            .args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"])
            .args(["--file-flush-interval-msec", "100"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log("access.log"))
            .stderr(log("envoy.log"))
            .spawn()
            .expect("envoy starts");
        let deadline = Instant::now() + PATIENCE;
        let (admin, address) = loop {
            if let Some(found) = addresses(&folder).await {
                break found;
            }
            let ended = child.try_wait().expect("its state");
            let said = || std::fs::read_to_string(folder.join("envoy.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "no Envoy: {ended:?} {}", said());
            sleep(LOOK_EVERY).await;
        };
        Some(Self { child, folder, address, admin })
    }

    /// One of Envoy's counters and gauges.
    pub async fn stat(&self, name: &str) -> u64 {
        let (_, body) = get(self.admin, "/stats?usedonly").await.expect("the admin port answers");
        let text = String::from_utf8(body).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits until so many servers of a cluster are well.
    pub async fn healthy(&self, cluster: &str, servers: u64) {
        let name = format!("cluster.{cluster}.membership_healthy");
        self.until(&name, |healthy| healthy == servers).await;
    }

    pub async fn until(&self, name: &str, is_right: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.stat(name).await;
            if is_right(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} stays {value}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// The access log as it is: whole text, for what must not be in it.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.folder.join("access.log")).expect("the log")
    }

    /// Waits for a line of the access log.
    pub async fn logged(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.log_text();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.into_iter().find(&is_it) {
                return line;
            }
            assert!(Instant::now() < deadline, "not in the log: {text}");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The configuration, as the repository's script makes it.
fn render(folder: &Path, values: &Value) {
    let file = folder.join("values.yaml");
    // JSON is YAML.
    std::fs::write(&file, values.to_string()).expect("a file");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/render.sh");
    let rendered = Command::new(script).arg(folder).arg("--values").arg(&file).output();
    let rendered = rendered.expect("the script runs");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
}

/// Envoy's own port, and the players', once both are open.
async fn addresses(folder: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let admin: SocketAddr = std::fs::read_to_string(folder.join("admin")).ok()?.parse().ok()?;
    // Listeners have addresses before they listen.
    let (status, _) = get(admin, "/ready").await.ok()?;
    if status != 200 {
        return None;
    }
    let (_, body) = get(admin, "/listeners?format=json").await.ok()?;
    let listeners: Value = serde_json::from_slice(&body).ok()?;
    let address = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let (ip, port) = (address["address"].as_str()?, address["port_value"].as_u64()?);
    Some((admin, SocketAddr::new(ip.parse().ok()?, port.try_into().ok()?)))
}
