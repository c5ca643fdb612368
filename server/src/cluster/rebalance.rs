//! A server that has more than its share of the players gives rooms to others: so a new server fills up. One room after the
//! other, and only while nobody joins or leaves the fleet: a rollout moves rooms anyway.

use super::choice;
use super::fate::RENEWALS_MISSED;
use super::handover::{Given, Mover};
use crate::room::{Handle, RoomId};
use crate::session::directory::{InstanceId, RoomMover, Sent, ServerRecord};
use crate::telemetry::Health;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

/// A server has too many players if it has more than its share by so much, as a part of the share …
const OVER_PERCENT: u64 = 25;
/// … and by so many.
const OVER_PLAYERS: u64 = 16;
/// One room of so many moves at each look, or one.
const ROOMS_PER_MOVE: usize = 20;

/// Gives rooms to others while this server runs.
pub struct Rebalancer {
    /// How.
    pub mover: Arc<Mover>,
}

/// A server that could have rooms of this one's, and its players.
#[derive(Clone, Copy, Debug)]
struct Other {
    players: u64,
}

/// Whether a server with so many players has too many, beside these.
fn is_over(mine: u64, others: &[Other]) -> bool {
    let all = mine + others.iter().map(|other| other.players).sum::<u64>();
    let share = all / (others.len() as u64 + 1);
    !others.is_empty() && mine > share + (share * OVER_PERCENT / 100).max(OVER_PLAYERS)
}

/// Which room goes, of those with so many players: the largest that does not make the other server the fuller one.
fn room_for(rooms: &[u64], mine: u64, least: u64) -> Option<usize> {
    let half = mine.saturating_sub(least) / 2;
    let fit = rooms.iter().enumerate().filter(|(_, players)| **players > 0 && **players <= half);
    fit.max_by_key(|(_, players)| **players).map(|(index, _)| index)
}

impl Rebalancer {
    /// The room that should go next.
    fn due(&self, tried: &BTreeSet<RoomId>, gone: &BTreeSet<RoomId>) -> Option<Handle> {
        let directory = self.mover.directory.as_ref();
        let servers = directory.servers();
        let me = servers.iter().find(|held| held.record.instance == *directory.me())?;
        let others: Vec<_> = servers
            .iter()
            .map(|held| &held.record)
            .filter(|other| self.could_have_some(other, &me.record))
            .map(|other| Other {
                players: other.players_total() + self.mover.sent.to(&other.instance),
            })
            .collect();
        let mut rooms = self.mover.rooms.all();
        // One that has gone may be here for a moment yet.
        rooms.retain(|room| !gone.contains(&room.info().id));
        let mine = rooms.iter().map(|room| u64::from(room.info().players())).sum();
        if !is_over(mine, &others) {
            return None;
        }
        rooms.retain(|room| !tried.contains(&room.info().id));
        let least = others.iter().map(|other| other.players).min()?;
        let players: Vec<_> = rooms.iter().map(|room| u64::from(room.info().players())).collect();
        room_for(&players, mine, least).map(|index| rooms.swap_remove(index))
    }

    fn could_have_some(&self, other: &ServerRecord, me: &ServerRecord) -> bool {
        let directory = self.mover.directory.as_ref();
        let silence = directory.silence(&other.instance).unwrap_or(Duration::MAX);
        other.instance != me.instance
            && !other.is_draining
            && !other.peer.is_empty()
            && other.release == me.release
            && other.plays(&me.game, me.sim_version)
            && (other.players.len() as u64) < u64::from(other.rooms_max)
            && silence < RENEWALS_MISSED
            && !self.mover.endpoints.is_leaving(&other.peer)
    }

    async fn sent(&self, room: Handle, to: Option<Arc<ServerRecord>>) -> Sent {
        let (id, players) = (room.info().id.clone(), room.info().players());
        let target = match to {
            Some(server) if server.instance == *self.mover.directory.me() => {
                Err("that server has it".to_owned())
            }
            Some(server) if !server.plays(room.info().game, room.info().sim_version) => {
                Err(choice::Nobody::NoSuchRules.to_string())
            }
            Some(server) => Ok(server),
            None => self.mover.target(&room, |_| false).map_err(|nobody| nobody.to_string()),
        };
        let to = match target {
            Ok(target) => match self.mover.give(&room, &target).await {
                Given::Moved => Ok(target.name.clone()),
                Given::Refused => Err(format!("{} does not take it just now", target.name)),
                Given::Stays => Err("it cannot move just now".to_owned()),
                Given::Gone => Err("it is not here any more".to_owned()),
            },
            Err(why) => Err(why),
        };
        Sent { room: id, players, to }
    }

    /// Servers that stay, and those that do not: while that changes, nothing is moved.
    fn fleet(&self) -> BTreeSet<(InstanceId, bool)> {
        let servers = self.mover.directory.servers();
        servers.iter().map(|held| (held.record.instance.clone(), held.record.is_draining)).collect()
    }

    /// Looks every now and then until `stop`, each server at another time.
    pub async fn run(
        self: Arc<Self>,
        every: Duration,
        health: Arc<Health>,
        stop: CancellationToken,
    ) {
        let directory = Arc::clone(&self.mover.directory);
        let phase = xxh3_64(directory.me().as_str().as_bytes()) % 1000;
        let phase = every * u32::try_from(phase).unwrap_or_default() / 1000;
        let mut looks = interval_at(Instant::now() + every + phase, every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was = BTreeSet::new();
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            let now = self.fleet();
            let is_quiet = was == now;
            was = now;
            if !is_quiet || !health.takes_rooms() || !directory.is_settled() {
                continue;
            }
            let rooms_max = (self.mover.rooms.all().len() / ROOMS_PER_MOVE).max(1);
            // What has begun goes to its end, in a task of its own.
            let Some(sent) = stop.run_until_cancelled(self.even_out(rooms_max)).await else {
                return;
            };
            for Sent { room, players, to } in sent {
                tracing::info!(%room, players, ?to, "this server has more than its share of the players");
            }
        }
    }
}

impl RoomMover for Rebalancer {
    fn send(&self, room: Handle, to: Option<Arc<ServerRecord>>) -> BoxFuture<'_, Sent> {
        Box::pin(self.sent(room, to))
    }

    fn even_out(&self, rooms_max: usize) -> BoxFuture<'_, Vec<Sent>> {
        Box::pin(async move {
            let (mut sent, mut tried) = (Vec::new(), BTreeSet::new());
            let mut gone = BTreeSet::new();
            while sent.len() < rooms_max
                && let Some(room) = self.due(&tried, &gone)
            {
                let id = room.info().id.clone();
                let room = self.sent(room, None).await;
                if room.to.is_ok() {
                    gone.insert(id.clone());
                }
                tried.insert(id);
                sent.push(room);
            }
            sent
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(players: &[u64]) -> Vec<Other> {
        players.iter().map(|&players| Other { players }).collect()
    }

    #[test]
    fn a_server_with_about_its_share_keeps_its_rooms() {
        assert!(!is_over(1000, &[]), "alone");
        assert!(!is_over(100, &others(&[100, 100])));
        assert!(!is_over(120, &others(&[90, 90])), "a quarter more");
        assert!(!is_over(16, &others(&[0])), "so few are not worth it");
        assert!(is_over(40, &others(&[0])));
        assert!(is_over(200, &others(&[100, 0])));
        assert!(!is_over(100, &others(&[200, 0])), "that is for the fuller one");
    }

    #[test]
    fn the_largest_room_goes_that_leaves_the_other_server_no_fuller() {
        assert_eq!(room_for(&[10, 30, 20], 60, 0), Some(1));
        assert_eq!(room_for(&[10, 30, 20], 60, 15), Some(2));
        assert_eq!(room_for(&[60], 60, 0), None, "it would only change places");
        assert_eq!(room_for(&[0, 0], 60, 0), None, "nobody is in them");
    }
}
