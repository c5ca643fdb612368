//! Renews the lease, asks the others, and lets rooms stand still or end in time.

use super::super::fate::PROBE_TIMEOUT;
use super::super::lease::{Action, Event, Lease, Poll, Standing};
use super::super::probe::ProbeOutcome;
use super::Shared;
use crate::room::{Ending, RoomId};
use crate::session::directory::DirectoryError;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a renewal may take, whatever the directory's own limit is.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The most servers that are asked at once.
const ASKED_MAX: usize = 256;

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut renewal = Renewal {
        lease: Lease::new(Instant::now()),
        shared: &shared,
        renewing: None.into(),
        asking: None.into(),
        to_end: Vec::new(),
        has_renewed: false,
    };
    renewal.note();
    loop {
        let wakes_at = renewal.lease.wakes_at();
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(event) = &mut renewal.renewing => { renewal.renewing = None.into(); event }
            Some(event) = &mut renewal.asking => { renewal.asking = None.into(); event }
            () = sleep_until(wakes_at) => Event::Beat,
        };
        renewal.on(event);
    }
}

struct Renewal<'a> {
    lease: Lease,
    shared: &'a Arc<Shared>,
    renewing: OptionFuture<BoxFuture<'a, Event>>,
    asking: OptionFuture<BoxFuture<'a, Event>>,
    /// Rooms that had to end and may not have heard it.
    to_end: Vec<RoomId>,
    has_renewed: bool,
}

impl Renewal<'_> {
    fn on(&mut self, event: Event) {
        let before = self.lease.standing();
        let now = Instant::now();
        let actions = self.lease.on(event, now);
        // First of all, and before any room looks again.
        self.shared.parts.rooms.permit().limit_to(self.lease.ticks_until());
        for action in actions {
            match action {
                Action::Renew => self.renewing = Some(renew(self.shared)).into(),
                Action::Ask => self.asking = Some(ask(self.shared)).into(),
                Action::Freeze => self.freeze(),
                Action::Disown => self.disown(),
                // The other task sees the standing, and which rooms stand still.
                Action::ThawIfOwned | Action::Thaw => {}
            }
        }
        if matches!(event, Event::Renewed { .. }) {
            self.has_renewed = true;
            self.shared.parts.metrics.directory.renewals.inc();
        }
        self.end_rooms();
        self.note();
        let standing = self.lease.standing();
        if standing != before {
            let age_ms = self.lease.age(now).as_millis() as u64;
            tracing::warn!(?before, ?standing, age_ms, "the lease of this server's rooms");
        }
    }

    fn freeze(&self) {
        for room in self.shared.parts.rooms.all() {
            // If it has too much to do to hear this, it sees the permit before its next tick.
            let _ = room.freeze();
        }
    }

    fn disown(&mut self) {
        let rooms = self.shared.parts.rooms.all().into_iter();
        self.to_end = rooms.map(|room| room.info().id.clone()).collect();
        self.shared.cut_off().extend(self.to_end.iter().cloned());
        let count = self.to_end.len() as u64;
        self.shared.parts.metrics.directory.rooms_disowned.inc_by(count);
        tracing::error!(rooms = count, "cut off from the directory for too long: all rooms end");
    }

    /// Tells rooms that they are over until they are gone.
    fn end_rooms(&mut self) {
        let rooms = &self.shared.parts.rooms;
        self.to_end.retain(|id| {
            rooms.get(id).is_some_and(|room| {
                let _ = room.end(Ending::Disowned);
                true
            })
        });
    }

    fn note(&self) {
        let parts = &self.shared.parts;
        let standing = self.lease.standing();
        let metrics = &parts.metrics.directory;
        metrics.lease_age.set(self.lease.age(Instant::now()).as_secs_f64());
        metrics.reachable.set(i64::from(parts.directory.is_reachable()));
        // If the directory is away for all, some server must still answer.
        let is_in_fleet = self.has_renewed && standing.plays();
        parts.health.set_cut_off(!is_in_fleet);
        self.shared.standing.send_if_modified(|now| std::mem::replace(now, standing) != standing);
    }
}

fn renew(shared: &Arc<Shared>) -> BoxFuture<'_, Event> {
    Box::pin(async move {
        let sent = Instant::now();
        let renewed = timeout(RENEWAL_TIMEOUT, shared.parts.directory.announce(shared.record()));
        match renewed.await.unwrap_or(Err(DirectoryError::Away)) {
            Ok(()) => Event::Renewed { sent },
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed");
                Event::NotRenewed
            }
        }
    })
}

/// Asks all servers that are known whether they reach the directory.
fn ask(shared: &Arc<Shared>) -> BoxFuture<'_, Event> {
    Box::pin(async move {
        let asked = Instant::now();
        let directory = shared.parts.directory.as_ref();
        let mut servers = directory.servers();
        servers.retain(|held| held.record.instance != *directory.me());
        let probe = shared.parts.probe.as_ref();
        let mut poll = Poll { asked, known: servers.len() + 1, answered: 0, reaching: 0 };
        let answers: FuturesUnordered<_> = servers
            .iter()
            .take(ASKED_MAX)
            .map(|held| async {
                let answer = timeout(PROBE_TIMEOUT, probe.probe(&held.record.peer, None)).await;
                (&held.record.instance, answer.unwrap_or(ProbeOutcome::Silent))
            })
            .collect();
        let answers: Vec<_> = answers.collect().await;
        for (expected, answer) in answers {
            if let ProbeOutcome::Answered { instance, reaches_directory, .. } = answer
                && instance == *expected
            {
                poll.answered += 1;
                poll.reaching += usize::from(reaches_directory);
            }
        }
        let (known, answered, reaching) = (poll.known, poll.answered, poll.reaching);
        tracing::info!(known, answered, reaching, "other servers were asked for the directory");
        Event::Asked(poll)
    })
}

/// What the standing allows, for the other task.
pub(super) fn may_thaw(standing: Standing) -> bool {
    standing.plays()
}
