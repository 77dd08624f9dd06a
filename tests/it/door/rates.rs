//! A visitor may ask so often and no more, whichever door it uses, and is told when it may again.

use std::sync::Arc;

use openai_backend::domain::clock::ManualClock;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::on_every_store;
use crate::support::client::{Answer, Client};
use crate::support::instance::Ground;
use crate::support::server::Setup;

fn three_a_day() -> Setup {
    Setup::default().set("VISITOR_RATE", "3/day").set("ALLOWED_MODELS", "*")
}

fn remaining(answer: &Answer) -> Option<&str> {
    answer.header("x-ratelimit-remaining-requests")
}

/// The same at both doors: 429, when to come back, and each door's shape.
fn assert_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=8 * 3_600).contains(&wait), "{wait}");
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    let code = if body["error"].is_object() { &body["error"]["code"] } else { &body["code"] };
    assert_eq!(code, "rate_limit_exceeded", "{body}");
    assert!(answer.text.contains("3 times in a day"), "{}", answer.text);
}

async fn is_counted_over_both_doors(ground: Ground) {
    let instance = ground.start(three_a_day()).await;
    let browser = Client::new(&instance.url);
    let first = browser.say("one").await;
    assert_eq!((first.status, first.header("x-ratelimit-limit-requests")), (StatusCode::OK, Some("3")));
    assert_eq!(remaining(&first), Some("2"));
    assert!(first.header("x-ratelimit-reset-requests").is_some());
    let kept = browser.post("/v1/responses", &json!({"model": "demo", "input": "two"})).await;
    assert_eq!((kept.status, remaining(&kept)), (StatusCode::OK, Some("1")), "{}", kept.text);
    let unkept = json!({"model": "demo", "input": "three", "store": false});
    assert_eq!(browser.post("/v1/responses", &unkept).await.status, 200);
    assert_limited(&browser.say("four").await);
    assert_limited(&browser.post("/v1/responses", &json!({"model": "demo", "input": "five"})).await);
    assert_limited(&browser.post("/v1/responses", &unkept).await);
    let messages = json!({"model": "demo", "messages": [{"role": "user", "content": "six"}]});
    assert_limited(&browser.post("/v1/chat/completions", &messages).await);
    let compact = json!({"model": "demo", "input": "seven"});
    assert_limited(&browser.post("/v1/responses/compact", &compact).await);
    assert_eq!(browser.get("/chat").await.status, 200, "reading is free");
    assert_eq!(browser.history().await.len(), 2, "what was refused left nothing behind");
    let other = Client::new(&instance.url);
    assert_eq!(other.say("Hello").await.status, 200, "another visitor has its own");
}

async fn counts_what_begins_and_not_what_joins(ground: Ground) {
    let instance = ground.start(three_a_day()).await;
    let browser = Client::new(&instance.url);
    let first = browser.say("one").await;
    assert_eq!(remaining(&first), Some("2"));
    for _ in 0..5 {
        let request = browser.json("/chat", &json!({"prompt": "two"})).header("idempotency-key", "the-same");
        let again = browser.send(request).await;
        assert_eq!(again.status, 200, "{}", again.text);
    }
    assert_eq!(browser.post("/chat", &json!({"prompt": ""})).await.status, 400, "a mistake costs nothing");
    assert_eq!(remaining(&browser.say("three").await), Some("0"));
}

on_every_store! {
    is_counted_over_both_doors,
    counts_what_begins_and_not_what_joins,
}

#[tokio::test]
async fn it_comes_back_with_time() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let server = Setup::default().set("VISITOR_RATE", "2/min").clock(clock.clone()).start().await;
    let browser = server.client();
    for _ in 0..2 {
        browser.say("Hello").await.ok();
    }
    let limited = browser.say("Hello").await;
    assert_eq!((limited.status, limited.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some("30")));
    clock.advance(30_000);
    browser.say("Hello").await.ok();
    assert_eq!(browser.say("Hello").await.status, 429);
}

#[tokio::test]
async fn a_key_has_no_rate_of_a_visitor() {
    let server = Setup::default().set("VISITOR_RATE", "1/day").set("ALLOWED_MODELS", "*").start().await;
    let program = server.client();
    for _ in 0..3 {
        let answer = program.post("/v1/responses", &json!({"model": "demo", "input": "Hello"})).await;
        assert_eq!((answer.status, remaining(&answer)), (StatusCode::OK, None), "{}", answer.text);
    }
}
