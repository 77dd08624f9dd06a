//! The data folder: made private, and locked so that only one server uses it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

const DATABASE: &str = "openai-backend.db";
const LOCK: &str = "openai-backend.lock";

/// The folder is this server's until the lock is dropped. The operating system drops it with the process, however that
/// ends.
pub(super) struct Folder {
    /// The database's file.
    pub(super) database: PathBuf,
    /// Held open for its lock.
    pub(super) lock: File,
}

impl Folder {
    /// Makes the folder where it is missing, and takes its lock.
    pub(super) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let shown = data_dir.display();
        let cannot = |doing: &str, error: io::Error| StoreError::Unavailable(format!("{doing} {shown}: {error}"));
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|e| cannot("cannot make", e))?;
        let lock = private_file(&data_dir.join(LOCK)).map_err(|e| cannot("cannot write to", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Unavailable(format!("another server is using the data folder {shown}")));
            }
            Err(TryLockError::Error(error)) => return Err(cannot("cannot lock", error)),
        }
        // SQLite would make its files readable for all; it gives the ones beside the database the database's mode.
        let database = data_dir.join(DATABASE);
        private_file(&database).map_err(|e| cannot("cannot write to", e))?;
        Ok(Self { database, lock })
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
