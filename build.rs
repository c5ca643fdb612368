//! proto/ → Rust, with protox in place of protoc: nothing to install.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

const FILES: &[&str] = &[
    "fray/v1/admin.proto",
    "fray/v1/lobby.proto",
    "fray/v1/peer.proto",
    "fray/v1/play.proto",
    "fray/v1/replays.proto",
    "fray/v1/world.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/fray");
    let descriptors = protox::Compiler::new(["proto"])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?
        .file_descriptor_set();
    // Kept for gRPC reflection.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("fray_descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // A cell's bytes are encoded once and shared: as `Bytes` they are never copied on the way in.
        .bytes(".fray.v1.CellUpdate")
        .bytes(".fray.v1.DownloadResponse")
        .bytes(".fray.v1.EventsResponse")
        .bytes(".fray.v1.VerifyRequest")
        .bytes(".fray.v1.TransferRequest")
        .compile_fds(descriptors)?;
    Ok(())
}
