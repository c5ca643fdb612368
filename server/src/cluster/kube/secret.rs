//! The fleet's keys, in a Secret: made once, by whoever is first.

use super::client::{self, Error, ask};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::fmt;

/// What became of a Secret that is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It was made.
    Made,
    /// It was there.
    WasThere,
    /// It was not there, and then somebody else was faster.
    OtherWasFaster,
}

impl fmt::Display for Ensured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Made => "made",
            Self::WasThere => "was there, nothing is changed",
            Self::OtherWasFaster => "somebody else has just made it, nothing is changed",
        })
    }
}

/// A Secret is there, or this one is from now on; what is there is never changed. Which namespace was meant, and what became
/// of it.
pub async fn ensure(
    name: &str,
    namespace: Option<&str>,
    contents: BTreeMap<String, Vec<u8>>,
) -> Result<(String, Ensured), Error> {
    let (client, default_namespace) = client::connect().await?;
    let namespace = namespace.map_or(default_namespace, str::to_owned);
    let ensured = ensure_by(client, name, &namespace, contents).await?;
    Ok((namespace, ensured))
}

pub(super) async fn ensure_by(
    client: Client,
    name: &str,
    namespace: &str,
    contents: BTreeMap<String, Vec<u8>>,
) -> Result<Ensured, Error> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    if ask(secrets.get_metadata_opt(name)).await?.is_some() {
        return Ok(Ensured::WasThere);
    }
    let data = contents.into_iter().map(|(key, bytes)| (key, ByteString(bytes)));
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        type_: Some("Opaque".into()),
        data: Some(data.collect()),
        ..Secret::default()
    };
    match ask(secrets.create(&PostParams::default(), &secret)).await {
        Ok(_) => Ok(Ensured::Made),
        Err(Error::Api(error)) if is_there_already(&error) => Ok(Ensured::OtherWasFaster),
        Err(error) => Err(error),
    }
}

fn is_there_already(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}
