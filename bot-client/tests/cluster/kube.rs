//! kubectl and helm, as somebody at a terminal uses them.

use super::settings::Settings;
use serde_json::Value;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What is asked for again and again is asked for this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The cluster, and the namespace in which the tests are.
#[derive(Clone, Debug)]
pub struct Kube {
    pub settings: Settings,
}

impl Kube {
    /// kubectl in the tests' namespace; what it prints. A failure ends the scene.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        printed(self.kubectl_command().args(arguments))
    }

    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new("kubectl");
        let Settings { context, namespace, .. } = &self.settings;
        command.args(["--context", context, "--namespace", namespace]);
        command
    }

    /// An object, or a list of them.
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "--output=json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// What an object's path has; `None`: no such object, or it has not.
    pub fn find(&self, object: &str, pointer: &str) -> Option<Value> {
        let text = self.try_kubectl(&["get", object, "--output=json"]).ok()?;
        let object: Value = serde_json::from_str(&text).ok()?;
        object.pointer(pointer).cloned()
    }

    pub fn helm(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("helm");
        let Settings { context, namespace, .. } = &self.settings;
        command.args(["--kube-context", context, "--namespace", namespace]).args(arguments);
        printed(&mut command).unwrap_or_else(|error| panic!("helm {arguments:?}: {error}"))
    }

    pub fn apply(&self, manifest: &Value) {
        let mut command = self.kubectl_command();
        command.args(["apply", "--filename=-"]).stdin(Stdio::piped());
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kubectl starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(manifest.to_string().as_bytes()).expect("kubectl reads");
        drop(stdin);
        let Output { status, stderr, .. } = child.wait_with_output().expect("kubectl ends");
        assert!(status.success(), "kubectl apply: {}", String::from_utf8_lossy(&stderr));
    }

    /// A kubectl that goes on beside the tests, such as `logs --follow`. What it prints goes to a file.
    pub fn beside(&self, arguments: &[&str], file: &Path) -> Beside {
        let out = File::create(file).expect("a file");
        let both = out.try_clone().expect("a file");
        let mut command = self.kubectl_command();
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(both);
        Beside { child: command.spawn().expect("kubectl starts"), file: file.to_owned() }
    }

    /// Where a file of the tests goes.
    pub fn out(&self, name: &str) -> PathBuf {
        self.settings.out.join(name)
    }
}

/// A process that ends with what started it.
pub struct Beside {
    child: Child,
    file: PathBuf,
}

impl Beside {
    /// What it printed so far.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A metric of a server, summed over its labels, or one that is named with all its labels; 0 if it has none.
pub fn metric(kube: &Kube, pod: &str, name: &str) -> f64 {
    try_metric(kube, pod, name).unwrap_or_else(|error| panic!("{name} of {pod}: {error}"))
}

/// The same; an error: the server does not answer, or not yet.
pub fn try_metric(kube: &Kube, pod: &str, name: &str) -> Result<f64, String> {
    let namespace = &kube.settings.namespace;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:7780/proxy/metrics");
    kube.try_kubectl(&["get", "--raw", &path]).map(|text| sum(&text, name))
}

/// Of all lines of this metric.
fn sum(text: &str, name: &str) -> f64 {
    let is_it =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = text.lines().filter(is_it).filter_map(|line| line.rsplit_once(' '));
    values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, patience: Duration, ask: impl FnMut() -> Option<T>) -> T {
    before_long(patience, ask).unwrap_or_else(|| panic!("{what}: not within {patience:?}"))
}

/// Asks until there is an answer, or time is out.
pub fn before_long<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        let answer = ask();
        if answer.is_some() || begin.elapsed() >= patience {
            return answer;
        }
        sleep(LOOK_EVERY);
    }
}

/// What a command prints, or what it complains about.
pub fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let Output { status, stdout, stderr } = output;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if status.success() { Ok(text(stdout)) } else { Err(format!("{status}: {}", text(stderr))) }
}

#[test]
fn a_metric_is_the_sum_over_its_labels_and_no_other_metric() {
    let text = "# TYPE fray_rooms counter\n\
        fray_rooms_total{cause=\"lost\"} 3\nfray_rooms_total{cause=\"parked\"} 2\nfray_rooms_total_more 8\nfray_players 7\n";
    let sums = [
        ("fray_rooms_total", 5),
        ("fray_rooms_total{cause=\"lost\"}", 3),
        ("fray_players", 7),
        ("fray_room", 0),
    ];
    for (name, expected) in sums {
        assert_eq!(sum(text, name) as u64, expected, "{name}");
    }
}
