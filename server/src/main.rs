//! The process: configuration, logs, signals, exit code.

use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use fray_server::telemetry::{Metrics, log};
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let config = Config::parse();
    let metrics = Arc::new(Metrics::default());
    let logged = log::init(&log_settings(&config), None, metrics.log_lines_suppressed.clone());
    let _log = match logged {
        Ok(guard) => guard,
        Err(error) => return failed(&format!("--log: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime can be started: {error}")),
    };
    let ended = runtime.block_on(run(config, metrics));
    // A worker that is stuck in a game must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

async fn run(config: Config, metrics: Arc<Metrics>) -> Result<(), fray_server::Error> {
    let app = Server::builder().config(config).metrics(metrics).build().await?;
    // In words: whoever starts it by hand clicks on them, and scripts wait for them.
    tracing::info!("play at http://{}/ (also gRPC, and WebSocket at /ws)", app.listen_addr());
    tracing::info!("probes and metrics at http://{}/, live page at /status", app.admin_addr());
    app.run_until_signalled().await
}

fn log_settings(config: &Config) -> log::Settings {
    let is_json = config.log_format.is_json();
    log::Settings {
        filter: config.log.clone(),
        format: if is_json { log::Format::Json } else { log::Format::Human },
        is_limited: config.log_limit,
    }
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("fray-server: {problem}");
    ExitCode::FAILURE
}
