//! The loop: events of the server, keys, and time.

use super::keys::{self, Command, Hands};
use super::model::{Model, Recorded};
use super::screen::Screen;
use super::seat::Seat;
use super::{view, words};
use crate::client::{Controls, Ended, Event};
use anyhow::Context as _;
use crossterm::event::{Event as Input, EventStream, KeyEvent};
use futures_util::StreamExt as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Between two pictures.
const PICTURE: Duration = Duration::from_millis(33);
/// How long a leave may take.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Plays or looks on in this terminal, until the player leaves, the session ends, or `stop` is cancelled.
pub async fn run(seat: Seat, player: u32, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !has_terminal {
        eprintln!("This needs a terminal: standard input and output must both be one.");
        eprintln!("Bots need none: see fray-bot swarm --help.");
        return Ok(ExitCode::from(2));
    }
    let screen = Screen::take("Fray").context("the terminal")?;
    let mut game = Game {
        hands: Hands::new(screen.has_releases()),
        screen,
        seat,
        model: Model::new(player as i32),
        sent: None,
        help: false,
        leaves_until: None,
        draw_due: Instant::now(),
    };
    let outcome = game.play(stop).await;
    let farewell = game.farewell();
    drop(game);
    match outcome {
        Ok(()) => {
            println!("{farewell}");
            Ok(ExitCode::SUCCESS)
        }
        Err(End::Session(ended)) => {
            eprintln!("{}", words::ended(&ended));
            Ok(ExitCode::FAILURE)
        }
        Err(End::Terminal(error)) => Err(error).context("the terminal"),
    }
}

/// Why it is over, other than by leaving.
enum End {
    Session(Ended),
    Terminal(std::io::Error),
}

struct Game {
    hands: Hands,
    screen: Screen,
    seat: Seat,
    model: Model,
    /// The controls that the server has; `None`: not known.
    sent: Option<Controls>,
    help: bool,
    leaves_until: Option<Instant>,
    draw_due: Instant,
}

impl Game {
    async fn play(&mut self, stop: CancellationToken) -> Result<(), End> {
        let mut inputs = EventStream::new();
        loop {
            let now = Instant::now();
            let change = self.hands.next_change(now.into_std()).map(Instant::from_std);
            let wake = change.map_or(self.draw_due, |change| change.min(self.draw_due));
            tokio::select! {
                event = self.seat.next() => match event {
                    Ok(Some(event)) => self.handle_event(&event),
                    Ok(None) => return Ok(()),
                    Err(ended) => return Err(End::Session(ended)),
                },
                input = inputs.next() => match input {
                    Some(Ok(input)) => self.handle_input(&input),
                    Some(Err(error)) => return Err(End::Terminal(error)),
                    // Nobody can steer any more.
                    None => self.leave(),
                },
                () = sleep_until(wake) => {}
                () = stop.cancelled(), if self.leaves_until.is_none() => self.leave(),
            }
            let now = Instant::now();
            if self.leaves_until.is_some_and(|until| until <= now) {
                return Ok(());
            }
            self.steer(now);
            if self.draw_due <= now {
                self.draw(now).map_err(End::Terminal)?;
            }
        }
    }

    fn handle_event(&mut self, event: &Event) {
        let now = Instant::now();
        if matches!(event, Event::Welcomed { .. }) {
            self.sent = None;
        }
        self.model.handle(event, self.seat.session(), self.seat.time(now));
    }

    fn handle_input(&mut self, input: &Input) {
        match input {
            Input::Key(key) => match self.command(*key) {
                Some(Command::Leave) => self.leave(),
                Some(Command::Help) => self.help = !self.help,
                Some(Command::Next) => self.look_at_next(),
                Some(Command::Recording(control)) => {
                    if let Seat::Recording(playback) = &mut self.seat {
                        playback.control(control);
                    }
                    self.draw_due = Instant::now();
                }
                None => {}
            },
            Input::FocusLost => self.hands.let_go(),
            Input::Resize(..) => self.draw_due = Instant::now(),
            _ => {}
        }
    }

    fn command(&mut self, key: KeyEvent) -> Option<Command> {
        match &self.seat {
            Seat::Recording(_) => keys::command_of_viewer(&key),
            _ => self.hands.handle(key, Instant::now().into_std()),
        }
    }

    fn look_at_next(&mut self) {
        if matches!(self.seat, Seat::Player(_)) {
            return;
        }
        self.model.target = self.model.next_target();
        let player = self.model.target as u32;
        match &mut self.seat {
            Seat::Player(_) => {}
            Seat::Watcher(watcher) => watcher.follow(player),
            Seat::Recording(playback) => playback.follow(player),
        }
    }

    /// Once more: at once.
    fn leave(&mut self) {
        let now = Instant::now();
        let is_first = self.leaves_until.is_none();
        let is_open = self.seat.session().is_open();
        self.leaves_until = Some(if is_first && is_open { now + LEAVE_MAX } else { now });
        self.model.leave();
        self.seat.leave();
    }

    fn steer(&mut self, now: Instant) {
        let wanted = self.hands.controls(now.into_std());
        let is_due = self.sent.as_ref() != Some(&wanted);
        // What does not fit now is tried again with the next picture.
        if is_due && self.seat.session().is_open() && self.seat.steer(wanted.clone()).is_ok() {
            self.sent = Some(wanted);
        }
    }

    fn draw(&mut self, now: Instant) -> std::io::Result<()> {
        let Self { screen, model, seat, help, .. } = self;
        model.way = seat.way();
        if let Seat::Recording(playback) = seat {
            model.recorded = Some(Recorded {
                status: playback.status(),
                about: playback.about(),
                trouble: playback.trouble().map(str::to_owned),
            });
        }
        let time = seat.time(now);
        screen.draw(|frame| view::render(frame, model, seat.session_mut(), *help, time))?;
        // A slow terminal gets fewer pictures, so that the rest of the time is for the server and the keys.
        let after = Instant::now();
        self.draw_due = (now + PICTURE).max(after + (after - now));
        Ok(())
    }

    /// What is said when the terminal is given back.
    fn farewell(&self) -> String {
        if let Seat::Recording(playback) = &self.seat {
            return playback.status();
        }
        match &self.model.own {
            Some(own) => format!(
                "You left with {} points, {} kills and {} deaths in this round.",
                own.score, own.kills, own.deaths
            ),
            None => "You left.".to_owned(),
        }
    }
}
