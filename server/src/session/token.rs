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
}

/// Names the room and carries 128 random bits. The server keeps only their hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// Where the session is.
    pub room: RoomId,
    secret: [u8; SECRET_BYTES],
}

impl ResumeToken {
    /// The token of a player's session in this room: 128 bits that nobody without the server's key can tell from random
    /// ones, and the same whenever the session's ticket is shown again.
    pub fn of(key: &TokenKey, room: RoomId, player_id: &str) -> Self {
        let mut mac = key.0.clone();
        mac.update(room.as_str().as_bytes());
        mac.update(b"\n");
        mac.update(player_id.as_bytes());
        let mut secret = [0; SECRET_BYTES];
        secret.copy_from_slice(&mac.finalize().into_bytes()[..SECRET_BYTES]);
        Self { room, secret }
    }

    /// What a client sent; `None` if it cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let (room, secret) = text.split_once('.')?;
        let mut bytes = [0; SECRET_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?;
        let room = RoomId::parse(room)?;
        (length == SECRET_BYTES).then_some(Self { room, secret: bytes })
    }

    /// As it goes to its player; nobody else may see it.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.room, URL_SAFE_NO_PAD.encode(self.secret))
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
        let token = ResumeToken::of(&key, room.clone(), "p1");
        assert_eq!(token, ResumeToken::of(&key, room.clone(), "p1"), "constant for the session");
        assert_ne!(token, ResumeToken::of(&key, room.clone(), "p2"));
        assert_ne!(token, ResumeToken::of(&TokenKey::ephemeral(), room, "p1"));
        assert_eq!(ResumeToken::parse(&token.reveal()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.reveal()[7..]));
        for wrong in [
            "",
            ".",
            "abc123",
            "abc123.",
            "abc123.AAAA",
            "ABC.AAAAAAAAAAAAAAAAAAAAAA",
            "abc123.!!!!",
        ] {
            assert_eq!(ResumeToken::parse(wrong), None, "{wrong}");
        }
        let long = format!("{}AAAA", token.reveal());
        assert_eq!(ResumeToken::parse(&long), None);
    }
}
