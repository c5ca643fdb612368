//! Which sources this is built from, for `--version` and `/metrics`: `FRAY_REVISION`, or what the package or git says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What cargo writes into a package.
const PACKAGED: &str = ".cargo_vcs_info.json";
const REVISION_CHARS: usize = 12;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=FRAY_REVISION");
    let told = env::var("FRAY_REVISION").ok().filter(|told| !told.is_empty());
    let revision = told.or_else(packaged).or_else(from_git);
    println!("cargo:rustc-env=FRAY_REVISION={}", revision.as_deref().unwrap_or("unknown"));
}

fn packaged() -> Option<String> {
    let info = fs::read_to_string(PACKAGED).ok()?;
    let (_, after) = info.split_once("\"sha1\":")?;
    short(after.split('"').nth(1)?)
}

/// Only of builds that are shipped: others would be made anew after every commit.
fn from_git() -> Option<String> {
    if env::var("PROFILE").as_deref() != Ok("release") {
        return None;
    }
    // Within somebody else's repository, its revision says nothing about this.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    for changing in ["HEAD", "logs/HEAD"] {
        let path = PathBuf::from(git(&["rev-parse", "--git-path", changing])?);
        // Cargo would take one that is not there as one that has just changed.
        if Path::exists(&path) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    short(&git(&["rev-parse", "HEAD"])?)
}

/// `None`: there is no git, or it says no.
fn git(arguments: &[&str]) -> Option<String> {
    let said = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    (said.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// It ends up in a variable: one word, whoever wrote it.
fn short(revision: &str) -> Option<String> {
    let is_plain = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| revision.chars().take(REVISION_CHARS).collect())
}
