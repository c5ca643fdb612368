//! The whole of the terminal.

use super::colour;
use super::model::Model;
use super::{panel, picture};
use crate::client::Session;
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, BorderType, Clear, Padding, Paragraph};
use std::time::Instant;
use unicode_width::UnicodeWidthStr as _;

/// What fits into less is no game.
const COLUMNS_MIN: u16 = 60;
const LINES_MIN: u16 = 18;

/// Draws everything as it is now.
pub(super) fn render(
    frame: &mut Frame<'_>,
    model: &mut Model,
    session: &mut Session,
    help: bool,
    now: Instant,
) {
    let area = frame.area();
    let base = Style::new().bg(colour::SPACE).fg(colour::TEXT);
    frame.buffer_mut().set_style(area, base);
    if area.width < COLUMNS_MIN || area.height < LINES_MIN {
        return too_small(frame, area);
    }
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(panel::COLUMNS)]).areas(area);
    if let Some(scene) = model.scene(session, picture::dots(left), now) {
        picture::render(frame, left, &scene);
    }
    panel::render(frame, right, model, now);
    if let Some(banner) = model.banner(now) {
        line(frame, left, 1, &banner, Style::new().fg(colour::WARM).add_modifier(Modifier::BOLD));
    } else if let Some(hint) = hint(model) {
        line(frame, left, left.height - 2, &hint, Style::new().fg(colour::FAINT));
    }
    if let Some(recorded) = &model.recorded {
        line(frame, left, left.height - 1, &recorded.status, Style::new().fg(colour::TEXT));
    }
    if help {
        keys(frame, left, model);
    }
}

/// One line of help, until the first kill.
fn hint(model: &Model) -> Option<String> {
    if model.is_spectator() {
        let name = model.people.name(model.watched_number());
        let whom = if model.is_arena() && model.watched_number() != 0 {
            format!("Watching {name} · tab next · ")
        } else {
            String::new()
        };
        return Some(format!("{whom}? keys · q leaves"));
    }
    let is_new = model.feed.own_kills() == 0;
    is_new.then(|| "arrows fly · space fires · ? keys · q leaves".to_owned())
}

/// A line in the middle of the picture's width.
fn line(frame: &mut Frame<'_>, area: Rect, y: u16, text: &str, style: Style) {
    let width = (text.width() as u16 + 2).min(area.width);
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + y, width, height: 1 };
    frame.render_widget(Clear, place);
    let line = Line::from(text).centered();
    frame.render_widget(Paragraph::new(line).style(style.bg(colour::SPACE)), place);
}

fn keys(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let flying = [
        "↑ W     forward",
        "↓ S     back",
        "← A     turn left",
        "→ D     turn right",
        "space   fire",
    ];
    let viewing = [
        "space   pause, go on",
        "← →     5 seconds",
        ", .     1 tick",
        "- +     slower, faster",
        "home    beginning",
        "end     end",
    ];
    let mut lines: Vec<Line<'_>> = Vec::new();
    if model.recorded.is_some() {
        lines.extend(viewing.map(Line::from));
    }
    if model.is_spectator() {
        lines.push("tab     the next player".into());
    } else {
        lines.extend(flying.map(Line::from));
    }
    lines.extend(["? h     these keys", "q ^C    leave"].map(Line::from));
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(colour::LINE))
        .title(" Keys ")
        .padding(Padding::horizontal(2));
    let size = (30, lines.len() as u16 + 2);
    let [column] = Layout::horizontal([Constraint::Length(size.0)]).flex(Flex::Center).areas(area);
    let [place] = Layout::vertical([Constraint::Length(size.1)]).flex(Flex::Center).areas(column);
    frame.render_widget(Clear, place);
    let style = Style::new().bg(colour::SPACE).fg(colour::TEXT);
    frame.render_widget(Paragraph::new(lines).block(block).style(style), place);
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let text = format!(
        "Too small\n{COLUMNS_MIN}×{LINES_MIN} is needed,\nthis is {}×{}",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(Text::from(text)).centered(), area);
}
