//! A session that has ended takes no more words, by whatever way they come (P24): everything stored is counted.

use std::sync::Arc;

use fake_openai::Gate;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::on_every_store;
use crate::support::SOON;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::scripted::{Act, Scripted};
use crate::support::server::Setup;

/// A browser with a session, and requests of its that store something.
async fn with_session(url: &str) -> (Client, Vec<(String, Value)>) {
    let browser = Client::new(url);
    browser.say("Hello").await.ok();
    let id = |answer: Value| answer["id"].as_str().unwrap().to_owned();
    let message = json!({"type": "message", "role": "user", "content": "words"});
    let first = browser.post("/v1/responses", &json!({"model": "demo", "input": "words"})).await.ok();
    let conversation = id(browser.post("/v1/conversations", &json!({"items": [message]})).await.ok());
    let inside = json!({"model": "demo", "input": "words", "conversation": conversation});
    let inside = id(browser.post("/v1/responses", &inside).await.ok());
    let completion = json!({"model": "demo", "store": true, "messages": [{"role": "user", "content": "words"}]});
    let completed = id(browser.post("/v1/chat/completions", &completion).await.ok());
    let requests = [
        ("/v1/responses".to_owned(), json!({"model": "demo", "input": "words"})),
        ("/v1/responses".to_owned(), json!({"model": "demo", "input": "words", "background": true})),
        ("/v1/responses".to_owned(), json!({"model": "demo", "input": "words", "previous_response_id": id(first)})),
        ("/v1/responses".to_owned(), json!({"model": "demo", "input": "words", "previous_response_id": inside})),
        ("/v1/responses".to_owned(), json!({"model": "demo", "input": "words", "conversation": conversation})),
        ("/v1/conversations".to_owned(), json!({"items": [message]})),
        (format!("/v1/conversations/{conversation}"), json!({"metadata": {"words": "words"}})),
        (format!("/v1/conversations/{conversation}/items"), json!({"items": [message]})),
        ("/v1/chat/completions".to_owned(), completion),
        (format!("/v1/chat/completions/{completed}"), json!({"metadata": {"words": "words"}})),
    ];
    (browser, requests.into())
}

/// A request whose body is still to come, when the server has let it in and waits for that.
async fn without_body(browser: &Client, path: &str, body: &Value) -> Raw {
    let mut raw = Raw::to(browser.base()).await;
    let (cookie, length) = (browser.cookie().unwrap(), body.to_string().len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncookie: {cookie}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    );
    raw.send(head).await;
    assert_eq!(raw.answer().await.unwrap().status, 100, "{path}");
    raw
}

async fn with_body(mut raw: Raw, body: &Value) -> RawAnswer {
    raw.send(body.to_string()).await;
    raw.answer().await.unwrap()
}

async fn a_body_that_comes_after_it_stores_nothing(ground: Ground) {
    let instance = ground.start(Setup::default()).await;
    let (browser, requests) = with_session(&instance.url).await;
    assert!(!ground.contents().await.is_empty());
    let mut late = Vec::new();
    for (path, body) in requests {
        late.push((without_body(&browser, &path, &body).await, path, body));
    }
    assert_eq!(browser.delete("/chat").await.status, 204);
    assert_eq!(ground.contents().await, [""; 0]);
    for (raw, path, body) in late {
        let answer = with_body(raw, &body).await;
        assert!((400..500).contains(&answer.status), "{path} {body}: {answer:?}");
        assert_eq!(ground.contents().await, [""; 0], "{path} {body}");
    }
}

async fn a_prompt_that_comes_after_it_begins_another_session(ground: Ground) {
    let instance = ground.start(Setup::default()).await;
    let (browser, _) = with_session(&instance.url).await;
    let old = browser.cookie().unwrap();
    let prompt = json!({"prompt": "words"});
    let late = without_body(&browser, "/chat", &prompt).await;
    browser.delete("/chat").await;
    let answer = with_body(late, &prompt).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let set = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    assert_ne!(set, old);
    let other = browser.at(browser.base());
    other.set_cookie(Some(set.to_owned()));
    assert_eq!(other.history().await.len(), 2);
    other.delete("/chat").await;
    assert_eq!(ground.contents().await, [""; 0]);
}

async fn a_socket_that_was_opened_before_it_stores_nothing(ground: Ground) {
    let instance = ground.start(Setup::default()).await;
    let browser = Client::new(&instance.url);
    browser.say("Hello").await.ok();
    let url = format!("{}/v1/responses", instance.url.replace("http", "ws"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", browser.cookie().unwrap().parse().unwrap());
    let (mut socket, _) = connect_async(request).await.unwrap();
    assert_eq!(browser.delete("/chat").await.status, 204);
    let asked = json!({"type": "response.create", "model": "demo", "input": "words"});
    // The server may have closed the socket by now, or close it instead of answering.
    let _ = socket.send(Message::Text(asked.to_string().into())).await;
    while let Some(Ok(heard)) = tokio::time::timeout(SOON, socket.next()).await.expect("an answer or the end") {
        let Message::Text(text) = heard else { continue };
        let frame: Value = serde_json::from_str(text.as_str()).unwrap();
        assert_eq!(frame["type"], "error", "{frame}");
        assert_eq!(frame["error"]["code"], "session_ended", "{frame}");
        break;
    }
    assert_eq!(ground.contents().await, [""; 0]);
}

async fn a_turn_that_runs_through_it_stores_nothing(ground: Ground) {
    let gate = Gate::new();
    let upstream = Scripted::new([vec![Act::Say("Half "), Act::Wait(gate.clone()), Act::Say("whole")]]);
    let instance = ground.start(Setup::default().upstream(Arc::new(upstream))).await;
    let browser = Client::new(&instance.url);
    let mut stream = browser.stream(&json!({"prompt": "words"})).await;
    stream.expect("started").await;
    stream.expect("delta").await;
    browser.delete("/chat").await;
    gate.open();
    let rest = tokio::time::timeout(SOON, stream.rest()).await.unwrap();
    assert!(rest.iter().all(|event| event.name != "completed"), "{rest:?}");
    assert_eq!(ground.contents().await, [""; 0]);
}

on_every_store! {
    a_body_that_comes_after_it_stores_nothing,
    a_prompt_that_comes_after_it_begins_another_session,
    a_socket_that_was_opened_before_it_stores_nothing,
    a_turn_that_runs_through_it_stores_nothing,
}
