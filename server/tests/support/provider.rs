//! An identity provider for tests: a key, tokens, and the public half.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fray_server::session::keyring::{Ring, TicketKey, new_pem};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

pub const ISSUER: &str = "https://id.example.com";
pub const AUDIENCE: &str = "fray";

/// A provider with one key.
pub struct Idp {
    id: String,
    key: EncodingKey,
    jwks: String,
}

impl Idp {
    pub fn new(id: &str) -> Self {
        let pem = new_pem().expect("a key");
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = EncodingKey::from_ec_der(&STANDARD.decode(der).expect("base64"));
        let ring = Ring::of_one(TicketKey::from_pem(id, &pem).expect("it is sound"));
        let jwks = serde_json::to_string(&ring.jwks()).expect("JSON");
        Self { id: id.into(), key, jwks }
    }

    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Good for so many seconds from now.
    pub fn token(&self, subject: &str, for_s: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let expires = now.saturating_add_signed(for_s);
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": expires});
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).expect("signed")
    }
}
