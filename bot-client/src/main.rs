//! The process: command line, signals, exit code.

mod cli;

use clap::Parser as _;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // First of all: libraries would each choose their own.
    // None yet: nobody was before us.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let mut work = std::pin::pin!(cli::run(cli, stop.clone()));
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // The first signal ends things in order, a second one at once.
        if stop.is_cancelled() {
            return Ok(ExitCode::from(130));
        }
        stop.cancel();
    }
}
