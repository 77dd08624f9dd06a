//! Conversations and documents, to be written.

use async_trait::async_trait;

use super::Sqlite;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, ItemId, TurnId};
use crate::domain::item::{Item, StoredItem};
use crate::store::StoreError;
use crate::store::conversations::*;
use crate::store::documents::*;

fn missing<T>() -> Result<T, StoreError> {
    Err(StoreError::Broken("not written yet".into()))
}

#[async_trait]
impl Conversations for Sqlite {
    async fn create_conversation(&self, _: NewConversation) -> Result<Created, StoreError> {
        missing()
    }
    async fn conversation(&self, _: &Place) -> Result<Option<ConversationInfo>, StoreError> {
        missing()
    }
    async fn conversations(
        &self,
        _: &Owner,
        _: Option<&ConversationId>,
        _: usize,
    ) -> Result<Option<ConversationsPage>, StoreError> {
        missing()
    }
    async fn set_metadata(&self, _: &Place, _: &str) -> Result<bool, StoreError> {
        missing()
    }
    async fn delete_conversation(&self, _: &Place) -> Result<bool, StoreError> {
        missing()
    }
    async fn add_items(&self, _: &Place, _: Vec<Item>, _: i64) -> Result<Added, StoreError> {
        missing()
    }
    async fn items(&self, _: &Place, _: ItemsQuery) -> Result<ItemsPage, StoreError> {
        missing()
    }
    async fn item(&self, _: &Place, _: &ItemId) -> Result<Option<StoredItem>, StoreError> {
        missing()
    }
    async fn remove_item(&self, _: &Place, _: &ItemId) -> Result<Removed, StoreError> {
        missing()
    }
    async fn delete_turn(&self, _: &Owner, _: &TurnId) -> Result<bool, StoreError> {
        missing()
    }
}

#[async_trait]
impl Documents for Sqlite {
    async fn put_document(&self, _: &Owner, _: DocumentKind, _: Document) -> Result<bool, StoreError> {
        missing()
    }
    async fn document(&self, _: &Owner, _: DocumentKind, _: &str) -> Result<Option<Document>, StoreError> {
        missing()
    }
    async fn documents(
        &self,
        _: &Owner,
        _: DocumentKind,
        _: DocumentsQuery,
    ) -> Result<Option<DocumentsPage>, StoreError> {
        missing()
    }
    async fn delete_document(&self, _: &Owner, _: DocumentKind, _: &str) -> Result<bool, StoreError> {
        missing()
    }
}
