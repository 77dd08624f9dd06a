//! A store that is full still answers what only reads, though a session's renewal cannot be written.

use std::sync::Arc;

use openai_backend::domain::clock::SystemClock;
use openai_backend::store::memory::Memory;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::faulty::Faulty;
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

#[tokio::test]
async fn a_deletion_that_fails_says_so_and_can_be_repeated() {
    let store = Faulty::well(Arc::new(Memory::new(Arc::new(SystemClock))));
    let server = Setup::default().store(store.clone()).start().await;
    let browser = server.client();
    browser.say("Hello").await.ok();
    for (fail, code) in [(Faulty::fill as fn(&Faulty), "store_full"), (Faulty::go_away, "store_unavailable")] {
        fail(&store);
        let refused = browser.delete("/chat").await;
        assert_eq!(refused.failed(503), code);
        assert!(refused.json()["details"].as_str().unwrap().contains("again"), "{refused:?}");
        assert_eq!(refused.header("set-cookie"), None, "the cookie is what it is repeated with");
    }
    store.mend();
    assert_eq!(browser.history().await.len(), 2);
    assert_eq!(browser.delete("/chat").await.status, 204);
    assert!(browser.history().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_redis_takes_no_writes_is_not_ready() {
    let redis = Arc::new(RedisServer::start());
    let instance = Ground::Redis(redis.clone(), "ready:".into()).start(Setup::default()).await;
    let browser = Client::new(&instance.url);
    let mut admin = redis.admin().await;
    let folder = redis::cmd("CONFIG").arg("GET").arg("dir").clone();
    let (_, folder): (String, String) = folder.query_async(&mut admin).await.unwrap();
    let ready = async || browser.get("/health/ready").await.status == 200;
    let [out_of_memory, memory] =
        ["1", "0"].map(|limit| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).clone());
    let [replica, primary] = [["127.0.0.1", "1"], ["NO", "ONE"]].map(|of| redis::cmd("REPLICAOF").arg(&of[..]).clone());
    let [no_snapshot, snapshot] = ["1", "0"].map(|strict| {
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("stop-writes-on-bgsave-error")
            .arg(if strict == "1" { "yes" } else { "no" })
            .clone()
    });
    for (what, broken, mended) in
        [("OOM", out_of_memory, memory), ("MISCONF", no_snapshot, snapshot), ("READONLY", replica, primary)]
    {
        eventually("it is ready", ready).await;
        if what == "MISCONF" {
            let save = redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1").clone();
            let _: () = save.query_async(&mut admin).await.unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            // It fails after this answer, which is what it is for.
            let _: Result<(), _> = redis::cmd("BGSAVE").query_async(&mut admin).await;
        }
        let _: () = broken.query_async(&mut admin).await.unwrap();
        eventually(what, async || browser.get("/health/ready").await.status == 503).await;
        assert_eq!(browser.say("Hello").await.status, 503, "{what}");
        let refused = browser.get("/health/ready").await;
        assert!(refused.failed(503).starts_with("store_") && !refused.text.contains("redis"), "{what}: {refused:?}");
        let _: () = mended.query_async(&mut admin).await.unwrap();
    }
    eventually("it is ready", ready).await;
    eventually("turns are taken", async || browser.say("Hello").await.status == 200).await;
}
