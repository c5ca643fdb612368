//! A world of network namespaces: every component has an address of its own, and any two can be cut off from each other.
//!
//! The test's own process lives in it, too: it starts itself anew in namespaces of its own (of users, network and mounts), so
//! nothing of the machine is touched, and no rights are needed that a user does not have.

use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// Set in the process that is within.
const WITHIN: &str = "FRAY_TEST_WITHIN_WORLD";

/// Whether this process lives in a world of its own.
pub fn is_within() -> bool {
    std::env::var_os(WITHIN).is_some()
}

/// When a test runs: each takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Where `make test` insists, or somebody asks for it.
    InMakeTest,
    /// Only where somebody asks for it.
    WhenAsked,
}

impl Runs {
    /// `None`: it runs now. Else who would run it.
    fn refused(self) -> Option<&'static str> {
        let is_set = |name: &str| std::env::var_os(name).is_some();
        match self {
            _ if is_set("FRAY_FAULTS") => None,
            Self::InMakeTest if is_set("FRAY_REQUIRE_TOOLS") => None,
            Self::InMakeTest => {
                Some("it takes over a minute; FRAY_FAULTS=1 runs it, and so does make test")
            }
            Self::WhenAsked => {
                Some("it takes several minutes; FRAY_FAULTS=1 runs it, and so does make soak")
            }
        }
    }
}

/// Runs a test of this file in a world of its own. `false`: it does not run here, and that was said.
pub fn run_within(test: &str, runs: Runs) -> bool {
    if let Some(why) = runs.refused() {
        eprintln!("SKIPPED: {test}: {why}");
        return false;
    }
    if !can_be_made() {
        let insists = std::env::var_os("FRAY_REQUIRE_NAMESPACES").is_some();
        assert!(!insists, "this system gives users no network namespaces");
        eprintln!(
            "SKIPPED: {test}: this system gives users no network namespaces (setpriv, unshare, ip, veth)"
        );
        return false;
    }
    // Two worlds at once would only be in each other's way.
    let _one_at_a_time = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let itself = std::env::current_exe().expect("it runs");
    let status = unshare()
        .arg(itself)
        .args([test, "--exact", "--nocapture", "--ignored"])
        .env(WITHIN, "1")
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{test} failed in its world");
    true
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What a world begins with. All that is started within ends with its first process, and that ends with this one, however
/// it ends.
fn unshare() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare"]);
    command.args(["--user", "--map-root-user", "--net", "--mount", "--kill-child"]);
    command.args(["--fork", "--pid", "--mount-proc", "--"]);
    command
}

fn can_be_made() -> bool {
    let tried = unshare()
        .args([
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /run && ip link add br0 type bridge && ip netns add h0",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// The namespaces. This process is at [`World::HERE`].
pub struct World {
    hosts: Vec<Host>,
}

/// A place with an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host(u8);

impl Host {
    pub fn address(self) -> String {
        format!("10.77.0.{}", self.0)
    }

    fn namespace(self) -> String {
        format!("h{}", self.0)
    }

    /// A program that runs there.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace()]).arg(program);
        command
    }
}

impl World {
    /// Where this process is.
    pub const HERE: &str = "10.77.0.1";

    pub fn new() -> Self {
        assert!(is_within(), "only in a process that has namespaces of its own");
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        ip("link set lo up");
        ip("link add br0 type bridge");
        ip("addr add 10.77.0.1/24 dev br0");
        ip("link set br0 up");
        Self { hosts: Vec::new() }
    }

    pub fn host(&mut self) -> Host {
        let host = Host(10 + u8::try_from(self.hosts.len()).expect("a few"));
        let (name, number) = (host.namespace(), host.0);
        ip(&format!("netns add {name}"));
        ip(&format!("link add v{number} type veth peer name eth0 netns {name}"));
        ip(&format!("link set v{number} master br0 up"));
        ip(&format!("-n {name} addr add {}/24 dev eth0", host.address()));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        self.hosts.push(host);
        host
    }

    /// From now on nothing that either sends reaches the other: it goes to somebody who is not there.
    pub fn cut(one: Host, other: Host) {
        for (from, to) in [(one, other), (other, one)] {
            let (name, to) = (from.namespace(), to.address());
            ip(&format!(
                "-n {name} neigh replace {to} lladdr 02:00:00:00:00:99 dev eth0 nud permanent"
            ));
        }
    }

    pub fn heal(one: Host, other: Host) {
        for (from, to) in [(one, other), (other, one)] {
            ip(&format!("-n {} neigh del {} dev eth0", from.namespace(), to.address()));
        }
    }
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

fn run(program: &str, arguments: &[&str]) {
    let Output { status, stderr, .. } =
        Command::new(program).args(arguments).output().expect("it can be started");
    assert!(status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&stderr));
}
