//! Keys from outside: where tickets' keys, the sessions' key and an identity provider's keys come from. What they are good for
//! is the session's business.
//!
//! - [`folder`]: tickets' private keys, one file each. [`create`]: makes such a file.
//! - [`provider`]: an identity provider's public keys, from a file or by HTTP.

pub mod create;
pub mod folder;
pub mod provider;

use crate::reload;
use crate::session::keyring::KeyError;
use crate::session::token::TokenKey;
use std::io;
use std::path::{Path, PathBuf};

/// The most bytes of a file with a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// A file holds something else.
    #[error("{}: {}", .0.display(), .1)]
    Key(PathBuf, KeyError),
    /// The sessions' key is too easy to guess.
    #[error("{}: a key for sessions has at least 32 bytes", .0.display())]
    Short(PathBuf),
    /// The provider's keys cannot be used.
    #[error("{0}: {1}")]
    Provider(String, String),
}

/// The key that resume tokens and ids are made from, the same on all servers.
pub fn session_key(path: &Path) -> Result<TokenKey, Error> {
    let bytes = reload::read(path, FILE_BYTES_MAX);
    let bytes = bytes.map_err(|error| Error::Io(path.to_owned(), error))?;
    // An editor's line break at the end must not make another key of it.
    let key = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let key = key.strip_suffix(b"\r").unwrap_or(key);
    TokenKey::shared(key).ok_or_else(|| Error::Short(path.to_owned()))
}
