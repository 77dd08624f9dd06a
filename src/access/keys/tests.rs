//! Keys over the store in memory, in virtual time: made, listed, revoked, noticed.

use std::sync::Arc;

use tokio::time::{advance, pause};

use super::cache::{KeyCache, TRUST};
use super::*;
use crate::domain::clock::ManualClock;
use crate::domain::ids::SystemIds;
use crate::store::documents::Documents as _;
use crate::store::memory::Memory;

const NOW: i64 = 1_764_000_000_000;

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(Arc::new(ManualClock::at(NOW))))
}

async fn made(store: &Memory, name: &str) -> String {
    let command = Command::Create { name: name.to_owned() };
    run(&command, store, &SystemIds, NOW).await.unwrap().out.trim_end().to_owned()
}

async fn revoked(store: &Memory, id: &str) -> Result<CliOutput, String> {
    run(&Command::Revoke { id: id.to_owned() }, store, &SystemIds, NOW).await
}

#[tokio::test]
async fn a_key_is_kept_without_its_text() {
    let store = memory();
    let text = made(&store, "web").await;
    assert!(text.starts_with("sk-ob-") && text.len() == 6 + 43, "{text}");
    let keys = list(&*store).await.unwrap();
    assert_eq!(
        (keys.len(), keys[0].name.as_str(), keys[0].created_at_ms, keys[0].hash),
        (1, "web", NOW, key_hash(text.as_bytes()))
    );
    let document = store.document(&Owner::operator(), DocumentKind::ApiKey, &keys[0].id).await.unwrap().unwrap();
    assert!(!document.json.contains(&text[6..]), "{}", document.json);
    let listed = run(&Command::List, &*store, &SystemIds, NOW).await.unwrap().out;
    assert_eq!(listed, format!("{}  web  Mon, 24 Nov 2025 16:00:00 GMT\n", keys[0].id));
    assert_ne!(made(&store, "web").await, text);
}

#[tokio::test]
async fn names_and_ids_that_are_none() {
    let store = memory();
    for name in ["", "local", "a b", "a:b", "@operator", &"n".repeat(65)] {
        let refused = run(&Command::Create { name: name.to_owned() }, &*store, &SystemIds, NOW).await;
        assert!(refused.is_err_and(|sentence| sentence.contains("64 letters")), "{name:?}");
    }
    let text = made(&store, "web").await;
    for id in ["", "web", "key_0", &text] {
        let sentence = revoked(&store, id).await.unwrap_err();
        assert!(sentence.contains("keys list") && !sentence.contains("sk-ob-"), "{sentence}");
    }
    assert_eq!(list(&*store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn there_may_be_so_many_and_all_are_read() {
    let store = memory();
    for number in 0..MOST_KEYS {
        let hash = key_hash(&number.to_be_bytes());
        let key = Key { id: format!("key_{number}"), name: "many".into(), created_at_ms: NOW, hash };
        store.put_document(&Owner::operator(), DocumentKind::ApiKey, key.document().unwrap()).await.unwrap();
    }
    assert_eq!(list(&*store).await.unwrap().len(), MOST_KEYS);
    let refused = run(&Command::Create { name: "one".into() }, &*store, &SystemIds, NOW).await;
    assert!(refused.unwrap_err().contains("revoke"));
}

#[tokio::test]
async fn a_document_that_is_no_key_is_no_missing_key() {
    let store = memory();
    let hash = "0".repeat(64);
    for json in ["{}", "[]", r#"{"name":"web","sha256":"00"}"#, &format!(r#"{{"name":"web","sha256":"+{hash}"}}"#)] {
        let document = Document { id: "key_1".into(), created_at_ms: NOW, json: json.to_owned() };
        store.put_document(&Owner::operator(), DocumentKind::ApiKey, document).await.unwrap();
        assert!(matches!(list(&*store).await, Err(StoreError::Broken(_))), "{json}");
        assert!(KeyCache::new(store.clone()).keys().await.is_none(), "{json}");
    }
    revoked(&store, "key_1").await.unwrap();
    assert!(KeyCache::new(store).keys().await.is_some_and(|keys| keys.is_empty()));
}

#[tokio::test]
async fn a_ring_notices_within_a_second() {
    pause();
    let store = memory();
    let ring = KeyCache::new(store.clone());
    assert!(ring.keys().await.unwrap().is_empty());
    let text = made(&store, "web").await;
    advance(Duration::from_millis(500)).await;
    assert!(ring.keys().await.unwrap().is_empty(), "the store is not asked for each request");
    advance(Duration::from_millis(500)).await;
    let keys = ring.keys().await.unwrap();
    assert_eq!(keys.id_of(text.as_bytes()), Some("web"));
    revoked(&store, &list(&*store).await.unwrap()[0].id).await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert!(ring.keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ring_trusts_what_it_knew_for_a_while() {
    pause();
    let store = memory();
    let ring = KeyCache::new(store.clone());
    let text = made(&store, "web").await;
    assert_eq!(ring.keys().await.unwrap().id_of(text.as_bytes()), Some("web"));
    let broken = Document { id: "key_1".into(), created_at_ms: NOW, json: "{}".into() };
    store.put_document(&Owner::operator(), DocumentKind::ApiKey, broken).await.unwrap();
    advance(TRUST - Duration::from_millis(10)).await;
    assert_eq!(ring.keys().await.unwrap().id_of(text.as_bytes()), Some("web"));
    advance(Duration::from_secs(1)).await;
    assert!(ring.keys().await.is_none());
    revoked(&store, "key_1").await.unwrap();
    advance(Duration::from_secs(1)).await;
    assert_eq!(ring.keys().await.unwrap().id_of(text.as_bytes()), Some("web"));
}
