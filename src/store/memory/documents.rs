//! Documents in memory: a list for each owner and kind, in the order in which they were put.

use std::collections::HashMap;

use async_trait::async_trait;

use super::Memory;
use crate::domain::conversation::Owner;
use crate::store::StoreError;
use crate::store::documents::{Document, DocumentKind, Documents, DocumentsPage, DocumentsQuery};

/// All documents.
#[derive(Default)]
pub(super) struct Rows(HashMap<(Owner, DocumentKind), Vec<Document>>);

impl Rows {
    #[cfg(feature = "testing")]
    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Drops all that an owner has.
    pub(super) fn forget(&mut self, owner: &Owner) {
        self.0.retain(|(of, _), _| of != owner);
    }

    fn of(&self, owner: &Owner, kind: DocumentKind) -> &[Document] {
        self.0.get(&(owner.clone(), kind)).map_or(&[], Vec::as_slice)
    }

    fn put(&mut self, owner: &Owner, kind: DocumentKind, document: Document) {
        let rows = self.0.entry((owner.clone(), kind)).or_default();
        match rows.iter_mut().find(|row| row.id == document.id) {
            Some(row) => row.json = document.json,
            None => rows.push(document),
        }
    }

    fn update(&mut self, owner: &Owner, kind: DocumentKind, id: &str, json: String) -> bool {
        let rows = self.0.get_mut(&(owner.clone(), kind));
        let found = rows.and_then(|rows| rows.iter_mut().find(|row| row.id == id));
        found.map(|row| row.json = json).is_some()
    }

    fn remove(&mut self, owner: &Owner, kind: DocumentKind, id: &str) -> bool {
        let Some(rows) = self.0.get_mut(&(owner.clone(), kind)) else { return false };
        let before = rows.len();
        rows.retain(|row| row.id != id);
        rows.len() < before
    }
}

#[async_trait]
impl Documents for Memory {
    async fn put_document(&self, owner: &Owner, kind: DocumentKind, document: Document) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        let lives = state.session_lives(owner, now_ms);
        if lives {
            state.documents.put(owner, kind, document);
        }
        Ok(lives)
    }

    async fn update_document(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        id: &str,
        json: String,
    ) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        Ok(state.session_lives(owner, now_ms) && state.documents.update(owner, kind, id, json))
    }

    async fn document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<Option<Document>, StoreError> {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        if !state.session_lives(owner, now_ms) {
            return Ok(None);
        }
        Ok(state.documents.of(owner, kind).iter().find(|row| row.id == id).cloned())
    }

    async fn documents(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        query: DocumentsQuery,
    ) -> Result<Option<DocumentsPage>, StoreError> {
        let now_ms = self.clock.now_ms();
        let state = self.state();
        let rows = if state.session_lives(owner, now_ms) { state.documents.of(owner, kind) } else { &[] };
        let mut ordered: Vec<&Document> = rows.iter().collect();
        if !query.ascending {
            ordered.reverse();
        }
        let from = match &query.after {
            None => 0,
            Some(id) => match ordered.iter().position(|row| row.id == *id) {
                Some(place) => place + 1,
                None => return Ok(None),
            },
        };
        let has_more = ordered.len() - from > query.limit;
        let documents = ordered.into_iter().skip(from).take(query.limit).cloned().collect();
        Ok(Some(DocumentsPage { documents, has_more }))
    }

    async fn delete_document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<bool, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut state = self.state();
        Ok(state.session_lives(owner, now_ms) && state.documents.remove(owner, kind, id))
    }
}
