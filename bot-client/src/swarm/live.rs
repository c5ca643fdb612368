//! How a run goes, on a terminal: a few lines that are redrawn in place, or a line now and then where nobody watches.

use super::progress::Progress;
use std::collections::VecDeque;
use std::fmt::Write as _;

/// How many seconds the little curves go back.
const HISTORY: usize = 40;

/// How wide the bar of the time is.
const BAR_WIDE: usize = 24;

/// How many lines are redrawn.
const LINES: usize = 4;

/// Where nobody watches, one in this many is told.
const LINE_EVERY: u32 = 10;

const LABEL: &str = "2";
const GOOD: &str = "32";
const BAD: &str = "1;31";
const CURVE: &str = "36";

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Quiet,
    /// A line now and then.
    Lines,
    /// Redrawn in place, with colours or without.
    InPlace {
        /// Whether with colours.
        coloured: bool,
    },
}

/// See the module. It only makes text; somebody else writes it.
#[derive(Debug)]
pub struct Live {
    style: Style,
    told: u32,
    gaps: VecDeque<f64>,
    receipts: VecDeque<f64>,
}

impl Live {
    /// Nothing shown yet.
    pub fn new(style: Style) -> Self {
        Self { style, told: 0, gaps: VecDeque::new(), receipts: VecDeque::new() }
    }

    /// What to write at this moment of the run.
    pub fn show(&mut self, now: &Progress) -> String {
        remember(&mut self.gaps, now.p99_gap_ms);
        remember(&mut self.receipts, now.p99_tick_to_receive_ms);
        self.told += 1;
        match self.style {
            Style::Lines if self.told % LINE_EVERY == 1 => format!("{now}\n"),
            Style::Quiet | Style::Lines => String::new(),
            Style::InPlace { coloured } => self.redraw(now, coloured),
        }
    }

    /// One write for a whole picture, so that no half of it is ever seen. Between the first and the last sequence the
    /// terminal draws nothing and wraps no line; afterwards it is as before, also when the run is killed in between.
    fn redraw(&self, now: &Progress, coloured: bool) -> String {
        let mut text = String::from("\x1b[?2026h\x1b[?7l");
        if self.told > 1 {
            let _ = write!(text, "\x1b[{LINES}A");
        }
        for line in self.lines(now, coloured) {
            let _ = write!(text, "\r{line}\x1b[K\n");
        }
        text.push_str("\x1b[?7h\x1b[?2026l");
        text
    }

    fn lines(&self, now: &Progress, coloured: bool) -> [String; LINES] {
        let paint = |code: &str, text: &str| {
            if coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let elapsed_s = now.elapsed.as_secs();
        let time = match now.total.map(|total| total.as_secs().max(1)) {
            Some(total) => {
                let done = (elapsed_s as usize * BAR_WIDE / total as usize).min(BAR_WIDE);
                let bar =
                    paint(GOOD, &"━".repeat(done)) + &paint(LABEL, &"─".repeat(BAR_WIDE - done));
                format!("{} / {}  {bar}", clock(elapsed_s), clock(total))
            }
            None => format!("{}, until Ctrl-C", clock(elapsed_s)),
        };
        let players = format!("{}/{}", now.playing, now.players_wanted);
        let label = |text: &str| paint(LABEL, text);
        let p99 = |name: &str, value: f64, history: &VecDeque<f64>| {
            format!("{} {value:>8.1} ms  {}", label(name), paint(CURVE, &sparkline(history)))
        };
        let faults = now.faults().map(|(count, name)| {
            let text = format!("{count} {name}");
            paint(if count > 0 { BAD } else { LABEL }, &text)
        });
        let Progress { drops, resumes, redirects, .. } = now;
        let churn = label(&format!("{drops} drops, {resumes} resumes, {redirects} redirects"));
        [
            format!(
                "{time}  {players} {}  {:.0} {}  {:.2} {}  {:.0} {}",
                label("players"),
                now.updates_per_s,
                label("updates/s"),
                now.bytes_per_s / 1e6,
                label("MB/s"),
                now.moves_per_s,
                label("moves/s"),
            ),
            p99("update gap p99     ", now.p99_gap_ms, &self.gaps),
            p99("tick to receipt p99", now.p99_tick_to_receive_ms, &self.receipts),
            format!("{}  {churn}", faults.join("  ")),
        ]
    }
}

fn remember(history: &mut VecDeque<f64>, value: f64) {
    if history.len() == HISTORY {
        history.pop_front();
    }
    history.push_back(value);
}

/// The values as little columns, from the smallest to the largest; flat when they hardly differ.
fn sparkline(values: &VecDeque<f64>) -> String {
    const COLUMNS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    // 0 is a second without any.
    let some = || values.iter().copied().filter(|value| *value > 0.0);
    let (least, most) = (some().fold(f64::MAX, f64::min), some().fold(0.0, f64::max));
    let least = least.min(most);
    // Half a millisecond, or a tenth, is no event.
    let span = (most - least).max(least * 0.1).max(0.5);
    let column =
        |value: &f64| COLUMNS[(((value - least).max(0.0) / span * 7.0).round() as usize).min(7)];
    values.iter().map(column).collect()
}

fn clock(second: u64) -> String {
    format!("{}:{:02}", second / 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn progress(second: u64) -> Progress {
        Progress {
            elapsed: Duration::from_secs(second),
            total: Some(Duration::from_secs(60)),
            playing: 5,
            players_wanted: 10,
            p99_gap_ms: 51.0,
            ..Progress::default()
        }
    }

    #[test]
    fn a_picture_takes_the_place_of_the_one_before() {
        let mut live = Live::new(Style::InPlace { coloured: false });
        let (first, second) = (live.show(&progress(1)), live.show(&progress(2)));
        assert!(!first.contains("\x1b[4A") && second.contains("\x1b[4A"));
        for picture in [first, second] {
            assert_eq!(picture.matches('\n').count(), LINES);
            // Whatever was changed is changed back within the same text.
            assert!(picture.starts_with("\x1b[?2026h\x1b[?7l"));
            assert!(picture.ends_with("\x1b[?7h\x1b[?2026l"));
            assert!(picture.contains("5/10 players") && picture.contains("51.0 ms"));
        }
    }

    #[test]
    fn faults_are_red_and_their_absence_is_not() {
        let mut live = Live::new(Style::InPlace { coloured: true });
        assert!(!live.show(&progress(1)).contains("\x1b[1;31m"));
        let bad = Progress { desyncs: 3, ..progress(2) };
        assert!(live.show(&bad).contains("\x1b[1;31m3 desyncs"));
    }

    #[test]
    fn where_nobody_watches_a_line_comes_now_and_then_and_in_quiet_none() {
        let mut live = Live::new(Style::Lines);
        let told: Vec<String> = (0..25).map(|second| live.show(&progress(second))).collect();
        let lines: Vec<&String> = told.iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| !line.contains('\x1b') && line.ends_with('\n')));
        let mut quiet = Live::new(Style::Quiet);
        assert!((0..25).all(|second| quiet.show(&progress(second)).is_empty()));
    }

    #[test]
    fn a_curve_shows_the_outlier_and_stays_within_its_width() {
        let mut values = VecDeque::new();
        (0..100).for_each(|n| remember(&mut values, if n == 98 { 300.0 } else { 50.0 }));
        let curve = sparkline(&values);
        assert_eq!(curve.chars().count(), HISTORY);
        assert_eq!(curve.chars().filter(|c| *c == '█').count(), 1);
        assert_eq!(sparkline(&VecDeque::from([0.0, 50.0, 300.0])), "▁▁█");
        assert!(sparkline(&VecDeque::from([0.0, 0.0])).chars().all(|c| c == '▁'));
    }
}
