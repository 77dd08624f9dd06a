//! The data folder: made private, and locked so that only one server uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

pub(super) const DATABASE: &str = "openai-backend.db";
const LOCK: &str = "openai-backend.lock";

/// What the disk must be able to take for the server to be ready: more than a turn of the usual length.
const ROOM: usize = 256 * 1024;

/// The folder is this process's until the lock is dropped. The operating system drops it with the process, however that
/// ends.
pub(super) struct Folder {
    /// The database's file.
    pub(super) database: PathBuf,
    /// Held open for its lock; `None` where another process has it.
    pub(super) lock: Option<File>,
}

impl Folder {
    /// Makes the folder where it is missing, and takes its lock.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let folder = Self::beside(data_dir)?;
        match folder.lock {
            Some(_) => Ok(folder),
            None => {
                let shown = data_dir.display();
                Err(StoreError::Unavailable(format!("another server is using the data folder {shown}")))
            }
        }
    }

    /// The same, but where another process has the lock, the folder is left as it is.
    pub(super) fn beside(data_dir: &Path) -> Result<Self, StoreError> {
        let shown = data_dir.display();
        let cannot = |doing: &str, error: io::Error| StoreError::Unavailable(format!("{doing} {shown}: {error}"));
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|e| cannot("cannot make", e))?;
        let lock = private_file(&data_dir.join(LOCK)).map_err(|e| cannot("cannot write to", e))?;
        let database = data_dir.join(DATABASE);
        match lock.try_lock() {
            Ok(()) => {}
            // The database is not so much as opened here: closing it again would end all locks that SQLite has on it, where
            // it is this very process that uses it.
            Err(TryLockError::WouldBlock) => return Ok(Self { database, lock: None }),
            Err(TryLockError::Error(error)) => return Err(cannot("cannot lock", error)),
        }
        // SQLite would make its files readable for all; it gives the ones beside the database the database's mode.
        private_file(&database).map_err(|e| cannot("cannot write to", e))?;
        Ok(Self { database, lock: Some(lock) })
    }
}

/// Whether the disk of the folder can take more: writes a file there and removes it.
pub(super) fn try_room(database: &Path) -> Result<(), StoreError> {
    let path = database.with_extension("room");
    let written = private_file(&path).and_then(|mut file| file.write_all(&[0; ROOM]));
    let removed = match fs::remove_file(&path) {
        // Another one was at it at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    written.and(removed).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full("the disk of the data folder has no room".into())
        }
        _ => StoreError::Unavailable(format!("the data folder cannot be written to: {error}")),
    })
}

/// The time that was noted last; one that lies far back where it cannot be read.
pub(super) fn certain_ms(database: &Path) -> Option<i64> {
    match fs::read_to_string(database.with_extension("time")) {
        Ok(text) => Some(text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(0),
    }
}

/// Notes a time that is certain.
pub(super) fn note_certain_ms(database: &Path, now_ms: i64) -> io::Result<()> {
    // Times of our age all have as many digits: the file needs no truncating, and no more room.
    private_file(&database.with_extension("time"))?.write_all(format!("{now_ms}\n").as_bytes())
}

/// A file that is not there yet.
pub(super) fn new_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
