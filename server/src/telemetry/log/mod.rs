//! The log: which lines, how they look, and how many of a kind.
//!
//! - [`mod@format`]: for people or as JSON, with the trace's id. [`limit`]: no peer can fill the log.
//! - Dependencies are never heard below debug: at trace they print what they carry, and that may be a ticket or a token
//!   (tungstenite writes whole frames). Fray itself logs no secret at any level; `server/tests/secrets.rs` looks.
//! - The log takes events and no spans: as long as nobody traces, a span costs nothing.
//! - [`traces`] gives spans of Fray's own code to OpenTelemetry. The exporter's own connection is not looked at: it would make
//!   spans by sending spans.

mod escape;
pub mod format;
pub mod limit;

pub use format::Format;
pub use limit::Limit;

use opentelemetry_sdk::trace::SdkTracer;
use prometheus_client::metrics::counter::Counter;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

/// How often it is said how many lines were suppressed.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Where our own events and spans come from.
const OWN_TARGETS: [&str; 2] = ["fray_server", "fray_bot"];

/// How to log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which lines, as `EnvFilter` has it: `info`, `fray_server=debug`.
    pub filter: String,
    /// How they look.
    pub format: Format,
    /// Whether there is a limit for each kind.
    pub is_limited: bool,
}

/// Why there can be no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter makes no sense.
    #[error("the filter {0:?}: {1}")]
    Filter(String, tracing_subscriber::filter::ParseError),
    /// Something in this process logs already.
    #[error(transparent)]
    Taken(#[from] tracing_subscriber::util::TryInitError),
    /// No thread can be started.
    #[error("no thread for the log: {0}")]
    Thread(std::io::Error),
}

/// As long as it lives, it is said from time to time what was suppressed; and once more when it goes.
#[derive(Debug)]
pub struct Guard {
    /// Dropped to end the thread.
    stop: Option<SyncSender<()>>,
    reporter: Option<JoinHandle<()>>,
}

/// Begins to log to stderr, for the whole process and for good: events, also those of the `log` crate, and panics. Spans go
/// to `tracer`, if there is one. `suppressed` counts the lines that the limit kept back.
pub fn init(
    settings: &Settings,
    tracer: Option<SdkTracer>,
    suppressed: Counter,
) -> Result<Guard, Error> {
    let limit = limit(settings, suppressed);
    let is_coloured = std::io::stderr().is_terminal();
    let lines = lines(settings, limit.clone(), std::io::stderr, is_coloured)?;
    let layers: Vec<_> = [lines].into_iter().chain(tracer.map(traces)).collect();
    Registry::default().with(layers).try_init()?;
    std::panic::set_hook(Box::new(panicked));
    let Some(limit) = limit else { return Ok(Guard { stop: None, reporter: None }) };
    let (stop, stopped) = sync_channel::<()>(0);
    let report = move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REPORT_EVERY) {
            limit.report();
        }
        limit.report();
    };
    let reporter = std::thread::Builder::new().name("log".into()).spawn(report);
    Ok(Guard { stop: Some(stop), reporter: Some(reporter.map_err(Error::Thread)?) })
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(reporter) = self.reporter.take() {
            // A panic there was logged by itself.
            let _ = reporter.join();
        }
    }
}

/// The limit that these settings ask for.
fn limit(settings: &Settings, suppressed: Counter) -> Option<Arc<Limit>> {
    let since = Instant::now();
    let count = move || {
        suppressed.inc();
    };
    settings.is_limited.then(|| Arc::new(Limit::new(move || since.elapsed(), count)))
}

/// A part of what looks at every span and event of the process. Several make a `Vec`.
pub type Part = Box<dyn Layer<Registry> + Send + Sync>;

/// The layer that writes lines to `writer`.
pub fn lines<W>(
    settings: &Settings,
    limit: Option<Arc<Limit>>,
    writer: W,
    is_coloured: bool,
) -> Result<Part, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::try_new(&settings.filter);
    let parsed = parsed.map_err(|error| Error::Filter(settings.filter.clone(), error))?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_coloured)
        .event_format(settings.format)
        .with_writer(writer);
    let events = filter_fn(is_a_line).with_max_level_hint(LevelFilter::TRACE);
    Ok(limit::Limited { limit, lines }.with_filter(parsed.and(events)).boxed())
}

/// The layer that gives Fray's own spans, and what happens in them, to OpenTelemetry.
pub fn traces(tracer: SdkTracer) -> Part {
    let own = filter_fn(|metadata| {
        is_own(metadata) && (metadata.is_span() || *metadata.level() <= Level::DEBUG)
    });
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(own.with_max_level_hint(LevelFilter::TRACE))
        .boxed()
}

/// Events only, and of dependencies nothing below debug.
fn is_a_line(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && (is_own(metadata) || *metadata.level() <= Level::DEBUG)
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    let krate = metadata.target().split("::").next().unwrap_or_default();
    OWN_TARGETS.contains(&krate)
}

/// What [`init`] does of a panic: a line like others, escaped, limited, and JSON where the log is JSON.
pub fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("?");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = super::panic_message(panic.payload());
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, at, panic = message, %backtrace, "a panic");
    } else {
        tracing::error!(thread, at, panic = message, "a panic");
    }
}
