//! What the store needs of a file system: so little that a test can stand in for it, and crash at every call.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A folder's files. Paths are below the store's folder, with `/` between their parts; the folder itself is "".
///
/// As on every file system, what was written or named stays only in memory until it is synced: a file's bytes and length by
/// [`DiskFile::sync`] or [`Disk::sync_file`], names by [`Disk::sync_dir`] of the folder that they are in.
pub trait Disk: Send + Sync + 'static {
    /// What is in a folder, in no order.
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>>;

    /// Reads a file from its beginning; also what is appended after this call.
    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Makes a folder, and says whether it was not there before.
    fn make_dir(&self, dir: &str) -> io::Result<bool>;

    /// Makes a file that must not be there.
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Cuts a file off.
    fn truncate(&self, path: &str, length: u64) -> io::Result<()>;

    /// Makes a file's bytes and length safe.
    fn sync_file(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder safe.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Gives a file another name, at once; a file that had it is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Who reads it may go on.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, dir: &str) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Adds to its end. After an error, any part of it may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes its bytes and length safe.
    fn sync(&self) -> io::Result<()>;
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the folder's.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written, since 1970 (UTC).
    pub modified: Duration,
}

/// A folder of the machine. Only its owner may read what is made in it: headers hold the codes of private rooms.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// A folder that is there.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root: root.to_owned() })
    }

    /// A folder that is made if it is not there.
    pub fn create(root: &Path) -> io::Result<Self> {
        let mut options = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut options, 0o700);
        options.recursive(true).create(root)?;
        // Its own name; a file system that cannot do this is one that needs no help with it.
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let _ = sync_dir(parent);
        }
        Self::open(root)
    }

    /// Takes the folder for this process, for as long as the file is not dropped; `None` if another process has it.
    pub(super) fn lock(&self) -> io::Result<Option<File>> {
        let lock = private(OpenOptions::new().create(true).truncate(false).write(true))
            .open(self.root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Disk for RealDisk {
    fn list(&self, dir: &str) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let about = match entry.metadata() {
                Ok(about) => about,
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let modified = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            found.push(Entry { name, bytes: about.len(), modified });
        }
        Ok(found)
    }

    fn read(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path(path))?))
    }

    fn make_dir(&self, dir: &str) -> io::Result<bool> {
        let mut options = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut options, 0o700);
        match options.create(self.path(dir)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let file =
            private(OpenOptions::new().create_new(true).append(true)).open(self.path(path))?;
        Ok(Box::new(RealFile(file)))
    }

    fn truncate(&self, path: &str, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(path))?.set_len(length)
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path(path))?.sync_data()
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_dir(&self.path(dir))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        fs::remove_dir(self.path(dir))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn sync_dir(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened, and names are safe without it.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}
