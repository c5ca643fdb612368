//! A client of the Kubernetes API.

use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use std::time::Duration;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the API may say nothing, while an answer is due; longer than it holds a watch open that has nothing to say.
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// How long an answer may take that is not a watch.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the API cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This is no pod with a service account, and there is no kubeconfig either.
    #[error("no way to the Kubernetes API: {in_cluster}; {kubeconfig}")]
    NoWay {
        /// Why not as a pod.
        in_cluster: kube::config::InClusterError,
        /// Why not from outside.
        kubeconfig: kube::config::KubeconfigError,
    },
    /// It was asked, and did not do it.
    #[error("the Kubernetes API: {}", said(.0))]
    Api(#[from] Box<kube::Error>),
    /// It did not answer.
    #[error("the Kubernetes API has not answered within {REQUEST_TIMEOUT:?}")]
    Timeout,
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// In its own words, without all that surrounds them.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

/// As the pod's service account, or, outside of a cluster, as kubeconfig says; and the namespace that is meant if none is
/// named. Nothing is asked of the API yet.
pub(super) async fn connect() -> Result<(Client, String), Error> {
    let mut config = match Config::incluster() {
        Ok(config) => config,
        Err(in_cluster) => Config::from_kubeconfig(&KubeConfigOptions::default())
            .await
            .map_err(|kubeconfig| Error::NoWay { in_cluster, kubeconfig })?,
    };
    set_timeouts(&mut config);
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}

fn set_timeouts(config: &mut Config) {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // The time that a connection was idle before a request does not count.
    config.reset_reader_on_write = true;
}

/// Waits for an answer, not too long.
pub(super) async fn ask<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Timeout),
    }
}
