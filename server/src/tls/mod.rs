//! TLS, by rustls: the one place that knows it. All of it is done by one provider of cryptography, *ring*.
//!
//! - [`Acceptor`]: a server's side, with a certificate that may change, and clients' certificates if they are asked for.
//! - [`Connector`]: a client's side with a certificate authority and a certificate of its own, for servers among themselves.
//! - [`Reloader`]: reads their files again.

mod acceptor;
mod connector;
mod files;

pub use acceptor::{Acceptor, HANDSHAKE_TIMEOUT, HandshakeError};
pub use connector::{Authority, Connector};
pub use files::{Certificate, Error, Reloader};

use hyper_rustls::ConfigBuilderExt as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// What both sides are asked to speak, the better first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes our provider the one that is used where none is named; call it first in `main`. Libraries would each choose their own.
pub fn install_provider() {
    // If somebody was faster, it is the same one: no other is compiled in.
    let _ = ring::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A client of servers on the internet: those whom the system trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` say whom). If it
/// never needs to be `secure`, it trusts nobody.
pub fn trusting_the_system(secure: bool) -> std::io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let builder = if secure {
        builder.with_native_roots()?
    } else {
        builder.with_root_certificates(RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}
