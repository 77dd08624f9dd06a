//! Calls to the model at once are bounded: for each visitor, and on the whole server.

use std::sync::Arc;

use fake_openai::Gate;
use reqwest::Method;
use serde_json::json;

use crate::support::eventually;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::{Setup, TestServer};

fn held(gate: &Gate, turns: usize) -> Vec<Vec<Act>> {
    (0..turns).map(|_| vec![Act::Say("a"), Act::Wait(gate.clone()), Act::Say("b")]).collect()
}

async fn server(gate: &Gate, turns: usize, settings: &[(&str, &str)]) -> TestServer {
    let setup = Setup::default().upstream(Arc::new(Scripted::new(held(gate, turns))));
    settings.iter().fold(setup, |setup, (name, value)| setup.set(name, value)).start().await
}

#[tokio::test]
async fn a_visitor_who_leaves_again_and_again_has_few_turns_at_once() {
    let gate = Gate::new();
    let server = server(&gate, 4, &[("MAX_MODEL_CALLS_PER_VISITOR", "2")]).await;
    let ada = server.client();
    for _ in 0..2 {
        // The client leaves; the turn goes on.
        drop(ada.stream(&json!({"prompt": "Hello", "conversationId": "new"})).await);
    }
    let answer = ada.post("/chat", &json!({"prompt": "Hello", "conversationId": "new"})).await;
    assert_eq!(answer.failed(429), "rate_limit_exceeded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = ada.post("/v1/responses", &json!({"model": "m", "input": "Hello"})).await;
    assert_eq!((answer.status.as_u16(), answer.json()["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let conversations = ada.get("/v1/conversations").await.ok();
    assert_eq!(conversations["data"].as_array().unwrap().len(), 2, "what is refused stores nothing");
    let eve = server.client();
    eve.stream(&json!({"prompt": "Hello"})).await.expect("started").await;
    gate.open();
    eventually("a place is free", async || ada.say("Hello").await.status.is_success()).await;
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let gate = Gate::new();
    let server = server(&gate, 3, &[("MAX_MODEL_CALLS", "1")]).await;
    let (ada, eve) = (server.client(), server.client());
    let mut stream = ada.stream(&json!({"prompt": "Hello"})).await;
    let answer = eve.say("Hello").await;
    assert_eq!(answer.failed(503), "server_overloaded");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(ada.get("/v1/models").await.status, 200, "the list of models takes no place");
    gate.open();
    assert_eq!(stream.rest().await.last().unwrap().name, "completed");
    eventually("the place is free", async || eve.say("Hello").await.status.is_success()).await;
}

#[tokio::test]
async fn a_repeated_request_joins_its_turn_where_there_is_no_place_for_another() {
    let gate = Gate::new();
    let server = server(&gate, 2, &[("MAX_MODEL_CALLS", "1")]).await;
    let ada = server.client();
    ada.set_cookie(None);
    let body = json!({"prompt": "Hello", "stream": true});
    let keyed = |key: &str| ada.json("/chat", &body).header("idempotency-key", key);
    let mut first = ada.stream_of(keyed("one")).await;
    let started = first.expect("started").await;
    let mut again = ada.stream_of(keyed("one")).await;
    assert_eq!(again.expect("started").await.data["turn"], started.data["turn"]);
    let elsewhere = json!({"prompt": "Hello", "conversationId": "new"});
    let other = ada.send(ada.json("/chat", &elsewhere).header("idempotency-key", "two")).await;
    assert_eq!(other.failed(503), "server_overloaded");
    let changed = json!({"prompt": "Something else", "stream": true});
    let changed = ada.send(ada.json("/chat", &changed).header("idempotency-key", "one")).await;
    assert_eq!(changed.failed(422), "idempotency_key_reused");
    gate.open();
    for stream in [&mut first, &mut again] {
        assert_eq!(stream.rest().await.last().unwrap().name, "completed");
    }
    let turns = ada.send(ada.request(Method::GET, "/chat/turns")).await.ok();
    assert_eq!(turns.as_array().unwrap().len(), 1);
}
