//! New keys for tickets, from the command line.

use super::Error;
use crate::session::keyring;
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
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let name: String = now.chars().filter(char::is_ascii_alphanumeric).collect();
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
}
