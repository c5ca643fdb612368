//! What a server needs to be one of several.

use crate::cluster::memory::{MemoryDirectory, NoPeers};
use crate::cluster::peer::PeerClient;
use crate::config::Config;
use crate::session::directory::{Directory, Fleet, ServerRecord};
use crate::session::{Error as SessionError, Keys};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Of a server alone.
pub(super) fn alone(config: &Config, players: SocketAddr) -> Fleet {
    Fleet {
        directory: Arc::new(MemoryDirectory::alone()),
        peers: Arc::new(NoPeers),
        route: config.fleet.advertise.unwrap_or(players).to_string(),
        release: config.fleet.release.clone(),
        relays: config.fleet.relay,
    }
}

/// Of one of several that share a directory.
pub(super) fn shared(
    config: &Config,
    keys: &Keys,
    directory: Arc<dyn Directory>,
    players: SocketAddr,
) -> Fleet {
    let tickets = Arc::clone(&keys.tickets);
    let me = directory.me().clone();
    let sign = Box::new(move || tickets.sign_peer(&me).ok());
    let settle = Box::new(|_| Box::pin(async { Err(SessionError::OwnerUnreachable) }) as _);
    Fleet {
        directory,
        peers: Arc::new(PeerClient::new(sign, None, settle)),
        ..alone(config, players)
    }
}

/// What this server says of itself to the others, before it has any rooms.
pub(super) fn record(
    config: &Config,
    fleet: &Fleet,
    peer: SocketAddr,
    game: (&str, u32),
) -> ServerRecord {
    ServerRecord {
        instance: fleet.directory.me().clone(),
        name: config.server_name(),
        route: fleet.route.clone(),
        peer: config.fleet.advertise_peer.unwrap_or(peer).to_string(),
        release: fleet.release.clone(),
        game: game.0.to_owned(),
        sim_version: game.1,
        rooms_max: u32::try_from(config.rooms_max).unwrap_or(u32::MAX),
        room_capacity_max: config.room_capacity,
        is_draining: false,
        players: BTreeMap::new(),
    }
}
