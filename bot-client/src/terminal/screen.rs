//! The terminal itself: taken over, and given back however the game ends.

use super::colour;
use crossterm::cursor::Show;
use crossterm::event::{
    DisableFocusChange, EnableFocusChange, KeyboardEnhancementFlags, PopKeyboardEnhancementFlags,
    PushKeyboardEnhancementFlags,
};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, SetTitle, disable_raw_mode, enable_raw_mode,
    supports_keyboard_enhancement,
};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use std::cell::Cell;
use std::io::{self, Stdout, stdout};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether there is something to give back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static HAS_RELEASES: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

thread_local! {
    /// Panics of this thread are caught and shown in the picture.
    static EXPECTS_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread's panics neither give the terminal back nor are reported: whoever catches them tells.
pub(crate) fn expect_panics() {
    EXPECTS_PANICS.set(true);
}

/// The terminal, until it is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    has_all_colours: bool,
    has_releases: bool,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn take(title: &str) -> io::Result<Self> {
        HOOK.call_once(|| {
            let report = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !EXPECTS_PANICS.get() {
                    give_back();
                    report(info);
                }
            }));
        });
        enable_raw_mode()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        // From here on an error must give it back, too.
        let taken = Self::enter(title);
        if taken.is_err() {
            give_back();
        }
        taken
    }

    fn enter(title: &str) -> io::Result<Self> {
        let has_releases = supports_keyboard_enhancement().unwrap_or(false);
        let mut out = stdout();
        execute!(out, EnterAlternateScreen, EnableFocusChange, SetTitle(title))?;
        if has_releases {
            let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
                | KeyboardEnhancementFlags::REPORT_EVENT_TYPES
                | KeyboardEnhancementFlags::REPORT_ALTERNATE_KEYS
                | KeyboardEnhancementFlags::REPORT_ALL_KEYS_AS_ESCAPE_CODES;
            execute!(out, PushKeyboardEnhancementFlags(flags))?;
            HAS_RELEASES.store(true, Ordering::SeqCst);
        }
        let mut terminal = Terminal::new(CrosstermBackend::new(out))?;
        terminal.clear()?;
        let colours = std::env::var("COLORTERM").unwrap_or_default();
        Ok(Self {
            terminal,
            has_all_colours: matches!(colours.as_str(), "truecolor" | "24bit"),
            has_releases,
        })
    }

    /// Whether the terminal says when keys are let go.
    pub(super) fn has_releases(&self) -> bool {
        self.has_releases
    }

    /// Draws.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let has_all_colours = self.has_all_colours;
        self.terminal.draw(|frame| {
            render(frame);
            if !has_all_colours {
                colour::reduce(frame.buffer_mut());
            }
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes it the terminal that it was. Errors have nowhere to go.
fn give_back() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = stdout();
    if HAS_RELEASES.swap(false, Ordering::SeqCst) {
        let _ = execute!(out, PopKeyboardEnhancementFlags);
    }
    let _ = execute!(out, DisableFocusChange, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}
