//! The data folder: made private, and locked so that only one server uses it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

const DATABASE: &str = "openai-backend.db";
const LOCK: &str = "openai-backend.lock";

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

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
