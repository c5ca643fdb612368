//! What is counted of players' connections: how many there are, which are not let in, and how each ends.

use super::labels::Reason;
use super::register::count;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order, by either side.
    Closed,
    /// It broke: the peer went away, or something on the way did.
    Gone,
    /// The TLS handshake came to nothing; why is counted there.
    Tls,
    /// It said nothing for too long at its beginning, or not enough to know what it speaks.
    Silent,
    /// The headers of a request over HTTP/1.1 took too long.
    Slow,
    /// It spoke no HTTP.
    Garbage,
    /// It broke the rules of HTTP/2.
    Protocol,
    /// It kept them, and sent more of something than anybody needs.
    Flood,
    /// It did not answer pings.
    NoPong,
    /// It had no stream for too long.
    Idle,
    /// It took no bytes for too long.
    Stalled,
    /// The server ended.
    Shutdown,
}

impl Ended {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Closed,
        Self::Gone,
        Self::Tls,
        Self::Silent,
        Self::Slow,
        Self::Garbage,
        Self::Protocol,
        Self::Flood,
        Self::NoPong,
        Self::Idle,
        Self::Stalled,
        Self::Shutdown,
    ];

    /// Its label.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Gone => "gone",
            Self::Tls => "tls",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Garbage => "garbage",
            Self::Protocol => "protocol",
            Self::Flood => "flood",
            Self::NoPong => "no_pong",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Shutdown => "shutdown",
        }
    }
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// How many are open.
    pub open: Gauge,
    /// Streams that their peers gave up.
    pub given_up: Counter,
    /// Answers of which their peers took nothing for too long.
    pub not_taken: Counter,
    ended: Family<Reason, Counter>,
    refused: Family<Reason, Counter>,
}

/// Why a connection is not let in: too many of its address.
const ADDRESS: Reason = Reason { reason: "address" };

impl Connections {
    /// One ended.
    pub fn ended(&self, how: Ended) {
        self.ended.get_or_create(&Reason { reason: how.reason() }).inc();
    }

    /// One was not let in, since its address has as many as it may have.
    pub fn refused_by_address(&self) {
        self.refused.get_or_create(&ADDRESS).inc();
    }

    pub(super) fn register(&self, r: &mut Registry) {
        count(r, "connections", "Open connections of players", &self.open);
        let help = "Connections of players that ended, by how they did";
        count(r, "connections_ended", help, &self.ended);
        let help = "Connections of players that were closed at once";
        count(r, "connections_refused", help, &self.refused);
        let help = "Streams that their peers gave up, over HTTP/2";
        count(r, "streams_given_up", help, &self.given_up);
        let help = "Answers over HTTP/2 that were cut off, since their peers took nothing of them";
        count(r, "answers_not_taken", help, &self.not_taken);
    }

    pub(super) fn make_known_series(&self) {
        for how in Ended::ALL {
            drop(self.ended.get_or_create(&Reason { reason: how.reason() }));
        }
        drop(self.refused.get_or_create(&ADDRESS));
    }
}
