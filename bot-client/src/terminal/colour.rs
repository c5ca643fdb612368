//! Colours: players' hues, and what they become on terminals that have fewer.

use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// Behind everything.
pub(super) const SPACE: Color = Color::Rgb(7, 9, 20);
/// Ordinary text.
pub(super) const TEXT: Color = Color::Rgb(206, 214, 230);
/// Text that can be overlooked.
pub(super) const FAINT: Color = Color::Rgb(128, 138, 162);
/// Lines that part things.
pub(super) const LINE: Color = Color::Rgb(58, 68, 98);
/// Rocks.
pub(super) const ROCK: Color = Color::Rgb(148, 138, 126);
/// Good news.
pub(super) const GOOD: Color = Color::Rgb(118, 220, 140);
/// Something to look at.
pub(super) const WARM: Color = Color::Rgb(245, 190, 90);
/// Bad news.
pub(super) const BAD: Color = Color::Rgb(246, 104, 94);
/// Shields.
pub(super) const SHIELD: Color = Color::Rgb(110, 196, 250);

/// A hue in degrees at a lightness from 0 to 1.
pub(super) fn hue(degrees: i32, light: f64) -> Color {
    let saturation = 0.85;
    let reach = saturation * light.min(1.0 - light);
    let degrees = f64::from(degrees.rem_euclid(360));
    let part = |shift: f64| {
        let k = (shift + degrees / 30.0) % 12.0;
        let value = light - reach * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0).round() as u8
    };
    Color::Rgb(part(0.0), part(8.0), part(4.0))
}

/// The same colour, nearer to the background: 1 is itself, 0 the background.
pub(super) fn faded(colour: Color, share: f64) -> Color {
    let (Color::Rgb(r, g, b), Color::Rgb(r0, g0, b0)) = (colour, SPACE) else {
        return colour;
    };
    let mix = |from: u8, to: u8| {
        let value = f64::from(from) + (f64::from(to) - f64::from(from)) * share.clamp(0.0, 1.0);
        value.round() as u8
    };
    Color::Rgb(mix(r0, r), mix(g0, g), mix(b0, b))
}

/// For terminals without 24-bit colours: every colour becomes the nearest of the 256.
pub(super) fn reduce(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        cell.fg = nearest(cell.fg);
        cell.bg = nearest(cell.bg);
    }
}

fn nearest(colour: Color) -> Color {
    let Color::Rgb(r, g, b) = colour else {
        return colour;
    };
    let spread = r.max(g).max(b) - r.min(g).min(b);
    if spread < 14 {
        // The ramp of greys: 8, 18, … 238.
        return Color::Indexed(232 + (r.saturating_sub(3) / 10).min(23));
    }
    // The cube's levels: 0, 95, 135, 175, 215, 255.
    let level = |value: u8| match value {
        0..48 => 0,
        48..115 => 1,
        _ => (value - 35) / 40,
    };
    Color::Indexed(16 + 36 * level(r) + 6 * level(g) + level(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_go_around() {
        assert_eq!(hue(0, 0.5), hue(360, 0.5));
        let (Color::Rgb(r, g, _), Color::Rgb(r2, g2, _)) = (hue(0, 0.5), hue(120, 0.5)) else {
            panic!("24-bit colours");
        };
        assert!(r > g && g2 > r2);
    }

    #[test]
    fn poorer_terminals_get_the_nearest_of_256_colours() {
        assert_eq!(nearest(Color::Rgb(255, 0, 0)), Color::Indexed(196));
        assert_eq!(nearest(Color::Rgb(8, 8, 8)), Color::Indexed(232));
        assert_eq!(nearest(Color::Reset), Color::Reset);
    }
}
