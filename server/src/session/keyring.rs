//! The keys that tickets are signed with: one signs, all of them verify. Nothing here knows files or clocks.

use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use p256::SecretKey;
use p256::elliptic_curve::rand_core::OsRng;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rand::RngExt as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most characters of a key's id.
pub const KEY_ID_CHARS_MAX: usize = 64;

/// No key for tickets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name that no key can have.
    #[error("{0:?} cannot be a key's name: 1 to 64 of a-z A-Z 0-9 . _ -")]
    Name(String),
    /// The bytes are no such key.
    #[error("no PKCS#8 private key of the curve P-256 in PEM: {0}")]
    Unreadable(String),
    /// The library refuses it.
    #[error("the key cannot be used: {0}")]
    Unusable(String),
    /// There must be one.
    #[error("there is no key")]
    None,
}

/// A key for tickets: ECDSA over P-256.
pub struct TicketKey {
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
}

impl TicketKey {
    /// A key from PKCS#8 PEM, under the id that tickets name it by.
    pub fn from_pem(id: &str, pem: &str) -> Result<Self, KeyError> {
        let secret = SecretKey::from_pkcs8_pem(pem);
        Self::new(id, &secret.map_err(|error| KeyError::Unreadable(error.to_string()))?)
    }

    /// A key for this process alone.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let id = format!("ephemeral-{:016x}", rand::rng().random::<u64>());
        Self::new(&id, &SecretKey::random(&mut OsRng))
    }

    fn new(id: &str, secret: &SecretKey) -> Result<Self, KeyError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if id.is_empty() || id.len() > KEY_ID_CHARS_MAX || !id.chars().all(is_plain) {
            return Err(KeyError::Name(id.chars().take(KEY_ID_CHARS_MAX).collect()));
        }
        let unusable = |error: &dyn fmt::Display| KeyError::Unusable(error.to_string());
        let pkcs8 = secret.to_pkcs8_der().map_err(|error| unusable(&error))?;
        let signing = EncodingKey::from_ec_der(pkcs8.as_bytes());
        let public = Jwk::from_encoding_key(&signing, Algorithm::ES256);
        let mut public = public.map_err(|error| unusable(&error))?;
        public.common.key_id = Some(id.to_owned());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&public).map_err(|error| unusable(&error))?;
        Ok(Self { id: id.to_owned(), signing, verifying, public })
    }

    /// The name that tickets say it by: `kid`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    pub(super) fn verifying(&self) -> &DecodingKey {
        &self.verifying
    }
}

/// A new private key as PKCS#8 PEM.
pub fn new_pem() -> Result<String, KeyError> {
    let pem = SecretKey::random(&mut OsRng).to_pkcs8_pem(p256::pkcs8::LineEnding::LF);
    pem.map(|pem| pem.to_string()).map_err(|error| KeyError::Unusable(error.to_string()))
}

/// Secrets do not get into logs.
impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKey({}, …)", self.id)
    }
}

/// Keys that verify, in the order of their names; one of them signs.
#[derive(Clone, Debug)]
pub struct Ring {
    keys: Vec<Arc<TicketKey>>,
    signs: usize,
}

impl Ring {
    /// One key that does everything.
    pub fn of_one(key: TicketKey) -> Self {
        Self { keys: vec![Arc::new(key)], signs: 0 }
    }

    /// Keys, each with its age: for how long others can have known it. The last by name that is old enough signs; if none is,
    /// the first by name: it has been there longest, if names count up.
    pub fn new(
        keys: impl IntoIterator<Item = (Arc<TicketKey>, Duration)>,
        age_min: Duration,
    ) -> Result<Self, KeyError> {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        let signs = keys.iter().rposition(|(_, age)| *age >= age_min).unwrap_or(0);
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        Ok(Self { keys: keys.into_iter().map(|(key, _)| key).collect(), signs })
    }

    /// How many verify.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names of all, in order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// The one that signs.
    pub fn signer(&self) -> &TicketKey {
        &self.keys[self.signs]
    }

    pub(super) fn find(&self, id: &str) -> Option<&TicketKey> {
        self.keys.iter().find(|key| key.id == id).map(Arc::as_ref)
    }

    /// The public halves, as a JSON Web Key Set.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(|key| key.public.clone()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_MIN: Duration = Duration::from_secs(120);

    fn signer(ages_s: &[(&str, u64)]) -> String {
        let key = |id: &str| {
            let pem = new_pem().expect("a key");
            Arc::new(TicketKey::from_pem(id, &pem).expect("it is sound"))
        };
        let keys = ages_s.iter().map(|(id, age)| (key(id), Duration::from_secs(*age)));
        Ring::new(keys, AGE_MIN).expect("there are keys").signer().id().to_owned()
    }

    #[test]
    fn the_newest_key_that_everybody_can_know_signs() {
        assert_eq!(signer(&[("a", 5)]), "a", "the only one");
        assert_eq!(signer(&[("b", 0), ("a", 0)]), "a", "none is old enough: the first by name");
        assert_eq!(signer(&[("a", 500), ("b", 119)]), "a");
        assert_eq!(signer(&[("a", 500), ("b", 120)]), "b");
        assert_eq!(signer(&[("c", 0), ("a", 500), ("b", 120)]), "b");
        assert!(matches!(Ring::new([], AGE_MIN), Err(KeyError::None)));
    }

    #[test]
    fn only_pkcs8_keys_of_the_curve_with_plain_names_are_keys() {
        let pem = new_pem().expect("a key");
        let named = |id: &str| TicketKey::from_pem(id, &pem).map(|key| key.id().to_owned());
        assert_eq!(named("2026-01_a.b").as_deref(), Ok("2026-01_a.b"));
        for id in ["", "a b", "a/b", "ü", &"a".repeat(65)] {
            assert!(matches!(named(id), Err(KeyError::Name(_))), "{id}");
        }
        let half = &pem[..pem.len() / 2];
        let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        for wrong in ["", half, public] {
            let refused = TicketKey::from_pem("a", wrong);
            assert!(matches!(refused, Err(KeyError::Unreadable(_))), "{refused:?}");
        }
        let shown = format!("{:?}", TicketKey::from_pem("a", &pem));
        assert_eq!(shown, "Ok(TicketKey(a, …))");
    }
}
