//! Tickets: signed words (ES256 JWT) that say who may play where. And the same between servers: who calls.

use super::Error;
use super::directory::InstanceId;
use super::keyring::{KeyError, Ring, TicketKey};
use crate::room::RoomId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ISSUER: &str = "fray";
/// Who tickets are for: `Play` and whatever else players do.
const AUDIENCE_PLAY: &str = "play";
/// Who the tokens are for by which servers know each other.
const AUDIENCE_PEER: &str = "peer";
/// How long a server's token for another one is good.
const PEER_TTL: Duration = Duration::from_secs(60);
/// Clocks of servers may differ by this much.
const LEEWAY_S: u64 = 5;
/// No ticket is longer; what is, is not even looked at.
const TOKEN_BYTES_MAX: usize = 4 * 1024;
/// How long others may keep the public keys, unless told otherwise.
const JWKS_MAX_AGE: Duration = Duration::from_secs(60);

/// What a ticket says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    iss: String,
    aud: String,
    /// Who it is.
    pub sub: String,
    /// Which room.
    pub room: String,
    /// Where the edge takes its bearer: base64 of `ADDRESS:PORT`, as Envoy wants it.
    pub route: String,
    /// The release of the server there.
    pub version: String,
    iat: u64,
    exp: u64,
}

/// What a server says to another one.
#[derive(Serialize, Deserialize)]
struct PeerClaims {
    iss: String,
    aud: String,
    /// The server's instance.
    sub: InstanceId,
    /// `ADDRESS:PORT` of the server that it is shown to: that one cannot show it to a third.
    to: String,
    iat: u64,
    exp: u64,
}

/// What a ticket is to say.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Who it is; empty for those who only look on.
    pub player_id: &'a str,
    /// Which room, or which recording.
    pub room: &'a str,
    /// `ADDRESS:PORT` of the room's server, as the edge reaches it.
    pub route: &'a str,
    /// The release of that server.
    pub version: &'a str,
}

/// Signs tickets and verifies them. Its keys may be exchanged while it is used.
pub struct Keys {
    ring: RwLock<Arc<Ring>>,
    jwks_max_age: Duration,
}

impl Keys {
    /// A key for this process alone: its tickets are good until it ends.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Ok(Self::new(Ring::of_one(TicketKey::ephemeral()?), JWKS_MAX_AGE))
    }

    /// These keys, whose public halves others may keep for so long.
    pub fn new(ring: Ring, jwks_max_age: Duration) -> Self {
        Self { ring: RwLock::new(Arc::new(ring)), jwks_max_age }
    }

    /// Other keys from now on: tickets of those that are gone are refused.
    pub fn replace(&self, ring: Ring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long others may keep what [`Ring::jwks`] says.
    pub fn jwks_max_age(&self) -> Duration {
        self.jwks_max_age
    }

    /// A ticket for a player and a room.
    pub fn sign(&self, draft: Draft<'_>, ttl: Duration) -> Result<String, Error> {
        let now = now_s()?;
        self.encode(&Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE_PLAY.into(),
            sub: draft.player_id.into(),
            room: draft.room.into(),
            route: STANDARD.encode(draft.route),
            version: draft.version.into(),
            iat: now,
            exp: now + ttl.as_secs(),
        })
    }

    /// What a ticket says, if it is ours and not too old.
    pub fn verify(&self, ticket: &str) -> Result<(String, RoomId), Error> {
        let claims: Claims = self.decode(ticket, AUDIENCE_PLAY).map_err(Error::TicketInvalid)?;
        let room = RoomId::parse(&claims.room).ok_or(Error::TicketInvalid("it names no room"))?;
        Ok((claims.sub, room))
    }

    /// By what this server shows another one of its fleet, at this address, that it is one, for the next minute.
    pub fn sign_peer(&self, instance: &InstanceId, to: &str) -> Result<String, Error> {
        let now = now_s()?;
        self.encode(&PeerClaims {
            iss: ISSUER.into(),
            aud: AUDIENCE_PEER.into(),
            sub: instance.clone(),
            to: to.to_owned(),
            iat: now,
            exp: now + PEER_TTL.as_secs(),
        })
    }

    /// Which server shows this to the one at this address.
    pub fn verify_peer(&self, token: &str, me: &str) -> Result<InstanceId, Error> {
        let claims: PeerClaims =
            self.decode(token, AUDIENCE_PEER).map_err(|_| Error::PeerTokenInvalid)?;
        if claims.to != me {
            return Err(Error::PeerTokenInvalid);
        }
        InstanceId::parse(claims.sub.as_str()).ok_or(Error::PeerTokenInvalid)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<String, Error> {
        let ring = self.ring();
        let key = ring.signer();
        let header = Header { kid: Some(key.id().to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, key.signing()).map_err(|error| {
            tracing::error!(%error, "a ticket cannot be signed");
            Error::Overloaded
        })
    }

    fn decode<T: DeserializeOwned>(&self, token: &str, audience: &str) -> Result<T, &'static str> {
        const FOREIGN: &str = "it was not issued here";
        if token.len() > TOKEN_BYTES_MAX {
            return Err(FOREIGN);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| FOREIGN)?;
        // What a header calls critical must be understood, and nothing is.
        if header.alg != Algorithm::ES256 || header.crit.is_some() {
            return Err(FOREIGN);
        }
        // The key is the one that is named, or none: a key that was removed must not verify by being tried.
        let ring = self.ring();
        let key = header.kid.as_deref().and_then(|id| ring.find(id)).ok_or(FOREIGN)?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY_S;
        let verified = jsonwebtoken::decode(token, key.verifying(), &validation);
        verified.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => "it has expired",
            _ => FOREIGN,
        })
    }
}

/// Seconds since 1970. A ticket's times are the world's, not the process's: it may be verified by others.
fn now_s() -> Result<u64, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(now.map_err(|_| Error::Overloaded)?.as_secs())
}

#[cfg(test)]
mod tests;
