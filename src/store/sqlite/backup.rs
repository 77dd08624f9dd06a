//! A copy of the database as it is at one moment, also beside a running server.

use std::fs::{self, File};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::fail::Fail;
use super::{files, log_mark, schema};

/// Copies the database in `data_dir` to the file `to`, which only this user may read and which must not be there.
///
/// # Errors
/// With one sentence for the person who asked for it; then there is no such file.
pub(super) fn write(data_dir: &Path, to: &Path) -> Result<(), String> {
    let database = data_dir.join(files::DATABASE);
    if !database.exists() {
        return Err(format!("There is no database in {}: DATA_DIR names its folder.", data_dir.display()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    // Under its own name there is only a whole one.
    let unfinished = beside(to);
    let cannot = |error: Error| format!("The backup cannot be written to {}: {error}.", to.display());
    files::new_private_file(&unfinished).map_err(cannot)?;
    let done = copy(&database, &unfinished).and_then(|()| {
        File::open(&unfinished).and_then(|file| file.sync_all()).map_err(cannot)?;
        match fs::hard_link(&unfinished, to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(to)),
            // Not every file system has links.
            Err(_) => fs::rename(&unfinished, to).map_err(cannot),
        }
    });
    let tidied = match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(cannot(error)),
        _ => Ok(()),
    };
    done.and(tidied)
}

fn exists(to: &Path) -> String {
    format!("{} is there already, and a backup overwrites nothing: name another file.", to.display())
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".unfinished-{}", std::process::id()));
    name.into()
}

fn copy(database: &Path, to: &Path) -> Result<(), String> {
    let failed = |fail: Fail| format!("The backup cannot be made: {}.", fail.to_store_error());
    let path = to.to_str().ok_or("The backup cannot be made: its path is not UTF-8.")?;
    let had_log = log_mark::log_of(database).exists();
    let db = schema::open_any(database).map_err(failed)?;
    log_mark::require_log(&db, had_log).map_err(|error| format!("The backup cannot be made: {error}."))?;
    db.execute("VACUUM INTO ?1", [path]).map_err(|error| failed(error.into()))?;
    let copy = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let copy = copy.map_err(|error| failed(error.into()))?;
    log_mark::take_back(&copy).map_err(failed)?;
    copy.close().map_err(|(_, error)| failed(error.into()))
}
