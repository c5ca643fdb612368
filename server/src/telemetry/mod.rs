//! What operators see: metrics, health, logs, traces; and tasks that do not fail unseen.

pub mod admin;
pub mod health;
pub mod log;
pub mod metrics;
pub mod traces;

pub use health::Health;
pub use metrics::Metrics;
pub use traces::Traces;

use futures_util::FutureExt as _;
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Which sources this is built from, or `unknown`.
pub const REVISION: &str = env!("FRAY_REVISION");
/// The version of the software, and its revision, as `--version` says it.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("FRAY_REVISION"), ")");

/// Where a process counts and traces.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// What it says of itself.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is traced.
    pub traces: Arc<Traces>,
}

impl Default for Telemetry {
    fn default() -> Self {
        let health = Arc::default();
        let metrics = Arc::new(Metrics::new(&health));
        Self { health, metrics, traces: Arc::default() }
    }
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "(it did not say)".into())
}

/// Spawns a task that belongs to `tracker`; a panic in it is logged under its name and harms nobody else.
pub fn spawn_named(
    tracker: &TaskTracker,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tracker.spawn(async move {
        // What the task owned is dropped with it, so nobody can see a state that the panic left half done.
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            tracing::error!(task = name, "a task panicked");
        }
    });
}
