//! A Redis that stalls or dies under the running program (P9): bounded refusals, honest readiness, recovery by itself.

use std::time::{Duration, Instant};

use fake_openai::FakeOpenAi;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::process::{Process, Program};
use crate::support::redis_server::RedisServer;

/// What every request is answered within, whatever Redis does, and what recovery takes.
const BOUND: Duration = Duration::from_secs(5);

/// Every route that needs the store, all at once: each is refused within the bound. `doomed` asks to be deleted, which
/// Redis may do when it goes on, as it may with everything that it had before it stalled.
async fn all_are_refused_in_time(server: &Process, browser: &Client, doomed: &Client) {
    let newcomer = server.client();
    let asks = [
        (browser, Method::POST, "/chat", json!({"prompt": "plain"})),
        (browser, Method::POST, "/chat", json!({"prompt": "streamed", "stream": true})),
        (&newcomer, Method::POST, "/chat", json!({"prompt": "from a new session"})),
        (browser, Method::GET, "/chat", json!(null)),
        (browser, Method::GET, "/chat/turns", json!(null)),
        (doomed, Method::DELETE, "/chat", json!(null)),
        (&newcomer, Method::GET, "/health/ready", json!(null)),
    ];
    join_all(asks.iter().map(async |(browser, method, path, body)| {
        let asked = Instant::now();
        let request = match *method {
            Method::POST => browser.json(path, body),
            _ => browser.request(method.clone(), path),
        };
        let answer = browser.send(request).await;
        assert_eq!(answer.failed(503), "store_unavailable", "{method} {path}");
        assert!(answer.header("retry-after").is_some(), "{method} {path}");
        assert!(asked.elapsed() < BOUND, "{method} {path} took {:?}", asked.elapsed());
    }))
    .await;
    assert_eq!(browser.get("/health/live").await.status, 200);
}

async fn recovers(server: &Process) {
    let back = Instant::now();
    eventually("it is ready again", async || server.client().get("/health/ready").await.status == 200).await;
    assert!(back.elapsed() < BOUND, "recovery took {:?}", back.elapsed());
}

#[tokio::test]
async fn a_redis_that_stalls_or_dies_hangs_nothing_and_loses_nothing() {
    let fake = FakeOpenAi::start().await;
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = Program::towards(&fake.base_url()).set("REDIS_URL", &redis.url()).start().await;
    let (browser, doomed) = (server.client(), server.client());
    browser.say("Before").await.ok();
    doomed.say("Before").await.ok();

    redis.pause();
    all_are_refused_in_time(&server, &browser, &doomed).await;
    all_are_refused_in_time(&server, &browser, &doomed).await;
    redis.resume();
    recovers(&server).await;
    // Nothing that was refused stands in its way: it is not begun when Redis comes to it at last.
    let asked = Instant::now();
    browser.say("Between").await.ok();
    assert!(asked.elapsed() < BOUND, "the next turn took {:?}", asked.elapsed());

    redis.kill();
    all_are_refused_in_time(&server, &browser, &doomed).await;
    redis.restart();
    recovers(&server).await;
    browser.say("After").await.ok();

    let history = browser.history().await;
    let said: Vec<&str> = history.iter().step_by(2).map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, ["Before", "Between", "After"]);
    assert_eq!(fake.calls(), 4, "nothing was spent on what was refused");
    server.stop().await;
}
