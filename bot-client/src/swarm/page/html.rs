//! Text and numbers as a page shows them.

use std::fmt;

/// A text from anywhere, safe between tags and in quoted attributes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // Neither control characters nor marks that turn the direction of what follows.
            _ if (c.is_control() && c != '\n') || is_direction_mark(c) => f.write_str("\u{fffd}"),
            _ => write!(f, "{c}"),
        })
    }
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A time with its unit.
pub(super) fn time(ms: f64) -> String {
    match ms {
        1000.0.. => format!("{} s", three_digits(ms / 1000.0)),
        _ => format!("{} ms", three_digits(ms)),
    }
}

/// A number of bytes with its unit.
pub(super) fn bytes(bytes: f64) -> String {
    scaled(bytes, " B", [" kB", " MB", " GB"])
}

/// A number, short.
pub(super) fn short(number: f64) -> String {
    scaled(number, "", [" k", " M", " G"])
}

fn scaled(number: f64, unit: &str, thousands: [&str; 3]) -> String {
    match number.abs() {
        ..1e3 => format!("{}{unit}", three_digits(number)),
        1e3..1e6 => format!("{}{}", three_digits(number / 1e3), thousands[0]),
        1e6..1e9 => format!("{}{}", three_digits(number / 1e6), thousands[1]),
        _ => format!("{}{}", three_digits(number / 1e9), thousands[2]),
    }
}

/// Without zeros that say nothing.
fn three_digits(number: f64) -> String {
    let digits = match number.abs() {
        ..0.995 => 3,
        0.995..9.95 => 2,
        9.95..99.5 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A moment of the run, as a clock shows it.
pub(super) fn clock(second: f64) -> String {
    let second = second.round() as u64;
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        let hostile = "\"'><script>&amp;\u{0}\u{1b}[31m\u{202e}x";
        let escaped = Escaped(hostile).to_string();
        assert_eq!(escaped, "&quot;&#39;&gt;&lt;script&gt;&amp;amp;\u{fffd}\u{fffd}[31m\u{fffd}x");
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        assert_eq!(
            [time(0.05), time(51.23), time(999.4), time(1234.0)],
            ["0.05 ms", "51.2 ms", "999 ms", "1.23 s"]
        );
        assert_eq!([bytes(0.0), bytes(812.0), bytes(1.5e6)], ["0 B", "812 B", "1.5 MB"]);
        assert_eq!([clock(5.0), clock(65.0), clock(3605.0)], ["0:05", "1:05", "1:00:05"]);
    }
}
