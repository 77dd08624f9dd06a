//! Documents: one table, in the order in which they were put.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::Sqlite;
use super::fail::Fail;
use super::rows::{self, all, execute, find, find_value};
use super::sessions::session_lives;
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::Owner;
use crate::store::StoreError;
use crate::store::documents::{Document, DocumentKind, Documents, DocumentsPage, DocumentsQuery};

/// `put_document`.
struct Put {
    owner: Owner,
    kind: DocumentKind,
    document: Document,
    now_ms: i64,
}

impl Operation for Put {
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        if !session_lives(db, &self.owner, self.now_ms)? {
            return Ok(false);
        }
        let Document { id, created_at_ms, json } = &self.document;
        execute(db, sql::PUT_DOCUMENT, params![self.owner.tag(), self.kind.as_str(), id, created_at_ms, json])?;
        Ok(true)
    }
}

/// `update_document`.
struct Update {
    owner: Owner,
    kind: DocumentKind,
    id: String,
    json: String,
    now_ms: i64,
}

impl Operation for Update {
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        let params = params![self.owner.tag(), self.kind.as_str(), self.id, self.json];
        Ok(session_lives(db, &self.owner, self.now_ms)? && execute(db, sql::UPDATE_DOCUMENT, params)? > 0)
    }
}

/// `delete_document`.
struct Delete {
    owner: Owner,
    kind: DocumentKind,
    id: String,
    now_ms: i64,
}

impl Operation for Delete {
    type Answer = bool;
    const SYNCED: bool = true;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        let params = params![self.owner.tag(), self.kind.as_str(), self.id];
        Ok(session_lives(db, &self.owner, self.now_ms)? && execute(db, sql::DELETE_DOCUMENT, params)? > 0)
    }
}

fn document(row: &Row<'_>) -> Result<Document, Fail> {
    Ok(Document { id: row.get(0)?, created_at_ms: row.get(1)?, json: row.get(2)? })
}

fn page(
    db: &Connection,
    owner: &Owner,
    kind: DocumentKind,
    query: &DocumentsQuery,
    now_ms: i64,
) -> Result<Option<DocumentsPage>, Fail> {
    let (lives, tag) = (session_lives(db, owner, now_ms)?, owner.tag());
    let after: Option<i64> = match &query.after {
        None => None,
        Some(_) if !lives => return Ok(None),
        Some(id) => match find_value(db, sql::DOCUMENT_NUMBER, params![tag, kind.as_str(), id])? {
            None => return Ok(None),
            found => found,
        },
    };
    if !lives {
        return Ok(Some(DocumentsPage { documents: Vec::new(), has_more: false }));
    }
    let (statement, after) = match query.ascending {
        true => (sql::DOCUMENTS_AFTER, after.unwrap_or(i64::MIN)),
        false => (sql::DOCUMENTS_BEFORE, after.unwrap_or(i64::MAX)),
    };
    let params = params![tag, kind.as_str(), after, rows::limit(query.limit.saturating_add(1))];
    let mut documents = all(db, statement, params, document)?;
    let has_more = rows::cut_to(&mut documents, query.limit);
    Ok(Some(DocumentsPage { documents, has_more }))
}

#[async_trait]
impl Documents for Sqlite {
    async fn put_document(&self, owner: &Owner, kind: DocumentKind, document: Document) -> Result<bool, StoreError> {
        let (owner, now_ms) = (owner.clone(), self.clock.now_ms());
        self.writer.submit(Put { owner, kind, document, now_ms }).await
    }

    async fn update_document(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        id: &str,
        json: String,
    ) -> Result<bool, StoreError> {
        let (owner, id, now_ms) = (owner.clone(), id.to_owned(), self.clock.now_ms());
        self.writer.submit(Update { owner, kind, id, json, now_ms }).await
    }

    async fn document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<Option<Document>, StoreError> {
        let (owner, id, now_ms) = (owner.clone(), id.to_owned(), self.clock.now_ms());
        let look = move |db: &Connection| {
            if !session_lives(db, &owner, now_ms)? {
                return Ok(None);
            }
            find(db, sql::DOCUMENT_BY_ID, params![owner.tag(), kind.as_str(), id], document)
        };
        self.readers.read(look).await
    }

    async fn documents(
        &self,
        owner: &Owner,
        kind: DocumentKind,
        query: DocumentsQuery,
    ) -> Result<Option<DocumentsPage>, StoreError> {
        let (owner, now_ms) = (owner.clone(), self.clock.now_ms());
        self.readers.read(move |db| page(db, &owner, kind, &query, now_ms)).await
    }

    async fn delete_document(&self, owner: &Owner, kind: DocumentKind, id: &str) -> Result<bool, StoreError> {
        let (owner, id, now_ms) = (owner.clone(), id.to_owned(), self.clock.now_ms());
        self.writer.submit(Delete { owner, kind, id, now_ms }).await
    }
}
