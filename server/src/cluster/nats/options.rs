//! Where NATS is, and how one gets in.

use super::StartError;
use crate::session::directory::InstanceId;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between two attempts. Far shorter than what a server has before others may claim its rooms.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often a silent connection is asked whether it lives; it is given up after the third time.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How many messages may wait to be taken into the view. What is beyond is read again.
const MESSAGES_WAITING_MAX: usize = 16 * 1024;
/// How many events of the connection may wait; more say nothing new.
const EVENTS_WAITING_MAX: usize = 16;

/// Where NATS is, and what is kept there.
#[derive(Clone)]
pub struct Options {
    /// `nats://HOST:PORT` or `tls://…`, several with commas between; user and password, or a token, as the URL's user.
    pub url: String,
    /// What the names of the buckets begin with: letters, digits, `_` and `-`. Servers with the same are one fleet.
    pub prefix: String,
    /// How many NATS servers keep each record: 1, 3 or 5. Counts when the buckets are made.
    pub replicas: usize,
    /// A file with a user's JWT and key, as `nsc` writes it.
    pub credentials: Option<PathBuf>,
    /// How the connection is protected.
    pub tls: Tls,
}

/// How the connection to NATS is protected.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// A connection without is given up, whatever the URL says.
    pub is_required: bool,
    /// Certificates, as PEM, that NATS's may be signed by, beside those that the system trusts.
    pub ca: Option<PathBuf>,
    /// This server's certificate and its key, as PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            prefix: "fray".to_owned(),
            replicas: 1,
            credentials: None,
            tls: Tls::default(),
        }
    }
}

/// Without who gets in.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts =
            self.url.split(',').map(|url| url.rsplit_once('@').map_or(url, |(_, host)| host));
        f.debug_struct("Options")
            .field("hosts", &hosts.collect::<Vec<_>>())
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .field("has_credentials", &self.credentials.is_some())
            .field("tls", &self.tls)
            .finish()
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), StartError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.prefix.is_empty() || self.prefix.len() > 32 || !self.prefix.chars().all(is_plain) {
            return Err(StartError::Invalid(
                "the prefix must be 1 to 32 letters, digits, '_' or '-'",
            ));
        }
        if ![1, 3, 5].contains(&self.replicas) {
            return Err(StartError::Invalid("replicas must be 1, 3 or 5"));
        }
        Ok(())
    }

    /// A client that connects by itself, now and whenever the connection breaks, and what happens to it.
    pub(super) async fn connect(
        &self,
        me: &InstanceId,
    ) -> Result<(Client, mpsc::Receiver<Event>), StartError> {
        let (addresses, options) = self.prepared().await?;
        let (note, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let client = options
            .name(format!("fray-server {me}"))
            .ping_interval(PING_EVERY)
            .subscription_capacity(MESSAGES_WAITING_MAX)
            .event_callback(move |event| {
                let note = note.clone();
                async move {
                    // Whoever reads these looks at the newest state, too.
                    let _ = note.try_send(event);
                }
            })
            .connect(addresses)
            .await?;
        Ok((client, events))
    }

    /// A further client, for something else than the directory. It connects by itself, too.
    pub async fn client(&self) -> Result<Client, StartError> {
        let (addresses, options) = self.prepared().await?;
        Ok(options.name("fray-server store").connect(addresses).await?)
    }

    async fn prepared(&self) -> Result<(Vec<ServerAddr>, ConnectOptions), StartError> {
        let (addresses, user) = addresses(&self.url)?;
        let mut options = ConnectOptions::new();
        match user {
            None => {}
            Some((user, Some(password))) => options = options.user_and_password(user, password),
            Some((token, None)) => options = options.token(token),
        }
        if let Some(file) = &self.credentials {
            let with = options.credentials_file(file).await;
            options = with.map_err(StartError::Credentials)?;
        }
        if self.tls.is_required {
            options = options.require_tls(true);
        }
        if let Some(ca) = &self.tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &self.tls.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let options = options
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .reconnect_delay_callback(pause);
        Ok((addresses, options))
    }
}

fn pause(attempts: usize) -> Duration {
    let doubled = Duration::from_millis(50) * 2_u32.saturating_pow(attempts.min(8) as u32);
    if attempts <= 1 { Duration::ZERO } else { doubled.min(RECONNECT_PAUSE_MAX) }
}

type User = (String, Option<String>);

/// The addresses without who gets in, so that those do not come into any log, and who that is.
fn addresses(urls: &str) -> Result<(Vec<ServerAddr>, Option<User>), StartError> {
    let mut user = None;
    let mut addresses = Vec::new();
    for url in urls.split(',') {
        let address: ServerAddr = url.trim().parse().map_err(StartError::Url)?;
        if let Some(name) = address.username() {
            user = Some((decoded(name), address.password().map(decoded)));
        }
        let mut url = address.into_inner();
        // Fails only for URLs without a host, which then do not connect.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        addresses.push(ServerAddr::from_url(url).map_err(StartError::Url)?);
    }
    Ok((addresses, user))
}

/// `%41` is `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_in_is_taken_out_of_the_url_and_not_shown() {
        let (addresses, user) = addresses("nats://mia:p%40ss@one:4223,two").expect("two addresses");
        assert_eq!(user, Some(("mia".to_owned(), Some("p@ss".to_owned()))));
        let hosts: Vec<_> = addresses.iter().map(|to| (to.host(), to.port())).collect();
        assert_eq!(hosts, [("one", 4223), ("two", 4222)]);
        assert!(!format!("{addresses:?}").contains("p%40ss"));
        let url = "nats://mia:p%40ss@one:4223".to_owned();
        let shown = format!("{:?}", Options { url, ..Options::default() });
        assert!(shown.contains("one:4223") && !shown.contains("mia"), "{shown}");
    }

    #[test]
    fn a_user_alone_is_a_token() {
        let (_, user) = addresses("tls://s3cr%65t@host").expect("an address");
        assert_eq!(user, Some(("s3cret".to_owned(), None)));
        assert!(addresses("http://host").is_err());
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }

    #[test]
    fn what_cannot_be_a_bucket_is_refused() {
        for prefix in ["", "a.b", "a b", "ä", &"a".repeat(33)] {
            assert!(Options { prefix: prefix.into(), ..Options::default() }.check().is_err());
        }
        assert!(Options { replicas: 2, ..Options::default() }.check().is_err());
        Options { prefix: "fray-2_b".into(), replicas: 3, ..Options::default() }
            .check()
            .expect("sound");
    }
}
