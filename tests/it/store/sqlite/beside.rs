//! The database while a server uses it, for a process that puts a document beside it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use openai_backend::domain::clock::ManualClock;
use openai_backend::domain::conversation::Owner;
use openai_backend::store::documents::{Document, DocumentKind, Documents, DocumentsQuery};
use openai_backend::store::sqlite::Sqlite;
use openai_backend::store::{Store, StoreError};

use super::{database, open, refusal, value};
use crate::store::rig::{Caller, EPOCH_MS};

const KIND: DocumentKind = DocumentKind::ApiKey;
const ALL: DocumentsQuery = DocumentsQuery { after: None, ascending: true, limit: 100 };

fn beside(folder: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::beside(folder, Arc::new(ManualClock::at(EPOCH_MS)))
}

fn document(id: &str) -> Document {
    Document { id: id.into(), created_at_ms: EPOCH_MS, json: "{}".into() }
}

async fn ids(store: &dyn Documents) -> Vec<String> {
    let page = store.documents(&Owner::operator(), KIND, ALL).await.unwrap().unwrap();
    page.documents.into_iter().map(|document| document.id).collect()
}

#[tokio::test]
async fn what_one_puts_the_other_reads() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (who, operator) = (Caller::browser(), Owner::operator());
    rig.turn(&who, "hi").await;
    let other = beside(folder.path()).unwrap();
    for i in 0..40 {
        assert!(other.put_document(&operator, KIND, document(&format!("theirs{i}"))).await.unwrap());
        assert!(rig.store.put_document(&operator, KIND, document(&format!("ours{i}"))).await.unwrap());
        rig.turn(&who, "hi").await;
        assert_eq!(ids(&*rig.store).await.len(), 2 * (i + 1));
    }
    assert_eq!(ids(&other).await, ids(&*rig.store).await);
    assert!(other.delete_document(&operator, KIND, "ours3").await.unwrap());
    assert_eq!(rig.store.document(&operator, KIND, "ours3").await.unwrap(), None);
    // It comes and goes, and the server neither notices nor loses its folder.
    other.close().await;
    drop(other);
    assert!(refusal(folder.path()).contains("another server is using"));
    rig.turn(&who, "hi").await;
    rig.store.close().await;
    assert_eq!(value::<String>(&database(folder.path()), "PRAGMA integrity_check"), "ok");
    assert!(!folder.path().join("openai-backend.db-wal").exists(), "closing leaves one file");
    let rig = open(folder.path());
    assert_eq!(ids(&*rig.store).await.len(), 79);
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 84);
}

#[tokio::test]
async fn both_may_write_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let other = beside(folder.path()).unwrap();
    let operator = Owner::operator();
    let names: Vec<String> = (0..100).map(|i| format!("d{i}")).collect();
    let puts = names.iter().enumerate().map(|(i, id)| {
        let store: &dyn Documents = if i % 2 == 0 { &*rig.store } else { &other };
        store.put_document(&operator, KIND, document(id))
    });
    let stored = futures::future::try_join_all(puts).await.unwrap();
    assert!(stored.into_iter().all(|stored| stored));
    assert_eq!(ids(&*rig.store).await.len(), 100);
    // Either may be the last.
    rig.store.close().await;
    assert_eq!(ids(&other).await.len(), 100);
}

#[tokio::test]
async fn without_a_server_it_is_opened_as_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let alone = beside(&folder.path().join("new")).unwrap();
    assert!(alone.put_document(&Owner::operator(), KIND, document("first")).await.unwrap());
    assert!(refusal(&folder.path().join("new")).contains("another server is using"));
    alone.close().await;
    let rig = open(&folder.path().join("new"));
    assert_eq!(ids(&*rig.store).await, ["first"]);
}

#[tokio::test]
async fn a_server_of_another_version_keeps_its_schema() {
    for version in [0, 1, 1_000] {
        let folder = tempfile::tempdir().unwrap();
        let rig = open(folder.path());
        database(folder.path()).pragma_update(None, "user_version", version).unwrap();
        let refused = beside(folder.path()).err().expect("it must not open").to_string();
        assert!(refused.contains(&format!("schema version {version}")), "{refused}");
        assert_eq!(value::<i64>(&database(folder.path()), "PRAGMA user_version"), version);
        drop(rig);
    }
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    fs::remove_file(folder.path().join("openai-backend.db")).unwrap();
    assert!(matches!(beside(folder.path()), Err(StoreError::Unavailable(_))));
    assert!(!folder.path().join("openai-backend.db").exists());
    drop(rig);
}
