//! The process: configuration, logs, signals, exit code.

use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => return failed(&format!("--log: {error}")),
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime can be started: {error}")),
    };
    runtime.block_on(run(config))
}

async fn run(config: Config) -> ExitCode {
    let (terminate, interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                return failed(&format!("signals cannot be caught: {error}"));
            }
        };
    let mut signals = Signals { terminate, interrupt };
    let app = match Server::builder().config(config).build().await {
        Ok(app) => app,
        Err(error) => return failed(&error.to_string()),
    };
    tracing::info!("play at http://{}/ (also gRPC, and WebSocket at /ws)", app.listen_addr());
    tracing::info!("probes and metrics at http://{}/", app.admin_addr());

    // The first signal ends things in order, a second one at once.
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = app.run(async {
        let _ = stopped.await;
    });
    let mut running = std::pin::pin!(running);
    tokio::select! {
        ended = running.as_mut() => return exit_code(ended),
        () = signals.next() => drop(stop),
    }
    tokio::select! {
        ended = running => exit_code(ended),
        () = signals.next() => failed("a second signal: ended at once"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn exit_code(ended: Result<(), fray_server::Error>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("fray-server: {problem}");
    ExitCode::FAILURE
}
