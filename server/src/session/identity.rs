//! Who a player is, by an identity provider's word: `OpenID` Connect's ID tokens, verified when a player joins.
//!
//! Nothing here fetches keys: somebody else brings them, and is asked for newer ones by [`Provider`].

use super::Error;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// No ID token is longer; what is, is not even looked at.
pub const ID_TOKEN_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of `sub`, as `OpenID` Connect has it.
const SUBJECT_BYTES_MAX: usize = 255;
/// The most keys of a provider.
const KEYS_MAX: usize = 64;
/// The provider's clock and ours may differ by this much.
const LEEWAY_S: u64 = 60;
/// How long a join waits for keys that are not there yet.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often newer keys are asked for because a token names one that is unknown.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// A provider's public keys: RS256 and ES256.
#[derive(Clone, Debug, Default)]
pub struct ProviderKeys(Vec<ProviderKey>);

#[derive(Clone, Debug)]
struct ProviderKey {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl ProviderKeys {
    /// Reads a JSON Web Key Set. Keys for other purposes and of other kinds are passed over; `Err`, for people: there is none
    /// that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| format!("no JWKS: {error}"))?;
        let jwks = set.keys.into_iter().take(KEYS_MAX);
        let jwks = jwks.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        let keys: Vec<_> = jwks.filter_map(|jwk| ProviderKey::new(&jwk)).collect();
        if keys.is_empty() {
            return Err("no key with an id for RS256 or ES256 is in the JWKS".into());
        }
        Ok(Self(keys))
    }

    fn find(&self, id: &str) -> Option<&ProviderKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl ProviderKey {
    fn new(jwk: &Jwk) -> Option<Self> {
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            _ => return None,
        };
        let is_for_it =
            jwk.common.key_algorithm.is_none_or(|of| of == KeyAlgorithm::from(algorithm));
        let use_of = jwk.common.public_key_use.as_ref();
        let signs = use_of.is_none_or(|of| *of == PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| is_for_it && signs)?;
        Some(Self { id: jwk.common.key_id.clone()?, algorithm, key })
    }
}

/// An identity provider that is trusted.
pub struct Provider {
    issuer: String,
    audience: String,
    /// `None`: not had yet.
    keys: watch::Receiver<Option<Arc<ProviderKeys>>>,
    /// Whoever brings keys is told here that newer ones are wanted; `None`: nobody would listen.
    wanted: Option<Arc<Notify>>,
    asked: Mutex<Option<Instant>>,
}

impl Provider {
    /// Tokens are good if `issuer` made them for `audience`.
    pub fn new(
        issuer: String,
        audience: String,
        keys: watch::Receiver<Option<Arc<ProviderKeys>>>,
        wanted: Option<Arc<Notify>>,
    ) -> Self {
        Self { issuer, audience, keys, wanted, asked: Mutex::default() }
    }

    /// The player's id, by the token.
    async fn verify(&self, token: &str) -> Result<String, Error> {
        const FOREIGN: Error = Error::IdTokenInvalid("it was not issued by the provider");
        if token.len() > ID_TOKEN_BYTES_MAX {
            return Err(FOREIGN);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| FOREIGN)?;
        let id = header.kid.filter(|_| header.crit.is_none()).ok_or(FOREIGN)?;
        let keys = self.keys_with(&id).await?;
        let key = keys.find(&id).ok_or(Error::IdTokenInvalid("its key is unknown"))?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        let verified = jsonwebtoken::decode::<Claims>(token, &key.key, &validation);
        let claims = verified.map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => Error::IdTokenInvalid("it has expired"),
            ErrorKind::ImmatureSignature => Error::IdTokenInvalid("it is not good yet"),
            ErrorKind::InvalidIssuer => Error::IdTokenInvalid("another provider issued it"),
            ErrorKind::InvalidAudience => Error::IdTokenInvalid("it is for somebody else"),
            _ => FOREIGN,
        })?;
        player_id(&self.issuer, &claims.claims.sub)
            .ok_or(Error::IdTokenInvalid("its subject cannot be used"))
    }

    /// The keys, if possible with that one: it may be newer than what is known.
    async fn keys_with(&self, id: &str) -> Result<Arc<ProviderKeys>, Error> {
        let mut keys = self.keys.clone();
        let known = keys.borrow_and_update().clone();
        if let Some(known) = &known
            && (known.find(id).is_some() || !self.asks())
        {
            return Ok(Arc::clone(known));
        }
        // Whether they came in time shows below.
        let _ = timeout(PATIENCE, keys.changed()).await;
        let now = keys.borrow().clone();
        // The provider is away, and has been since the start: the token may be good.
        now.ok_or(Error::Overloaded)
    }

    /// Asks for newer keys, not too often; false if it is of no use to wait for them.
    fn asks(&self) -> bool {
        let Some(wanted) = &self.wanted else { return false };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.map(|at| at.elapsed()) {
            Some(ago) if ago < PATIENCE => true,
            Some(ago) if ago < ASK_EVERY => false,
            _ => {
                *asked = Some(Instant::now());
                wanted.notify_one();
                true
            }
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    /// One text: what checks it would take a list, too, in which somebody else may stand.
    #[expect(dead_code, reason = "it is compared before; here it has to be a text")]
    iss: String,
    sub: String,
}

/// The id of a provider's subject: the same on all servers and for ever. Others may see it, so it does not show `sub`, which
/// is some providers' e-mail address; whoever knows issuer and `sub` can compute it (`docs/TICKETS.md`).
fn player_id(issuer: &str, subject: &str) -> Option<String> {
    let is_sound = !subject.is_empty()
        && subject.len() <= SUBJECT_BYTES_MAX
        && !subject.contains(char::is_control);
    // Neither has a line break, so no two pairs are the same text.
    let hash = Sha256::digest(format!("{issuer}\n{subject}"));
    let mut bits = [0; 16];
    bits.copy_from_slice(&hash[..16]);
    is_sound.then(|| format!("id-{:032x}", u128::from_be_bytes(bits)))
}

/// Which ID tokens are wanted when a player joins.
#[derive(Default)]
pub struct Policy {
    /// Who is trusted; `None`: nobody, all players are guests.
    pub provider: Option<Provider>,
    /// Whether guests are turned away.
    pub is_required: bool,
}

impl Policy {
    /// The player's id, by the token that was shown; `None`: a guest.
    pub async fn who(&self, id_token: Option<&str>) -> Result<Option<String>, Error> {
        match (id_token, &self.provider) {
            (None, _) if self.is_required => Err(Error::IdTokenMissing),
            (None, _) => Ok(None),
            // To seat them as guests would hide that they are somebody else than they think.
            (Some(_), None) => Err(Error::IdTokenInvalid("no identity provider is trusted here")),
            (Some(token), Some(provider)) => provider.verify(token).await.map(Some),
        }
    }
}

#[cfg(test)]
mod tests;
