//! Text from anywhere, made fit for one line of a log: whatever a peer sends, it can neither begin a line of its own, nor
//! move a terminal's cursor, nor turn the order of letters around, nor be as long as it likes.

use std::fmt::{self, Write};

/// The most characters of one value (a message, a field) that are written; a mark says that there were more.
pub(super) const VALUE_CHARS_MAX: usize = 4096;
/// The same of a panic's backtrace: the first thousands are of what handles panics, and only then comes who did.
pub(super) const BACKTRACE_CHARS_MAX: usize = 16 * 1024;

/// How what does not print is written instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// As Rust does: `\n`, `\u{9b}`.
    Human,
    /// The same within quotes: also quotes and backslashes.
    Quoted,
    /// As the inside of a JSON string: also quotes and backslashes, `\n`, `\u009b`.
    Json,
}

/// Passes on what prints and escapes the rest, up to so many characters.
pub(super) struct Escaping<'a, W> {
    inner: &'a mut W,
    style: Style,
    left: usize,
}

impl<'a, W: Write> Escaping<'a, W> {
    pub(super) fn new(inner: &'a mut W, style: Style, chars_max: usize) -> Self {
        Self { inner, style, left: chars_max }
    }

    fn escape(&mut self, c: char) -> fmt::Result {
        match (self.style, c) {
            (_, '\n') => self.inner.write_str("\\n"),
            (_, '\r') => self.inner.write_str("\\r"),
            (_, '\t') => self.inner.write_str("\\t"),
            (Style::Human | Style::Quoted, _) => write!(self.inner, "{}", c.escape_unicode()),
            (Style::Json, _) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().try_for_each(|u| write!(self.inner, "\\u{u:04x}"))
            }
        }
    }
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.left == 0 {
                return Ok(());
            }
            self.left -= 1;
            if self.left == 0 {
                return self.inner.write_char('…');
            }
            match c {
                '"' | '\\' if self.style != Style::Human => {
                    self.inner.write_char('\\')?;
                    self.inner.write_char(c)?;
                }
                c if prints(c) => self.inner.write_char(c)?,
                c => self.escape(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a character is only itself: no control (C0, DEL, C1), no other end of a line, nothing that changes the direction
/// of what follows, nothing without a width.
fn prints(c: char) -> bool {
    let is_invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    );
    !c.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(text: &str, style: Style) -> String {
        let mut line = String::new();
        let mut escaping = Escaping::new(&mut line, style, VALUE_CHARS_MAX);
        escaping.write_str(text).expect("strings take all");
        line
    }

    #[test]
    fn nothing_can_end_a_line_or_steer_a_terminal() {
        let hostile = "a\nb\r\u{1b}[2Jc\u{9b}31m\u{202e}d\u{2028}\u{7f}\0";
        let human = r"a\nb\r\u{1b}[2Jc\u{9b}31m\u{202e}d\u{2028}\u{7f}\u{0}";
        assert_eq!(escaped(hostile, Style::Human), human);
        let json = r"a\nb\r\u001b[2Jc\u009b31m\u202ed\u2028\u007f\u0000";
        assert_eq!(escaped(hostile, Style::Json), json);
        assert_eq!(escaped("\u{e0041}", Style::Json), r"\udb40\udc41");
    }

    #[test]
    fn a_value_has_an_end() {
        let line = escaped(&"x".repeat(VALUE_CHARS_MAX * 2), Style::Human);
        assert_eq!(line.chars().count(), VALUE_CHARS_MAX);
        assert!(line.ends_with("x…"));
    }

    proptest! {
        #[test]
        fn json_gives_back_what_went_in(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(&text, Style::Json));
            prop_assert!(!json.chars().any(|c| !prints(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }
}
