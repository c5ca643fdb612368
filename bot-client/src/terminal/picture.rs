//! A scene on the terminal: braille, two by four dots in a cell.

use super::colour::{self, faded};
use super::scene::{Form, Paint, Scene, layer};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::canvas::{self, Canvas, Circle, Points};

/// How many dots fit.
pub(super) fn dots(area: Rect) -> [u16; 2] {
    [area.width.saturating_mul(2), area.height.saturating_mul(4)]
}

/// Draws a scene.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let [x, y] = scene.half;
    let canvas = Canvas::default()
        .background_color(colour::SPACE)
        .marker(Marker::Braille)
        .x_bounds([-x, x])
        .y_bounds([-y, y])
        .paint(|context| paint(context, scene));
    frame.render_widget(canvas, area);
}

fn paint(context: &mut canvas::Context<'_>, scene: &Scene) {
    let mut drawn = 0;
    for (paint, form) in &scene.shapes {
        let next = layer(*paint);
        if next != drawn {
            context.layer();
            drawn = next;
        }
        let colour = colour_of(*paint);
        match form {
            Form::Dot([x, y]) => context.draw(&Points { coords: &[(*x, -*y)], color: colour }),
            Form::Line([x1, y1], [x2, y2]) => {
                context.draw(&canvas::Line::new(*x1, -*y1, *x2, -*y2, colour));
            }
            Form::Ring([x, y], radius) => {
                context.draw(&Circle { x: *x, y: -*y, radius: *radius, color: colour });
            }
            Form::Text([x, y], text) => {
                context.print(*x, -*y, Line::styled(text.clone(), text_style(*paint)));
            }
        }
    }
}

fn text_style(paint: Paint) -> Style {
    let colour = colour_of(paint);
    match paint {
        // A name is not to be louder than its ship.
        Paint::Ship { .. } => Style::new().fg(faded(colour, 0.7)),
        _ => Style::new().fg(colour).add_modifier(Modifier::BOLD),
    }
}

fn colour_of(paint: Paint) -> Color {
    let guarded = |colour, is_protected| {
        if is_protected { faded(colour, 0.55) } else { colour }
    };
    match paint {
        Paint::Star => faded(colour::FAINT, 0.55),
        Paint::Edge => colour::LINE,
        Paint::Rock => colour::ROCK,
        Paint::Pickup(1) => colour::GOOD,
        Paint::Pickup(2) | Paint::Shield => colour::SHIELD,
        Paint::Pickup(_) => colour::WARM,
        Paint::Thing(kind) => colour::hue((kind as i32).wrapping_mul(137), 0.65),
        Paint::Burst(hue, share) => faded(colour::hue(hue, 0.7), 1.0 - f64::from(share) / 100.0),
        Paint::Flame => Color::Rgb(255, 170, 70),
        Paint::Shot(hue) => colour::hue(hue, 0.72),
        Paint::Ship { hue, is_protected } => guarded(colour::hue(hue, 0.62), is_protected),
        Paint::Own { hue, is_protected } => guarded(colour::hue(hue, 0.85), is_protected),
    }
}
