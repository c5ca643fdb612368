//! A part of a recording, as a file.

use super::ReplayArgs;
use super::open::Recording;
use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use fray_server::store::{Reader, cut};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the file: all of it, or nothing.
pub(super) fn export(
    recording: &Recording,
    file: &Path,
    args: &ReplayArgs,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let shown = file.display();
    ensure!(args.force || !file.exists(), "{shown} is there already; --force overwrites it");
    let scan = recording.scan(u32::MAX)?;
    let (first, last) = (scan.first_tick(), scan.last_tick);
    let (from, until) = (args.from.unwrap_or(first), args.until.unwrap_or(u32::MAX));
    ensure!(
        from <= until && from <= last && until >= first,
        "{} has the ticks {first} to {last}",
        recording.name
    );
    let partial = partial(file)?;
    let written = write(recording, from, until, &partial)
        .and_then(|bytes| put(&partial, file, args.force).map(|()| bytes));
    // Gone already if all went well.
    let _ = fs::remove_file(&partial);
    let bytes = written.with_context(|| shown.to_string())?;
    let copy = Recording::find(file, None)?.scan(u32::MAX)?;
    let (first, last) = (copy.first_tick(), copy.last_tick);
    if args.json {
        let answer = serde_json::json!({
            "file": file, "bytes": bytes, "first_tick": first, "last_tick": last,
        });
        writeln!(out, "{answer:#}")?;
    } else {
        writeln!(out, "{shown}: ticks {first} to {last}, {bytes} bytes")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Beside the file, so that it can be renamed.
fn partial(file: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = file.file_name() else { bail!("{} is no file's name", file.display()) };
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(format!(".{}.partial", std::process::id()));
    Ok(file.with_file_name(partial))
}

fn write(recording: &Recording, from: u32, until: u32, partial: &Path) -> anyhow::Result<u64> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(partial)?;
    let mut reader = Reader::new(recording.open()?);
    let mut written: io::Result<u64> = Ok(0);
    cut(&mut reader, from, until, "", |piece: &mut BytesMut| {
        let piece = piece.split();
        if let Ok(bytes) = &mut written {
            *bytes += piece.len() as u64;
            if let Err(error) = file.write_all(&piece) {
                written = Err(error);
            }
        }
        written.is_ok()
    })?;
    let bytes = written?;
    file.sync_all()?;
    Ok(bytes)
}

/// Gives the file its name; over another one only if that was said.
fn put(partial: &Path, file: &Path, force: bool) -> anyhow::Result<()> {
    if force {
        return Ok(fs::rename(partial, file)?);
    }
    match fs::hard_link(partial, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("it is there already; --force overwrites it")
        }
        // A file system without links.
        Err(_) if !file.exists() => Ok(fs::rename(partial, file)?),
        linked => Ok(linked?),
    }
}
