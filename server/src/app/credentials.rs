//! From flags to what the server proves itself by, and what it verifies others by; and what keeps all that up to date.

use crate::cluster::peer::PeerTls;
use crate::config::Config;
use crate::config::keys::KeyFlags;
use crate::config::tls::TlsFlags;
use crate::keys::folder::Folder;
use crate::keys::provider::{KeyAddress, KeyFile};
use crate::keys::{self, session_key};
use crate::reload::{self, Reload};
use crate::session::identity::{Policy, Provider};
use crate::session::keyring::KeyError;
use crate::session::token::TokenKey;
use crate::session::{self, ticket};
use crate::telemetry::{Metrics, spawn_named};
use crate::tls::{self, Acceptor, Authority, Connector, HandshakeError, Reloader};
use futures_util::future::BoxFuture;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why a server has nothing to prove itself by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No tickets can be signed.
    #[error(transparent)]
    Tickets(#[from] KeyError),
    /// A flag about keys names something that cannot be used.
    #[error("{0}: {1}")]
    Keys(&'static str, keys::Error),
    /// No TLS.
    #[error("{0}: {1}")]
    Tls(&'static str, tls::Error),
}

/// Runs until it is told to stop.
type Task = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// Tasks that read keys and certificates again. The lock is only so that whoever has them may be shared.
#[derive(Default)]
pub struct Keepers(Mutex<Vec<(&'static str, Task)>>);

impl Keepers {
    /// Spawns all of them.
    pub(super) fn spawn(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, task) in tasks {
            spawn_named(tracker, name, task(stop.clone()));
        }
    }

    fn keep<T: Reload>(&mut self, name: &'static str, what: T, metrics: &Arc<Metrics>) {
        let metrics = Arc::clone(metrics);
        let task =
            move |stop| -> BoxFuture<'static, ()> { Box::pin(reload::keep(what, metrics, stop)) };
        self.add(name, Box::new(task));
    }

    fn add(&mut self, name: &'static str, task: Task) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).push((name, task));
    }
}

/// Keys, the players' port's certificate, and what keeps them up to date.
pub(super) struct Credentials {
    pub(super) keys: session::Keys,
    pub(super) tls: Option<Arc<Acceptor>>,
    pub(super) peer_tls: Option<(Arc<Acceptor>, PeerTls)>,
    pub(super) keepers: Keepers,
}

/// Reads all that the flags name.
pub(super) fn read(config: &Config, metrics: &Arc<Metrics>) -> Result<Credentials, Error> {
    metrics.expect_handshakes_failed(HandshakeError::ALL.map(HandshakeError::reason));
    metrics.expect_reload_failures([Folder::SOURCE, KeyFile::SOURCE, Reloader::SOURCE]);
    let mut keepers = Keepers::default();
    let flags = &config.keys;
    let keys = session::Keys {
        tickets: tickets(flags, metrics, &mut keepers)?,
        tokens: match &flags.session_key {
            None => TokenKey::ephemeral(),
            Some(path) => session_key(path).map_err(|error| Error::Keys("--session-key", error))?,
        },
        identity: Policy {
            provider: provider(flags, metrics, &mut keepers)?,
            is_required: flags.require_id_token,
        },
    };
    let tls = acceptor(&config.tls, metrics, &mut keepers)?;
    let peer_tls = peer_tls(&config.tls, metrics, &mut keepers)?;
    Ok(Credentials { keys, tls, peer_tls, keepers })
}

fn tickets(
    flags: &KeyFlags,
    metrics: &Arc<Metrics>,
    keepers: &mut Keepers,
) -> Result<Arc<ticket::Keys>, Error> {
    let Some(dir) = &flags.ticket_keys else {
        metrics.ticket_keys.set(1);
        return Ok(Arc::new(ticket::Keys::ephemeral()?));
    };
    let (keys, folder) = Folder::open(dir, flags.jwks_max_age, metrics)
        .map_err(|error| Error::Keys("--ticket-keys", error))?;
    keepers.keep("ticket keys", folder, metrics);
    Ok(keys)
}

fn provider(
    flags: &KeyFlags,
    metrics: &Arc<Metrics>,
    keepers: &mut Keepers,
) -> Result<Option<Provider>, Error> {
    let (Some(issuer), Some(audience), Some(jwks)) =
        (&flags.id_issuer, &flags.id_audience, &flags.id_jwks)
    else {
        return Ok(None);
    };
    let failed = |error| Error::Keys("--id-jwks", error);
    let (keys, wanted) = if jwks.starts_with("http://") || jwks.starts_with("https://") {
        let (keys, wanted, address) = KeyAddress::new(jwks).map_err(failed)?;
        let metrics = Arc::clone(metrics);
        let task = move |stop| -> BoxFuture<'static, ()> { Box::pin(address.keep(metrics, stop)) };
        keepers.add("provider's keys", Box::new(task));
        (keys, Some(wanted))
    } else {
        let (keys, file) = KeyFile::open(Path::new(jwks)).map_err(failed)?;
        keepers.keep("provider's keys", file, metrics);
        (keys, None)
    };
    Ok(Some(Provider::new(issuer.clone(), audience.clone(), keys, wanted)))
}

fn acceptor(
    flags: &TlsFlags,
    metrics: &Arc<Metrics>,
    keepers: &mut Keepers,
) -> Result<Option<Arc<Acceptor>>, Error> {
    let Some((chain, key)) = flags.tls_cert.clone().zip(flags.tls_key.clone()) else {
        return Ok(None);
    };
    let certificate = tls::Certificate { chain, key };
    let opened = Acceptor::open(&certificate, flags.tls_client_ca.clone(), metrics);
    let (acceptor, files) = opened.map_err(|error| Error::Tls("--tls-cert", error))?;
    keepers.keep("certificates", files, metrics);
    Ok(Some(acceptor))
}

/// Both sides of what servers say to each other.
fn peer_tls(
    flags: &TlsFlags,
    metrics: &Arc<Metrics>,
    keepers: &mut Keepers,
) -> Result<Option<(Arc<Acceptor>, PeerTls)>, Error> {
    let own = flags.peer_tls_cert.clone().zip(flags.peer_tls_key.clone());
    let Some(((chain, key), authority)) = own.zip(flags.peer_tls_ca.clone()) else {
        return Ok(None);
    };
    let failed = |error| Error::Tls("--peer-tls-cert", error);
    let certificate = tls::Certificate { chain, key };
    let (acceptor, files) =
        Acceptor::open(&certificate, Some(authority.clone()), metrics).map_err(failed)?;
    keepers.keep("peers' certificates", files, metrics);
    let (connector, files) =
        Connector::open(&Authority(authority), Some(&certificate)).map_err(failed)?;
    keepers.keep("certificate for peers", files, metrics);
    let name = flags.peer_tls_name.clone();
    Ok(Some((acceptor, PeerTls { connector, name })))
}
