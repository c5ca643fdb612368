//! Players without an edge: they reach one server of the fleet by its plain port, and that carries their streams on to the
//! server that has their room.
//!
//! Such a player knows several addresses, as a name in DNS or a Service gives them: where one fails, it goes on by the next.
//! For the client library that is a [`Server`] of one's own.

use super::crowd::{Crowd, Guest};
use super::fault::PATIENCE;
use super::processes::Server as Process;
use fray_bot::client::Options;
use fray_bot::client::transport::{Answer, GrpcServer, Link, Server};
use fray_proto::v1;
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Several servers, of which one is used until something goes wrong there.
struct Turns {
    servers: Vec<GrpcServer>,
    now: Arc<AtomicUsize>,
}

impl Turns {
    fn new(urls: &[String], first: usize) -> Self {
        let servers = urls.iter().map(|url| GrpcServer::at(url).expect("an address"));
        Self { servers: servers.collect(), now: Arc::new(AtomicUsize::new(first)) }
    }

    /// Whose turn it is.
    fn turn(&self) -> (&GrpcServer, Turn) {
        let number = self.now.load(Ordering::Relaxed);
        let turn = Turn { now: Arc::clone(&self.now), number, is_good: false };
        (&self.servers[number % self.servers.len()], turn)
    }
}

/// One attempt with a server. Unless it came to a good end, the next one is with the next server.
struct Turn {
    now: Arc<AtomicUsize>,
    number: usize,
    is_good: bool,
}

impl Turn {
    fn ends(mut self, is_good: bool) {
        self.is_good = is_good;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_good {
            let next = self.number + 1;
            // Somebody else may have gone on already.
            let _ =
                self.now.compare_exchange(self.number, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl Server for Turns {
    fn join(&self, request: v1::JoinRequest) -> Answer<v1::JoinResponse> {
        let (server, turn) = self.turn();
        let answer = server.join(request);
        Box::pin(async move {
            let answer = answer.await;
            turn.ends(answer.is_ok());
            answer
        })
    }

    fn play(&self, ticket: &str) -> Answer<Link> {
        let (server, turn) = self.turn();
        let link = server.play(ticket);
        Box::pin(async move {
            let Link { requests, messages } = link.await?;
            let messages = stream::unfold((messages, turn), |(mut messages, turn)| async move {
                let message = messages.next().await;
                if message.is_none() {
                    turn.ends(true);
                    return None;
                }
                Some((message?, (messages, turn)))
            });
            Ok(Link { requests, messages: messages.boxed() })
        })
    }
}

/// Players of whom each is carried on from one server to another, over all pairs of servers.
pub struct Relayed {
    pub crowd: Crowd,
    /// Where each came in, and where its room is.
    pairs: Vec<(usize, usize)>,
}

impl Relayed {
    /// One player from each server to each other one where those who are there have a room. They all play, and the servers'
    /// metrics say that they are carried on.
    pub async fn gather(servers: &[Process], there: &Crowd) -> Self {
        let urls: Vec<_> = servers.iter().map(Process::url).collect();
        let (mut guests, mut pairs) = (Vec::new(), Vec::new());
        for (owner, server) in servers.iter().enumerate() {
            let rooms = there.rooms();
            let room = rooms.iter().find_map(|(room, at)| (*at == server.name).then_some(room));
            let Some(room) = room else { continue };
            for entry in (0..servers.len()).filter(|&entry| entry != owner) {
                let way = Arc::new(Turns::new(&urls, entry));
                guests.push(Guest { way, room: room.clone() });
                pairs.push((entry, owner));
            }
        }
        assert!(!pairs.is_empty(), "nobody has a room");
        let before = total(servers, "fray_streams_relayed_total").await;
        let oracle = Arc::clone(&there.oracle);
        let crowd = Crowd::of("relayed players", guests, oracle, &Options::default());
        crowd.until("relayed players play", PATIENCE, |diary| diary.updates.len() > 20).await;
        let relayed = total(servers, "fray_streams_relayed_total").await - before;
        let now = total(servers, "fray_relays").await;
        println!(
            "{} players came by plain ports; {relayed} streams relayed, {now} now",
            pairs.len()
        );
        let all = pairs.len() as f64;
        assert!(relayed >= all && now >= all, "{relayed} relayed, {now} now, of {all}");
        Self { crowd, pairs }
    }

    /// Those of whom this is true: where they came in, and where their room is.
    pub fn between(&self, is_meant: impl Fn(usize, usize) -> bool) -> Vec<usize> {
        let pairs = self.pairs.iter().enumerate();
        let meant: Vec<_> =
            pairs.filter(|(_, pair)| is_meant(pair.0, pair.1)).map(|(player, _)| player).collect();
        assert!(!meant.is_empty(), "nobody is meant");
        meant
    }

    pub async fn go_home(self) {
        self.crowd.lost_nothing();
        self.crowd.go_home().await;
    }
}

/// A metric of all servers together.
pub async fn total(servers: &[Process], metric: &str) -> f64 {
    let mut total = 0.0;
    for server in servers {
        total += server.metric(metric).await;
    }
    total
}
