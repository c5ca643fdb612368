//! Who signs tickets in these tests.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A key and its name.
pub struct Issuer {
    pair: KeyPair,
    key_id: String,
}

impl Issuer {
    pub fn new(key_id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self { pair, key_id: key_id.into() }
    }

    /// The public halves, as servers publish them.
    pub fn jwks(issuers: &[&Self]) -> String {
        let key = |issuer: &&Self| {
            // An uncompressed point: a byte, x, y.
            let point = issuer.public();
            let half = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": issuer.key_id, "x": half(1), "y": half(33) })
        };
        json!({ "keys": issuers.iter().map(key).collect::<Vec<_>>() }).to_string()
    }

    pub fn public(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.pair.serialize_der());
        jsonwebtoken::encode(&header, claims, &key).expect("a ticket")
    }

    /// A good ticket for a server.
    pub fn ticket(&self, server: SocketAddr) -> String {
        self.sign(&claims(server))
    }

    /// The same as a header's value.
    pub fn bearer(&self, server: SocketAddr) -> String {
        format!("Bearer {}", self.ticket(server))
    }
}

/// What a ticket says, whoever signed it.
pub fn read(ticket: &str) -> Value {
    let claims = ticket.split('.').nth(1).expect("three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64");
    serde_json::from_slice(&claims).expect("JSON")
}

/// What a good ticket says.
pub fn claims(server: SocketAddr) -> Value {
    let now = now_s();
    json!({
        "iss": "fray", "aud": "play", "sub": "p1", "room": "r1", "version": "v1",
        "route": STANDARD.encode(server.to_string()), "iat": now, "exp": now + 60,
    })
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// A ticket of which nobody knows who made it.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}
