//! A server's side.

use super::files::{Certificate, Content, Current, Error, Reloader};
use super::{PROTOCOLS, provider};
use crate::telemetry::Metrics;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take. Its size is bounded by rustls: a message of it has at most 64 KiB.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection came to nothing, by whose fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The peer took too long.
    Timeout,
    /// The peer went away.
    Gone,
    /// What came is no TLS: cleartext, mostly.
    NotTls,
    /// The peer showed no certificate where one is needed.
    NoCertificate,
    /// The peer's certificate is not one that is trusted.
    BadCertificate,
    /// The peer did not like ours: it trusts others, or knows us by another name.
    Refused,
    /// There is no version or cipher that both speak.
    Incompatible,
    /// Whatever else.
    Other,
}

impl HandshakeError {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Gone,
        Self::NotTls,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Refused,
        Self::Incompatible,
        Self::Other,
    ];

    /// As metrics have it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Gone => "gone",
            Self::NotTls => "not_tls",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        use rustls::Error as Tls;
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
        match tls {
            Some(Tls::InvalidMessage(_)) => Self::NotTls,
            Some(Tls::NoCertificatesPresented) => Self::NoCertificate,
            Some(Tls::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Tls::AlertReceived(_)) => Self::Refused,
            Some(Tls::PeerIncompatible(_)) => Self::Incompatible,
            Some(_) => Self::Other,
            None => Self::Gone,
        }
    }
}

/// Accepts connections with a certificate that may change; those that are open live on with the one that they began with.
pub struct Acceptor {
    config: Current<ServerConfig>,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    /// A server with this certificate. With `client_ca`, only clients come in whose certificate was signed by it.
    pub fn open(
        certificate: &Certificate,
        client_ca: Option<PathBuf>,
        metrics: &Arc<Metrics>,
    ) -> Result<(Arc<Self>, Reloader), Error> {
        let mut paths = vec![certificate.chain.clone(), certificate.key.clone()];
        paths.extend(client_ca);
        let (config, reloader) = Reloader::open(paths, server)?;
        Ok((Arc::new(Self { config, metrics: Arc::clone(metrics) }), reloader))
    }

    /// The handshake, within [`HANDSHAKE_TIMEOUT`]; a failure is counted.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let accepting = TlsAcceptor::from(self.config.get()).accept(stream);
        let failed = match timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                // The peer's doing, nearly always: it must not be able to fill the log.
                tracing::debug!(%error, "a TLS handshake failed");
                HandshakeError::of(&error)
            }
            Err(_) => HandshakeError::Timeout,
        };
        self.metrics.handshake_failed(failed.reason());
        Err(failed)
    }
}

/// From chain, key and, if there is one, the authority of clients.
fn server(contents: &[Content]) -> Result<ServerConfig, Error> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match contents.get(2) {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let roots = Arc::new(authority.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            let verifier = verifier.map_err(|error| Error::Authority(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(contents[0].chain()?, contents[1].key()?)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}
