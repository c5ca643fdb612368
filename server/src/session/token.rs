//! How a session is resumed: a secret that only its player knows.

use crate::room::RoomId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

const SECRET_BYTES: usize = 16;

/// What a server makes its players' resume tokens from.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

impl TokenKey {
    /// A key for this process alone.
    pub fn ephemeral() -> Self {
        let key: [u8; 64] = rand::rng().random();
        Self(Hmac::new((&key).into()))
    }

    /// A key that all servers of a fleet share; at least 32 bytes of chance.
    pub fn shared(key: &[u8]) -> Option<Self> {
        let is_long_enough = key.len() >= 32;
        let key = Sha256::digest(key);
        let mut padded = [0; 64];
        padded[..32].copy_from_slice(&key);
        is_long_enough.then(|| Self(Hmac::new((&padded).into())))
    }

    /// 128 bits, as hex, that follow from `text` for whoever has the key, and look like chance to everybody else. Different
    /// purposes give different bits.
    pub fn derive(&self, purpose: &str, text: &str) -> String {
        format!("{:032x}", u128::from_be_bytes(self.mac(&[purpose, text])))
    }

    fn mac(&self, parts: &[&str]) -> [u8; SECRET_BYTES] {
        let mut mac = self.0.clone();
        for part in parts {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let mut bits = [0; SECRET_BYTES];
        bits.copy_from_slice(&mac.finalize().into_bytes()[..SECRET_BYTES]);
        bits
    }
}

/// Names the room and carries 128 random bits. The server keeps only their hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// Where the session is.
    pub room: RoomId,
    /// The room's epoch when it was given: an owner of an earlier one is not the room's any more, whatever it says.
    pub epoch: u64,
    secret: [u8; SECRET_BYTES],
}

impl ResumeToken {
    /// The token of a player's session in this room: 128 bits that nobody without the server's key can tell from random
    /// ones, and the same whenever the session's ticket is shown again.
    pub fn of(key: &TokenKey, room: RoomId, epoch: u64, player_id: &str) -> Self {
        let secret = key.mac(&["session", room.as_str(), player_id]);
        Self { room, epoch, secret }
    }

    /// The same for a later owner of the room.
    #[must_use]
    pub fn in_epoch(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }

    /// What a client sent; `None` if it cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (room, rest) = text.split_once('.')?;
        let (epoch, secret) = rest.split_once('.')?;
        let mut bytes = [0; SECRET_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
        let room = RoomId::parse(room)?;
        let epoch = epoch.parse().ok()?;
        (length == SECRET_BYTES).then_some(Self { room, epoch, secret: bytes })
    }

    /// As it goes to its player; nobody else may see it.
    pub fn reveal(&self) -> String {
        format!("{}.{}.{}", self.room, self.epoch, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// What the room keeps.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

/// Secrets do not get into logs.
impl std::fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ResumeToken({}, …)", self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was_revealed_and_nothing_else_is_one() {
        let room = RoomId::parse("abc123").expect("a room id");
        let key = TokenKey::ephemeral();
        let token = ResumeToken::of(&key, room.clone(), 3, "p1");
        assert_eq!(token, ResumeToken::of(&key, room.clone(), 3, "p1"), "constant for the session");
        assert_ne!(token, ResumeToken::of(&key, room.clone(), 3, "p2"));
        assert_ne!(token, ResumeToken::of(&TokenKey::ephemeral(), room, 3, "p1"));
        assert_eq!(ResumeToken::parse(&token.reveal()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.reveal()[9..]));
        for wrong in [
            "",
            ".",
            "abc123",
            "abc123.",
            "abc123.3.AAAA",
            "abc123.AAAAAAAAAAAAAAAAAAAAAA",
            "abc123.x.AAAAAAAAAAAAAAAAAAAAAA",
            "ABC.3.AAAAAAAAAAAAAAAAAAAAAA",
            "abc123.3.!!!!",
        ] {
            assert_eq!(ResumeToken::parse(wrong), None, "{wrong}");
        }
        let long = format!("{}AAAA", token.reveal());
        assert_eq!(ResumeToken::parse(&long), None);
    }
}
