//! Whom a client trusts at `https` addresses.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio_tungstenite::Connector;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Error};

/// Which authorities may sign a server's certificate: those that the system trusts, or one of your own.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    authority: Option<Authority>,
}

#[derive(Clone, Debug)]
struct Authority {
    pem: Vec<u8>,
    websocket: Arc<ClientConfig>,
}

/// The file has no certificate that can be used.
#[derive(Debug, thiserror::Error)]
#[error("no certificate of an authority: {0}")]
pub struct InvalidAuthority(String);

impl Trust {
    /// Trusts the authorities whose certificates these are (PEM), and no others.
    pub fn in_authority(pem: Vec<u8>) -> Result<Self, InvalidAuthority> {
        let invalid = |error: &dyn std::fmt::Display| InvalidAuthority(error.to_string());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| invalid(&error))?;
            roots.add(certificate).map_err(|error| invalid(&error))?;
        }
        if roots.is_empty() {
            return Err(invalid(&"there is none in it"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error))?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { authority: Some(Authority { pem, websocket: Arc::new(config) }) })
    }

    /// An endpoint that checks certificates, if its address is an `https` one.
    pub(crate) fn checked_by(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let config = ClientTlsConfig::new();
        endpoint.tls_config(match &self.authority {
            Some(authority) => config.ca_certificate(Certificate::from_pem(&authority.pem)),
            None => config.with_enabled_roots(),
        })
    }

    /// `None`: those of the system.
    pub(super) fn of_websocket(&self) -> Option<Connector> {
        let authority = self.authority.as_ref()?;
        Some(Connector::Rustls(Arc::clone(&authority.websocket)))
    }
}
