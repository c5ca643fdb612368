//! Where a run's report goes: JSON, a page, the terminal.

use super::comparison::Comparison;
use super::conditions::{Machine, shown_flags};
use super::limits::Limits;
use super::live::{Live, Style};
use super::page;
use super::progress::Progress;
use super::report::Report;
use super::run_file::RunFile;
use anyhow::Context as _;
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

/// Where to write the report of a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Outputs {
    /// Write the report here as JSON; "-" is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report here as a page with charts, complete in one file
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Compare with an earlier run, by its JSON: in the page and in the table
    #[arg(long, value_name = "EARLIER.json")]
    pub compare: Option<PathBuf>,
    /// No progress, no table
    #[arg(long, short)]
    pub quiet: bool,
}

/// A run from the outside: the machine, the terminal, the earlier run.
pub struct Watching {
    outputs: Outputs,
    machine: Machine,
    earlier: Option<RunFile>,
    live: Live,
}

impl Watching {
    /// Before the run: what cannot be read or written is better known now than afterwards.
    pub fn begin(outputs: Outputs) -> anyhow::Result<Self> {
        let read = |path: &PathBuf| {
            RunFile::read(path).with_context(|| format!("--compare {}", path.display()))
        };
        let earlier = outputs.compare.as_ref().map(read).transpose()?;
        if let Some(path) = &outputs.report {
            // What is there stays there until there is something better.
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            opened.with_context(|| format!("--report {}", path.display()))?;
        }
        let live = Live::new(style(outputs.quiet));
        Ok(Self { outputs, machine: Machine::look(), earlier, live })
    }

    /// Shows how it goes.
    pub fn progress(&mut self, now: &Progress) {
        // Progress that cannot be shown is no reason to end a run.
        let _ = io::stderr().write_all(self.live.show(now).as_bytes());
    }

    /// After the run: judges it and writes everything. Returns what failed.
    pub fn end(
        self,
        mut report: Report,
        limits: &Limits,
        transport: &str,
    ) -> anyhow::Result<Vec<String>> {
        report.conditions.machine = self.machine.look_again();
        report.conditions.flags = shown_flags(std::env::args().skip(1));
        transport.clone_into(&mut report.conditions.transport);
        let failures = report.judge(limits);
        if let Some(path) = &self.outputs.json {
            write_json(&report, path).with_context(|| format!("--json {}", path.display()))?;
        }
        let run = RunFile::of(&report);
        if let Some(path) = &self.outputs.report {
            let page = page::render(&run, self.earlier.as_ref());
            std::fs::write(path, page).with_context(|| format!("--report {}", path.display()))?;
        }
        if !self.outputs.quiet {
            eprint!("\n{report}");
            if let Some(before) = &self.earlier {
                eprint!("{}", Comparison { now: &run, before });
            }
        }
        Ok(failures)
    }
}

fn style(is_quiet: bool) -> Style {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    if is_quiet {
        Style::Quiet
    } else if io::stderr().is_terminal() && !is_dumb {
        Style::InPlace { coloured: !is_set("NO_COLOR") }
    } else {
        Style::Lines
    }
}

fn write_json(report: &Report, path: &Path) -> anyhow::Result<()> {
    let json = json_of(report)?;
    if path.as_os_str() == "-" {
        io::stdout().write_all(&json)?;
    } else {
        std::fs::write(path, json)?;
    }
    Ok(())
}

/// As people read it, but with a column of numbers in a line.
fn json_of(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut json = Vec::new();
    let formatter = ColumnsInLines(PrettyFormatter::new());
    report.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))?;
    json.push(b'\n');
    Ok(json)
}

struct ColumnsInLines(PrettyFormatter<'static>);

/// Objects as they are usually indented; arrays are left as the trait has them: in a line.
impl Formatter for ColumnsInLines {
    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object(to)
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object(to)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.begin_object_value(to)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        self.0.end_object_value(to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::Columns;
    use super::*;

    #[test]
    fn the_json_of_a_long_run_has_a_line_for_each_column() {
        let series = Columns { bucket_s: 1, updates: vec![7; 600], ..Columns::default() };
        let report = Report { series, ..Report::default() };
        let json = String::from_utf8(json_of(&report).expect("plain data")).expect("text");
        assert!(json.contains("\n  \"updates\": 0,\n"), "{json}");
        assert!(json.contains("\n    \"updates\": [7,7,7,"), "{json}");
        let run = RunFile::parse(&json).expect("its own JSON");
        assert_eq!(run.series(), &report.series);
    }
}
