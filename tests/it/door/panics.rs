//! A defect ends one request, in the one shape, and nothing else (P21).

use std::sync::Arc;

use openai_backend::store::Store;
use openai_backend::store::memory::Memory;
use serde_json::json;

use crate::support::SOON;
use crate::support::faulty::Faulty;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::Setup;

const CANARY: &str = "a canary in a panic";

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(openai_backend::domain::clock::SystemClock)))
}

#[tokio::test]
async fn a_store_that_panics_is_a_500_and_no_hang() {
    let store = Faulty::well(memory());
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    client.say("Hi").await.ok();
    store.panic();
    for request in [
        client.request(reqwest::Method::GET, "/chat"),
        client.request(reqwest::Method::DELETE, "/chat"),
        client.request(reqwest::Method::GET, "/health/ready"),
    ] {
        let answer = tokio::time::timeout(SOON, client.send(request)).await.unwrap();
        assert_eq!(answer.failed(500), "internal");
        assert!(!answer.text.contains("defect"), "{}", answer.text);
        assert!(answer.header("x-request-id").is_some());
    }
    for body in [json!({"prompt": "x"}), json!({"prompt": "x", "stream": true})] {
        let answer = tokio::time::timeout(SOON, client.post("/chat", &body)).await.unwrap();
        assert!(answer.status.is_server_error(), "{answer:?}");
        answer.failed(answer.status.as_u16());
        assert!(!answer.text.contains("defect"), "{}", answer.text);
    }
    store.mend();
    assert_eq!(client.history().await.len(), 2);
    client.say("Still here").await.ok();
}

#[tokio::test]
async fn a_model_that_panics_fails_its_turn_only() {
    let upstream = Arc::new(Scripted::panicking());
    let server = Setup::default().upstream(upstream.clone()).set("MAX_TURN_WAIT", "2s").start().await;
    let client = server.client();
    for body in [json!({"prompt": "x"}), json!({"prompt": "x", "stream": true})] {
        let answer = tokio::time::timeout(SOON, client.post("/chat", &body)).await.unwrap();
        assert_eq!(answer.failed(500), "internal");
        assert!(!answer.text.contains("scripted"), "{}", answer.text);
    }
    upstream.recover();
    client.say("Still here").await.ok();
    assert_eq!(client.history().await.len(), 4, "the failed turns left their questions");
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_stream_ends_it_with_an_error() {
    let upstream = Arc::new(Scripted::new([vec![Act::Say("Half"), Act::Panic(CANARY)]]));
    let server = Setup::default().upstream(upstream).set("MAX_TURN_WAIT", "2s").start().await;
    let client = server.client();
    let mut stream = client.stream(&json!({"prompt": "x"})).await;
    let events = tokio::time::timeout(SOON, stream.rest()).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((last.name.as_str(), last.data["code"].as_str()), ("error", Some("internal")), "{events:?}");
    assert!(!stream.raw.contains(CANARY), "{}", stream.raw);
    client.say("Still here").await.ok();
}

#[tokio::test]
async fn a_panic_says_nothing_of_itself_to_the_client() {
    let upstream = Arc::new(Scripted::new([vec![Act::Panic(CANARY)], vec![Act::Say("Half"), Act::Panic(CANARY)]]));
    let server = Setup::default().upstream(upstream).start().await;
    let plain = tokio::time::timeout(SOON, server.client().say("x")).await.expect("no hang");
    plain.failed(plain.status.as_u16());
    assert!(plain.status.is_server_error() && !plain.text.contains(CANARY), "{plain:?}");
    let client = server.client();
    let body = json!({"prompt": "x", "stream": true});
    let streamed = tokio::time::timeout(SOON, client.post("/chat", &body)).await.expect("no hang");
    // Whether anything was shown before the panic is the scheduler's choice.
    assert!(streamed.status.is_server_error() || streamed.text.contains("event: error"), "{streamed:?}");
    assert!(!streamed.text.contains(CANARY), "{streamed:?}");
    server.client().say("Others go on").await.ok();
}
