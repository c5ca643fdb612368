//! An identity provider's public keys: a JSON Web Key Set, in a file or at an address.

use super::{Error, FILE_BYTES_MAX};
use crate::reload::{self, Reload};
use crate::session::identity::ProviderKeys;
use crate::telemetry::Metrics;
use crate::tls;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Keys are fetched again this often, or when they are asked for.
const FETCH_EVERY: Duration = Duration::from_secs(5 * 60);
/// The same, as long as they cannot be had.
const RETRY_EVERY: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The keys as they are now; `None`: not had yet.
pub type Current = watch::Receiver<Option<Arc<ProviderKeys>>>;

/// Keys in a file, which is read again when it changes.
pub struct KeyFile {
    path: PathBuf,
    json: Vec<u8>,
    keys: watch::Sender<Option<Arc<ProviderKeys>>>,
}

impl KeyFile {
    /// Reads it for the first time.
    pub fn open(path: &Path) -> Result<(Current, Self), Error> {
        let named = |error| Error::Provider(path.display().to_string(), error);
        let json = reload::read(path, FILE_BYTES_MAX).map_err(|error| named(error.to_string()))?;
        let read = ProviderKeys::parse(&json).map_err(named)?;
        let (keys, current) = watch::channel(Some(Arc::new(read)));
        Ok((current, Self { path: path.to_owned(), json, keys }))
    }
}

impl Reload for KeyFile {
    const SOURCE: &'static str = "id_keys";

    fn reload(&mut self, _now: Instant) -> Result<bool, String> {
        let json = reload::read(&self.path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
        if json == self.json {
            return Ok(false);
        }
        let read = ProviderKeys::parse(&json)?;
        self.keys.send_replace(Some(Arc::new(read)));
        self.json = json;
        Ok(true)
    }
}

/// Keys at an address. The provider may be away: what was had stays.
pub struct KeyAddress {
    uri: http::Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    keys: watch::Sender<Option<Arc<ProviderKeys>>>,
    wanted: Arc<Notify>,
}

impl KeyAddress {
    /// An `http://` or `https://` address; nothing is fetched yet.
    pub fn new(url: &str) -> Result<(Current, Arc<Notify>, Self), Error> {
        let named = |error: String| Error::Provider(url.to_owned(), error);
        let uri: http::Uri = url.parse().map_err(|error| named(format!("{error}")))?;
        let is_secure = uri.scheme_str() == Some("https");
        let config = tls::trusting_the_system(is_secure);
        let config = config.map_err(|error| named(error.to_string()))?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(config);
        let connector = connector.https_or_http().enable_http1().build();
        // One request now and then: no connection is kept for it.
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let (keys, current) = watch::channel(None);
        let wanted = Arc::new(Notify::new());
        Ok((current, Arc::clone(&wanted), Self { uri, client, keys, wanted }))
    }

    /// Fetches now, then again and again, until `stop`.
    pub async fn keep(self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let mut problem = None;
        loop {
            let Some(fetched) = stop.run_until_cancelled(self.fetch()).await else { return };
            let pause = if fetched.is_ok() { FETCH_EVERY } else { RETRY_EVERY };
            match &fetched {
                Ok(()) if problem.is_none() => {}
                Ok(()) => tracing::info!("the identity provider's keys can be had again"),
                Err(why) => {
                    metrics.reload_failed(KeyFile::SOURCE);
                    if problem.as_ref() != Some(why) {
                        tracing::error!(%why, "the identity provider's keys cannot be had");
                    }
                }
            }
            problem = fetched.err();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> Result<(), String> {
        let json = timeout(FETCH_TIMEOUT, self.get()).await;
        let json = json.map_err(|_| format!("no answer within {FETCH_TIMEOUT:?}"))??;
        let keys = ProviderKeys::parse(&json)?;
        // Told also if they are the same: somebody may wait to hear.
        self.keys.send_replace(Some(Arc::new(keys)));
        Ok(())
    }

    async fn get(&self) -> Result<Bytes, String> {
        let answer = self.client.get(self.uri.clone()).await;
        let answer = answer.map_err(|error| with_causes(&error))?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), FILE_BYTES_MAX as usize).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    }
}

/// An error and what is behind it: the outermost of a client's says nothing.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
