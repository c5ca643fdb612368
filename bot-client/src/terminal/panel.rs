//! The side panel: the round, the board, the own ship, what happened, the way to the server.

use super::colour::{self, faded};
use super::feed::SHOWN;
use super::model::Model;
use super::people::Person;
use super::words::{clock, fitted, printable};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use std::time::Instant;
use unicode_width::UnicodeWidthStr as _;

/// How wide it is, its border included.
pub(super) const COLUMNS: u16 = 27;
/// The best so many are on the board.
const BOARD: usize = 5;
/// How long the gun's heat lasts at most, in seconds; then it does not fire.
const HEAT_MAX_S: f64 = 2.4;

/// Draws the panel.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, model: &Model, now: Instant) {
    let block = Block::new().borders(Borders::LEFT).border_style(Style::new().fg(colour::LINE));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    let columns = usize::from(inner.width);
    let mut top = title(model, columns);
    if model.is_arena() {
        top.push(round(model, columns));
        top.push(Line::default());
        top.extend(board(model, columns));
        if !model.is_spectator() {
            top.push(Line::default());
            top.extend(ship(model, columns));
        }
    } else {
        top.extend(kinds(model));
    }
    let net = match &model.recorded {
        Some(recorded) => about(&recorded.about, columns),
        None => net(model, now),
    };
    let heights = [
        Constraint::Length(top.len() as u16 + 1),
        Constraint::Fill(1),
        Constraint::Length(net.len() as u16),
    ];
    let [above, middle, below] = Layout::vertical(heights).areas(inner);
    frame.render_widget(Paragraph::new(top), above);
    frame.render_widget(Paragraph::new(feed(model, usize::from(middle.height), now)), middle);
    frame.render_widget(Paragraph::new(net), below);
}

fn title(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let room = model.welcome.as_ref().and_then(|welcome| welcome.room.as_ref());
    let room = room.map(|room| printable(&room.name)).unwrap_or_default();
    let name = Span::styled("FRAY ", Style::new().fg(colour::WARM).add_modifier(Modifier::BOLD));
    let room = fitted(&room, columns.saturating_sub(5));
    vec![Line::from(vec![name, Span::styled(room, text(colour::FAINT))])]
}

fn round(model: &Model, columns: usize) -> Line<'static> {
    let (Some(round), Some((tick, rate_hz))) = (model.people.round, model.tick()) else {
        return Line::default();
    };
    let left = round.ends_at.saturating_sub(tick).div_ceil(rate_hz);
    let what = match (round.is_pause, round.winner) {
        (false, _) => format!("Round {}", round.number),
        (true, 0) => "Round over".to_owned(),
        (true, winner) => format!("{} won", model.people.name(winner)),
    };
    let is_ending = round.is_pause || left <= 10;
    let tone = if is_ending { colour::WARM } else { colour::TEXT };
    spread(&what, &clock(left), columns, text(tone))
}

fn board(model: &Model, columns: usize) -> Vec<Line<'static>> {
    let own = if model.is_spectator() { model.watched_number() } else { model.own_number() };
    let top = model.people.top(BOARD, own);
    top.into_iter().map(|(rank, person)| row(rank, person, person.number == own, columns)).collect()
}

fn row(rank: usize, person: &Person, is_own: bool, columns: usize) -> Line<'static> {
    let mut tone = colour::hue(person.hue, if is_own { 0.85 } else { 0.68 });
    if !person.is_connected || !person.is_alive {
        tone = faded(tone, 0.6);
    }
    let mut style = text(tone);
    if is_own {
        style = style.add_modifier(Modifier::BOLD);
    }
    let mark = if is_own { '>' } else { ' ' };
    spread(&format!("{mark}{rank:>2} {}", person.name), &person.score.to_string(), columns, style)
}

/// Something at the left and something at the right of a line.
fn spread(left: &str, right: &str, columns: usize, style: Style) -> Line<'static> {
    let left = fitted(left, columns.saturating_sub(right.width() + 1));
    let gap = columns.saturating_sub(left.width() + right.width());
    Line::styled(format!("{left}{}{right}", " ".repeat(gap)), style)
}

fn ship(model: &Model, columns: usize) -> [Line<'static>; 2] {
    let hull = model.hull().unwrap_or(0).clamp(0, 100);
    let tone = match hull {
        0..=30 => colour::BAD,
        31..=60 => colour::WARM,
        _ => colour::GOOD,
    };
    let heat = heat(model);
    // One more shot would be too much from here on.
    let too_hot = heat > 0.83;
    let heat_tone = if too_hot { colour::BAD } else { colour::SHIELD };
    [
        bar("Hull", f64::from(hull) / 100.0, &hull.to_string(), tone, columns),
        bar("Heat", heat, if too_hot { "hot" } else { "" }, heat_tone, columns),
    ]
}

fn heat(model: &Model) -> f64 {
    let until = model.private.first().copied().unwrap_or(0);
    let Some((tick, rate_hz)) = model.tick() else {
        return 0.0;
    };
    let left = (until as u32).saturating_sub(tick);
    (f64::from(left) / f64::from(rate_hz) / HEAT_MAX_S).clamp(0.0, 1.0)
}

fn bar(name: &str, share: f64, value: &str, tone: Color, columns: usize) -> Line<'static> {
    let cells = columns.saturating_sub(name.width() + 5);
    let eighths = (share * cells as f64 * 8.0).round() as usize;
    let mut full = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        full.push(['▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8 - 1]);
    }
    let empty = "·".repeat(cells - full.chars().count());
    Line::from(vec![
        Span::styled(format!("{name} "), text(colour::FAINT)),
        Span::styled(full, text(tone)),
        Span::styled(empty, text(colour::LINE)),
        Span::styled(format!("{value:>4}"), text(colour::TEXT)),
    ])
}

fn kinds(model: &Model) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    if let Some(welcome) = &model.welcome {
        let game = format!("{}, which is not known here", printable(&welcome.game));
        lines.push(Line::styled(game, text(colour::TEXT)));
    }
    for (kind, count) in model.kinds.iter().take(9) {
        let style = text(colour::hue((*kind as i32).wrapping_mul(137), 0.65));
        lines.push(Line::styled(format!("kind {kind:<4} {count:>5}"), style));
    }
    if !model.private.is_empty() {
        lines.push(Line::styled(format!("yours {:?}", model.private), text(colour::FAINT)));
    }
    lines
}

/// The newest lines that fit, the newest last.
fn feed(model: &Model, height: usize, now: Instant) -> Vec<Line<'static>> {
    let mut lines: Vec<_> = model.feed.lines(now).rev().take(height.saturating_sub(1)).collect();
    lines.reverse();
    let fade = |at: Instant| {
        let left = SHOWN.saturating_sub(now.saturating_duration_since(at));
        0.35 + 0.65 * (left.as_secs_f64() / 3.0).min(1.0)
    };
    lines
        .into_iter()
        .map(|line| {
            let spans = line.parts.iter().map(|(part, hue)| {
                let tone = hue.map_or(colour::TEXT, |hue| colour::hue(hue, 0.7));
                let part = if hue.is_some() { fitted(part, 11) } else { part.clone() };
                Span::styled(part, text(faded(tone, fade(line.at))))
            });
            Line::from(spans.collect::<Vec<_>>())
        })
        .collect()
}

/// What a recording is, in as many lines as it takes.
fn about(lines: &[String], columns: usize) -> Vec<Line<'static>> {
    let line = |line: &String| Line::styled(fitted(&printable(line), columns), text(colour::FAINT));
    lines.iter().map(line).collect()
}

fn net(model: &Model, now: Instant) -> Vec<Line<'static>> {
    let reading = model.meter.reading(now);
    let ping = model.round_trip.map_or("–".to_owned(), |ping| format!("{} ms", ping.as_millis()));
    let asked = model.tick().map_or(0, |(_, rate_hz)| rate_hz);
    let gap = format!("gap  {} ms, max {}", reading.gap.as_millis(), reading.gap_max.as_millis());
    let corrections = match reading.corrections {
        0 => "no corrections".to_owned(),
        1 => format!("1 correction, {:.1} units", reading.last_correction),
        n => format!("{n} corrections, last {:.1}", reading.last_correction),
    };
    let late = model.tick().is_some_and(|(_, rate_hz)| {
        reading.gap_max.as_secs_f64() > 5.0 / f64::from(rate_hz) + 0.25
    });
    let tone = if late { colour::WARM } else { colour::FAINT };
    let lines = [
        format!("ping {ping}, {:.1}/{asked} Hz", reading.ticks_per_s),
        gap,
        format!("in   {}", rate(reading.bytes_per_s)),
        corrections,
    ];
    lines.into_iter().map(|line| Line::styled(line, text(tone))).collect()
}

fn rate(bytes_per_s: f64) -> String {
    if bytes_per_s < 1000.0 {
        format!("{bytes_per_s:.0} B/s")
    } else {
        format!("{:.1} kB/s", bytes_per_s / 1000.0)
    }
}

fn text(tone: Color) -> Style {
    Style::new().fg(tone)
}
