//! Telling a database that was copied without its write-ahead log. While the server runs, the newest part of the database is in
//! that log, so a copy of the one file lacks it, and nothing in the file says so.
//!
//! A mark does. It is set for each copying of the log into the database, and taken back right after: then the file has the mark
//! and the log takes it back. Who reads both, as a server after a crash or a proper backup does, sees none.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::fail::Fail;
use crate::store::StoreError;

/// What `PRAGMA application_id` says of a file that needs its log; without the mark, it is 0.
const NEEDS_ITS_LOG: i64 = 0x6f62_6c67;

/// The file of a database's log.
pub(super) fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Refuses a database that lacks its log; `had_log` is whether there was one before SQLite opened the database.
pub(super) fn require_log(db: &Connection, had_log: bool) -> Result<(), StoreError> {
    if had_log || !is_set(db).map_err(|fail| fail.to_store_error())? {
        return Ok(());
    }
    Err(StoreError::Unavailable(
        "openai-backend.db was copied from a running server without openai-backend.db-wal, which had its newest part: copy both \
         while the server is stopped, or make copies with `openai-backend backup`"
            .into(),
    ))
}

fn is_set(db: &Connection) -> Result<bool, Fail> {
    let id: i64 = db.query_one("PRAGMA application_id", [], |row| row.get(0))?;
    Ok(id == NEEDS_ITS_LOG)
}

/// Marks the file around `checkpoint`, which copies the log into it.
pub(super) fn around<T>(db: &Connection, checkpoint: impl FnOnce() -> T) -> T {
    let marked = db.pragma_update(None, "application_id", NEEDS_ITS_LOG).map_err(Fail::from);
    let done = checkpoint();
    // On a full disk the mark may be missing: a bad copy is then not told from a good one, and nothing else.
    if let Err(fail) = marked.and_then(|()| take_back(db)) {
        tracing::debug!(error = %fail.to_store_error(), "the database's file is not marked as needing its log");
    }
    done
}

/// What follows makes the file whole.
pub(super) fn take_back(db: &Connection) -> Result<(), Fail> {
    match is_set(db)? {
        true => Ok(db.pragma_update(None, "application_id", 0)?),
        false => Ok(()),
    }
}
