//! From key events to controls.
//!
//! Terminals with the kitty keyboard protocol say when a key is let go; then a key is simply down or up. All others only
//! repeat the key that was pressed last. There a key counts as held for a while after its last sign of life: briefly for
//! turning, where too long is worse than too short; long enough to bridge the pause before the first repeat for thrust
//! and fire. Because a second key silences the first one's repeats, thrust and fire stay down while another key repeats.

use crate::client::Controls;
use crate::replay::Control;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::{Duration, Instant};

/// After a tap: a turn of about 25 degrees, for aiming.
const TURN_TAP: Duration = Duration::from_millis(120);
/// After the last repeat of a turning key.
const TURN_REPEAT: Duration = Duration::from_millis(140);
/// After the press of thrust or fire: keyboards begin to repeat after up to half a second.
const PUSH_TAP: Duration = Duration::from_millis(550);
/// After the last repeat.
const PUSH_REPEAT: Duration = Duration::from_millis(250);
/// Thrust and fire stay down at most so long while only other keys repeat.
const CHORD_MAX: Duration = Duration::from_millis(2500);

/// What a key asks for besides flying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Go.
    Leave,
    /// Show the keys, or hide them.
    Help,
    /// Look at the next player.
    Next,
    /// Of a recording: another moment, another speed.
    Recording(Control),
}

const LEFT: usize = 0;
const RIGHT: usize = 1;
const FORWARD: usize = 2;
const BACK: usize = 3;
const FIRE: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Held {
    pressed: Instant,
    /// `None`: until it is let go.
    until: Option<Instant>,
    repeats: bool,
}

/// The hands on the keyboard.
#[derive(Debug, Default)]
pub(super) struct Hands {
    has_releases: bool,
    held: [Option<Held>; 5],
}

impl Hands {
    /// `has_releases`: the terminal says when keys are let go.
    pub(super) fn new(has_releases: bool) -> Self {
        Self { has_releases, ..Self::default() }
    }

    /// A key event; what it asks for besides flying.
    pub(super) fn handle(&mut self, event: KeyEvent, now: Instant) -> Option<Command> {
        let command = command_of(&event);
        if command.is_some() {
            return command.filter(|_| event.kind == KeyEventKind::Press);
        }
        let key = flight_key(event.code)?;
        if event.kind == KeyEventKind::Release {
            self.has_releases = true;
            self.held[key] = None;
        } else {
            self.press(key, now);
        }
        None
    }

    /// Lets go of everything: the terminal lost the focus.
    pub(super) fn let_go(&mut self) {
        self.held = [None; 5];
    }

    fn press(&mut self, key: usize, now: Instant) {
        let opposite = match key {
            LEFT => Some(RIGHT),
            RIGHT => Some(LEFT),
            FORWARD => Some(BACK),
            BACK => Some(FORWARD),
            _ => None,
        };
        if let (Some(opposite), false) = (opposite, self.has_releases) {
            self.held[opposite] = None;
        }
        let before = self.held[key].filter(|held| held.until.is_none_or(|until| until > now));
        let repeats = before.is_some();
        let turns = key == LEFT || key == RIGHT;
        let lasts = match (turns, repeats) {
            (true, false) => TURN_TAP,
            (true, true) => TURN_REPEAT,
            (false, false) => PUSH_TAP,
            (false, true) => PUSH_REPEAT,
        };
        // A quick second tap must not be shorter than the first one would have been.
        let until = |held: Held| held.until.unwrap_or(now).max(now + lasts);
        self.held[key] = Some(Held {
            pressed: now,
            until: (!self.has_releases).then(|| before.map_or(now + lasts, until)),
            repeats,
        });
        // What another key's repeats silence goes on while they last.
        for other in [FORWARD, BACK, FIRE] {
            if other != key
                && let Some(held) = &mut self.held[other]
                && held.repeats
                && let Some(until) = &mut held.until
                && *until > now
            {
                *until = (*until).max(now + PUSH_TAP).min(held.pressed + CHORD_MAX);
            }
        }
    }

    fn is_down(&self, key: usize, now: Instant) -> bool {
        self.held[key].is_some_and(|held| held.until.is_none_or(|until| until > now))
    }

    /// The controls now.
    pub(super) fn controls(&self, now: Instant) -> Controls {
        let down = |key| i32::from(self.is_down(key, now));
        Controls {
            axis_x: 127 * (down(RIGHT) - down(LEFT)),
            axis_y: 127 * (down(FORWARD) - down(BACK)),
            buttons: if self.is_down(FIRE, now) { Controls::FIRE } else { 0 },
            ..Controls::default()
        }
    }

    /// When the controls change by themselves, if no key comes.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let until = self.held.iter().flatten().filter_map(|held| held.until);
        until.filter(|until| *until > now).min()
    }
}

fn command_of(event: &KeyEvent) -> Option<Command> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        KeyCode::Char('c' | 'C') if control => Some(Command::Leave),
        _ if control => None,
        KeyCode::Char('q' | 'Q') => Some(Command::Leave),
        KeyCode::Char('?' | 'h' | 'H') | KeyCode::F(1) => Some(Command::Help),
        KeyCode::Char('/') if event.modifiers.contains(KeyModifiers::SHIFT) => Some(Command::Help),
        KeyCode::Tab => Some(Command::Next),
        _ => None,
    }
}

/// What a key asks for in front of a recording; held down, it asks again and again.
pub(super) fn command_of_viewer(event: &KeyEvent) -> Option<Command> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let is_press = event.kind == KeyEventKind::Press;
    if let Some(command) = command_of(event) {
        return is_press.then_some(command);
    }
    let control = match event.code {
        KeyCode::Char(' ') => return is_press.then_some(Command::Recording(Control::Pause)),
        KeyCode::Left => Control::Seconds(-5),
        KeyCode::Right => Control::Seconds(5),
        KeyCode::Char(',') => Control::Ticks(-1),
        KeyCode::Char('.') => Control::Ticks(1),
        KeyCode::Home => Control::First,
        KeyCode::End => Control::Last,
        KeyCode::Char('+' | '=') => Control::Faster,
        KeyCode::Char('-' | '_') => Control::Slower,
        _ => return None,
    };
    Some(Command::Recording(control))
}

fn flight_key(code: KeyCode) -> Option<usize> {
    Some(match code {
        KeyCode::Left | KeyCode::Char('a' | 'A') => LEFT,
        KeyCode::Right | KeyCode::Char('d' | 'D') => RIGHT,
        KeyCode::Up | KeyCode::Char('w' | 'W') => FORWARD,
        KeyCode::Down | KeyCode::Char('s' | 'S') => BACK,
        KeyCode::Char(' ') => FIRE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    // Goal: flying feels the same with and without key releases. Method: key events at given times, no terminal.
    use super::*;

    fn start() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn release(code: KeyCode) -> KeyEvent {
        KeyEvent::new_with_kind(code, KeyModifiers::NONE, KeyEventKind::Release)
    }

    /// Presses a key and lets it repeat as keyboards do, until `ms_held`.
    fn hold(hands: &mut Hands, code: KeyCode, from: Instant, ms_held: u64) {
        hands.handle(key(code), from);
        for at in (500..ms_held).step_by(33) {
            hands.handle(key(code), from + ms(at));
        }
    }

    #[test]
    fn with_releases_a_key_is_down_until_it_is_let_go() {
        let (mut hands, now) = (Hands::new(true), start());
        hands.handle(key(KeyCode::Up), now);
        hands.handle(key(KeyCode::Char(' ')), now);
        let later = now + ms(60_000);
        assert_eq!(hands.controls(later).axis_y, 127);
        assert_eq!(hands.next_change(now), None);
        hands.handle(release(KeyCode::Up), later);
        assert_eq!(hands.controls(later).axis_y, 0);
        assert_eq!(hands.controls(later).buttons, Controls::FIRE);
    }

    #[test]
    fn held_thrust_does_not_stutter_before_the_first_repeat() {
        let (mut hands, now) = (Hands::new(false), start());
        hands.handle(key(KeyCode::Char('w')), now);
        assert_eq!(hands.controls(now + ms(499)).axis_y, 127);
        hold(&mut hands, KeyCode::Char('w'), now, 1000);
        assert_eq!(hands.controls(now + ms(1200)).axis_y, 127);
        assert_eq!(hands.controls(now + ms(1300)).axis_y, 0);
    }

    #[test]
    fn a_tapped_turn_is_short() {
        let (mut hands, now) = (Hands::new(false), start());
        hands.handle(key(KeyCode::Left), now);
        assert_eq!(hands.controls(now + ms(100)).axis_x, -127);
        assert_eq!(hands.next_change(now), Some(now + TURN_TAP));
        assert_eq!(hands.controls(now + TURN_TAP), Controls::default());
    }

    #[test]
    fn thrust_goes_on_while_a_second_key_repeats_and_then_ends() {
        let (mut hands, now) = (Hands::new(false), start());
        hold(&mut hands, KeyCode::Up, now, 800);
        let turned = now + ms(810);
        hold(&mut hands, KeyCode::Right, turned, 1200);
        let held = hands.controls(turned + ms(1200));
        assert_eq!((held.axis_x, held.axis_y), (127, 127));
        assert_eq!(hands.controls(turned + ms(1900)), Controls::default());
    }

    #[test]
    fn the_opposite_key_wins_at_once() {
        let (mut hands, now) = (Hands::new(false), start());
        hands.handle(key(KeyCode::Up), now);
        hands.handle(key(KeyCode::Down), now + ms(10));
        assert_eq!(hands.controls(now + ms(20)).axis_y, -127);
    }

    #[test]
    fn a_release_that_comes_unannounced_is_believed() {
        let (mut hands, now) = (Hands::new(false), start());
        hands.handle(release(KeyCode::Left), now);
        hands.handle(key(KeyCode::Right), now);
        assert_eq!(hands.controls(now + ms(9000)).axis_x, 127);
        hands.let_go();
        assert_eq!(hands.controls(now), Controls::default());
    }

    #[test]
    fn commands_come_once_however_long_the_key_is_held() {
        let (mut hands, now) = (Hands::new(true), start());
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(hands.handle(interrupt, now), Some(Command::Leave));
        assert_eq!(hands.handle(key(KeyCode::Char('?')), now), Some(Command::Help));
        assert_eq!(hands.handle(release(KeyCode::Char('?')), now), None);
        assert_eq!(hands.controls(now), Controls::default());
    }
}
