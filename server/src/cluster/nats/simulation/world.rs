//! Servers, links and a directory, and what happens to them one after another.

use super::face::{Face, instance, room_id};
use super::plan::{End, Interval, LENGTH, Plan};
use super::server::Server;
use super::{Claimant, Seen};
use crate::cluster::electorate::half_are;
use crate::cluster::lease::Standing;
use crate::cluster::probe::ProbeOutcome;
use crate::session::directory::{Directory as _, ServerRecord};
use rand_core::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(super) type Ms = u64;

pub(super) const TICK: Ms = 50;
const REACHABLE_FOR: Ms = 3000;

/// A server's record.
pub(super) type Record = Arc<ServerRecord>;

/// What happens somewhere, at some time.
#[derive(Clone, Debug)]
pub(super) enum Happening {
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
    Refused { to: usize, from: usize },
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Renew { sent: Ms, record: Record },
    Withdraw,
    Dismiss { server: usize, old: u64 },
    Claim { old: u64 },
    Read,
    All,
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Renewed { revision: u64, sent: Ms },
    Heard(usize, u64, Record),
    Gone(usize, u64),
    Room(u64, bool),
    Read { is_owned: bool },
    All { servers: Vec<(usize, u64, Record)>, room: (u64, bool), newest: u64 },
}

pub(super) struct World {
    pub(super) base: Instant,
    random: Pcg64Mcg,
    queue: BinaryHeap<Reverse<(Ms, u32, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    count: u64,
    pub(super) servers: Vec<Server>,
    pub(super) plan: Plan,
    /// What came last to each server from the directory, over which connection.
    told: Vec<(u32, Ms)>,
    // What the directory has.
    newest: u64,
    records: BTreeMap<usize, (u64, Record)>,
    room: (u64, bool),
    pub(super) claimant: Claimant,
    pub(super) seen: Seen,
    last_tick: Ms,
}

fn within(intervals: &[Interval], at: Ms) -> Option<Ms> {
    intervals.iter().find(|(from, until)| (*from..*until).contains(&at)).map(|(_, until)| *until)
}

impl World {
    pub(super) fn new(seed: u64, count: usize, claimant: Claimant) -> Self {
        let base = Instant::now();
        let plan = Plan::new(seed, count);
        let servers = plan
            .starts
            .iter()
            .enumerate()
            .map(|(server, start)| Server::new(server, base + Duration::from_millis(*start)));
        let mut world = Self {
            base,
            servers: servers.collect(),
            random: Pcg64Mcg::seed_from_u64(seed ^ 0x5eed),
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            count: 0,
            plan,
            told: vec![(0, 0); count],
            newest: 1,
            records: BTreeMap::new(),
            room: (1, false),
            claimant,
            seen: Seen::default(),
            last_tick: 0,
        };
        for server in 0..count {
            let phase = world.upto(TICK);
            world.at(world.plan.starts[server] + phase, Happening::Step(server));
        }
        world.at(2000, Happening::Tick(0));
        world
    }

    fn upto(&mut self, max: u64) -> u64 {
        self.random.next_u64() % max
    }

    pub(super) fn directory(&self) -> usize {
        self.servers.len()
    }

    pub(super) fn instant(&self, at: Ms) -> Instant {
        self.base + Duration::from_millis(at)
    }

    pub(super) fn has_ended(&self, server: usize, now: Ms) -> bool {
        self.plan.ends[server].at().is_some_and(|at| now >= at)
    }

    pub(super) fn at(&mut self, at: Ms, happening: Happening) {
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
        within(&self.plan.cuts[&(from, to)], at).is_some()
            || (is_of_directory && within(&self.plan.away, at).is_some())
    }

    /// How long a message takes: mostly little, sometimes long.
    fn delay(&mut self) -> Ms {
        if self.upto(20) == 0 { 1 + self.upto(900) } else { 1 + self.upto(40) }
    }

    pub(super) fn send(&mut self, now: Ms, from: usize, to: usize, happening: Happening) {
        if !self.is_cut(from, to, now) {
            let delay = self.delay();
            self.at(now + delay, happening);
        }
    }

    pub(super) fn ask(&mut self, now: Ms, from: usize, ask: Ask) {
        let directory = self.directory();
        self.send(now, from, directory, Happening::AtDirectory(from, ask));
    }

    pub(super) fn run(mut self) -> Seen {
        while let Some(Reverse((now, _, _, index))) = self.queue.pop() {
            if now > LENGTH {
                break;
            }
            let happening = self.happenings[index].take().expect("once");
            self.happen(now, happening);
        }
        self.seen.is_stuck = !self.has_healed();
        self.seen
    }

    fn happen(&mut self, now: Ms, happening: Happening) {
        let at = match &happening {
            Happening::Step(server)
            | Happening::Tick(server)
            | Happening::FromDirectory(server, ..) => Some(*server),
            Happening::Question { to, .. }
            | Happening::Answer { to, .. }
            | Happening::Refused { to, .. } => Some(*to),
            Happening::AtDirectory(..) => None,
        };
        if let Some(server) = at {
            if self.has_ended(server, now) {
                self.after_the_end(now, server, &happening);
                return;
            }
            if let Some(until) = within(&self.plan.pauses[server], now) {
                // It waits, in some order among what else is due when it wakes.
                self.at(until, happening);
                return;
            }
        }
        match happening {
            Happening::Step(server) => {
                self.at(now + TICK, Happening::Step(server));
                self.step(now, server);
            }
            Happening::Tick(server) => self.tick(now, server),
            Happening::AtDirectory(from, ask) => self.decide(now, from, ask),
            Happening::FromDirectory(server, connection, answer) => {
                let is_cut = self.is_cut(self.directory(), server, now);
                if is_cut && self.servers[server].connection == connection {
                    self.servers[server].disconnect();
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
            Happening::Answer { to, from, poll, reaches, plays } => {
                let server = &mut self.servers[to];
                match poll {
                    Some(number) => server.answered_poll(number, from, reaches),
                    None => server.answered_probe(
                        from,
                        ProbeOutcome::Answered {
                            instance: instance(from),
                            reaches_directory: reaches,
                            plays_room: plays,
                            epoch: u64::from(plays),
                        },
                    ),
                }
            }
            Happening::Refused { to, from } => {
                self.servers[to].answered_probe(from, ProbeOutcome::Refused);
            }
        }
    }

    /// What comes to a server that is no more.
    fn after_the_end(&mut self, now: Ms, server: usize, happening: &Happening) {
        match (happening, self.plan.ends[server]) {
            (Happening::Question { from, poll: None, .. }, End::Killed(_) | End::Withdrawn(_)) => {
                self.send(now, server, *from, Happening::Refused { to: *from, from: server });
            }
            // The last that it does, wherever it stood.
            (Happening::Step(_), End::Withdrawn(_)) => {
                self.servers[server].has_room = false;
                self.ask(now, server, Ask::Withdraw);
            }
            _ => {}
        }
    }

    /// Whether a renewal was answered lately.
    pub(super) fn is_reachable(&self, now: Ms, server: usize) -> bool {
        self.servers[server].answered.is_some_and(|at| now - at < REACHABLE_FOR)
    }

    /// The directory takes a request.
    fn decide(&mut self, now: Ms, from: usize, ask: Ask) {
        let directory = self.directory();
        if self.is_cut(from, directory, now) {
            return;
        }
        let answer = match ask {
            Ask::Renew { sent, record } => {
                self.newest += 1;
                self.records.insert(from, (self.newest, Arc::clone(&record)));
                self.tell_all(now, &Answer::Heard(from, self.newest, record));
                Answer::Renewed { revision: self.newest, sent }
            }
            Ask::Withdraw => return self.remove(now, from),
            Ask::Dismiss { server, old } => {
                if self.records.get(&server).is_some_and(|(revision, _)| *revision == old) {
                    self.seen.dismissed += 1;
                    self.remove(now, server);
                }
                return;
            }
            Ask::Claim { old } => {
                if self.room == (old, false) {
                    self.newest += 1;
                    self.room = (self.newest, true);
                    self.seen.claims += 1;
                    self.seen.claims_of_the_living += u64::from(!self.has_ended(0, now));
                    self.seen.claims_without_record += u64::from(!self.records.contains_key(&0));
                    self.tell_all(now, &Answer::Room(self.newest, true));
                }
                return;
            }
            Ask::Read => Answer::Read { is_owned: !self.room.1 },
            Ask::All => {
                self.servers[from].is_watching = true;
                let servers = self.records.iter();
                let servers = servers
                    .map(|(server, (revision, record))| (*server, *revision, record.clone()));
                Answer::All { servers: servers.collect(), room: self.room, newest: self.newest }
            }
        };
        self.tell(now, from, answer);
    }

    fn remove(&mut self, now: Ms, server: usize) {
        if self.records.remove(&server).is_some() {
            self.newest += 1;
            self.tell_all(now, &Answer::Gone(server, self.newest));
        }
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
        if self.is_cut(self.directory(), to, now) {
            self.servers[to].disconnect();
            return;
        }
        let connection = self.servers[to].connection;
        let is_slow = within(&self.plan.slow[to], now).is_some();
        // Longer than anybody waits for an answer, and what it asks for is done all the same.
        let delay = if is_slow { 1000 + self.upto(1500) } else { self.delay() };
        let (of, before) = self.told[to];
        let at = if of == connection { before.max(now + delay) } else { now + delay };
        self.told[to] = (connection, at);
        self.at(at, Happening::FromDirectory(to, connection, answer));
    }

    /// What a server sees of the directory.
    pub(super) fn face(&self, now: Ms, index: usize) -> Face {
        let (at, server) = (self.instant(now), &self.servers[index]);
        let servers = server.view.servers().into_iter().map(|held| {
            let silence = server.view.silence(&held.record.instance, at).unwrap_or_default();
            (held, silence)
        });
        Face {
            me: instance(index),
            rooms: server.view.rooms(),
            servers: servers.collect(),
            is_reachable: self.is_reachable(now, index),
            is_settled: server.view.is_settled(at),
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
        self.last_tick = now;
        self.seen.ticks += 1;
        self.seen.ticks_after_claim += u64::from(self.room.1);
    }

    /// Whether at the end all is as it should be after so long without trouble.
    fn has_healed(&self) -> bool {
        let count = self.servers.len();
        let lives = |server: usize| self.plan.ends[server] == End::Never;
        let all_hold = (0..count).filter(|server| lives(*server)).all(|server| {
            let is_seen = self.face(LENGTH, server).server(&instance(server)).is_some();
            is_seen && self.servers[server].lease.standing() == Standing::Held
        });
        let owner = &self.servers[0];
        let is_room_well = if lives(0) {
            !owner.has_room || (!owner.is_frozen && self.last_tick + 1000 > LENGTH)
        } else {
            self.room.1 || !self.can_be_known(0)
        };
        // A record that is there protects a room, or its server may be alive.
        let are_records_well = self.records.keys().all(|server| {
            lives(*server) || (*server == 0 && !self.room.1) || !self.can_be_known(*server)
        });
        all_hold && is_room_well && are_records_well
    }

    /// Whether those who live can know that another one is gone.
    fn can_be_known(&self, server: usize) -> bool {
        let lives = |server: usize| self.plan.ends[server] == End::Never;
        let somebody_asks = (0..self.servers.len()).any(lives);
        somebody_asks
            && match self.plan.ends[server] {
                End::Never => false,
                End::Killed(_) | End::Withdrawn(_) => true,
                End::Vanished(_) => self.records.get(&server).is_none_or(|(_, record)| {
                    half_are(&record.electorate, |member| lives(super::face::number(member)))
                }),
            }
    }

    /// The room, if it can still be claimed, as a server sees it.
    pub(super) fn claimable(face: &Face) -> Option<u64> {
        let held = face.room(&room_id()).filter(|held| held.record.lost.is_none())?;
        Some(held.revision.0)
    }
}
