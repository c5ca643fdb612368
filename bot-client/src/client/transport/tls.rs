//! Whom a client trusts behind `https://`, and what it says when it does not.

use super::super::Ended;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

/// Whose certificates are trusted: those of the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` say which), or of one
/// that is given.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM.
    authority: Option<Arc<[u8]>>,
    /// For HTTP/1.1, made when it is first needed: there may be hundreds of authorities.
    http1: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Trust {
    /// Trusts the authorities in this PEM file, and nobody else.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let pem = std::fs::read(path)?;
        if !CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there is no certificate in it",
            ));
        }
        Ok(Self { authority: Some(pem.into()), http1: Arc::default() })
    }

    /// An address for gRPC; with TLS if it says `https`.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(url.to_owned())?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let config = ClientTlsConfig::new();
        endpoint.tls_config(match &self.authority {
            None => config.with_native_roots(),
            Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
        })
    }

    /// TLS over a connection to a server of that name, for HTTP/1.1.
    pub(super) async fn connect(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = if let Some(config) = self.http1.get() {
            Arc::clone(config)
        } else {
            let config = Arc::new(self.http1()?);
            Arc::clone(self.http1.get_or_init(|| config))
        };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }

    fn http1(&self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
            Some(pem) => {
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
            }
        }
        // The one that all of Fray uses, whatever else is compiled in.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What went wrong with TLS, in words for people, if it did.
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(in_words(tls));
        }
        // An I/O error's source is what is behind the error within it: that one itself would be passed over.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(said) = within.and_then(|within| explain(within)) {
            return Some(said);
        }
        cause = error.source();
    }
    None
}

fn in_words(error: &rustls::Error) -> String {
    use rustls::AlertDescription as Alert;
    let what = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name"
            }
            CertificateError::UnknownIssuer => {
                "nobody who is trusted has signed the server's certificate (--ca says who else is)"
            }
            _ => "the server's certificate is not good",
        },
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            "the server lets in only clients with a certificate"
        }
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS there",
        _ => "TLS failed",
    };
    format!("{what}: {error}")
}

impl Ended {
    /// A connection that could not be had, in words.
    pub(super) fn unreachable(error: &io::Error) -> Self {
        Self::broken(explain(error).unwrap_or_else(|| error.to_string()))
    }
}
