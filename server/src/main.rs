//! The process: configuration, logs, signals, exit code.

use clap::Parser as _;
use fray_server::Server;
use fray_server::config::Config;
use fray_server::telemetry::Traces;
use fray_server::telemetry::traces::export;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// How long the last traces may take after everything else has ended.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = match EnvFilter::try_new(&config.log) {
        Ok(filter) => filter,
        Err(error) => return failed(&format!("--log: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime can be started: {error}")),
    };
    let counts = export::Counts::default();
    let traces = {
        let _within = runtime.enter();
        let (flags, more) = (&config.traces, Some(&config.server_traces));
        let complain = |what: &str| eprintln!("fray-server: {what}");
        match flags.start("fray-server", config.server_name(), more, &counts, complain) {
            Ok(traces) => traces,
            Err(error) => return failed(&error.to_string()),
        }
    };
    let spans = traces.tracer().map(|tracer| {
        // Only our own: the exporter's own calls would be exported for ever.
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(Targets::new().with_target("fray_server", LevelFilter::INFO))
    });
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(logs).with(spans).init();
    let ended = runtime.block_on(run(config, Arc::clone(&traces)));
    traces.shut_down(EXPORT_TIMEOUT);
    // A worker that is stuck in a game must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

async fn run(config: Config, traces: Arc<Traces>) -> Result<(), fray_server::Error> {
    let app = Server::builder().config(config).traces(traces).build().await?;
    tracing::info!("play at http://{}/ (also gRPC, and WebSocket at /ws)", app.listen_addr());
    tracing::info!("probes and metrics at http://{}/", app.admin_addr());
    app.run_until_signalled().await
}

fn failed(problem: &str) -> ExitCode {
    eprintln!("fray-server: {problem}");
    ExitCode::FAILURE
}
