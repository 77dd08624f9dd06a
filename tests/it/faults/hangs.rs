//! "No health endpoint", "a Redis outage hangs every request".

use std::time::Instant;

use reqwest::Method;

use super::{BOTH, FAR_LESS_THAN_BEFORE, Kept, Rig};
use crate::support::eventually;

#[tokio::test]
async fn there_is_a_health_endpoint() {
    for kept in BOTH {
        let rig = Rig::with(kept, &[]).await;
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(rig.server.client().get(path).await.ok()["status"], "ok", "{kept:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_redis_outage_hangs_no_request() {
    let rig = Rig::with(Kept::Redis, &[]).await;
    let redis = rig.redis.as_ref().unwrap();
    let browser = rig.server.client();
    browser.say("Before").await.ok();
    redis.pause();
    let body = serde_json::json!({"prompt": "During"});
    for (method, path) in [
        (Method::POST, "/chat"),
        (Method::GET, "/chat"),
        (Method::DELETE, "/chat"),
        (Method::GET, "/chat/turns"),
        (Method::GET, "/health/ready"),
    ] {
        let asked = Instant::now();
        let request = match method {
            Method::POST => browser.json(path, &body),
            _ => browser.request(method.clone(), path),
        };
        assert_eq!(browser.send(request).await.failed(503), "store_unavailable", "{method} {path}");
        assert!(asked.elapsed() < FAR_LESS_THAN_BEFORE, "{method} {path}: {:?}", asked.elapsed());
    }
    assert_eq!(browser.get("/health/live").await.status, 200);
    redis.resume();
    eventually("it is ready again", async || browser.get("/health/ready").await.status == 200).await;
    assert_eq!(rig.fake.calls(), 1, "nothing was spent on what could not be stored");
}
