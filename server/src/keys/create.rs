//! New keys for tickets, from the command line.

use super::Error;
use crate::session::keyring::{self, KeyError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Writes a new key into a folder, which is made if it is not there, and says where. Its name is the time, so that names count
/// up. Nobody but the owner may read it.
pub fn ticket_key(dir: &Path) -> Result<PathBuf, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Io(path, error)
    };
    let pem = keyring::new_pem().map_err(|error| Error::Key(dir.to_owned(), error))?;
    std::fs::create_dir_all(dir).map_err(failed(dir))?;
    let name = new_name();
    let path = dir.join(format!("{name}.pem"));
    // Whole or not at all: a server may be looking.
    let draft = dir.join(format!(".{name}.tmp"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(failed(&draft))?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(failed(&draft))?;
    // A link fails where a rename would replace a key that is in use.
    let linked = std::fs::hard_link(&draft, &path);
    let removed = std::fs::remove_file(&draft);
    linked.map_err(failed(&path))?;
    removed.map_err(failed(&draft))?;
    Ok(path)
}

/// The time, so that names count up.
fn new_name() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// The file with the sessions' key, among those of [`fleet_keys`].
pub const SESSION_KEY: &str = "session-key";

/// All keys that a fleet shares, new, by the names of their files: one for tickets, and the sessions'.
pub fn fleet_keys() -> Result<BTreeMap<String, Vec<u8>>, KeyError> {
    let ticket_key = (format!("{}.pem", new_name()), keyring::new_pem()?.into_bytes());
    // As text: it passes through editors and terminals unharmed.
    let session_key = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 48]>());
    Ok(BTreeMap::from([ticket_key, (SESSION_KEY.to_owned(), session_key.into_bytes())]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::folder::Folder;
    use crate::telemetry::Metrics;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::time::Duration;

    #[tokio::test]
    async fn a_new_key_is_one_that_a_server_takes_and_nobody_else_can_read() {
        let dir = std::env::temp_dir().join(format!("fray-new-key-{}", std::process::id()));
        let path = ticket_key(&dir).expect("written");
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let opened = Folder::open(&dir, Duration::from_secs(60), &Arc::new(Metrics::default()));
        let (keys, _) = opened.expect("a folder with a key");
        let id = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        assert_eq!(keys.ring().signer().id(), id);
        assert_eq!(std::fs::read_dir(&dir).expect("readable").count(), 1, "no draft is left");
        std::fs::remove_dir_all(&dir).expect("removed");
    }

    #[tokio::test]
    async fn a_fleets_new_keys_are_ones_that_a_server_takes() {
        let dir = std::env::temp_dir().join(format!("fray-fleet-keys-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let made = fleet_keys().expect("made");
        for (name, bytes) in &made {
            std::fs::write(dir.join(name), bytes).expect("written");
        }
        // One folder for all of them, as a mounted Secret is.
        let opened = Folder::open(&dir, Duration::from_secs(60), &Arc::new(Metrics::default()));
        assert_eq!(opened.expect("a folder with a key").0.ring().len(), 1);
        assert!(crate::keys::session_key(&dir.join(SESSION_KEY)).is_ok());
        assert_ne!(made[SESSION_KEY], fleet_keys().expect("made")[SESSION_KEY]);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
