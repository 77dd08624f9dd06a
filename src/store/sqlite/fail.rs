//! What can go wrong in SQLite, as the store's errors. No text of a row and no statement reaches a message.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why an operation could not be done.
#[derive(Debug)]
pub(super) enum Fail {
    /// SQLite said so.
    Sqlite(rusqlite::Error),
    /// A row holds something that this version cannot read, or could not hold what it should.
    Content(&'static str),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fail {
    /// Whether the file, the disk or the memory is at fault, so that other operations fare no better just now.
    pub(super) fn is_of_storage(&self) -> bool {
        !matches!(self.to_store_error(), StoreError::Broken(_))
    }

    pub(super) fn to_store_error(&self) -> StoreError {
        match self {
            Self::Content(what) => StoreError::Broken((*what).into()),
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => of_code(*error),
            // The other kinds are about types and statements; their text may quote a row.
            Self::Sqlite(_) => StoreError::Broken("SQLite gave an answer of an unexpected shape".into()),
        }
    }
}

fn of_code(error: rusqlite::ffi::Error) -> StoreError {
    let text = format!("SQLite: {error}");
    match error.code {
        ErrorCode::DiskFull => StoreError::Full(text),
        ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::OutOfMemory
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed => StoreError::Unavailable(text),
        _ => StoreError::Broken(text),
    }
}
