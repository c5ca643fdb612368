//! One player of the swarm: a pilot in front of a client.

mod mishaps;

use super::conditions::ServerTold;
use super::lateness::Lateness;
use super::plan::{Plan, Role};
use super::rooms::Rooms;
use super::stats::Board;
use crate::arena::{self, PlayerEntry};
use crate::client::connection::{Chance as _, Random, UNREACHABLE};
use crate::client::transport::Server;
use crate::client::{
    Config, Controls, Counters, Ended, Event, Options, Player, SendError, Updated,
};
use crate::pilot::{Glimpse, Pilot};
use fray_proto::v1;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg32;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How many moves a player that does not read may have under way: it cannot know what is acknowledged.
const STALLED_MOVES_MAX: usize = 1 << 20;

/// The most ticks per second that there may be, by the rules of the stream.
const TICK_RATE_MAX_HZ: u32 = 128;

/// What all players of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) board: Board,
    pub(super) rooms: Rooms,
    /// Players are to leave.
    pub(super) leave: CancellationToken,
    pub(super) started: Instant,
}

impl Shared {
    /// The second of the run.
    fn second(&self, at: Instant) -> u32 {
        at.saturating_duration_since(self.started).as_secs() as u32
    }
}

/// See the module.
pub(super) struct Bot {
    shared: Arc<Shared>,
    index: usize,
    /// Counts its sessions: only the first one makes it a player of the run.
    life: u32,
    role: Role,
    player: Player,
    pilot: Pilot,
    random: Pcg32,
    lateness: Option<Lateness>,
    /// When it was welcomed, and is not yet told to leave.
    playing_since: Option<Instant>,
    updated_at: Option<Instant>,
    gaps: Gaps,
    /// The stream was lost because the room moves: how long it waits is noted, and everything is as it was.
    is_moving: bool,
    /// How late the newest tick was when it came.
    newest_late: Duration,
    lost_at: Option<Instant>,
    /// Its entry when the stream was lost, to be compared afterwards.
    entry_before: Option<PlayerEntry>,
    /// Controls that wait for room among the unacknowledged moves, and since when.
    wanted: Option<(Controls, Instant)>,
    rate_due: Option<Instant>,
    churn_due: Option<Instant>,
    stall_due: Option<Instant>,
    is_stalled: bool,
    leaves_until: Option<Instant>,
}

/// Joins, plays and leaves. Whatever happens is on the board afterwards. Whose session is lost though nobody left joins anew,
/// as a player would.
pub(super) async fn run(shared: Arc<Shared>, index: usize, server: Arc<dyn Server>) {
    let mut life = 0;
    let mut gaps = Gaps::default();
    while one_life(&shared, index, &server, life, &mut gaps).await == Afterwards::Anew {
        life += 1;
        // A room that is gone is gone for many: not all of them at once.
        let pause = Duration::from_millis(rand::rng().random_range(200..2000));
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.leave.cancelled() => break,
        }
    }
    if let Some(largest) = gaps.largest {
        shared.board.shard(index).largest_gap.record(largest);
    }
}

/// A player's waits for updates, over all its sessions.
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    largest: Option<Duration>,
    /// When the session was lost that the next one takes the place of.
    lost_at: Option<Instant>,
}

impl Gaps {
    fn note(&mut self, gap: Duration) {
        self.largest = self.largest.max(Some(gap));
    }
}

/// What to do when a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    /// That was all.
    Nothing,
    /// The room or the session is gone: find another.
    Anew,
}

async fn one_life(
    shared: &Arc<Shared>,
    index: usize,
    server: &Arc<dyn Server>,
    life: u32,
    gaps: &mut Gaps,
) -> Afterwards {
    let number = index + 1;
    let request = v1::JoinRequest {
        request_id: Random.request_id(),
        player_name: format!("bot {number}"),
        player_hue: Some((number as u32).wrapping_mul(137) % 360),
        ..v1::JoinRequest::default()
    };
    let request = tokio::select! {
        request = shared.rooms.request(index, server.as_ref(), request) => request,
        () = shared.leave.cancelled() => return Afterwards::Nothing,
    };
    match request {
        Ok(request) => {
            let shared = Arc::clone(shared);
            let bot = Bot::new(shared, index, life, Arc::clone(server), request);
            let afterwards;
            (afterwards, *gaps) = Bot { gaps: *gaps, ..bot }.run().await;
            afterwards
        }
        Err(ended) => {
            let second = shared.second(Instant::now());
            shared.board.shard(index).note_error(second, &ended);
            afterwards(&ended, false)
        }
    }
}

/// Whether whoever lost a session so looks for another.
fn afterwards(ended: &Ended, has_played: bool) -> Afterwards {
    match ended.reason.as_str() {
        "SESSION_NOT_FOUND" | "ROOM_NOT_FOUND" | "ROOM_LOST" | "ROOM_ENDED" | "ROOM_FAILED" => {
            Afterwards::Anew
        }
        UNREACHABLE if has_played => Afterwards::Anew,
        _ => Afterwards::Nothing,
    }
}

impl Bot {
    fn new(
        shared: Arc<Shared>,
        index: usize,
        life: u32,
        server: Arc<dyn Server>,
        request: v1::JoinRequest,
    ) -> Self {
        let role = shared.plan.role_of(index);
        let stalls = role == Role::Stalls;
        let mut session = Config { entity_ticks_apart: Some(arena::ROCK), ..Config::default() };
        if stalls {
            session.unacknowledged_max = STALLED_MOVES_MAX;
            session.idle_timeout = false;
            session.acknowledges_unread = shared.plan.stall_lies;
        }
        let options = Options { session, ..Options::default() };
        let seed = shared.plan.seed;
        let pilot = Pilot::new(seed, index as u64, Instant::now().into_std());
        Self {
            role,
            player: Player::new(server, request, options),
            pilot,
            random: Pcg32::seed_from_u64(seed.wrapping_add(index as u64)),
            lateness: None,
            playing_since: None,
            updated_at: None,
            gaps: Gaps::default(),
            is_moving: false,
            newest_late: Duration::ZERO,
            lost_at: None,
            entry_before: None,
            wanted: None,
            rate_due: None,
            churn_due: None,
            stall_due: None,
            is_stalled: false,
            leaves_until: None,
            shared,
            index,
            life,
        }
    }

    async fn run(mut self) -> (Afterwards, Gaps) {
        let leave = self.shared.leave.clone();
        let result = loop {
            let wake_at = self.wake_at();
            tokio::select! {
                event = self.player.next() => match event {
                    Ok(Some(event)) => self.handle(event),
                    Ok(None) => break Ok(()),
                    Err(ended) => break Err(ended),
                },
                () = sleep_until(wake_at) => {
                    if self.leaves_until.is_some_and(|at| at <= Instant::now()) {
                        break Err(Ended::timed_out("it took too long to leave"));
                    }
                    self.act();
                }
                () = leave.cancelled(), if self.leaves_until.is_none() => {
                    if self.player.session().welcome().is_none() {
                        break Ok(());
                    }
                    self.leave();
                    if self.has_lied() {
                        // What waits for it is much, and reading it would disturb those who are still measured.
                        break Ok(());
                    }
                }
            }
        };
        self.finish(result).await
    }

    fn wake_at(&self) -> Instant {
        if let Some(at) = self.leaves_until {
            return at;
        }
        let far = Instant::now() + Duration::from_secs(3600);
        if !self.player.session().is_open() {
            return far;
        }
        let pilot = match self.rate_due {
            Some(at) => at,
            // Controls that do not fit wait for an acknowledgement, not for the pilot.
            None if self.wanted.is_some() => far,
            None => Instant::from_std(self.pilot.due()),
        };
        [self.churn_due, self.stall_due].into_iter().flatten().fold(pilot, Instant::min)
    }

    fn act(&mut self) {
        let now = Instant::now();
        if self.churn_due.is_some_and(|at| at <= now) {
            return self.drop_stream(now);
        }
        if self.stall_due.is_some_and(|at| at <= now) {
            self.stall();
        }
        match self.rate_due {
            None => {
                let due = Instant::from_std(self.pilot.due());
                if let Some(controls) = self.pilot.decide(now.into_std()) {
                    // What the pilot wanted first counts from when it wanted it.
                    let due = self.wanted.take().map_or(due.min(now), |(_, since)| since);
                    self.wanted = Some((controls, due));
                }
            }
            Some(due) if due <= now => {
                self.pilot.decide(now.into_std());
                let since = self.wanted.take().map_or(due, |(_, since)| since);
                self.wanted = Some((self.pilot.held().clone(), since));
                self.rate_due = Some(due + self.rate_period());
            }
            Some(_) => {}
        }
        self.send_wanted();
    }

    fn send_wanted(&mut self) {
        if let Some((controls, due)) = self.wanted.take() {
            match self.player.steer_since(controls.clone(), due) {
                Ok(_) if self.is_stalled => self.shared.board.shard(self.index).stalled.moves += 1,
                Ok(_) => {}
                Err(SendError::WindowFull | SendError::NotOpen) => {
                    self.wanted = Some((controls, due));
                }
            }
        }
    }

    fn rate_period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.shared.plan.rate_hz.unwrap_or(1.0).clamp(0.01, 1000.0))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Welcomed { resumed } => self.welcomed(resumed),
            Event::Updated(update) => self.updated(&update),
            // What it holds now is compared with what it gets there.
            Event::Redirected(_) => self.remember_entry(),
            Event::Moved(_) => self.moved(),
            Event::Disconnected(ended) => self.disconnected(&ended),
            Event::AttemptFailed(ended) => {
                let second = self.shared.second(Instant::now());
                self.shared.board.shard(self.index).note_error(second, &ended);
            }
            _ => {}
        }
        self.send_wanted();
    }

    fn welcomed(&mut self, resumed: bool) {
        let now = Instant::now();
        let is_first = self.playing_since.is_none();
        {
            let mut stats = self.shared.board.shard(self.index);
            stats.resumes += u64::from(resumed);
            let follows = resumed && self.is_moving;
            stats.redirects += u64::from(follows);
            let happenings = stats.happenings(self.shared.second(now));
            happenings.resumes += u64::from(resumed);
            happenings.redirects += u64::from(follows);
            if let Some(welcome) = self.player.session().welcome() {
                stats.note_server(&ServerTold::of(welcome));
                if let Some(age_ms) = welcome.restored_age_ms.filter(|_| resumed) {
                    stats.set_back_age.record_micros(age_ms);
                    // What it had may be gone with the rest.
                    self.entry_before = None;
                }
            }
            if is_first {
                let is_new = self.life == 0;
                stats.players += u64::from(is_new);
                stats.sessions_anew += u64::from(!is_new);
                stats.playing += 1;
                stats.stalled.players += u64::from(is_new && self.role == Role::Stalls);
            }
        }
        if is_first {
            self.playing_since = Some(now);
            self.stall_due = (self.role == Role::Stalls).then(|| now + mishaps::STALL_AFTER);
            self.rate_due = self.shared.plan.rate_hz.map(|_| now + self.rate_period());
        }
        if self.role == Role::Churns {
            self.churn_due =
                Some(now + Duration::from_millis(self.random.random_range(2000..8000)));
        }
        if !self.is_moving {
            // The server let go of the controls, too.
            self.pilot.let_go();
            self.wanted = None;
        }
    }

    fn updated(&mut self, update: &Updated) {
        let now = Instant::now();
        let session = self.player.session();
        let Some((welcome, replica)) = session.welcome().zip(session.replica()) else {
            return;
        };
        let rate_hz = welcome.tick_rate_hz.max(1);
        let period = self.tick_period();
        if let Some(own) = session.own() {
            let look = || Some(Glimpse::of(replica, own, rate_hz));
            self.pilot.see(now.into_std(), look);
        }
        let entry_after = self.lost_at.and_then(|_| PlayerEntry::of(replica, welcome.player));
        let counters = self.player.session_mut().take_counters();
        let second = self.shared.second(now);
        let mut stats = self.shared.board.shard(self.index);
        stats.note_counters(second, counters);
        if self.is_stalled || self.leaves_until.is_some() {
            return;
        }
        if let Some(lost_at) = self.lost_at.take() {
            if !self.is_moving {
                stats.resume.record(now.saturating_duration_since(lost_at));
            }
            if let Some(before) = self.entry_before.take()
                && !entry_after.is_some_and(|after| before.may_become(&after))
            {
                let somebody_else = Counters { identity_changes: 1, ..Counters::default() };
                stats.note_counters(second, somebody_else);
            }
        }
        let moved = std::mem::take(&mut self.is_moving);
        if let Some(before) = self.updated_at.replace(now) {
            stats.note_gap(second, now - before, self.newest_late, period);
            if moved {
                stats.redirect_gap.record(now - before);
            }
            self.gaps.note(now - before);
        } else if let Some(lost_at) = self.gaps.lost_at.take() {
            self.gaps.note(now - lost_at);
        }
        stats.note_update(second, update);
        let lateness = self
            .lateness
            .get_or_insert_with(|| Lateness::new(rate_hz, update.tick, now.into_std()));
        let so_far = lateness.arrived(update.tick, update.ticks, now.into_std(), |at, late| {
            stats.note_tick(self.shared.second(at.into()), late);
        });
        stats.fresh.lateness_so_far.record(so_far);
        self.newest_late = so_far;
    }

    fn leave(&mut self) {
        let now = Instant::now();
        self.leaves_until = Some(now + self.shared.plan.leave_timeout);
        self.player.set_reading(true);
        let period = self.tick_period();
        let second = self.shared.second(now);
        let mut stats = self.shared.board.shard(self.index);
        if let Some(since) = self.playing_since {
            stats.playing -= 1;
            stats.played += now - since;
        }
        // The wait that is not over yet counts as well.
        let open_gap = self.updated_at.map(|at| now - at).filter(|_| !self.is_stalled);
        if let Some(gap) = open_gap.filter(|gap| *gap > period) {
            stats.note_gap(second, gap, self.newest_late, period);
            self.gaps.note(gap);
        }
        if let Some(mut lateness) = self.lateness.take() {
            lateness.flush(|at, late| stats.note_tick(self.shared.second(at.into()), late));
        }
        drop(stats);
        self.player.leave();
    }

    fn has_lied(&self) -> bool {
        self.is_stalled && self.shared.plan.stall_lies
    }

    fn tick_period(&self) -> Duration {
        let rate_hz = self.player.session().welcome().map_or(1, |welcome| welcome.tick_rate_hz);
        // A server that says more breaks the rules, and must not make us count every microsecond of a gap.
        Duration::from_nanos(1_000_000_000 / u64::from(rate_hz.clamp(1, TICK_RATE_MAX_HZ)))
    }

    async fn finish(mut self, result: Result<(), Ended>) -> (Afterwards, Gaps) {
        if let Err(ended) = &result {
            self.shared.rooms.forget(self.index, ended).await;
        }
        let asked_to_leave = self.leaves_until.is_some();
        // The next session's first update ends this wait, too.
        self.gaps.lost_at = self.updated_at.filter(|_| !self.is_stalled).or(self.gaps.lost_at);
        if !asked_to_leave && self.playing_since.is_some() {
            self.leave();
        }
        let unacknowledged = self.player.session().unacknowledged() as u64;
        let mut counters = self.player.session_mut().take_counters();
        let second = self.shared.second(Instant::now());
        let mut stats = self.shared.board.shard(self.index);
        // When the server said that all is well, all must be acknowledged. Who lied cannot know.
        if (result.is_ok() || asked_to_leave) && !self.has_lied() {
            counters.lost_moves += unacknowledged;
        }
        stats.note_counters(second, counters);
        let Err(ended) = result else {
            return (Afterwards::Nothing, self.gaps);
        };
        stats.note_error(second, &ended);
        let has_played = self.playing_since.is_some();
        if !asked_to_leave {
            let was_playing = has_played;
            stats.unresolved_moves += unacknowledged;
            stats.sessions_lost += u64::from(was_playing);
            // When it was lost before, it is counted already.
            let was_open = was_playing && self.lost_at.is_none();
            stats.disconnects += u64::from(was_open);
            let happenings = stats.happenings(second);
            happenings.sessions_lost += u64::from(was_playing);
            happenings.disconnects += u64::from(was_open);
        }
        let then =
            if asked_to_leave { Afterwards::Nothing } else { afterwards(&ended, has_played) };
        (then, self.gaps)
    }
}
