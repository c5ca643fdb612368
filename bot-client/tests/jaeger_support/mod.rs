//! The real Jaeger as a child process, on ports that were free, with traces in memory; and what one asks it.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

pub mod spans;
pub mod way;

use super::programs::{get, program};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// On a machine that is busy, starting takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Jaeger that ends with the test.
pub struct Jaeger {
    child: Child,
    folder: PathBuf,
    query: SocketAddr,
    otlp: SocketAddr,
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        // A stopped process does not hear SIGTERM; killing is the only end that is sure.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Jaeger {
    /// Starts it, and waits until it answers. `None`: it is not installed, and that was said.
    pub async fn start() -> Option<Self> {
        let program = program("jaeger")?;
        let [otlp, query, query_grpc] = free_addresses().await;
        let folder = std::env::temp_dir().join(format!(
            "fray-jaeger-{}-{}",
            std::process::id(),
            otlp.port()
        ));
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("jaeger.yaml");
        std::fs::write(&config, configuration(otlp, query, query_grpc)).expect("a file");
        let log = std::fs::File::create(folder.join("log")).expect("a file");
        let child = Command::new(program)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("jaeger starts");
        let mut jaeger = Self { child, folder, query, otlp };
        let deadline = Instant::now() + PATIENCE;
        while jaeger.get("/api/services").await.is_none() {
            let ended = jaeger.child.try_wait().expect("its state");
            let log = || std::fs::read_to_string(jaeger.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "no Jaeger: {ended:?} {}", log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(jaeger)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where spans are sent.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.otlp)
    }

    /// The spans of a trace, once `is_complete` says so of them.
    pub async fn trace(&self, id: &str, is_complete: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.get(&format!("/api/traces/{id}")).await;
            let spans = found.as_ref().map(Span::all).unwrap_or_default();
            if is_complete(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(Instant::now() < deadline, "trace {id} has only {names:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The newest traces of a service with this span.
    pub async fn traces_with(&self, service: &str, name: &str) -> Vec<Vec<Span>> {
        let path = format!("/api/traces?service={service}&operation={name}&limit=100&lookback=1h");
        let found = self.get(&path).await.unwrap_or_default();
        let traces = found["data"].as_array().cloned().unwrap_or_default();
        traces.iter().map(|trace| Span::all(&serde_json::json!({ "data": [trace] }))).collect()
    }

    /// The answer, if there is one that says something.
    async fn get(&self, path: &str) -> Option<Value> {
        let (status, body) = get(self.query, path).await.ok()?;
        (status == 200).then(|| serde_json::from_slice(&body).ok()).flatten()
    }
}

/// One span, as Jaeger has it.
#[derive(Clone, Debug)]
pub struct Span {
    pub id: String,
    pub name: String,
    /// Its parent, if it is in this trace.
    pub parent: Option<String>,
    /// Spans of other traces.
    pub links: Vec<(String, String)>,
    pub service: String,
    pub instance: String,
    pub began_us: u64,
    pub took_us: u64,
    pub tags: Value,
}

impl Span {
    fn all(answer: &Value) -> Vec<Self> {
        let trace = &answer["data"][0];
        let spans = trace["spans"].as_array().cloned().unwrap_or_default();
        spans.iter().map(|span| Self::of(span, &trace["processes"])).collect()
    }

    fn of(span: &Value, processes: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let process = &processes[text(&span["processID"])];
        let references = span["references"].as_array().cloned().unwrap_or_default();
        let in_trace = |reference: &&Value| reference["traceID"] == span["traceID"];
        let parent = references
            .iter()
            .find(|reference| in_trace(reference) && reference["refType"] == "CHILD_OF")
            .map(|reference| text(&reference["spanID"]));
        let links = references
            .iter()
            .filter(|reference| Some(text(&reference["spanID"])) != parent)
            .map(|reference| (text(&reference["traceID"]), text(&reference["spanID"])))
            .collect();
        Self {
            id: text(&span["spanID"]),
            name: text(&span["operationName"]),
            parent,
            links,
            service: text(&process["serviceName"]),
            instance: text(&tag(&process["tags"], "service.instance.id")),
            began_us: span["startTime"].as_u64().unwrap_or_default(),
            took_us: span["duration"].as_u64().unwrap_or_default(),
            tags: span["tags"].clone(),
        }
    }

    pub fn tag(&self, key: &str) -> Value {
        tag(&self.tags, key)
    }

    pub fn ended_us(&self) -> u64 {
        self.began_us + self.took_us
    }
}

fn tag(tags: &Value, key: &str) -> Value {
    let tags = tags.as_array();
    let found = tags.and_then(|tags| tags.iter().find(|tag| tag["key"] == key));
    found.map_or(Value::Null, |tag| tag["value"].clone())
}

/// Ports that nobody listens on at this moment.
async fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let mut held = Vec::new();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address).await.expect("a port");
        *address = listener.local_addr().expect("its address");
        held.push(listener);
    }
    addresses
}

fn configuration(otlp: SocketAddr, query: SocketAddr, query_grpc: SocketAddr) -> String {
    format!(
        "service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{ receivers: [otlp], exporters: [jaeger_storage_exporter] }}
  telemetry:
    metrics: {{ level: none }}
extensions:
  jaeger_storage:
    backends: {{ memory: {{ memory: {{ max_traces: 20000 }} }} }}
  jaeger_query:
    storage: {{ traces: memory }}
    http: {{ endpoint: \"{query}\" }}
    grpc: {{ endpoint: \"{query_grpc}\" }}
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: \"{otlp}\" }} }} }}
exporters:
  jaeger_storage_exporter: {{ trace_storage: memory }}
"
    )
}
