//! Real programs that tests start.

#![allow(unreachable_pub, missing_docs, reason = "tests use it")]

use std::path::PathBuf;

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
