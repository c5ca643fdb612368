//! JSON Web Tokens, really signed and otherwise.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fray_server::session::keyring::{Ring, TicketKey};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A private key of P-256 whose number is all of this byte: the same in every run.
pub struct Key {
    der: Vec<u8>,
}

impl Key {
    pub fn of(byte: u8) -> Self {
        // PKCS#8 without the public half.
        let mut der = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20".to_vec();
        der.extend([byte; 32]);
        Self { der }
    }

    /// Under this id, for whoever signs and verifies tickets.
    pub fn ticket_key(&self, id: &str) -> TicketKey {
        let text = STANDARD.encode(&self.der);
        // Lines of PEM have 64 characters.
        let (first, last) = text.split_at(64);
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{first}\n{last}\n-----END PRIVATE KEY-----\n");
        TicketKey::from_pem(id, &pem).expect("a key")
    }

    /// Alone.
    pub fn ring(&self, id: &str) -> Ring {
        Ring::of_one(self.ticket_key(id))
    }

    /// A token with this signature on this head and these claims, whatever they say.
    pub fn sign(&self, head: &[u8], claims: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let key = EncodingKey::from_ec_der(&self.der);
        let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::ES256).expect("signed");
        format!("{signed}.{signature}")
    }
}

/// What comes before the signature.
pub fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or("", |(signed, _)| signed)
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Changes text as these bytes say, each four of them one edit: where (two bytes), how, and with what. Nothing is changed if the
/// edits are none.
pub fn edited(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        let place = usize::from(edit[3]) % (bytes.len() + 1);
        match edit[2] % 6 {
            0 => bytes.insert(at, edit[3]),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 if at < bytes.len() => bytes[at] = edit[3],
            3 if at < bytes.len() => bytes[at] ^= 1 << (edit[3] & 7),
            4 => bytes.truncate(at),
            5 => bytes.rotate_left(place),
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
