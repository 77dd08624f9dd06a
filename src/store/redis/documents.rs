//! Documents: one hash for each owner, and a sorted set that has them in order.

use async_trait::async_trait;
use redis::Value;

use super::connection::{Again, Request};
use super::keys::Base;
use super::reading::is_session;
use super::scripts::SCRIPTS;
use super::{Redis, codec, faults};
use crate::domain::conversation::Owner;
use crate::store::StoreError;
use crate::store::documents::{Document, DocumentKind, Documents, DocumentsPage, DocumentsQuery};

/// A document as the scripts keep it: `<place> <created> <JSON>`.
fn read(id: String, stored: Value) -> Result<Document, StoreError> {
    let mut json = String::from_utf8(codec::bytes(stored)?).map_err(|_| faults::unreadable())?;
    let mut rest = json.as_str();
    codec::take(&mut rest, ' ')?;
    let created_at_ms = codec::take_number(&mut rest, ' ')?;
    let head = json.len() - rest.len();
    json.drain(..head);
    Ok(Document { id, created_at_ms, json })
}

fn keys(base: &Base) -> [String; 3] {
    [base.session(), base.documents(), base.documents_order()]
}

#[async_trait]
impl Documents for Redis {
    async fn put_document(&self, owner: &Owner, kind: DocumentKind, document: Document) -> Result<bool, StoreError> {
        let base = self.keys.documents_base(owner);
        let make = |_| {
            let mut call = SCRIPTS.put_document.call(&keys(&base), 256 + document.json.len());
            call.arg(is_session(owner)).arg(kind.as_str()).arg(&document.id);
            call.arg(document.created_at_ms).arg(&document.json);
            Request::One(call)
        };
        Ok(codec::number(&self.connection.call(Again::Yes, make).await?)? == 1)
    }

    async fn update_document(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        id: &str,
        json: String,
    ) -> Result<bool, StoreError> {
        let base = self.keys.documents_base(owner);
        let make = |_| {
            let mut call = SCRIPTS.update_document.call(&[base.session(), base.documents()], 256 + json.len());
            call.arg(is_session(owner)).arg(kind.as_str()).arg(id).arg(&json);
            Request::One(call)
        };
        Ok(codec::number(&self.connection.call(Again::Yes, make).await?)? == 1)
    }

    async fn document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<Option<Document>, StoreError> {
        let base = self.keys.documents_base(owner);
        let make = |_| {
            let mut call = SCRIPTS.read_document.call(&[base.session(), base.documents()], 192);
            call.arg(is_session(owner)).arg(kind.as_str()).arg(id);
            Request::One(call)
        };
        match self.connection.call(Again::Yes, make).await? {
            Value::Nil => Ok(None),
            found => read(id.to_owned(), found).map(Some),
        }
    }

    async fn documents(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        query: DocumentsQuery,
    ) -> Result<Option<DocumentsPage>, StoreError> {
        // To the script, an empty id is none.
        if query.after.as_deref() == Some("") {
            return Ok(None);
        }
        let base = self.keys.documents_base(owner);
        let make = |_| {
            let mut call = SCRIPTS.read_documents.call(&keys(&base), 192);
            call.arg(is_session(owner)).arg(kind.as_str()).arg(query.after.as_deref().unwrap_or_default());
            call.arg(u8::from(query.ascending)).arg(query.limit.min(1 << 32));
            Request::One(call)
        };
        let mut found = match self.connection.call(Again::Yes, make).await? {
            Value::Nil => return Ok(None),
            Value::Array(found) => found,
            _ => return Err(faults::unreadable()),
        };
        let has_more = codec::bytes(found.pop().ok_or_else(faults::unreadable)?)? == b"1";
        let mut found = found.into_iter();
        let mut documents = Vec::with_capacity(found.len() / 2);
        while let (Some(id), Some(stored)) = (found.next(), found.next()) {
            let id = String::from_utf8(codec::bytes(id)?).map_err(|_| faults::unreadable())?;
            documents.push(read(id, stored)?);
        }
        Ok(Some(DocumentsPage { documents, has_more }))
    }

    async fn delete_document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<bool, StoreError> {
        let base = self.keys.documents_base(owner);
        let make = |again| {
            let mut call = SCRIPTS.delete_document.call(&keys(&base), 192);
            call.arg(is_session(owner)).arg(kind.as_str()).arg(id).arg(u8::from(again));
            Request::One(call)
        };
        Ok(codec::number(&self.connection.call(Again::Yes, make).await?)? == 1)
    }
}
