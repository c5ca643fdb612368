//! All recordings of a store.

use super::open::Recording;
use super::summary::{Checked, printable, started};
use super::{ReplayArgs, UNANSWERED, clock, exit_code};
use fray_server::replay::Games;
use fray_server::replay::verify::Unanswered;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Plays all of them again, a line for each.
pub(super) fn verify_all(
    games: Games<'_>,
    recordings: &[Recording],
    args: &ReplayArgs,
    out: &mut dyn Write,
    is_stopped: &dyn Fn() -> bool,
) -> anyhow::Result<ExitCode> {
    let width = recordings.iter().map(|recording| recording.name.len()).max().unwrap_or(0).max(9);
    let mut values = Vec::new();
    let (mut same, mut unanswered) = (0, 0);
    if !args.json {
        writeln!(
            out,
            "{:<width$}  {:<20}  {:<12}  {:>13}  {:>9}  VERDICT",
            "RECORDING", "STARTED", "GAME", "TIME", "BYTES"
        )?;
    }
    for recording in recordings {
        match Checked::new(games, recording, args.until, is_stopped) {
            Ok(checked) => {
                same += usize::from(checked.is_same());
                if args.json {
                    values.push(checked.json());
                } else {
                    writeln!(out, "{}", row(&checked, width))?;
                }
            }
            Err(error) => {
                if matches!(error.downcast_ref(), Some(Unanswered::Stopped)) {
                    return Err(error);
                }
                unanswered += 1;
                let error = format!("{error:#}");
                if args.json {
                    values.push(json!({ "recording": recording.name, "error": error }));
                } else {
                    writeln!(out, "{:<width$}  {error}", recording.name)?;
                }
            }
        }
        out.flush()?;
    }
    if args.json {
        writeln!(out, "{:#}", json!({ "recordings": values }))?;
    } else {
        writeln!(out, "{same} of {} are the same", recordings.len())?;
    }
    let is_known = same + unanswered == recordings.len();
    Ok(match unanswered {
        1.. if is_known => ExitCode::from(UNANSWERED),
        _ => exit_code(same == recordings.len()),
    })
}

fn row(checked: &Checked, width: usize) -> String {
    let (mut began, mut game) = (String::new(), String::new());
    let mut incident = String::new();
    if let Some(header) = &checked.report.header {
        began = started(header);
        game = format!("{} {}", printable(&header.game), header.sim_version);
        if !header.incident.is_empty() {
            incident = format!(" [{}]", printable(&header.incident));
        }
    }
    let rate_hz = checked.scan.tick_rate_hz();
    let [from, to] =
        [checked.scan.first_tick(), checked.report.last_tick].map(|tick| clock(tick, rate_hz));
    let verdict = if checked.is_same() { checked.word().to_owned() } else { checked.verdict() };
    format!(
        "{:<width$}  {began:<20}  {game:<12}  {:>13}  {:>9}  {verdict}{incident}",
        checked.name,
        format!("{from} to {to}"),
        checked.bytes
    )
}
