//! How a session is resumed: a secret that only its player knows.

use crate::room::RoomId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

const SECRET_BYTES: usize = 16;

/// Names the room and carries 128 random bits. The server keeps only their hash.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    /// Where the session is.
    pub room: RoomId,
    secret: [u8; SECRET_BYTES],
}

impl ResumeToken {
    /// A new secret for a session in this room.
    pub fn new(room: RoomId) -> Self {
        Self { room, secret: rand::rng().random() }
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
        let token = ResumeToken::new(room);
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
