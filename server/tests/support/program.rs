//! Real programs that tests start, and signals to them.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How often it is looked whether a process stands still: ten seconds in all.
const LOOKS_MAX: u32 = 1000;
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Where a program is: among the tools that `make test` installs, or on the path. `None`, and a word about it, where it is not
/// installed and nobody insists; `make test` does.
pub fn program(name: &str) -> Option<PathBuf> {
    let tools = std::env::var_os("FRAY_TOOLS").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/fray-tools"));
    let tools = tools.or_else(home).map(|tools| tools.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = tools.into_iter().chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|program| program.is_file());
    let insists = std::env::var_os("FRAY_REQUIRE_TOOLS").is_some();
    assert!(found.is_some() || !insists, "there is no {name}: run scripts/tools.sh {name}");
    if found.is_none() {
        eprintln!(
            "SKIPPED: there is no {name}; `scripts/tools.sh {name}` installs it, and so does `make test`"
        );
    }
    found
}

/// Sends a signal, by its name without `SIG`. After `STOP`, none of the process's threads does anything any more: a signal that was sent has
/// not yet reached those that run on other cores.
#[expect(
    clippy::disallowed_methods,
    reason = "it takes a moment, and the test waits for nothing else"
)]
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "no signal {name}");
    if name != "STOP" {
        return;
    }
    for _ in 0..LOOKS_MAX {
        if stands_still(pid) {
            return;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    panic!("process {pid} does not stop");
}

/// Where the system does not say, it is believed.
fn stands_still(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { return true };
        // The name before it may have any character.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}
