//! What the platform says of where servers and edges are: the small value that others look at. It is empty, and claims
//! nothing, where no platform is asked. `kube` keeps it; nothing here knows who does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// A server, as the platform sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Its pod.
    pub pod: String,
    /// The pod's uid: another pod of the same name has another.
    pub uid: String,
    /// Its zone; empty: not known.
    pub zone: String,
    /// Traffic is meant for it. Of a Service that publishes addresses that are not ready, always so.
    pub is_ready: bool,
    /// Its readiness probe is answered well.
    pub is_serving: bool,
    /// It has been told to end. That is never taken back.
    pub is_terminating: bool,
}

/// All servers and edges that the platform knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Servers by their address; `None`: never heard of.
    pub servers: Option<BTreeMap<IpAddr, Endpoint>>,
    /// Addresses of edges that stay, ready or not; `None`: never heard of.
    pub edges: Option<BTreeSet<IpAddr>>,
    /// Changes to `servers` are heard of; else they are as they were last.
    pub servers_are_current: bool,
    /// The same of `edges`.
    pub edges_are_current: bool,
}

impl Endpoints {
    /// Whether a peer, by its `ADDRESS:PORT`, is about to end or has ended, so that nothing is moved to it. Of a peer that is
    /// not in the list nothing is said while the list may be old, or has nobody in it: then it is another fleet's.
    pub fn is_leaving(&self, peer: &str) -> bool {
        let Some((servers, address)) = self.servers.as_ref().zip(address(peer)) else {
            return false;
        };
        match servers.get(&address) {
            Some(endpoint) => endpoint.is_terminating,
            None => self.servers_are_current && !servers.is_empty(),
        }
    }

    /// The zone of a peer, by its `ADDRESS:PORT`; empty: not known.
    pub fn zone(&self, peer: &str) -> &str {
        let servers = self.servers.as_ref().zip(address(peer));
        let endpoint = servers.and_then(|(servers, address)| servers.get(&address));
        endpoint.map_or("", |endpoint| &endpoint.zone)
    }
}

fn address(peer: &str) -> Option<IpAddr> {
    peer.parse().ok().map(|peer: SocketAddr| peer.ip().to_canonical())
}

/// What is known just now, for whoever asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EndpointsView(watch::Receiver<Arc<Endpoints>>);

impl Default for EndpointsView {
    /// Nothing is known, and never will be.
    fn default() -> Self {
        Self(watch::Sender::default().subscribe())
    }
}

impl EndpointsView {
    /// Of whoever keeps it.
    pub fn new(kept: watch::Receiver<Arc<Endpoints>>) -> Self {
        Self(kept)
    }

    /// All of it, as it is now.
    pub fn now(&self) -> Arc<Endpoints> {
        Arc::clone(&self.0.borrow())
    }

    /// [`Endpoints::is_leaving`], now.
    pub fn is_leaving(&self, peer: &str) -> bool {
        self.0.borrow().is_leaving(peer)
    }

    /// [`Endpoints::zone`], now.
    pub fn zone(&self, peer: &str) -> String {
        self.0.borrow().zone(peer).to_owned()
    }

    /// Whether what is known of servers is not old.
    pub fn is_current(&self) -> bool {
        self.0.borrow().servers_are_current
    }

    /// Waits for a change; for ever, if nobody keeps it.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Endpoints {
        let one = Endpoint { zone: "a".into(), is_ready: true, ..Endpoint::default() };
        let two = Endpoint { is_terminating: true, ..one.clone() };
        let servers = [([10, 0, 0, 1].into(), one), ([10, 0, 0, 2].into(), two)];
        Endpoints {
            servers: Some(servers.into()),
            servers_are_current: true,
            ..Endpoints::default()
        }
    }

    #[test]
    fn a_peer_that_ends_or_is_gone_is_leaving() {
        let known = known();
        assert!(!known.is_leaving("10.0.0.1:7779"));
        assert!(!known.is_leaving("[::ffff:10.0.0.1]:7779"), "the same address");
        assert!(known.is_leaving("10.0.0.2:7779"));
        assert!(known.is_leaving("10.0.0.3:7779"), "gone");
        assert!(!known.is_leaving("a name"), "nothing is known of it");
    }

    #[test]
    fn of_a_peer_that_is_not_in_an_old_list_nothing_is_said() {
        let old = Endpoints { servers_are_current: false, ..known() };
        assert!(!old.is_leaving("10.0.0.3:7779"), "it may be new");
        assert!(old.is_leaving("10.0.0.2:7779"), "ending is not taken back");
        let empty = Endpoints { servers: Some(BTreeMap::new()), ..known() };
        assert!(!empty.is_leaving("10.0.0.3:7779"), "the list is of nobody");
        assert!(!Endpoints::default().is_leaving("10.0.0.3:7779"));
        assert!(!EndpointsView::default().is_leaving("10.0.0.3:7779"));
    }

    #[test]
    fn zones_are_those_of_the_endpoints() {
        assert_eq!(known().zone("10.0.0.1:7779"), "a");
        assert_eq!(known().zone("10.0.0.9:7779"), "");
        assert_eq!(Endpoints::default().zone("10.0.0.1:7779"), "");
    }
}
