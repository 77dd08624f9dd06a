//! A store that is full still answers what only reads, though a session's renewal cannot be written.

use std::sync::Arc;

use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::redis_server::RedisServer;
use crate::support::server::Setup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_answers_every_read() {
    let redis = Arc::new(RedisServer::start());
    let ground = Ground::Redis(redis.clone(), "full:".into());
    let instance = ground.start(Setup::default().set("API_KEYS", "web:a-key-that-is-long-enough-0123")).await;
    let browser = Client::new(&instance.url);
    let turn = browser.say("Hello").await.ok()["turn"].as_str().unwrap().to_owned();
    let full = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).clone();
    let _: () = full.query_async(&mut redis.admin().await).await.unwrap();
    assert_eq!(browser.say("Hello").await.failed(503), "store_full");
    for path in ["/chat", "/chat/turns", &format!("/chat/turns/{turn}/events"), "/v1/conversations", "/v1/models"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    // A session that has ended is still none.
    let cookie = browser.cookie();
    assert_eq!(browser.delete("/chat").await.status, 204);
    browser.set_cookie(cookie);
    assert_eq!(browser.get("/chat/turns").await.text, "[]");
    assert_eq!(browser.get(&format!("/chat/turns/{turn}/events")).await.failed(404), "not_found");
    let refused = browser.get("/v1/conversations").await;
    assert_eq!(refused.status, 401, "{refused:?}");
}
