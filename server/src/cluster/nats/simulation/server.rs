//! What a simulated server does: the real machines, and what stands between them and the messages.

use super::super::view::{Entry, Life, View, held};
use super::Claimant;
use super::face::{Face, instance, number, room_record, server_record};
use super::world::{Answer, Ask, Happening, Ms, Record, World};
use crate::cluster::electorate::{self, Published};
use crate::cluster::fate::{Evidence, Verdict, judge, judge_of_room};
use crate::cluster::lease::{Action, CLAIM_AFTER, Event, Lease, Poll, Standing};
use crate::cluster::probe::ProbeOutcome;
use crate::cluster::witness::Witness;
use crate::room::Permit;
use crate::session::directory::{Directory as _, Held, InstanceId, Revision};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const REQUEST_TIMEOUT: Ms = 1000;
/// A silent server's record is removed after so long, and not before.
const GONE_MAX: Duration = Duration::from_secs(30);
/// A cut that is longer than what a record is worth anywhere else.
const PLAYED_ON_LONG: Ms = 60_000;

pub(super) struct Server {
    me: InstanceId,
    pub(super) lease: Lease,
    witness: Witness,
    pub(super) view: View,
    pub(super) permit: Permit,
    published: Published,
    /// When a renewal was last answered.
    pub(super) answered: Option<Ms>,
    pub(super) connection: u32,
    pub(super) is_watching: bool,
    is_reading: Option<Ms>,
    renewal: Option<(Ms, Record)>,
    poll: Option<Asked>,
    polls: usize,
    probe: Option<Probe>,
    probes: usize,
    /// Since when it plays on without the directory.
    away_since: Option<Ms>,
    /// Of the first server: its room.
    pub(super) has_room: bool,
    pub(super) is_frozen: bool,
    is_checking: Option<Ms>,
}

/// The others are being asked for the directory.
struct Asked {
    at: Ms,
    published: Published,
    /// Who has answered, and whether it reaches the directory.
    answers: BTreeMap<usize, bool>,
}

/// Another one is being asked about itself.
struct Probe {
    server: usize,
    at: Ms,
    outcome: Option<ProbeOutcome>,
}

impl Server {
    pub(super) fn new(server: usize, start: Instant) -> Self {
        Self {
            me: instance(server),
            lease: Lease::new(start),
            witness: Witness::new(start),
            view: View::default(),
            permit: Permit::unlimited(),
            published: Published::default(),
            answered: None,
            connection: 0,
            is_watching: false,
            is_reading: None,
            renewal: None,
            poll: None,
            polls: 0,
            probe: None,
            probes: 0,
            away_since: None,
            has_room: server == 0,
            is_frozen: false,
            is_checking: None,
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.connection += 1;
        self.is_watching = false;
        self.is_reading = None;
    }

    pub(super) fn answered_poll(&mut self, poll: usize, from: usize, reaches: bool) {
        if let Some(asked) = self.poll.as_mut().filter(|_| poll == self.polls) {
            asked.answers.insert(from, reaches);
        }
    }

    pub(super) fn answered_probe(&mut self, from: usize, outcome: ProbeOutcome) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.server == from) {
            probe.outcome = Some(outcome);
        }
    }

    /// What came of asking the others, once they have answered or their time is over.
    fn polled(&mut self, now: Ms, base: Instant) -> Option<Event> {
        let others = |asked: &Asked| asked.published.members().len() - 1;
        let asked = self.poll.take_if(|asked| {
            now - asked.at >= REQUEST_TIMEOUT || asked.answers.len() >= others(asked)
        })?;
        let answers =
            |member: &InstanceId| *member == self.me || asked.answers.contains_key(&number(member));
        Some(Event::Asked(Poll {
            asked: base + Duration::from_millis(asked.at),
            is_majority: asked.published.most_are(answers),
            is_reached: asked.answers.values().any(|reaches| *reaches),
        }))
    }

    fn end_if_lost(&mut self, is_lost: bool) {
        if is_lost {
            self.has_room = false;
        }
    }
}

impl World {
    pub(super) fn hear(&mut self, now: Ms, to: usize, answer: Answer) {
        let (at, base) = (self.instant(now), self.base);
        let server = &mut self.servers[to];
        let entry = |record: Record, revision: u64| {
            Entry::Server(Held { record, revision: Revision(revision) })
        };
        match answer {
            Answer::Renewed { revision, sent } => {
                let is_awaited = |(at, _): &mut (Ms, Record)| *at == sent;
                if let Some((_, record)) = server.renewal.take_if(is_awaited) {
                    server.answered = Some(now);
                    server.published.acknowledge();
                    let sent = base + Duration::from_millis(sent);
                    server.view.renewed(Revision(revision), sent, at);
                    server.view.take(entry(record, revision), at);
                    self.lease(now, to, Event::Renewed { sent });
                }
            }
            Answer::Heard(of, revision, record) => {
                server.view.hear(entry(record, revision), at);
                if of == to {
                    server.view.heard(Revision(revision), at);
                }
            }
            Answer::Gone(of, revision) => {
                server.view.hear(Entry::ServerGone(instance(of), Revision(revision)), at);
            }
            Answer::Room(revision, is_lost) => {
                server.view.hear(Entry::Room(held(room_record(is_lost), revision)), at);
                server.end_if_lost(is_lost);
            }
            Answer::Read { is_owned } => {
                server.is_checking = None;
                if is_owned && server.lease.standing().plays() {
                    server.is_frozen = false;
                    self.seen.thaws += 1;
                }
                self.servers[to].end_if_lost(!is_owned);
            }
            Answer::All { servers, room, newest } => {
                server.is_reading = None;
                let life = Life { created_ns: (1, 1), newest: (newest, newest) };
                server.view.begin(life, false, at);
                for (_, revision, record) in servers {
                    server.view.hear(entry(record, revision), at);
                }
                server.view.hear(Entry::Room(held(room_record(room.1), room.0)), at);
                server.view.end(at);
                server.end_if_lost(room.1);
            }
        }
    }

    pub(super) fn step(&mut self, now: Ms, index: usize) {
        let base = self.base;
        let server = &mut self.servers[index];
        if !server.is_watching && server.is_reading.is_none_or(|at| now - at > 2 * REQUEST_TIMEOUT)
        {
            server.is_reading = Some(now);
            server.connection += 1;
            self.ask(now, index, Ask::All);
        }
        let server = &mut self.servers[index];
        let is_late = |(sent, _): &mut (Ms, Record)| now - *sent >= REQUEST_TIMEOUT;
        let event = if server.renewal.take_if(is_late).is_some() {
            Event::NotRenewed
        } else {
            server.polled(now, base).unwrap_or(Event::Beat)
        };
        self.lease(now, index, event);
        self.reconcile(now, index);
        self.see_to_others(now, index);
    }

    fn lease(&mut self, now: Ms, index: usize, event: Event) {
        let at = self.instant(now);
        let server = &mut self.servers[index];
        let actions = server.lease.on(event, at);
        server.permit.limit_to(server.lease.ticks_until());
        if server.lease.standing() == Standing::AwayForAll {
            let since = *server.away_since.get_or_insert_with(|| {
                self.seen.played_on += 1;
                now
            });
            if index == 0 && server.has_room && now - since >= PLAYED_ON_LONG {
                self.seen.played_on_long += 1;
                server.away_since = Some(now);
            }
        } else {
            server.away_since = None;
        }
        for action in actions {
            match action {
                Action::Renew => self.renew(now, index),
                Action::Ask => self.poll(now, index),
                Action::Freeze => {
                    self.servers[index].is_frozen = true;
                    self.seen.freezes += u64::from(index == 0);
                }
                Action::Disown => {
                    let server = &mut self.servers[index];
                    self.seen.disowned += u64::from(server.has_room);
                    server.has_room = false;
                }
                Action::Thaw | Action::ThawIfOwned => {}
            }
        }
    }

    fn renew(&mut self, now: Ms, index: usize) {
        let at = self.instant(now);
        let node = &self.plan.nodes[index];
        let server = &mut self.servers[index];
        let others = server.view.servers();
        let known =
            others.iter().map(|held| (held.record.instance.clone(), held.record.node.as_str()));
        let electorate = server.published.next(|| electorate::of((&server.me, node), known));
        let record: Record = server_record(index, node, electorate, server.lease.age(at)).into();
        server.renewal = Some((now, record.clone()));
        self.ask(now, index, Ask::Renew { sent: now, record });
    }

    fn poll(&mut self, now: Ms, index: usize) {
        let server = &mut self.servers[index];
        server.polls += 1;
        let published = server.published.clone();
        let poll = Some(server.polls);
        let others = published.members().into_iter().filter(|member| *member != server.me);
        let known = others.filter(|other| server.view.server(other).is_some());
        let known: Vec<_> = known.map(|other| number(&other)).collect();
        server.poll = Some(Asked { at: now, published, answers: BTreeMap::new() });
        for to in known {
            self.send(now, index, to, Happening::Question { to, from: index, poll });
        }
    }

    fn reconcile(&mut self, now: Ms, index: usize) {
        let server = &mut self.servers[index];
        if !server.has_room || !server.is_frozen {
            return;
        }
        match server.lease.standing() {
            Standing::AwayForAll => {
                server.is_frozen = false;
                self.seen.thaws += 1;
            }
            Standing::Held if server.is_checking.is_none_or(|at| now - at > REQUEST_TIMEOUT) => {
                server.is_checking = Some(now);
                self.ask(now, index, Ask::Read);
            }
            _ => {}
        }
    }

    /// Everybody but the owner would like the room to be declared lost, all the time; and records of silent servers to go.
    fn see_to_others(&mut self, now: Ms, index: usize) {
        let at = self.instant(now);
        let face = self.face(now, index);
        let server = &mut self.servers[index];
        server.witness.look(&face, at);
        let Some(probe) = server.probe.take() else {
            server.probes += 1;
            let to = Self::suspect(server, &face, at);
            if let Some(to) = to {
                server.probe = Some(Probe { server: to, at: now, outcome: None });
                // Whoever has no record has no address.
                if face.server(&instance(to)).is_some() {
                    let question = Happening::Question { to, from: index, poll: None };
                    self.send(now, index, to, question);
                }
            }
            return;
        };
        if probe.outcome.is_none() && now - probe.at < REQUEST_TIMEOUT {
            server.probe = Some(probe);
            return;
        }
        let of = instance(probe.server);
        let outcome = probe.outcome.unwrap_or(ProbeOutcome::Silent);
        let silent_for = server.witness.silent_for(&of, &face, at);
        let gone_for = server.witness.gone_for(&of, &face, at);
        let evidence = Evidence { silent_for, gone_for };
        let is_gone = match self.claimant {
            Claimant::Sound => {
                let judge = if probe.server == 0 { judge_of_room } else { judge };
                matches!(judge(&of, &outcome, evidence), Verdict::Gone(_))
            }
            Claimant::Early(after) => gone_for >= after,
            Claimant::WithoutElectorate => silent_for >= CLAIM_AFTER,
        };
        if !is_gone {
            return;
        }
        let room = Self::claimable(&face).filter(|_| probe.server == 0);
        let answers_itself = matches!(outcome, ProbeOutcome::Answered { .. });
        if let Some(old) = room {
            self.ask(now, index, Ask::Claim { old });
        } else if let Some(held) = face.server(&of).filter(|_| !answers_itself) {
            let dismiss = Ask::Dismiss { server: probe.server, old: held.revision.0 };
            self.ask(now, index, dismiss);
        }
    }

    /// Whom a server asks next: the room's owner, or one that has been silent for long and has no room.
    fn suspect(server: &Server, face: &Face, at: Instant) -> Option<usize> {
        let is_claimable = Self::claimable(face).is_some();
        let mut silent: Vec<_> =
            face.servers().iter().map(|held| number(&held.record.instance)).collect();
        silent.retain(|other| {
            let of = instance(*other);
            let is_other = of != server.me && !(*other == 0 && is_claimable);
            is_other && server.witness.silent_for(&of, face, at) >= GONE_MAX
        });
        let wants_room = is_claimable && server.me != instance(0);
        if wants_room && (silent.is_empty() || server.probes.is_multiple_of(2)) {
            return Some(0);
        }
        let count = silent.len().max(1);
        silent.get(server.probes / 2 % count).copied()
    }
}
