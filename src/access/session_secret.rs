//! The secret that signs session cookies where no setting has one and the store is shared: kept in the store, so that all
//! servers on it take each other's cookies.

use secrecy::SecretSlice;

use crate::domain::conversation::Owner;
use crate::domain::hex;
use crate::domain::ids::Ids;
use crate::store::documents::{Document, DocumentKind, DocumentsQuery};
use crate::store::{Store, StoreError};

/// Reads the kept secret, or makes it. Servers that start at once agree on one: each puts its own, and all use the first
/// in the store's order, which nothing that comes later changes.
///
/// # Errors
/// When the store cannot be asked, or holds what is no secret.
pub async fn read_or_make(store: &dyn Store, ids: &dyn Ids, now_ms: i64) -> Result<SecretSlice<u8>, StoreError> {
    if let Some(kept) = first(store).await? {
        return secret(&kept);
    }
    let id = format!("secret_{:032x}", ids.public(now_ms));
    let made = Document { id: id.clone(), created_at_ms: now_ms, json: format!("\"{}\"", hex::encode(&ids.secret())) };
    store.put_document(&Owner::operator(), DocumentKind::SessionSecret, made).await?;
    let kept = first(store).await?.ok_or_else(unreadable)?;
    if kept.id != id {
        store.delete_document(&Owner::operator(), DocumentKind::SessionSecret, &id).await?;
    }
    secret(&kept)
}

async fn first(store: &dyn Store) -> Result<Option<Document>, StoreError> {
    let query = DocumentsQuery { after: None, ascending: true, limit: 1 };
    let page = store.documents(&Owner::operator(), DocumentKind::SessionSecret, query).await?;
    Ok(page.and_then(|page| page.documents.into_iter().next()))
}

fn secret(kept: &Document) -> Result<SecretSlice<u8>, StoreError> {
    let text: String = serde_json::from_str(&kept.json).map_err(|_| unreadable())?;
    let secret: [u8; 32] = hex::decode(&text).ok_or_else(unreadable)?;
    Ok(SecretSlice::from(secret.to_vec()))
}

fn unreadable() -> StoreError {
    StoreError::Broken("the session secret in the store cannot be read".to_owned())
}
