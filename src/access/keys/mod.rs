//! Keys that this server makes. A key's text is shown once; its SHA-256 is kept in the store, where the servers that run
//! find it (`cache`).

pub mod cache;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::config::{KEY_NAMES, is_key_name, key_hash};
use crate::domain::conversation::Owner;
use crate::domain::hex;
use crate::domain::ids::Ids;
use crate::store::documents::{Document, DocumentKind, DocumentsQuery};
use crate::store::{Store, StoreError};

/// What every key's text begins with, so that one that was published by mistake can be recognised.
const TEXT_PREFIX: &str = "sk-ob-";

/// The most keys there may be: each of them is compared with what a request shows.
pub const MOST_KEYS: usize = 1_000;

/// How many keys are read at once.
const PAGE: usize = 250;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Create {
        /// Keys of one name are one owner.
        name: String,
    },
    List,
    Revoke {
        id: String,
    },
}

/// What a command prints.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CliOutput {
    /// To stdout, for programs, too: the new key, or a line for each key. Whole lines, or nothing.
    pub out: String,
    /// To stderr, for the person at the terminal.
    pub note: String,
}

/// A key, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `key_...`, by which it is revoked.
    pub id: String,
    /// The id of its owner.
    pub name: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The SHA-256 of its text.
    pub hash: [u8; 32],
}

/// A key as its document says it.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    /// In hex, so that `sha256sum` of a key that was found finds its record.
    sha256: String,
}

impl Key {
    fn document(&self) -> Result<Document, StoreError> {
        let kept = Kept { name: self.name.clone(), sha256: hex::encode(&self.hash) };
        let json = serde_json::to_string(&kept).map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(Document { id: self.id.clone(), created_at_ms: self.created_at_ms, json })
    }

    /// An unreadable key fails the whole list: skipping it could make the server think that it has no keys, and open `/v1`.
    fn read(document: Document) -> Result<Self, StoreError> {
        let kept: Option<Kept> = serde_json::from_str(&document.json).ok();
        let read = kept.and_then(|kept| Some((kept.name, hex::decode(&kept.sha256)?)));
        let (name, hash) = read.ok_or_else(|| StoreError::Broken(format!("the key {} cannot be read", document.id)))?;
        Ok(Self { id: document.id, name, created_at_ms: document.created_at_ms, hash })
    }
}

/// Runs the command.
///
/// # Errors
/// With one sentence for the person at the terminal.
pub async fn run(command: &Command, store: &dyn Store, ids: &dyn Ids, now_ms: i64) -> Result<CliOutput, String> {
    match command {
        Command::Create { name } => create(store, ids, now_ms, name).await,
        Command::List => list(store).await.map(|keys| table(&keys)).map_err(|error| format!("{error}.")),
        Command::Revoke { id } => revoke(store, id).await,
    }
}

async fn create(store: &dyn Store, ids: &dyn Ids, now_ms: i64, name: &str) -> Result<CliOutput, String> {
    if !is_key_name(name) {
        return Err(format!("A key is named with {KEY_NAMES}."));
    }
    let kept = list(store).await.map_err(|error| format!("{error}."))?.len();
    if kept >= MOST_KEYS {
        return Err(format!("There are {kept} keys, and there may be {MOST_KEYS}: revoke those that are not in use."));
    }
    let text = format!("{TEXT_PREFIX}{}", URL_SAFE_NO_PAD.encode(ids.secret()));
    let id = format!("key_{:032x}", ids.public(now_ms));
    let key = Key { id, name: name.to_owned(), created_at_ms: now_ms, hash: key_hash(text.as_bytes()) };
    let put = match key.document() {
        Ok(document) => store.put_document(&Owner::operator(), DocumentKind::ApiKey, document).await,
        Err(error) => Err(error),
    };
    match put {
        Ok(true) => Ok(CliOutput {
            out: format!("{text}\n"),
            note: format!(
                "This is the key {} of {name}. It is shown this once; requests send it as Authorization: Bearer.\n",
                key.id
            ),
        }),
        Ok(false) => Err("The store did not take the key.".to_owned()),
        Err(error) => Err(format!("{error}.")),
    }
}

/// The keys that there are, the oldest first.
///
/// # Errors
/// When they cannot be read; one unreadable key fails the whole list.
pub async fn list(store: &dyn Store) -> Result<Vec<Key>, StoreError> {
    let mut keys: Vec<Key> = Vec::new();
    loop {
        let after = keys.last().map(|key| key.id.clone());
        let query = DocumentsQuery { after, ascending: true, limit: PAGE };
        // `None`: the last key was revoked while we read, so the list begins anew.
        let Some(page) = store.documents(&Owner::operator(), DocumentKind::ApiKey, query).await? else {
            keys.clear();
            continue;
        };
        for document in page.documents {
            keys.push(Key::read(document)?);
        }
        // Keys made at the same moment may exceed the limit by a few.
        if !page.has_more || keys.len() >= 2 * MOST_KEYS {
            return Ok(keys);
        }
    }
}

async fn revoke(store: &dyn Store, id: &str) -> Result<CliOutput, String> {
    let revoked = store.delete_document(&Owner::operator(), DocumentKind::ApiKey, id).await;
    match revoked.map_err(|error| format!("{error}."))? {
        true => {
            let left = list(store).await.map_err(|error| format!("It is revoked, but {error}."))?.len();
            let note = match left {
                0 => {
                    "Revoked, the last one. With no key in API_KEYS either, a loopback HOST is open to its machine again.\n"
                }
                _ => "Revoked. Servers that run turn it away within a second.\n",
            };
            Ok(CliOutput { note: note.to_owned(), ..CliOutput::default() })
        }
        // The id is not quoted: it may be the key's text, given by mistake, which must not end up in a log.
        false => Err("There is no key of this id: `keys list` shows them.".to_owned()),
    }
}

fn table(keys: &[Key]) -> CliOutput {
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
    let out = keys.iter().fold(String::new(), |mut lines, key| {
        let made = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(key.created_at_ms).unwrap_or(0));
        let _ = writeln!(lines, "{}  {:<width$}  {}", key.id, key.name, httpdate::fmt_http_date(made));
        lines
    });
    let note = if keys.is_empty() { "There are no keys.\n".to_owned() } else { String::new() };
    CliOutput { out, note }
}

#[cfg(test)]
mod tests;
