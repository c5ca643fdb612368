//! The process: configuration, logs, signals, exit code.

use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use std::process::ExitCode;
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
    let ended = runtime.block_on(run(config));
    // A worker that is stuck in a game must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

async fn run(config: Config) -> Result<(), fray_server::Error> {
    let app = Server::builder().config(config).build().await?;
    tracing::info!("play at http://{}/ (also gRPC, and WebSocket at /ws)", app.listen_addr());
    tracing::info!("probes and metrics at http://{}/", app.admin_addr());
    app.run_until_signalled().await
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("fray-server: {problem}");
    ExitCode::FAILURE
}
