//! A client's side, for servers among themselves.

use super::files::{Certificate, Content, Current, Error, Reloader};
use super::{PROTOCOLS, provider};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to trust: those whose certificates this file's authorities have signed.
#[derive(Clone, Debug)]
pub struct Authority(pub PathBuf);

/// Connects to servers of one authority, and shows a certificate to those that ask. Both may change; connections that are open
/// live on.
pub struct Connector {
    config: Current<ClientConfig>,
}

impl Connector {
    /// Trusts nobody but `authority`.
    pub fn open(
        authority: &Authority,
        certificate: Option<&Certificate>,
    ) -> Result<(Arc<Self>, Reloader), Error> {
        let mut paths = vec![authority.0.clone()];
        let own = certificate.map(|own| [own.chain.clone(), own.key.clone()]);
        paths.extend(own.into_iter().flatten());
        let (config, reloader) = Reloader::open(paths, client)?;
        Ok((Arc::new(Self { config }), reloader))
    }

    /// The handshake on a connection to a server that is known by this name, a DNS name or an IP address. Speaks HTTP/2.
    pub async fn connect<S>(&self, name: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connecting = TlsConnector::from(self.config.get()).connect(name, stream);
        timeout(super::HANDSHAKE_TIMEOUT, connecting).await?
    }
}

/// From the authority and, if there is one, the own chain and key.
fn client(contents: &[Content]) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(contents[0].roots()?);
    let mut config = match contents.get(1).zip(contents.get(2)) {
        Some((chain, key)) => builder.with_client_auth_cert(chain.chain()?, key.key()?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOLS[0].to_vec()];
    Ok(config)
}
