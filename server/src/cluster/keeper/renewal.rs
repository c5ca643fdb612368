//! Renews the lease, asks the others, and lets rooms stand still or end in time.

use super::super::electorate::{self, Published};
use super::super::fate::PROBE_TIMEOUT;
use super::super::lease::{Action, Event, Lease, Poll, Standing};
use super::super::probe::ProbeOutcome;
use super::Shared;
use crate::room::{Ending, RoomId};
use crate::session::directory::{DirectoryError, ServerRecord, Voter};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// How long a renewal may take, whatever the directory's own limit is.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut renewal = Renewal {
        lease: Lease::new(Instant::now()),
        shared: &shared,
        renewing: None.into(),
        asking: None.into(),
        published: Published::default(),
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
    /// Whom others may know that this server asks.
    published: Published,
    /// Rooms that had to end and may not have heard it.
    to_end: Vec<RoomId>,
    has_renewed: bool,
}

impl Renewal<'_> {
    fn on(&mut self, event: Event) {
        let before = self.lease.standing();
        let now = Instant::now();
        if matches!(event, Event::Renewed { .. }) {
            self.published.acknowledge();
        }
        let actions = self.lease.on(event, now);
        // First of all, and before any room looks again.
        self.shared.parts.rooms.permit().limit_to(self.lease.ticks_until());
        for action in actions {
            match action {
                Action::Renew => {
                    let electorate = self.published.next(|| electorate(self.shared));
                    let record = self.shared.record(electorate, self.lease.age(now));
                    self.renewing = Some(renew(self.shared, record)).into();
                }
                // What is sent from now on is silent only from now on.
                Action::Ask => self.asking = Some(ask(self.shared, self.published.clone())).into(),
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

/// Whom this server would ask, as far as it knows now.
fn electorate(shared: &Shared) -> Vec<Voter> {
    let directory = shared.parts.directory.as_ref();
    let servers = directory.servers();
    let known =
        servers.iter().map(|held| (held.record.instance.clone(), held.record.node.as_str()));
    electorate::of((directory.me(), &shared.parts.card.node), known)
}

fn renew(shared: &Arc<Shared>, record: ServerRecord) -> BoxFuture<'_, Event> {
    Box::pin(async move {
        let sent = Instant::now();
        let renewed = timeout(RENEWAL_TIMEOUT, shared.parts.directory.announce(record));
        match renewed.await.unwrap_or(Err(DirectoryError::Away)) {
            Ok(()) => Event::Renewed { sent },
            Err(error) => {
                tracing::warn!(%error, "the lease was not renewed");
                Event::NotRenewed
            }
        }
    })
}

/// Asks whom this server would ask, as others may know it, whether they reach the directory.
fn ask(shared: &Arc<Shared>, published: Published) -> BoxFuture<'_, Event> {
    Box::pin(async move {
        let asked = Instant::now();
        let directory = shared.parts.directory.as_ref();
        let members = published.members();
        let others = members.iter().filter(|member| *member != directory.me());
        let probe = shared.parts.probe.as_ref();
        let answers: FuturesUnordered<_> = others
            // Whose address is not known does not answer.
            .filter_map(|member| directory.server(member))
            .map(|held| async move {
                let server = &held.record;
                let answer = timeout(PROBE_TIMEOUT, probe.probe(&server.peer, None)).await;
                match answer.unwrap_or(ProbeOutcome::Silent) {
                    ProbeOutcome::Answered { instance, reaches_directory, .. }
                        if instance == server.instance =>
                    {
                        Some((instance, reaches_directory))
                    }
                    _ => None,
                }
            })
            .collect();
        let answers: Vec<_> = answers.filter_map(std::future::ready).collect().await;
        let reaching = answers.iter().filter(|(_, reaches)| *reaches).count();
        let mut answering: BTreeSet<_> = answers.into_iter().map(|(member, _)| member).collect();
        answering.insert(directory.me().clone());
        let is_majority = published.most_are(|member| answering.contains(member));
        let (electorate, answered) = (members.len(), answering.len());
        tracing::info!(
            electorate,
            answered,
            reaching,
            "other servers were asked for the directory"
        );
        Event::Asked(Poll { asked, is_majority, is_reached: reaching > 0 })
    })
}

/// What the standing allows, for the other task.
pub(super) fn may_thaw(standing: Standing) -> bool {
    standing.plays()
}
