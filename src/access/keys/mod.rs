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
use crate::domain::ids::Ids;
use crate::store::documents::{Document, DocumentKind, DocumentsQuery};
use crate::store::{Store, StoreError};

/// What every key's text begins with, so that one that was published by mistake can be recognised.
const TEXT_PREFIX: &str = "sk-ob-";

/// The most keys there may be: each of them is compared with what a request shows.
pub const MOST_KEYS: usize = 1_000;

/// How many keys are read at once.
const PAGE: usize = 250;

/// What is to be done with keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make one.
    Create {
        /// Who it is for: keys of one name are one owner.
        name: String,
    },
    /// List those that there are.
    List,
    /// Delete one.
    Revoke {
        /// The key's id, as it is listed.
        id: String,
    },
}

/// What the person who commanded it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// For a program too: the new key, or a line for each key. Whole lines, or nothing.
    pub out: String,
    /// For a person.
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
    /// In hex, so that `sha256sum` finds the key that somebody lost.
    sha256: String,
}

impl Key {
    fn document(&self) -> Result<Document, StoreError> {
        let kept = Kept { name: self.name.clone(), sha256: hex(&self.hash) };
        let json = serde_json::to_string(&kept).map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(Document { id: self.id.clone(), created_at_ms: self.created_at_ms, json })
    }

    /// A key that cannot be read is no key less: with it unseen, a door could take itself for one without any.
    fn read(document: Document) -> Result<Self, StoreError> {
        let kept: Option<Kept> = serde_json::from_str(&document.json).ok();
        let read = kept.and_then(|kept| Some((kept.name, from_hex(&kept.sha256)?)));
        let (name, hash) = read.ok_or_else(|| StoreError::Broken(format!("the key {} cannot be read", document.id)))?;
        Ok(Self { id: document.id, name, created_at_ms: document.created_at_ms, hash })
    }
}

/// Does what was commanded.
///
/// # Errors
/// With one sentence, where it cannot be done.
pub async fn run(command: &Command, store: &dyn Store, ids: &dyn Ids, now_ms: i64) -> Result<Said, String> {
    match command {
        Command::Create { name } => create(store, ids, now_ms, name).await,
        Command::List => list(store).await.map(|keys| table(&keys)).map_err(|error| format!("{error}.")),
        Command::Revoke { id } => revoke(store, id).await,
    }
}

/// Makes a key.
async fn create(store: &dyn Store, ids: &dyn Ids, now_ms: i64, name: &str) -> Result<Said, String> {
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
        Ok(true) => Ok(Said {
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
/// When they cannot be read; all of them count, so that one that is no key fails all.
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
        // Two who make one at the same time may pass the most by a few.
        if !page.has_more || keys.len() >= 2 * MOST_KEYS {
            return Ok(keys);
        }
    }
}

async fn revoke(store: &dyn Store, id: &str) -> Result<Said, String> {
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
            Ok(Said { note: note.to_owned(), ..Said::default() })
        }
        // Whoever gives the key's text in place of its id must not read it in a log.
        false => Err("There is no key of this id: `keys list` shows them.".to_owned()),
    }
}

fn table(keys: &[Key]) -> Said {
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or_default();
    let out = keys.iter().fold(String::new(), |mut lines, key| {
        let made = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(key.created_at_ms).unwrap_or(0));
        let _ = writeln!(lines, "{}  {:<width$}  {}", key.id, key.name, httpdate::fmt_http_date(made));
        lines
    });
    let note = if keys.is_empty() { "There are no keys.\n".to_owned() } else { String::new() };
    Said { out, note }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests;
