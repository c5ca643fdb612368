//! Tickets: signed words (ES256 JWT) that say who may play where.

use super::Error;
use super::directory::InstanceId;
use crate::room::RoomId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use p256::SecretKey;
use p256::elliptic_curve::rand_core::OsRng;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::EncodePrivateKey as _;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ISSUER: &str = "fray";
const AUDIENCE: &str = "play";
/// Clocks of servers may differ by this much.
const LEEWAY_S: u64 = 5;

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

/// What a ticket is to say.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Who it is; empty for those who only look on.
    pub player_id: &'a str,
    /// Which room.
    pub room: &'a RoomId,
    /// `ADDRESS:PORT` of the room's server, as the edge reaches it.
    pub route: &'a str,
    /// The release of that server.
    pub version: &'a str,
}

/// Signs tickets and verifies them.
pub struct Keys {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

/// The system has no randomness, or its clock is unset: a server cannot sign tickets.
#[derive(Debug, thiserror::Error)]
#[error("no key for tickets can be made: {0}")]
pub struct KeyError(String);

impl Keys {
    /// A key for this process alone: its tickets are good until it ends.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let secret = SecretKey::random(&mut OsRng);
        let pkcs8 = secret.to_pkcs8_der().map_err(|error| failed(&error))?;
        let point = secret.public_key().to_encoded_point(false);
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.leeway = LEEWAY_S;
        Ok(Self {
            signing: EncodingKey::from_ec_der(pkcs8.as_bytes()),
            verifying: DecodingKey::from_ec_der(point.as_bytes()),
            validation,
        })
    }

    /// A ticket for a player and a room.
    pub fn sign(&self, draft: Draft<'_>, ttl: Duration) -> Result<String, Error> {
        // A ticket's times are the world's, not the process's: it may be verified by others.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(|_| Error::Overloaded)?.as_secs();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: draft.player_id.into(),
            room: draft.room.to_string(),
            route: STANDARD.encode(draft.route),
            version: draft.version.into(),
            iat: now,
            exp: now + ttl.as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.signing).map_err(
            |error| {
                tracing::error!(%error, "a ticket cannot be signed");
                Error::Overloaded
            },
        )
    }

    /// What a ticket says, if it is ours and not too old.
    pub fn verify(&self, ticket: &str) -> Result<(String, RoomId), Error> {
        use jsonwebtoken::errors::ErrorKind;
        let verified = jsonwebtoken::decode::<Claims>(ticket, &self.verifying, &self.validation);
        let claims = verified.map_err(|error| {
            Error::TicketInvalid(match error.kind() {
                ErrorKind::ExpiredSignature => "it has expired",
                _ => "it was not issued here",
            })
        })?;
        let room = RoomId::parse(&claims.claims.room);
        let room = room.ok_or(Error::TicketInvalid("it names no room"))?;
        Ok((claims.claims.sub, room))
    }
}

/// For calls between servers.
const PEER_AUDIENCE: &str = "peer";
const PEER_TTL: Duration = Duration::from_secs(60);

#[derive(Serialize, Deserialize)]
struct PeerClaims {
    iss: String,
    aud: String,
    sub: String,
    exp: u64,
}

impl Keys {
    /// What a server shows to another one of its fleet.
    pub fn sign_peer(&self, me: &InstanceId) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let claims = PeerClaims {
            iss: ISSUER.into(),
            aud: PEER_AUDIENCE.into(),
            sub: me.to_string(),
            exp: (now + PEER_TTL).as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.signing).ok()
    }

    /// Which server shows this.
    pub fn verify_peer(&self, token: &str) -> Result<InstanceId, Error> {
        let mut validation = self.validation.clone();
        validation.set_audience(&[PEER_AUDIENCE]);
        let claims = jsonwebtoken::decode::<PeerClaims>(token, &self.verifying, &validation);
        let claims = claims.map_err(|_| Error::PeerTokenInvalid)?.claims;
        InstanceId::parse(&claims.sub).ok_or(Error::PeerTokenInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_only_as_signed_and_until_it_expires() {
        let keys = Keys::ephemeral().expect("keys");
        let room = RoomId::parse("r1").expect("a room id");
        let draft = Draft { player_id: "p1", room: &room, route: "10.0.0.1:7777", version: "v1" };
        let ticket = keys.sign(draft, Duration::from_secs(60)).expect("signed");
        assert_eq!(keys.verify(&ticket), Ok(("p1".into(), room.clone())));

        let foreign = Keys::ephemeral().expect("keys");
        assert!(matches!(foreign.verify(&ticket), Err(Error::TicketInvalid(_))));
        for tampered in [ticket.replacen('.', "A.", 1), format!("{ticket}A"), String::new()] {
            assert!(matches!(keys.verify(&tampered), Err(Error::TicketInvalid(_))));
        }
        let mut claims: Vec<&str> = ticket.split('.').collect();
        claims[2] = "";
        assert!(keys.verify(&claims.join(".")).is_err());
    }
}
