//! The thread that plays a recording for somebody who looks on: requests go in, frames come out.

use super::open::Recording;
use anyhow::Context as _;
use fray_server::game::{Game, GameFactory, Published};
use fray_server::replay::simulation::Error;
use fray_server::replay::{Games, Simulation, Step};
use fray_server::replication::{Encoder, Grid, TickFrame};
use fray_server::store::{EndReason, Header};
use std::io::Read;
use std::sync::Arc;
use std::thread;
use tokio::sync::mpsc;

/// Requests that wait: one frame, and the keys that are pressed meanwhile.
const REQUESTS_MAX: usize = 16;

/// What is wanted next. Each is answered once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// The next tick, seen by this player; 0: by nobody.
    Next(u32),
    /// This tick, or the nearest that there is.
    Seek(u32, u32),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// A tick.
    Frame {
        frame: Arc<TickFrame>,
        /// Of another tick than the one after the last: everything begins anew.
        is_fresh: bool,
    },
    /// Something else is wanted already.
    Skipped,
    /// There is no more; why, for people.
    Over(String),
}

/// The way to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Engine {
    requests: mpsc::Sender<Request>,
    answers: mpsc::Receiver<Answer>,
    /// Requests without an answer.
    waiting: usize,
}

impl Engine {
    /// Starts the thread.
    pub(super) fn start(
        games: Vec<Arc<dyn GameFactory>>,
        recording: Recording,
    ) -> anyhow::Result<Self> {
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let (outgoing, answers) = mpsc::channel(REQUESTS_MAX);
        let work = move || Worker::new(&games, &recording).work(incoming, &outgoing);
        thread::Builder::new().name("recording".into()).spawn(work).context("a thread")?;
        Ok(Self { requests, answers, waiting: 0 })
    }

    /// Whether all requests are answered.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Asks; `false` if too much waits already.
    pub(super) fn ask(&mut self, request: Request) -> bool {
        let is_taken = self.requests.try_send(request).is_ok();
        self.waiting += usize::from(is_taken);
        is_taken
    }

    /// The next answer. May be cancelled.
    pub(super) async fn answer(&mut self) -> Answer {
        let answer = self.answers.recv().await;
        self.waiting = self.waiting.saturating_sub(1);
        answer.unwrap_or_else(|| Answer::Over("it cannot be played any more".to_owned()))
    }
}

struct Worker<'a> {
    games: Games<'a>,
    recording: &'a Recording,
    simulation: Option<Simulation<Box<dyn Read + Send>>>,
    encoder: Option<Encoder>,
    published: Published,
    /// The log's end was come to.
    end: Option<EndReason>,
}

impl<'a> Worker<'a> {
    fn new(games: &'a [Arc<dyn GameFactory>], recording: &'a Recording) -> Self {
        Self {
            games: Games(games),
            recording,
            simulation: None,
            encoder: None,
            published: Published::default(),
            end: None,
        }
    }

    fn work(&mut self, mut requests: mpsc::Receiver<Request>, answers: &mpsc::Sender<Answer>) {
        // A game's panic is caught and told: it must not end the picture.
        crate::terminal::expect_panics();
        while let Some(request) = requests.blocking_recv() {
            let answer = match request {
                Request::Next(player) => self.next(player),
                Request::Seek(tick, player) => {
                    self.seek(tick, player, || !requests.is_empty() || requests.is_closed())
                }
            };
            if answers.blocking_send(answer).is_err() {
                return;
            }
        }
    }

    fn next(&mut self, player: u32) -> Answer {
        let Some(simulation) = &mut self.simulation else {
            return Answer::Over("there is nothing to play".to_owned());
        };
        let before = simulation.tick();
        loop {
            match simulation.step() {
                Ok(Step::Ticked(tick)) => return self.frame(player, tick.tick != before + 1),
                Ok(Step::Ended(end)) => self.end = Some(end.reason),
                Ok(Step::Waiting) => return Answer::Over(ended(self.end).to_owned()),
                Ok(Step::Began | Step::Checked) => {}
                Err(error) => return Answer::Over(error.to_string()),
            }
        }
    }

    fn seek(&mut self, tick: u32, player: u32, is_skipped: impl Fn() -> bool) -> Answer {
        let is_ahead = |simulation: &mut Simulation<_>| {
            simulation.tick() <= tick && simulation.game().is_some()
        };
        let mut simulation = match self.simulation.take_if(is_ahead) {
            Some(simulation) => simulation,
            None => match self.recording.open() {
                Ok(bytes) => Simulation::new(self.games, bytes),
                Err(error) => return Answer::Over(format!("{error:#}")),
            },
        };
        self.encoder = None;
        self.end = None;
        let sought = simulation.seek(tick, is_skipped);
        let has_game = simulation.game().is_some();
        self.simulation = Some(simulation);
        match sought {
            Ok(()) if has_game => self.frame(player, true),
            Ok(()) => Answer::Over("there is nothing to play".to_owned()),
            Err(Error::Stopped) => Answer::Skipped,
            Err(error) => Answer::Over(error.to_string()),
        }
    }

    /// What there is to see now.
    fn frame(&mut self, player: u32, is_fresh: bool) -> Answer {
        let Some((game, header)) =
            self.simulation.as_ref().and_then(|s| Some((s.game()?, s.header()?)))
        else {
            return Answer::Over("there is nothing to play".to_owned());
        };
        let is_fresh = is_fresh || self.encoder.is_none();
        if is_fresh {
            self.encoder = None;
        }
        let encoder = self.encoder.get_or_insert_with(|| encoder(game, header));
        let shown = &mut self.published;
        shown.local.clear();
        shown.global.clear();
        game.publish(shown);
        for list in [&mut shown.local, &mut shown.global] {
            list.sort_by_key(|entity| entity.id);
            list.dedup_by_key(|entity| entity.id);
        }
        let view = game.view((player != 0).then_some(player));
        let tick = self.simulation.as_ref().map_or(0, Simulation::tick);
        let frame = encoder.encode(tick, shown, Vec::new(), view, Vec::new());
        Answer::Frame { frame, is_fresh }
    }
}

fn encoder(game: &dyn Game, header: &Header) -> Encoder {
    Encoder::new(Grid::of(game), header.tick_rate_hz)
}

/// How it ended, for people.
fn ended(end: Option<EndReason>) -> &'static str {
    match end {
        Some(EndReason::RoomOver) => "The room was over",
        Some(EndReason::ShutDown) => "The server shut down",
        Some(EndReason::Panicked) => "The rules panicked",
        Some(EndReason::Cut) => "The recording ends here",
        Some(EndReason::Moved) => "The room moved to another server",
        Some(EndReason::Other) => "The end",
        None => "INCOMPLETE: it breaks off here",
    }
}
