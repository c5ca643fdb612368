//! What a server needs to be one of several.

use super::Error;
use super::credentials::Credentials;
use super::parts::FILE_STORE_MIB;
use super::surroundings::Surroundings;
use crate::cluster::endpoints::EndpointsView;
use crate::cluster::fate::{Fates, SharedWitness};
use crate::cluster::handover::{Mover, SentPlayers, Unanswered};
use crate::cluster::keeper::{self, Card, Keeper};
use crate::cluster::memory::{MemoryDirectory, NoPeers};
use crate::cluster::nats::{self, Follower, NatsDirectory};
use crate::cluster::news::NewsSender;
use crate::cluster::peer::{FleetPeers, PeerClient};
use crate::config::Config;
use crate::room::RoomId;
use crate::room::registry::OnEnd;
use crate::session::Sessions;
use crate::session::directory::{Directory, Fleet, InstanceId, Peers};
use crate::store::Store;
use crate::store::jetstream::{self, JetStreamStore};
use crate::telemetry::{Health, Telemetry};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Of a server alone, whose directory has the rooms that it has.
pub(super) fn alone(config: &Config, players: SocketAddr) -> (Fleet, OnEnd) {
    let directory = Arc::new(MemoryDirectory::alone());
    let rooms = Arc::clone(&directory);
    let on_end = Box::new(move |room: &RoomId| rooms.forget(room));
    // Nobody reaches it as a peer.
    (fleet(config, players, String::new(), (directory, Arc::new(NoPeers))), on_end)
}

fn fleet(
    config: &Config,
    players: SocketAddr,
    peer: String,
    (directory, peers): (Arc<dyn Directory>, Arc<dyn Peers>),
) -> Fleet {
    Fleet {
        directory,
        peers,
        route: config.fleet.advertise.unwrap_or(players).to_string(),
        peer,
        release: config.fleet.release.clone(),
        shares_store: config.fleet.store_nats,
        relays: config.fleet.relay,
    }
}

/// The directory that the configuration names, and what keeps it up to date.
pub(super) async fn directory(
    config: &Config,
    telemetry: &Telemetry,
) -> Result<Option<(Arc<dyn Directory>, Follower)>, Error> {
    let Some(options) = options(config) else { return Ok(None) };
    let metrics = Arc::clone(&telemetry.metrics);
    let (directory, follower) =
        NatsDirectory::start(options, InstanceId::random(), metrics).await?;
    Ok(Some((Arc::new(directory), follower)))
}

/// What rooms play, in the same NATS, over a connection of its own: large messages must not hold up renewals.
pub(super) async fn store(config: &Config) -> Result<Arc<dyn Store>, Error> {
    let nats = options(config).unwrap_or_default();
    let mib = config.store_mib.unwrap_or(FILE_STORE_MIB);
    let options = jetstream::Options {
        prefix: format!("{}_log", nats.prefix),
        replicas: nats.replicas,
        retention_bytes: u64::from(mib) << 20,
        retention_age: config.store_age,
        ..jetstream::Options::default()
    };
    let client = nats.client().await?;
    let store = JetStreamStore::open(client, options, tokio::runtime::Handle::current())?;
    Ok(Arc::new(store))
}

fn options(config: &Config) -> Option<nats::Options> {
    let flags = &config.fleet;
    Some(nats::Options {
        url: flags.nats.clone()?,
        prefix: flags.nats_prefix.clone(),
        replicas: usize::from(flags.nats_replicas),
        credentials: flags.nats_credentials.clone(),
        ..nats::Options::default()
    })
}

/// A server's place among others.
pub(super) struct Membership {
    witness: SharedWitness,
    fates: Arc<Fates>,
    client: Arc<PeerClient>,
    card: Card,
    endpoints: EndpointsView,
    news: NewsSender,
}

/// Of one of several that share a directory.
pub(super) fn join(
    config: &Config,
    credentials: &Credentials,
    directory: Arc<dyn Directory>,
    (players, peers): (SocketAddr, SocketAddr),
    telemetry: &Telemetry,
    surroundings: &Surroundings,
) -> (Fleet, Membership) {
    let tickets = Arc::clone(&credentials.keys.tickets);
    let me = directory.me().clone();
    let sign = Box::new(move |to: &str| tickets.sign_peer(&me, to).ok());
    let tls = credentials.peer_tls.as_ref().map(|(_, tls)| tls.clone());
    let client = Arc::new(PeerClient::new(sign, tls));
    let witness = SharedWitness::default();
    let fates = Fates::new(
        Arc::clone(&directory),
        Arc::clone(&client) as _,
        witness.clone(),
        Arc::clone(&telemetry.metrics),
        surroundings.news.clone(),
    );
    let fates = Arc::new(fates);
    let peers_of = FleetPeers { client: Arc::clone(&client), fates: Arc::clone(&fates) };
    let peer = config.fleet.advertise_peer.unwrap_or(peers).to_string();
    let fleet = fleet(config, players, peer, (directory, Arc::new(peers_of)));
    let card = Card {
        name: config.server_name(),
        route: fleet.route.clone(),
        peer: fleet.peer.clone(),
        release: fleet.release.clone(),
        zone: config.kube.zone.clone(),
        node: config.kube.node_name.clone().unwrap_or_default(),
    };
    let (endpoints, news) = (surroundings.endpoints.clone(), surroundings.news.clone());
    (fleet, Membership { witness, fates, client, card, endpoints, news })
}

impl Membership {
    /// What gives this server's rooms to others.
    pub(super) fn mover(&self, sessions: &Sessions, surroundings: &Surroundings) -> Arc<Mover> {
        Arc::new(Mover {
            directory: Arc::clone(&sessions.fleet.directory),
            rooms: Arc::clone(&sessions.rooms),
            carrier: Arc::clone(&self.client) as _,
            probe: Arc::clone(&self.client) as _,
            metrics: Arc::clone(&sessions.metrics),
            shares_store: sessions.fleet.shares_store,
            endpoints: surroundings.endpoints.clone(),
            news: surroundings.news.clone(),
            sent: SentPlayers::default(),
            unanswered: Unanswered::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// What became of others' rooms.
    pub(super) fn fates(&self) -> Arc<Fates> {
        Arc::clone(&self.fates)
    }

    /// What keeps the server's place from now on.
    pub(super) fn keeper(self, sessions: &Arc<Sessions>, health: &Arc<Health>) -> Keeper {
        if sessions.fleet.shares_store {
            // The sessions hold the fates, by the way to other servers.
            let heir = Arc::downgrade(sessions);
            self.fates.set_heir(heir);
        }
        Keeper::new(keeper::Parts {
            directory: Arc::clone(&sessions.fleet.directory),
            rooms: Arc::clone(&sessions.rooms),
            probe: self.client,
            witness: self.witness,
            fates: self.fates,
            card: self.card,
            token_key: sessions.token_key.clone(),
            health: Arc::clone(health),
            metrics: Arc::clone(&sessions.metrics),
            endpoints: self.endpoints,
            news: self.news,
        })
    }
}
