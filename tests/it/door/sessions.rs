//! A session's life: it rolls with use, ends by itself or by hand, and does not come back (P17).

use std::sync::Arc;

use fake_openai::Gate;
use openai_backend::domain::clock::ManualClock;
use openai_backend::domain::turn::FaultKind;
use reqwest::Method;
use serde_json::json;

use crate::support::SOON;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::{Setup, TestServer};

const START_MS: i64 = 1_700_000_000_000;

async fn with_clock(max_age: &str) -> (TestServer, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(START_MS));
    let setup = Setup::default().set("SESSION_MAX_AGE", max_age).clock(clock.clone());
    (setup.start().await, clock)
}

fn lasts_100_seconds(set_cookie: Option<&str>) -> bool {
    set_cookie.is_some_and(|set| set.split("; ").any(|attribute| attribute == "Max-Age=100"))
}

#[tokio::test]
async fn every_use_gives_the_cookie_anew() {
    let (server, _) = with_clock("100s").await;
    let browser = server.client();
    assert!(lasts_100_seconds(browser.say("one").await.header("set-cookie")));
    let cookie = browser.cookie();
    assert!(lasts_100_seconds(browser.say("two").await.header("set-cookie")));
    assert!(lasts_100_seconds(browser.get("/chat").await.header("set-cookie")));
    assert!(lasts_100_seconds(browser.get("/chat?limit=1&details=true").await.header("set-cookie")));
    let stream = browser.stream(&json!({"prompt": "three"})).await;
    assert!(lasts_100_seconds(stream.headers().get("set-cookie").map(|set| set.to_str().unwrap())));
    assert_eq!(browser.cookie(), cookie, "it stays the same session");
}

#[tokio::test]
async fn it_rolls_with_use_and_ends_without() {
    let (server, clock) = with_clock("100s").await;
    let browser = server.client();
    browser.say("one").await.ok();
    for _ in 0..3 {
        clock.advance(99_000);
        assert!(!browser.history().await.is_empty(), "reading renews");
        clock.advance(99_000);
        browser.say("again").await.ok();
    }
    let old = browser.cookie();
    clock.advance(100_000);
    assert_eq!(browser.get("/chat").await.text, "[]");
    let answer = browser.say("Hello").await.ok();
    assert!(answer["content"].as_str().unwrap().contains("first thing you have said"), "{answer}");
    assert_ne!(browser.cookie(), old, "an expired session is not adopted");
    browser.set_cookie(old);
    assert_eq!(browser.get("/chat").await.text, "[]");
}

#[tokio::test]
async fn a_session_without_a_main_conversation_rolls_too() {
    let (server, clock) = with_clock("100s").await;
    let browser = server.client();
    let answer = browser.post("/chat", &json!({"prompt": "one", "conversationId": "new"})).await.ok();
    for _ in 0..3 {
        clock.advance(60_000);
        let read = browser.get("/chat").await;
        assert_eq!(read.text, "[]");
        assert!(lasts_100_seconds(read.header("set-cookie")), "{read:?}");
    }
    let id = answer["conversationId"].as_str().unwrap();
    assert_eq!(browser.get(&format!("/chat?conversationId={id}")).await.ok().as_array().unwrap().len(), 2);
    clock.advance(100_000);
    assert_eq!(browser.get("/chat").await.header("set-cookie"), None);
}

#[tokio::test]
async fn a_session_that_has_ended_opens_no_route() {
    for by_hand in [false, true] {
        let (server, clock) = with_clock("100s").await;
        let browser = server.client();
        let turn = browser.say("one").await.ok()["turn"].as_str().unwrap().to_owned();
        assert_eq!(browser.get("/chat/turns").await.ok().as_array().unwrap().len(), 1);
        let cookie = browser.cookie();
        match by_hand {
            true => drop(browser.delete("/chat").await),
            false => clock.advance(100_000),
        }
        browser.set_cookie(cookie.clone());
        assert_eq!(browser.get("/chat").await.text, "[]");
        assert_eq!(browser.get("/chat/turns").await.text, "[]", "by hand: {by_hand}");
        assert_eq!(browser.get(&format!("/chat/turns/{turn}/events")).await.failed(404), "not_found");
        let cancel = browser.request(Method::POST, &format!("/chat/turns/{turn}/cancel"));
        let cancelled = browser.send(cancel).await;
        assert_eq!(cancelled.failed(404), "not_found");
        assert_eq!(browser.cookie(), cookie, "and none of it gives the cookie anew");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_back_ends_no_session() {
    let (server, clock) = with_clock("100s").await;
    let browser = server.client();
    browser.say("one").await.ok();
    clock.advance(-86_400_000);
    assert_eq!(browser.history().await.len(), 2);
    browser.say("two").await.ok();
    clock.advance(86_400_000);
    // A day later than its last use by this clock, it is over.
    assert_eq!(browser.get("/chat").await.text, "[]");
}

#[tokio::test]
async fn a_failed_first_turn_still_gives_the_session() {
    let upstream = Arc::new(Scripted::new([vec![Act::Fail(FaultKind::UpstreamUnavailable)]]));
    let server = Setup::default().upstream(upstream).start().await;
    let browser = server.client();
    assert_eq!(browser.say("one").await.failed(502), "upstream_unavailable");
    let cookie = browser.cookie();
    assert!(cookie.is_some());
    browser.say("one").await.ok();
    assert_eq!(browser.cookie(), cookie);
}

#[tokio::test]
async fn a_refused_request_makes_no_session() {
    let server = TestServer::demo().await;
    let browser = server.client();
    for body in
        [json!({}), json!({"prompt": ""}), json!({"prompt": 5}), json!({"prompt": "x", "conversationId": "conv_1"})]
    {
        let answer = browser.post("/chat", &body).await;
        assert!(answer.status.is_client_error());
        assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
    }
    for (method, path) in [(Method::GET, "/"), (Method::GET, "/health/live"), (Method::GET, "/nowhere")] {
        assert_eq!(browser.send(browser.request(method, path)).await.header("set-cookie"), None, "{path}");
    }
}

#[tokio::test]
async fn logging_out_ends_a_running_stream_and_leaves_nothing() {
    let gate = Gate::new();
    let upstream = Arc::new(Scripted::new([vec![Act::Say("Half "), Act::Wait(gate.clone()), Act::Say("whole")]]));
    let server = Setup::default().upstream(upstream).start().await;
    let browser = server.client();
    let mut stream = browser.stream(&json!({"prompt": "one"})).await;
    stream.expect("started").await;
    stream.expect("delta").await;
    let old = browser.cookie();
    assert_eq!(browser.delete("/chat").await.status.as_u16(), 204);
    gate.open();
    let rest = tokio::time::timeout(SOON, stream.rest()).await.unwrap();
    assert!(rest.iter().all(|event| event.name != "completed"), "{rest:?}");
    browser.set_cookie(old.clone());
    assert_eq!(browser.get("/chat").await.text, "[]");
    let answer = browser.say("Hello").await.ok();
    assert_ne!(browser.cookie(), old, "{answer}");
    assert_eq!(browser.history().await.len(), 2);
}

#[tokio::test]
async fn logging_out_twice_or_by_a_stranger_harms_no_one_else() {
    let server = TestServer::demo().await;
    let (ada, eve) = (server.client(), server.client());
    ada.say("one").await.ok();
    eve.say("one").await.ok();
    for _ in 0..2 {
        assert_eq!(eve.delete("/chat").await.status.as_u16(), 204);
    }
    eve.set_cookie(Some("sessionId=nonsense".into()));
    let answer = eve.delete("/chat").await;
    assert_eq!(answer.status.as_u16(), 204);
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"), "a cookie that is no use is taken away");
    assert_eq!(ada.history().await.len(), 2);
}
