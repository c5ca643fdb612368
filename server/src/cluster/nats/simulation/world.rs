//! Servers, links and a directory, and what happens to them one after another.

use super::super::view::{Entry, Life, View, held};
use super::Seen;
use super::face::{Face, instance, room_id, room_record, server_record};
use crate::cluster::fate::{Evidence, Verdict, judge};
use crate::cluster::lease::{Action, CLAIM_AFTER, Event, Lease, Poll, Standing};
use crate::cluster::probe::ProbeOutcome;
use crate::cluster::witness::Witness;
use crate::room::Permit;
use crate::session::directory::{Directory as _, Revision};
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;
use tokio::time::Instant;

type Ms = u64;

const LENGTH: Ms = 60_000;
const TICK: Ms = 50;
const REQUEST_TIMEOUT: Ms = 1000;
const REACHABLE_FOR: Ms = 3000;

/// What happens somewhere, at some time.
#[derive(Clone, Debug)]
enum Happening {
    /// A server's tasks look around.
    Step(usize),
    /// A server's room is due to tick.
    Tick(usize),
    /// A message comes to the directory.
    AtDirectory(usize, Ask),
    /// A message comes from the directory, over a connection that may be gone.
    FromDirectory(usize, u32, Answer),
    /// A question comes from another server.
    Question { to: usize, from: usize, poll: Option<usize> },
    /// An answer comes from another server.
    Answer { to: usize, from: usize, poll: Option<usize>, reaches: bool, plays: bool },
    /// Nothing listens there.
    Refused { to: usize },
}

#[derive(Clone, Debug)]
enum Ask {
    Renew { sent: Ms },
    Claim { old: u64 },
    Read,
    All,
}

#[derive(Clone, Debug)]
enum Answer {
    Renewed { revision: u64, sent: Ms },
    Heard(usize, u64),
    Room(u64, bool),
    Read { is_owned: bool },
    All { servers: Vec<(usize, u64)>, room: (u64, bool), newest: u64 },
}

struct Server {
    lease: Lease,
    witness: Witness,
    view: View,
    permit: Permit,
    answered: Option<Ms>,
    connection: u32,
    is_watching: bool,
    is_reading: Option<Ms>,
    renewal: Option<Ms>,
    /// The poll that runs: when it began, and who has answered, and whether that one reaches the directory.
    poll: Option<(Ms, BTreeMap<usize, bool>)>,
    polls: usize,
    /// A question about the room: since when, and what was answered.
    probe: Option<(Ms, Option<ProbeOutcome>)>,
    /// Of the first server: its room.
    has_room: bool,
    is_frozen: bool,
    is_checking: Option<Ms>,
}

pub(super) struct World {
    base: Instant,
    random: Pcg64Mcg,
    queue: BinaryHeap<Reverse<(Ms, u32, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    count: u64,
    servers: Vec<Server>,
    /// When links are cut: from which server to which; the directory comes after the servers.
    cuts: BTreeMap<(usize, usize), Vec<(Ms, Ms)>>,
    away: Vec<(Ms, Ms)>,
    pauses: Vec<Vec<(Ms, Ms)>>,
    dies: Vec<Ms>,
    // What the directory has.
    newest: u64,
    renewals: BTreeMap<usize, u64>,
    room: (u64, bool),
    claim_after: Duration,
    seen: Seen,
}

fn within(intervals: &[(Ms, Ms)], at: Ms) -> Option<Ms> {
    intervals.iter().find(|(from, until)| (*from..*until).contains(&at)).map(|(_, until)| *until)
}

impl World {
    pub(super) fn new(seed: u64, count: usize, claim_after: Duration) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let base = Instant::now();
        let mut upto = |max: u64| random.next_u64() % max;
        let mut intervals = |many: u64, longest: Ms| -> Vec<(Ms, Ms)> {
            (0..upto(many + 1))
                .map(|_| {
                    let from = 5000 + upto(LENGTH - 5000);
                    (from, from + 200 + upto(longest))
                })
                .collect()
        };
        let directory = count;
        let mut cuts = BTreeMap::new();
        for from in 0..count {
            for to in 0..=directory {
                // Of the directory both ways: TCP has no half of a connection for long.
                if from < to {
                    let cut = intervals(2, 20_000);
                    cuts.insert((from, to), cut.clone());
                    cuts.insert((to, from), cut);
                }
            }
        }
        let away = intervals(1, 25_000);
        let pauses = (0..count).map(|_| intervals(2, 14_000)).collect();
        let dies =
            (0..count).map(|_| if upto(8) == 0 { 10_000 + upto(LENGTH) } else { LENGTH * 2 });
        let dies = dies.collect();
        let servers = (0..count).map(|server| Server {
            lease: Lease::new(base),
            witness: Witness::new(base),
            view: View::default(),
            permit: Permit::unlimited(),
            answered: None,
            connection: 0,
            is_watching: false,
            is_reading: None,
            renewal: None,
            poll: None,
            polls: 0,
            probe: None,
            has_room: server == 0,
            is_frozen: false,
            is_checking: None,
        });
        let mut world = Self {
            base,
            servers: servers.collect(),
            random,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            count: 0,
            cuts,
            away,
            pauses,
            dies,
            newest: 1,
            renewals: BTreeMap::new(),
            room: (1, false),
            claim_after,
            seen: Seen::default(),
        };
        for server in 0..count {
            let phase = world.upto(TICK);
            world.at(phase, Happening::Step(server));
        }
        world.at(2000, Happening::Tick(0));
        world
    }

    fn upto(&mut self, max: u64) -> u64 {
        self.random.next_u64() % max
    }

    fn directory(&self) -> usize {
        self.servers.len()
    }

    fn instant(&self, at: Ms) -> Instant {
        self.base + Duration::from_millis(at)
    }

    fn at(&mut self, at: Ms, happening: Happening) {
        // What comes from the directory stays in order; all else of one moment may come in any.
        let tie = match happening {
            Happening::FromDirectory(..) => 1,
            _ => (self.random.next_u64() % 3) as u32,
        };
        self.count += 1;
        self.happenings.push(Some(happening));
        self.queue.push(Reverse((at, tie, self.count, self.happenings.len() - 1)));
    }

    fn is_cut(&self, from: usize, to: usize, at: Ms) -> bool {
        let is_of_directory = from == self.directory() || to == self.directory();
        within(&self.cuts[&(from, to)], at).is_some()
            || (is_of_directory && within(&self.away, at).is_some())
    }

    /// How long a message takes: mostly little, sometimes long.
    fn delay(&mut self) -> Ms {
        if self.upto(20) == 0 { 1 + self.upto(900) } else { 1 + self.upto(40) }
    }

    fn send(&mut self, now: Ms, from: usize, to: usize, happening: Happening) {
        if !self.is_cut(from, to, now) {
            let delay = self.delay();
            self.at(now + delay, happening);
        }
    }

    pub(super) fn run(mut self) -> Seen {
        while let Some(Reverse((now, _, _, index))) = self.queue.pop() {
            if now > LENGTH {
                break;
            }
            let happening = self.happenings[index].take().expect("once");
            self.happen(now, happening);
        }
        self.seen
    }

    fn happen(&mut self, now: Ms, happening: Happening) {
        let at = match &happening {
            Happening::Step(server)
            | Happening::Tick(server)
            | Happening::FromDirectory(server, ..) => Some(*server),
            Happening::Question { to, .. }
            | Happening::Answer { to, .. }
            | Happening::Refused { to } => Some(*to),
            Happening::AtDirectory(..) => None,
        };
        if let Some(server) = at {
            if now >= self.dies[server] {
                if let Happening::Question { from, poll: None, .. } = happening {
                    self.send(now, server, from, Happening::Refused { to: from });
                }
                return;
            }
            if let Some(until) = within(&self.pauses[server], now) {
                // It waits, in some order among what else is due when it wakes.
                self.at(until, happening);
                return;
            }
        }
        match happening {
            Happening::Step(server) => self.step(now, server),
            Happening::Tick(server) => self.tick(now, server),
            Happening::AtDirectory(from, ask) => self.decide(now, from, &ask),
            Happening::FromDirectory(server, connection, answer) => {
                let is_cut = self.is_cut(self.directory(), server, now);
                if is_cut && self.servers[server].connection == connection {
                    self.disconnect(server);
                }
                if self.servers[server].connection == connection {
                    self.hear(now, server, answer);
                }
            }
            Happening::Question { to, from, poll } => {
                let reaches = self.is_reachable(now, to);
                let plays = self.servers[to].has_room;
                let answer = Happening::Answer { to: from, from: to, poll, reaches, plays };
                self.send(now, to, from, answer);
            }
            Happening::Answer { to, from, poll, reaches, plays } => match poll {
                Some(number) if number == self.servers[to].polls => {
                    if let Some((_, answers)) = &mut self.servers[to].poll {
                        answers.insert(from, reaches);
                    }
                }
                Some(_) => {}
                None => {
                    let answer = ProbeOutcome::Answered {
                        instance: instance(from),
                        reaches_directory: reaches,
                        plays_room: plays,
                        epoch: u64::from(plays),
                    };
                    if let Some((_, outcome)) = &mut self.servers[to].probe {
                        *outcome = Some(answer);
                    }
                }
            },
            Happening::Refused { to } => {
                if let Some((_, outcome)) = &mut self.servers[to].probe {
                    *outcome = Some(ProbeOutcome::Refused);
                }
            }
        }
    }

    fn disconnect(&mut self, server: usize) {
        let server = &mut self.servers[server];
        server.connection += 1;
        server.is_watching = false;
        server.is_reading = None;
    }

    fn is_reachable(&self, now: Ms, server: usize) -> bool {
        self.servers[server].answered.is_some_and(|at| now - at < REACHABLE_FOR)
    }

    /// The directory takes a request.
    fn decide(&mut self, now: Ms, from: usize, ask: &Ask) {
        let directory = self.directory();
        if self.is_cut(from, directory, now) {
            return;
        }
        let answer = match ask {
            Ask::Renew { sent } => {
                self.newest += 1;
                self.renewals.insert(from, self.newest);
                self.tell_all(now, &Answer::Heard(from, self.newest));
                Answer::Renewed { revision: self.newest, sent: *sent }
            }
            Ask::Claim { old } => {
                if self.room == (*old, false) {
                    self.newest += 1;
                    self.room = (self.newest, true);
                    self.seen.claims += 1;
                    self.seen.claims_of_the_living += u64::from(now < self.dies[0]);
                    self.tell_all(now, &Answer::Room(self.newest, true));
                }
                return;
            }
            Ask::Read => Answer::Read { is_owned: !self.room.1 },
            Ask::All => {
                self.servers[from].is_watching = true;
                Answer::All {
                    servers: self.renewals.iter().map(|(&server, &at)| (server, at)).collect(),
                    room: self.room,
                    newest: self.newest,
                }
            }
        };
        self.tell(now, from, answer);
    }

    fn tell_all(&mut self, now: Ms, answer: &Answer) {
        for server in 0..self.servers.len() {
            if self.servers[server].is_watching {
                self.tell(now, server, answer.clone());
            }
        }
    }

    /// In order, as a connection carries it.
    fn tell(&mut self, now: Ms, to: usize, answer: Answer) {
        let connection = self.servers[to].connection;
        if self.is_cut(self.directory(), to, now) {
            self.disconnect(to);
            return;
        }
        let delay = self.delay();
        let before = self.queue.iter().filter_map(|Reverse((at, _, _, index))| {
            match &self.happenings[*index] {
                Some(Happening::FromDirectory(server, of, _))
                    if (*server, *of) == (to, connection) =>
                {
                    Some(*at)
                }
                _ => None,
            }
        });
        let at = before.max().unwrap_or(0).max(now + delay);
        self.at(at, Happening::FromDirectory(to, connection, answer));
    }

    fn hear(&mut self, now: Ms, to: usize, answer: Answer) {
        let at = self.instant(now);
        let base = self.base;
        let server = &mut self.servers[to];
        match answer {
            Answer::Renewed { revision, sent } => {
                if server.renewal == Some(sent) {
                    server.renewal = None;
                    server.answered = Some(now);
                    let sent = base + Duration::from_millis(sent);
                    server.view.renewed(Revision(revision), sent, at);
                    self.lease(now, to, Event::Renewed { sent });
                }
            }
            Answer::Heard(of, revision) => {
                server.view.take(Entry::Server(held(server_record(of), revision)), at);
                if of == to {
                    server.view.heard(Revision(revision), at);
                }
            }
            Answer::Room(revision, is_lost) => {
                server.view.take(Entry::Room(held(room_record(is_lost), revision)), at);
                self.end_if_lost(to, is_lost);
            }
            Answer::Read { is_owned } => {
                server.is_checking = None;
                if is_owned && server.lease.standing().plays() {
                    server.is_frozen = false;
                    self.seen.thaws += 1;
                }
                self.end_if_lost(to, !is_owned);
            }
            Answer::All { servers, room, newest } => {
                server.is_reading = None;
                let life = Life { created_ns: (1, 1), newest: (newest, newest) };
                server.view.begin(life, false, at);
                for (of, revision) in servers {
                    server.view.take(Entry::Server(held(server_record(of), revision)), at);
                }
                server.view.take(Entry::Room(held(room_record(room.1), room.0)), at);
                server.view.end(at);
                self.end_if_lost(to, room.1);
            }
        }
    }

    fn end_if_lost(&mut self, server: usize, is_lost: bool) {
        if is_lost {
            self.servers[server].has_room = false;
        }
    }

    fn lease(&mut self, now: Ms, index: usize, event: Event) {
        let at = self.instant(now);
        let directory = self.directory();
        let server = &mut self.servers[index];
        let before = server.lease.standing();
        let actions = server.lease.on(event, at);
        server.permit.limit_to(server.lease.ticks_until());
        let is_away_for_all = server.lease.standing() == Standing::AwayForAll;
        self.seen.played_on += u64::from(is_away_for_all && before != Standing::AwayForAll);
        for action in actions {
            let server = &mut self.servers[index];
            match action {
                Action::Renew => {
                    server.renewal = Some(now);
                    let ask = Happening::AtDirectory(index, Ask::Renew { sent: now });
                    self.send(now, index, directory, ask);
                }
                Action::Ask => {
                    server.polls += 1;
                    server.poll = Some((now, BTreeMap::new()));
                    let poll = Some(server.polls);
                    for to in (0..directory).filter(|to| *to != index) {
                        let question = Happening::Question { to, from: index, poll };
                        self.send(now, index, to, question);
                    }
                }
                Action::Freeze => {
                    server.is_frozen = true;
                    self.seen.freezes += u64::from(index == 0);
                }
                Action::Disown => {
                    self.seen.disowned += u64::from(server.has_room);
                    server.has_room = false;
                }
                Action::Thaw | Action::ThawIfOwned => {}
            }
        }
    }

    fn step(&mut self, now: Ms, index: usize) {
        let next = now + TICK;
        self.at(next, Happening::Step(index));
        let directory = self.directory();
        let server = &mut self.servers[index];
        if !server.is_watching && server.is_reading.is_none_or(|at| now - at > 2 * REQUEST_TIMEOUT)
        {
            server.is_reading = Some(now);
            server.connection += 1;
            self.send(now, index, directory, Happening::AtDirectory(index, Ask::All));
        }
        let server = &mut self.servers[index];
        let mut event = Event::Beat;
        if server.renewal.is_some_and(|sent| now - sent >= REQUEST_TIMEOUT) {
            server.renewal = None;
            event = Event::NotRenewed;
        } else if let Some((asked, answers)) = &server.poll
            && (now - asked >= REQUEST_TIMEOUT || answers.len() + 1 == directory)
        {
            event = Event::Asked(Poll {
                asked: self.base + Duration::from_millis(*asked),
                // All that are in the view, this one included.
                known: server.view.servers().len().max(1),
                answered: answers.len(),
                reaching: answers.values().filter(|reaches| **reaches).count(),
            });
            server.poll = None;
        }
        self.lease(now, index, event);
        self.reconcile(now, index);
        self.claim(now, index);
    }

    fn reconcile(&mut self, now: Ms, index: usize) {
        let directory = self.directory();
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
                self.send(now, index, directory, Happening::AtDirectory(index, Ask::Read));
            }
            _ => {}
        }
    }

    /// Everybody but the owner would like the room to be declared lost, all the time.
    fn claim(&mut self, now: Ms, index: usize) {
        let at = self.instant(now);
        let is_reachable = self.is_reachable(now, index);
        let directory = self.directory();
        let server = &mut self.servers[index];
        let servers = server.view.servers().into_iter().map(|held| {
            let silence = server.view.silence(&held.record.instance).unwrap_or_default();
            (held, silence)
        });
        let face = Face {
            me: instance(index),
            rooms: server.view.rooms(),
            servers: servers.collect(),
            is_reachable,
            is_settled: server.view.is_settled(at),
        };
        server.witness.look(&face, at);
        if index == 0 {
            return;
        }
        let Some(room) = face.room(&room_id()).filter(|held| held.record.lost.is_none()) else {
            return;
        };
        let owner = instance(0);
        let Some((asked, answer)) = server.probe.clone() else {
            server.probe = Some((now, None));
            let question = Happening::Question { to: 0, from: index, poll: None };
            self.send(now, index, 0, question);
            return;
        };
        if answer.is_none() && now - asked < REQUEST_TIMEOUT {
            return;
        }
        server.probe = None;
        let evidence = Evidence {
            silent_for: server.witness.silent_for(&owner, &face, at),
            gone_for: server.witness.gone_for(&owner, &face, at),
        };
        let outcome = answer.unwrap_or(ProbeOutcome::Silent);
        let is_gone = if self.claim_after == CLAIM_AFTER {
            matches!(judge(&owner, &outcome, evidence), Verdict::Gone(_))
        } else {
            evidence.gone_for >= self.claim_after
        };
        if is_gone {
            let claim = Ask::Claim { old: room.revision.0 };
            self.send(now, index, directory, Happening::AtDirectory(index, claim));
        }
    }

    fn tick(&mut self, now: Ms, index: usize) {
        self.at(now + TICK, Happening::Tick(index));
        let at = self.instant(now);
        let server = &mut self.servers[index];
        if !server.has_room || server.is_frozen {
            return;
        }
        if !server.permit.allows(at) {
            server.is_frozen = true;
            return;
        }
        self.seen.ticks += 1;
        self.seen.ticks_after_claim += u64::from(self.room.1);
    }
}
