//! The files in proto/vectors: what every implementation of proto/REPLICATION.md must pass.
//!
//! They are generated here and committed. One test generates them again and compares, the others read them as a client
//! in another language would, and check the reference implementation with them. `FRAY_WRITE_VECTORS=1` writes the files.

#![allow(
    clippy::many_single_char_names,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::needless_for_each,
    reason = "short names and plain formatting keep the long list of cases readable"
)]

#[path = "vectors/cells.rs"]
mod cells;
#[path = "vectors/json.rs"]
mod json;
#[path = "vectors/model.rs"]
mod model;
#[path = "vectors/updates.rs"]
mod updates;

use json::Value;
use std::path::PathBuf;
use std::sync::LazyLock;

/// All files, as the encoders give them now; written out before any test reads them, where that is asked for.
static FILES: LazyLock<[(&str, String); 4]> = LazyLock::new(|| {
    let files = [
        ("model.json", json::text(&model::motion_vectors())),
        ("hash.json", json::text(&model::hash_vectors())),
        ("cells.json", json::text(&cells::vectors())),
        ("updates.json", json::text(&updates::vectors())),
    ];
    if std::env::var_os("FRAY_WRITE_VECTORS").is_some() {
        for (name, text) in &files {
            std::fs::write(path(name), text).expect("proto/vectors can be written");
        }
    }
    files
});

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("proto/vectors").join(name)
}

fn committed(name: &str) -> String {
    LazyLock::force(&FILES);
    let text = std::fs::read_to_string(path(name)).expect("a committed file of vectors");
    text.replace("\r\n", "\n")
}

fn read(name: &str) -> Value {
    serde_json::from_str(&committed(name)).expect("vectors are JSON")
}

#[test]
fn committed_vectors_are_what_the_encoders_give() {
    for (name, text) in &*FILES {
        assert!(
            committed(name) == *text,
            "proto/vectors/{name} is out of date: run this test with FRAY_WRITE_VECTORS=1"
        );
    }
}

#[test]
fn the_model_passes_the_vectors() {
    model::check_motion(&read("model.json"));
    model::check_hash(&read("hash.json"));
}

#[test]
fn the_decoder_passes_the_vectors() {
    cells::check(&read("cells.json"));
}

#[test]
fn the_replica_passes_the_vectors() {
    updates::check(&read("updates.json"));
}
