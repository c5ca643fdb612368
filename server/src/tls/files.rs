//! Certificates and keys in PEM files, which may change while they are used.

use crate::reload::{self, Reload};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::time::Instant;

/// The most bytes of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, the own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why files cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, std::io::Error),
    /// There is nothing of that kind in a file.
    #[error("{}: {}", .0.display(), .1)]
    Pem(PathBuf, String),
    /// They do not fit together, or are of a kind that is not used.
    #[error("the certificate cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The certificate authority cannot be used.
    #[error("the certificate authority cannot be used: {0}")]
    Authority(String),
}

/// A file's content, and where it is from.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Content {
    fn read(path: &Path) -> Result<Self, Error> {
        let bytes = reload::read(path, FILE_BYTES_MAX);
        let bytes = bytes.map_err(|error| Error::Io(path.to_owned(), error))?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    pub(super) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let wrong = |problem: String| Error::Pem(self.path.clone(), problem);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let chain = chain.map_err(|error| wrong(error.to_string()))?;
        if chain.is_empty() { Err(wrong("there is no certificate".into())) } else { Ok(chain) }
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let key = PrivateKeyDer::from_pem_slice(&self.bytes);
        key.map_err(|error| Error::Pem(self.path.clone(), format!("no private key: {error}")))
    }

    pub(super) fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.chain()? {
            roots.add(certificate).map_err(|e| Error::Pem(self.path.clone(), e.to_string()))?;
        }
        Ok(roots)
    }
}

/// What was made of files, as they were when they were last sound.
pub(super) struct Current<T>(Arc<RwLock<Arc<T>>>);

impl<T> Current<T> {
    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Puts contents to use.
type Apply = Box<dyn Fn(&[Content]) -> Result<(), Error> + Send>;

/// Reads the files of an [`super::Acceptor`] or a [`super::Connector`] again.
pub struct Reloader {
    paths: Vec<PathBuf>,
    /// Of what is in use.
    hash: [u8; 32],
    apply: Apply,
}

impl Reloader {
    /// Reads them for the first time: what `build` makes of their contents, in the order of the paths, now and later.
    pub(super) fn open<T: Send + Sync + 'static>(
        paths: Vec<PathBuf>,
        build: fn(&[Content]) -> Result<T, Error>,
    ) -> Result<(Current<T>, Self), Error> {
        let contents = read(&paths)?;
        let current = Current(Arc::new(RwLock::new(Arc::new(build(&contents)?))));
        let later = Current(Arc::clone(&current.0));
        let apply = move |contents: &[Content]| {
            let new = Arc::new(build(contents)?);
            *later.0.write().unwrap_or_else(PoisonError::into_inner) = new;
            Ok(())
        };
        Ok((current, Self { paths, hash: hash(&contents), apply: Box::new(apply) }))
    }

    /// Reads them again; true if they are others and are used from now on. Blocks.
    pub fn reload_now(&mut self) -> Result<bool, Error> {
        let contents = read(&self.paths)?;
        let hash = hash(&contents);
        if hash == self.hash {
            return Ok(false);
        }
        (self.apply)(&contents)?;
        self.hash = hash;
        Ok(true)
    }
}

impl Reload for Reloader {
    const SOURCE: &'static str = "tls";

    fn reload(&mut self, _now: Instant) -> Result<bool, String> {
        self.reload_now().map_err(|error| error.to_string())
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Content>, Error> {
    paths.iter().map(|path| Content::read(path)).collect()
}

fn hash(contents: &[Content]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update((content.bytes.len() as u64).to_le_bytes());
        hash.update(&content.bytes);
    }
    hash.finalize().into()
}
