//! The real Prometheus, as a child of the test, and what it answers.

use super::programs::{get, program};
use serde_json::Value;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long it may take to answer, on a machine that does other things, too.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often another port is tried, when somebody was faster.
const PORTS_TRIED_MAX: usize = 5;

/// Scrapes one server; is killed when this is dropped, and its folder goes.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Prometheus {
    /// Starts one that scrapes `target` once a second, and evaluates these rules as often.
    pub(crate) async fn start(target: SocketAddr, rules: &Path) -> Option<Self> {
        let program = program("prometheus")?;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("observed-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - {{ job_name: fray, static_configs: [{{ targets: ['{target}'] }}] }}\n",
            rules.display()
        );
        fs::write(folder.join("prometheus.yml"), config).expect("a file");
        for _ in 0..PORTS_TRIED_MAX {
            let mut prometheus = Self::launch(&program, &folder);
            if prometheus.is_ready().await {
                return Some(prometheus);
            }
        }
        panic!("Prometheus did not start: {}", said(&folder));
    }

    fn launch(program: &Path, folder: &Path) -> Self {
        // It takes no port 0, so a free one is found for it; if somebody takes that first, it ends and another is tried.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a free port");
        let log = File::create(folder.join("prometheus.log")).expect("a file");
        let child = Command::new(program)
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus can be started");
        Self { child, address, folder: folder.to_owned() }
    }

    async fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            if get(self.address, "/-/ready").await.is_ok_and(|(status, _)| status == 200) {
                return true;
            }
            sleep(LOOK_EVERY).await;
        }
        false
    }

    /// What the API answers; an error says what it has against the question.
    pub(crate) async fn ask(
        &self,
        path: &str,
        questions: &[(&str, &str)],
    ) -> Result<Value, String> {
        let questions: Vec<_> =
            questions.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let path = format!("/api/v1/{path}?{}", questions.join("&"));
        let (_, body) = get(self.address, &path).await.map_err(|error| error.to_string())?;
        let mut answer: Value =
            serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].take())
        } else {
            Err(answer["error"].to_string())
        }
    }

    /// The series that an expression has now, each with its labels and its value.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let answer = self.ask("query", &[("query", expression)]).await?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// The exemplars of the last hour: each with its labels and its value.
    pub(crate) async fn exemplars(&self, expression: &str) -> Result<Vec<Value>, String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let (from, to) = ((now - 3600).to_string(), (now + 60).to_string());
        let questions = [("query", expression), ("start", &from), ("end", &to)];
        let answer = self.ask("query_exemplars", &questions).await?;
        let of_series = answer.as_array().into_iter().flatten();
        Ok(of_series
            .flat_map(|series| series["exemplars"].as_array().cloned().unwrap_or_default())
            .collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.folder.join("data"));
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("prometheus.log")).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}
