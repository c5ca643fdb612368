//! The log: what a line looks like, that nobody but us begins one, and how many of a kind there are.

mod support;

use fray_server::telemetry::log::{self, Format, Limit, Part, Settings, limit};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider};
use serde_json::Value;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::captured::Captured;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

const HOSTILE: &str = "Eve\"\n2030-01-01T00:00:00Z ERROR fray_server: forged\r\u{1b}[2J\u{9b}31m\u{202e}\u{2028} room=x";

fn settings(format: Format, filter: &str) -> Settings {
    Settings { filter: filter.into(), format, is_limited: true }
}

fn lines(format: Format, filter: &str, limit: Option<Arc<Limit>>) -> (Part, Captured) {
    let captured = Captured::default();
    let settings = settings(format, filter);
    let part = log::lines(&settings, limit, captured.writer(), false).expect("a filter");
    (part, captured)
}

/// What is logged in `run`.
fn logged(format: Format, filter: &str, run: impl FnOnce()) -> String {
    let (part, captured) = lines(format, filter, None);
    tracing::subscriber::with_default(registry().with(vec![part]), run);
    captured.text()
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_line_for_machines_is_one_object_that_says_when_where_and_what() {
    let text = logged(Format::Json, "info", || {
        let error = "no \"room\"";
        tracing::info!(target: "fray_server::room", room = "abc", players = 3_u64, ratio = 0.5, is_on = true, nan = f64::NAN, %error, "room {}", "opened");
        tracing::debug!(target: "fray_server::room", "too quiet");
    });
    let line = parsed(&text);
    assert_eq!(text.lines().count(), 1);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "fray_server::room");
    assert_eq!(line["message"], "room opened");
    let fields = serde_json::json!({
        "room": "abc", "players": 3, "ratio": 0.5, "is_on": true, "nan": "NaN", "error": "no \"room\""
    });
    assert_eq!(line["fields"], fields);
    let timestamp = line["timestamp"].as_str().expect("text");
    assert!(humantime::parse_rfc3339(timestamp).is_ok() && timestamp.ends_with('Z'), "{timestamp}");
    assert!(line.get("trace_id").is_none());
}

#[test]
fn a_line_for_people_keeps_fields_apart() {
    let text = logged(Format::Human, "info", || {
        tracing::warn!(target: "fray_server::room", room = "abc", name = "Ada L", reason = %"a=b", none = "", "a thing");
    });
    let (_, said) = text.split_once(' ').expect("a time first");
    assert_eq!(
        said,
        " WARN fray_server::room: a thing room=abc name=\"Ada L\" reason=\"a=b\" none=\"\"\n"
    );
}

#[test]
fn no_peer_begins_a_line_or_steers_a_terminal() {
    for format in [Format::Human, Format::Json] {
        let text = logged(format, "trace", || {
            tracing::info!(target: "fray_server", name = HOSTILE, error = %HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
            tracing::info!(target: "h2", "a dependency's words: {HOSTILE}");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with('\n'));
        let odd = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
        assert!(!text.contains(odd), "{text:?}");
        if format == Format::Json {
            let line = parsed(text.lines().next().expect("a line"));
            assert_eq!(line["message"], HOSTILE);
            assert_eq!(line["fields"]["name"], HOSTILE);
            assert_eq!(line["fields"]["error"], HOSTILE);
        } else {
            assert!(
                text.contains(r#" name="Eve\"\n2030"#) && text.contains(r#" room=x" error="#),
                "{text}"
            );
        }
    }
}

#[test]
fn a_long_value_is_cut() {
    let text = logged(Format::Json, "info", || {
        tracing::info!(target: "fray_server", name = "x".repeat(1 << 20), "long");
    });
    assert!(text.len() < 5000, "{}", text.len());
    assert_eq!(parsed(&text)["message"], "long");
}

#[test]
fn a_backtrace_may_be_longer_but_is_cut_too() {
    for format in [Format::Human, Format::Json] {
        let text = logged(format, "info", || {
            let backtrace = format!("{}who did it{}", "x".repeat(10_000), "y".repeat(1 << 20));
            tracing::error!(target: "fray_server", backtrace, "a panic");
        });
        assert!(text.contains("who did it") && text.len() < 17_000, "{}", text.len());
    }
}

#[test]
fn dependencies_are_not_heard_below_debug() {
    let text = logged(Format::Human, "trace", || {
        tracing::trace!(target: "tungstenite::protocol", "a frame with a ticket");
        tracing::trace!(target: "fray_serverish", "not ours");
        tracing::debug!(target: "h2::codec", "a dependency");
        tracing::trace!(target: "fray_server::wire", "our own");
    });
    assert!(!text.contains("ticket") && !text.contains("not ours"), "{text}");
    assert!(text.contains("a dependency") && text.contains("our own"), "{text}");
}

#[test]
fn a_filter_that_makes_no_sense_is_an_error() {
    let wrong = log::lines(&settings(Format::Json, "a=b=c"), None, std::io::sink, false);
    assert!(wrong.is_err());
}

/// One kind: all come from the same place.
fn flood(times: usize) {
    (0..times).for_each(|n| tracing::warn!(target: "fray_server", n, "a flood"));
}

fn other() {
    tracing::warn!(target: "fray_server", "another kind");
}

fn grave(times: usize) {
    (0..times).for_each(|n| tracing::error!(target: "fray_server", n, "grave"));
}

#[test]
fn a_flood_is_limited_counted_and_said_and_others_are_heard() {
    let now_ms = Arc::new(AtomicU64::new(0));
    let suppressed = Arc::new(AtomicU64::new(0));
    let limit = {
        let (now_ms, suppressed) = (Arc::clone(&now_ms), Arc::clone(&suppressed));
        let clock = move || Duration::from_millis(now_ms.load(Ordering::Relaxed));
        let count = move || {
            suppressed.fetch_add(1, Ordering::Relaxed);
        };
        Arc::new(Limit::new(clock, count))
    };
    let (part, captured) = lines(Format::Human, "info", Some(Arc::clone(&limit)));
    let count = |what: &str| captured.take().matches(what).count();
    tracing::subscriber::with_default(registry().with(vec![part]), || {
        flood(1000);
        other();
        let text = captured.take();
        assert_eq!(text.matches("a flood").count(), limit::RATE.burst as usize);
        assert_eq!(text.matches("another kind").count(), 1, "a kind waits for no other");
        assert_eq!(suppressed.load(Ordering::Relaxed), 980);

        limit.report();
        let text = captured.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("suppressed=980 kind=fray_server at=log.rs:"), "{text}");
        limit.report();
        assert_eq!(captured.take(), "", "said once");

        now_ms.store(1000, Ordering::Relaxed);
        flood(1000);
        assert_eq!(count("a flood"), limit::RATE.per_s as usize, "what a second brings");
        grave(1000);
        assert_eq!(count("grave"), limit::ERROR_RATE.burst as usize, "errors have more");
    });
}

/// Makes panics of this thread, and of no other test's, lines of the log.
fn log_panics_of_thread(name: &'static str) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(name) {
            log::panicked(panic);
        } else {
            before(panic);
        }
    }));
}

#[test]
fn a_flood_of_panics_is_limited_like_other_errors() {
    const THREAD: &str = "a thread that panics";
    const PANICS: usize = 300;
    log_panics_of_thread(THREAD);
    let limit = Arc::new(Limit::new(|| Duration::ZERO, || {}));
    let (part, captured) = lines(Format::Json, "info", Some(Arc::clone(&limit)));
    let flood = move || {
        tracing::subscriber::with_default(registry().with(vec![part]), || {
            for n in 0..PANICS {
                assert!(panic::catch_unwind(|| panic!("flood {n}")).is_err());
            }
            limit.report();
        });
    };
    let thread = std::thread::Builder::new().name(THREAD.into()).spawn(flood).expect("started");
    thread.join().expect("all panics are caught");

    let text = captured.take();
    let mut lines: Vec<_> = text.lines().map(parsed).collect();
    let summary = lines.pop().expect("lines");
    let burst = limit::ERROR_RATE.burst as usize;
    assert_eq!(lines.len(), burst);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"a panic".into()));
        let fields = &line["fields"];
        assert_eq!(
            (&fields["panic"], &fields["thread"]),
            (&format!("flood {n}").into(), &THREAD.into())
        );
        assert!(fields["at"].as_str().is_some_and(|at| at.contains("log.rs:")), "{fields}");
    }
    assert_eq!(summary["fields"]["suppressed"], PANICS - burst);
}

#[test]
fn a_trace_is_not_limited_by_the_log_and_takes_only_our_own_spans() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let limit = Arc::new(Limit::new(|| Duration::ZERO, || {}));
    let (json, captured) = lines(Format::Json, "info", Some(limit));
    let (human, people) = lines(Format::Human, "info", None);
    let parts = vec![json, human, log::traces(provider.tracer("test"))];
    tracing::subscriber::with_default(registry().with(parts), || {
        let span = tracing::info_span!(target: "fray_server::session", "join");
        let foreign = tracing::info_span!(target: "h2::codec", "decode");
        {
            let _in = span.enter();
            let _foreign = foreign.enter();
            flood(50);
        }
        other();
    });
    let spans = exporter.get_finished_spans().expect("spans");
    assert_eq!(spans.iter().map(|span| &*span.name).collect::<Vec<_>>(), ["join"]);
    assert_eq!(spans[0].events.len(), 50);

    let text = captured.text();
    let lines: Vec<_> = text.lines().map(parsed).collect();
    let trace_id = spans[0].span_context.trace_id().to_string();
    assert_eq!(lines[0]["trace_id"], trace_id);
    assert_eq!(lines[0]["span_id"], spans[0].span_context.span_id().to_string());
    assert!(lines.last().expect("lines").get("trace_id").is_none(), "outside of it");
    assert!(people.text().contains(&format!(" trace={trace_id}\n")));
}

#[test]
fn a_trace_that_is_not_sampled_is_not_named() {
    let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
    let (part, captured) = lines(Format::Json, "info", None);
    let parts = vec![part, log::traces(provider.tracer("test"))];
    tracing::subscriber::with_default(registry().with(parts), || {
        tracing::info_span!(target: "fray_server", "join").in_scope(other);
    });
    assert!(parsed(&captured.text()).get("trace_id").is_none());
}
