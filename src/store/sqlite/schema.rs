//! Opening the database: its settings, its schema and the steps from an older one.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fail::Fail;
use super::log_mark;
use crate::store::StoreError;

/// Step n brings a database from version n to n + 1. Published ones are never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_conversations.sql"),
    include_str!("migrations/0003_numbers.sql"),
    include_str!("migrations/0004_tries.sql"),
    include_str!("migrations/0005_rates.sql"),
];

/// How long to wait for a `sqlite3` shell, or for a process that puts a document beside the server; no other server has
/// the file. Less than a call may take, so that its error names the cause.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

/// More than there are statements, so that each is compiled once per connection.
const CACHED_STATEMENTS: usize = 128;

/// The connection that writes.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let had_log = log_mark::log_of(path).exists();
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 4_000).map_err(|fail| fail.to_store_error())?;
    log_mark::require_log(&db, had_log)?;
    migrate(&db)?;
    // From here on a copy of the file alone is not whole.
    if let Err(error) = log_mark::around(&db, || db.query_one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))) {
        tracing::warn!(error = %Fail::from(error).to_store_error(), "a checkpoint failed");
    }
    Ok(db)
}

/// A connection that writes beside the process whose file it is, which alone may change the schema.
pub(super) fn open_beside(path: &Path) -> Result<Connection, StoreError> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 1_000).map_err(|fail| fail.to_store_error())?;
    let version = version(&db).map_err(|fail| fail.to_store_error())?;
    if usize::try_from(version) == Ok(MIGRATIONS.len()) {
        return Ok(db);
    }
    let known = MIGRATIONS.len();
    Err(StoreError::Unavailable(format!(
        "the database has schema version {version} and this program {known}: the server that uses it is another version \
         of the program, or is starting"
    )))
}

/// A connection to a database of any version, whether it is in use or not.
pub(super) fn open_any(path: &Path) -> Result<Connection, Fail> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 1_000)
}

/// A connection that reads. The writer is open already and keeps the write-ahead log in being.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Fail> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, 1_000)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn open(path: &Path, mode: OpenFlags, cache_kib: i32) -> Result<Connection, Fail> {
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Otherwise a statement with a range is compiled again whenever the range is another one.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.pragma_update(None, "cache_size", -cache_kib)?;
    db.pragma_update(None, "temp_store", "memory")?;
    // A read error in mapped memory would end the process instead of failing one call.
    db.pragma_update(None, "mmap_size", 0)?;
    if mode.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fail::Content("this file system cannot hold a write-ahead log"));
        }
        db.pragma_update(None, "synchronous", "normal")?;
        // The writer does it after the answers are out, instead of while a caller waits for one.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        // What is deleted is overwritten: a deleted conversation is not to be found in the file.
        db.pragma_update(None, "secure_delete", true)?;
    }
    Ok(db)
}

fn migrate(db: &Connection) -> Result<(), StoreError> {
    let version = version(db).map_err(|fail| fail.to_store_error())?;
    let steps = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)).ok_or_else(|| {
        let known = MIGRATIONS.len();
        StoreError::Broken(format!(
            "the database has schema version {version}, but this server knows only up to {known}: \
             it was written by a newer version of the server"
        ))
    })?;
    for (next, step) in (version + 1..).zip(steps) {
        let sql = format!("BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {next};\nCOMMIT;");
        db.execute_batch(&sql).map_err(|error| Fail::from(error).to_store_error())?;
    }
    Ok(())
}

fn version(db: &Connection) -> Result<i64, Fail> {
    Ok(db.query_one("PRAGMA user_version", [], |row| row.get(0))?)
}
