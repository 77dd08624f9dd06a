//! The session secret that development makes once and keeps in the data folder, readable by its owner only.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::{ConfigError, MIN_SECRET_CHARS};
use crate::domain::hex;

/// The file's name in the data folder.
pub(super) const FILE_NAME: &str = "session-secret";

/// Reads the kept secret, or makes it. Servers that start at once in one folder agree on one.
pub(super) fn read_or_make(data_dir: &Path) -> Result<String, ConfigError> {
    let file = data_dir.join(FILE_NAME);
    let secret = try_read_or_make(data_dir, &file).map_err(|error| {
        ConfigError(format!(
            "The session secret cannot be kept in {}: {error}; set SESSION_SECRET, or DATA_DIR to a folder that can be \
             written.",
            file.display()
        ))
    })?;
    if secret.chars().count() < MIN_SECRET_CHARS {
        return Err(ConfigError(format!(
            "{} holds fewer than {MIN_SECRET_CHARS} characters; delete it, and a new one is made.",
            file.display()
        )));
    }
    Ok(secret)
}

fn try_read_or_make(data_dir: &Path, file: &Path) -> io::Result<String> {
    match read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    // With the mode that the store would give it: no other user may read what is kept there.
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir)?;
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let secret = hex::encode(&random);
    let draft = data_dir.join(format!("{FILE_NAME}.{}", &secret[..8]));
    let written = write_private(&draft, &secret);
    // A link never replaces: of two servers that start at once, the second one finds the first one's secret.
    let published = written.and_then(|()| match fs::hard_link(&draft, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Some file systems have no links.
        Err(_) => fs::rename(&draft, file),
        Ok(()) => Ok(()),
    });
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return published.and(Err(error)),
        _ => published?,
    }
    read(file)
}

fn read(file: &Path) -> io::Result<String> {
    let secret = fs::read_to_string(file)?;
    if fs::metadata(file)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
    }
    Ok(secret.trim().to_owned())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn it_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("new/data");
        let made = read_or_make(&data).unwrap();
        assert_eq!(made.len(), 64);
        assert_eq!(read_or_make(&data).unwrap(), made);
        assert_eq!(mode(&data.join(FILE_NAME)), 0o600);
        assert_eq!(mode(&data), 0o700);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft stays behind");
        assert_ne!(read_or_make(dir.path()).unwrap(), made);
    }

    #[test]
    fn many_that_start_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_make(dir.path()).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(all.iter().all(|secret| *secret == all[0]), "{} secrets", all.len());
    }

    #[test]
    fn a_readable_file_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE_NAME);
        fs::write(&file, "x".repeat(32)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read_or_make(dir.path()).unwrap(), "x".repeat(32));
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn a_short_file_or_a_folder_that_cannot_be_written_is_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "short").unwrap();
        let short = read_or_make(dir.path()).unwrap_err().to_string();
        assert!(short.ends_with("holds fewer than 32 characters; delete it, and a new one is made."), "{short}");
        let blocked = read_or_make(&dir.path().join(FILE_NAME).join("below")).unwrap_err().to_string();
        assert!(blocked.starts_with("The session secret cannot be kept in "), "{blocked}");
        assert!(blocked.ends_with("set SESSION_SECRET, or DATA_DIR to a folder that can be written."), "{blocked}");
    }
}
