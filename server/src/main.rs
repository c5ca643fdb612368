//! The process: configuration, logs, traces, signals, exit code.

use clap::Parser as _;
use fray_server::cluster::{self, kube::Ensured};
use fray_server::config::Config;
use fray_server::config::command::{Command, CommandLine, KeysCommand};
use fray_server::telemetry::{Telemetry, log};
use fray_server::{Server, keys, tls};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tikv_jemallocator::Jemalloc;

/// What players leave behind goes back to the system within seconds. The C library's allocator keeps whatever lies between what
/// lives: after a hundred thousand streams all that they took.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How long the last traces may take after everything else has ended.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    tls::install_provider();
    let CommandLine { config, command } = CommandLine::parse();
    if let Some(command) = command {
        return run_command(command);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("no runtime can be started: {error}")),
    };
    // The exporter's connection lives on the runtime.
    let within = runtime.enter();
    let mut telemetry = Telemetry::default();
    let (flags, more) = (&config.traces, Some(&config.server_traces));
    let complain = |what: &str| eprintln!("fray-server: {what}");
    let counts = telemetry.metrics.span_counts();
    let name = config.server_name();
    let traces = flags.start("fray-server", name, more, &counts, complain);
    let suppressed = telemetry.metrics.log_suppressed.clone();
    let _log = match log::init(&log_settings(&config), traces.tracer(), suppressed) {
        Ok(guard) => guard,
        Err(error) => return failed(&format!("--log: {error}")),
    };
    drop(within);
    telemetry.traces = Arc::clone(&traces);
    let ended = runtime.block_on(run(config, telemetry));
    // Whoever signals twice wants it to end at once.
    if !matches!(ended, Err(fray_server::Error::SecondSignal)) {
        traces.shut_down(EXPORT_TIMEOUT);
    }
    // A worker that is stuck in a game must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string()),
    }
}

/// What is no serving.
fn run_command(command: Command) -> ExitCode {
    let done = match command {
        Command::Keys(KeysCommand::New { dir }) => keys::create::ticket_key(&dir)
            .map(|path| path.display().to_string())
            .map_err(|error| error.to_string()),
        Command::Keys(KeysCommand::Ensure { secret, namespace }) => {
            let namespace = namespace.filter(|namespace| !namespace.is_empty());
            ensure_keys(&secret, namespace.as_deref())
        }
    };
    match done {
        Ok(what) => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Err(problem) => failed(&problem),
    }
}

fn ensure_keys(secret: &str, namespace: Option<&str>) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime can be started: {error}"))?;
    let keys = keys::create::fleet_keys().map_err(|error| error.to_string())?;
    let names = keys.keys().cloned().collect::<Vec<_>>().join(", ");
    let ensured = runtime.block_on(cluster::kube::ensure(secret, namespace, keys));
    let (namespace, ensured) = ensured.map_err(|error| error.to_string())?;
    Ok(match ensured {
        Ensured::Made => format!("Secret {namespace}/{secret}: {ensured}, with {names}"),
        Ensured::WasThere | Ensured::OtherWasFaster => {
            format!("Secret {namespace}/{secret}: {ensured}")
        }
    })
}

async fn run(config: Config, telemetry: Telemetry) -> Result<(), fray_server::Error> {
    let app = Server::builder().config(config).telemetry(telemetry).build().await?;
    // In words: whoever starts it by hand clicks on them, and scripts wait for them.
    tracing::info!("play at {} (also gRPC, and WebSocket at /ws)", app.url());
    tracing::info!("probes and metrics at http://{}/, live page at /status", app.admin_addr());
    let control = app.control_addr();
    tracing::info!("operators' verbs at http://{control}/: fray-bot admin --url http://{control}");
    if !control.ip().is_loopback() {
        tracing::warn!(%control, "whoever reaches this address may drain this server, close rooms and kick players");
    }
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
