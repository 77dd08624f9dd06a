//! "`DELETE /chat` leaves the messages in Redis".

use redis::AsyncCommands as _;
use serde_json::json;

use super::{Kept, Rig};
use crate::support::client::Client;

const WORDS: &str = "remember-the-lighthouse";

/// A session with everything that one can leave behind: two conversations, streams, a failure, an idempotency key.
async fn a_full_session(rig: &Rig) -> Client {
    let browser = rig.server.client();
    browser.say(WORDS).await.ok();
    browser.stream(&json!({"prompt": WORDS})).await.rest().await;
    browser.post("/chat", &json!({"prompt": WORDS, "conversationId": "new"})).await.ok();
    let key = browser.json("/chat", &json!({"prompt": WORDS})).header("idempotency-key", "once");
    browser.send(key).await.ok();
    rig.fake.push(fake_openai::Reply::invalid_api_key());
    browser.say(WORDS).await.failed(502);
    browser
}

#[tokio::test]
async fn delete_leaves_no_key_in_redis() {
    let rig = Rig::with(Kept::Redis, &[]).await;
    let mut redis = rig.redis.as_ref().unwrap().admin().await;
    let before: Vec<String> = redis.keys("*").await.unwrap();
    let browser = a_full_session(&rig).await;
    let kept: Vec<String> = redis.keys("*").await.unwrap();
    assert!(kept.len() > before.len(), "the test looks where things are: {kept:?}");
    assert_eq!(browser.delete("/chat").await.status, 204);
    let left: Vec<String> = redis.keys("*").await.unwrap();
    assert_eq!(left, before);
}

#[tokio::test]
async fn delete_leaves_no_row_and_no_word_in_sqlite() {
    let rig = Rig::with(Kept::Sqlite, &[]).await;
    let browser = a_full_session(&rig).await;
    let file = rig.folder.path().join("openai-backend.db");
    let tables = ["sessions", "conversations", "items", "turns", "leases", "events", "idempotency_keys"];
    let count = || {
        let db = rusqlite::Connection::open(&file).unwrap();
        let rows = |table| db.query_one(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
        tables.map(|table| rows(table).unwrap())
    };
    let [sessions, conversations, items, turns, _, events, keys] = count();
    assert!([sessions, conversations, items, turns, events, keys].iter().all(|&rows| rows > 0), "{:?}", count());
    assert_eq!(browser.delete("/chat").await.status, 204);
    assert_eq!(count(), [0; 7], "{tables:?}");
    rig.server.stop().await;
    for entry in std::fs::read_dir(rig.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(WORDS.len()).any(|window| window == WORDS.as_bytes()), "{}", path.display());
    }
}
