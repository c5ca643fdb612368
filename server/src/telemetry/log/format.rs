//! A line of the log, for people or for machines.
//!
//! For people: time, level, where, what, fields, and the trace if there is one. For machines: one JSON object a
//! line with `timestamp` (RFC 3339, UTC), `level`, `target`, `message`, `fields`, and in a sampled span `trace_id` and
//! `span_id`. (tracing-subscriber's own JSON cannot name the trace; json-subscriber can, but neither of them escapes what only
//! *looks* like plain text, and both write what a peer sent at any length.)

use super::escape::{BACKTRACE_CHARS_MAX, Escaping, Style, VALUE_CHARS_MAX};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use std::fmt::{self, Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// For machines.
    Json,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self {
            Self::Human => human(&mut writer, event),
            Self::Json => json(&mut writer, event),
        }
    }
}

/// The span that is being worked on, if it is sampled. The layer for traces makes it the current one of its thread.
fn sampled() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        (span.is_valid() && span.is_sampled()).then(|| span.clone())
    })
}

/// The event's own level and target: those of the `log` crate hide theirs in fields.
fn origin(event: &Event<'_>) -> (Level, String) {
    use tracing_log::NormalizeEvent as _;
    let normalized = event.normalized_metadata();
    let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
    (*metadata.level(), metadata.target().to_owned())
}

fn human(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let (level, target) = origin(event);
    SystemTime.format_time(writer)?;
    let name = level.as_str();
    if writer.has_ansi_escapes() {
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        write!(writer, " \x1b[{colour}m{name:>5}\x1b[0m \x1b[2m{target}:\x1b[0m")?;
    } else {
        write!(writer, " {name:>5} {target}:")?;
    }
    let Line { message, fields, .. } = Line::of(event, Style::Human);
    write!(writer, " {message}{fields}")?;
    if let Some(span) = sampled() {
        write!(writer, " trace={}", span.trace_id())?;
    }
    writeln!(writer)
}

fn json(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let (level, target) = origin(event);
    writer.write_str("{\"timestamp\":\"")?;
    SystemTime.format_time(writer)?;
    let target = escaped(Style::Json, VALUE_CHARS_MAX, format_args!("{target}"));
    write!(writer, "\",\"level\":\"{level}\",\"target\":\"{target}\"")?;
    let Line { message, fields, .. } = Line::of(event, Style::Json);
    write!(writer, ",\"message\":\"{message}\",\"fields\":{{{fields}}}")?;
    if let Some(span) = sampled() {
        let (trace, span) = (span.trace_id(), span.span_id());
        write!(writer, ",\"trace_id\":\"{trace}\",\"span_id\":\"{span}\"")?;
    }
    writer.write_str("}\n")
}

fn escaped(style: Style, chars_max: usize, text: fmt::Arguments<'_>) -> String {
    let mut escaped = String::new();
    // A value whose own Display or Debug fails is written as far as it came.
    let _ = Escaping::new(&mut escaped, style, chars_max).write_fmt(text);
    escaped
}

/// What an event says.
struct Line {
    style: Style,
    message: String,
    fields: String,
}

impl Line {
    fn of(event: &Event<'_>, style: Style) -> Self {
        let mut line = Self { style, message: String::new(), fields: String::new() };
        event.record(&mut line);
        line
    }

    /// A number or a boolean: it needs no quotes.
    fn plain(&mut self, field: &Field, value: &dyn fmt::Display) {
        if field.name() == "message" {
            self.message = value.to_string();
        } else {
            self.field(field.name(), &value.to_string());
        }
    }

    fn text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        let is_backtrace = field.name() == "backtrace";
        let chars_max = if is_backtrace { BACKTRACE_CHARS_MAX } else { VALUE_CHARS_MAX };
        match (field.name(), self.style) {
            ("message", style) => self.message = escaped(style, chars_max, text),
            (name, Style::Json) => {
                let text = escaped(Style::Json, chars_max, text);
                self.field(name, &format!("\"{text}\""));
            }
            (name, Style::Human | Style::Quoted) => {
                let text = escaped(Style::Quoted, chars_max, text);
                let is_plain = !text.is_empty() && !text.contains([' ', '=', '"', '\\']);
                // Quotes where a value could be taken for another field.
                let text = if is_plain { text } else { format!("\"{text}\"") };
                self.field(name, &text);
            }
        }
    }

    fn field(&mut self, name: &str, value: &str) {
        // Where a record of the `log` crate comes from: said in other words already.
        if name.starts_with("log.") {
            return;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        let written = match self.style {
            Style::Json if self.fields.is_empty() => write!(self.fields, "\"{name}\":{value}"),
            Style::Json => write!(self.fields, ",\"{name}\":{value}"),
            Style::Human | Style::Quoted => write!(self.fields, " {name}={value}"),
        };
        debug_assert!(written.is_ok(), "a string takes all");
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the others.
        if value.is_finite() {
            self.plain(field, &value);
        } else {
            self.text(field, format_args!("{value}"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }
}
