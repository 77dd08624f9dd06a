//! What a newcomer does first: talk, be remembered, look back, leave.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::server::TestServer;
use crate::support::sse::text_of;

#[tokio::test]
async fn a_session_remembers_what_was_said() {
    let server = TestServer::demo().await;
    let browser = server.client();
    let first = browser.say("My name is Ada.").await.ok();
    assert_eq!(first["role"], "assistant");
    assert!(first["content"].as_str().unwrap().contains("first thing you have said"), "{first}");
    let second = browser.say("And what is my name?").await.ok();
    assert!(second["content"].as_str().unwrap().contains("My name is Ada."), "{second}");
    assert_eq!(first["conversationId"], second["conversationId"]);
    assert_ne!(first["turn"], second["turn"]);
    let history = browser.history().await;
    let roles: Vec<&str> = history.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(history[3].1, second["content"].as_str().unwrap());
}

#[tokio::test]
async fn the_plain_answer_has_every_field() {
    let server = TestServer::demo().await;
    let answer = server.client().say("Hi").await.ok();
    let mut keys: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["content", "conversationId", "finishReason", "id", "model", "role", "turn", "usage"]);
    let usage = &answer["usage"];
    let sum = usage["inputTokens"].as_u64().unwrap() + usage["outputTokens"].as_u64().unwrap();
    assert_eq!(usage["totalTokens"].as_u64().unwrap(), sum);
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(answer["model"], "demo");
}

#[tokio::test]
async fn a_stream_counts_up_and_ends_with_the_plain_answer() {
    let server = TestServer::demo().await;
    let browser = server.client();
    let mut stream = browser.stream(&json!({"prompt": "Tell me {x} and \"y\" 👌"})).await;
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    assert_eq!(stream.headers()["cache-control"], "no-cache, no-transform");
    let events = stream.rest().await;
    assert!(stream.raw.starts_with(": "), "a comment comes at once");
    let ids: Vec<u64> = events.iter().map(|event| event.id.unwrap()).collect();
    assert_eq!(ids, (1..=events.len() as u64).collect::<Vec<_>>());
    let (started, completed) = (&events[0], events.last().unwrap());
    assert_eq!((started.name.as_str(), completed.name.as_str()), ("started", "completed"));
    assert_eq!(started.data["turn"], completed.data["turn"]);
    assert_eq!(completed.data["content"].as_str().unwrap(), text_of(&events));
    assert!(text_of(&events).contains("Tell me {x} and \"y\" 👌"));
    assert_eq!(browser.history().await[1].1, text_of(&events));
}

#[tokio::test]
async fn accept_asks_for_a_stream_where_the_body_says_nothing() {
    let server = TestServer::demo().await;
    let browser = server.client();
    let ask = |body: Value| browser.json("/chat", &body).header("accept", "text/event-stream");
    assert_eq!(browser.stream_of(ask(json!({"prompt": "a"}))).await.rest().await.last().unwrap().name, "completed");
    browser.send(ask(json!({"prompt": "a", "stream": false}))).await.ok();
    // By whole names of types, as everywhere.
    let by = |accept: &str| browser.json("/chat", &json!({"prompt": "a"})).header("accept", accept.to_owned());
    for accept in ["application/json, Text/Event-Stream;q=0.9", "*/*,text/event-stream"] {
        assert_eq!(browser.stream_of(by(accept)).await.rest().await.last().unwrap().name, "completed", "{accept}");
    }
    for accept in ["text/event-streams", "application/x;of=text/event-stream"] {
        browser.send(by(accept)).await.ok();
    }
}

#[tokio::test]
async fn without_a_session_there_is_no_history() {
    let server = TestServer::demo().await;
    let answer = server.client().get("/chat").await;
    assert_eq!(answer.text, "[]");
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn delete_ends_the_session_everywhere() {
    let server = TestServer::demo().await;
    let browser = server.client();
    browser.say("Remember me").await.ok();
    let old = browser.cookie();
    let deleted = browser.delete("/chat").await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    assert!(deleted.header("set-cookie").unwrap().contains("Max-Age=0"), "{:?}", deleted.headers);
    assert_eq!(browser.cookie(), None);
    // The old cookie, replayed, is a stranger's.
    let thief = Client::new(&server.url);
    thief.set_cookie(old.clone());
    assert_eq!(thief.get("/chat").await.text, "[]");
    let answer = thief.say("Hello").await.ok();
    assert!(answer["content"].as_str().unwrap().contains("first thing you have said"));
    assert_ne!(thief.cookie(), old, "an ended session is not adopted");
    assert_eq!(server.client().delete("/chat").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn history_pages_from_the_newest_back() {
    let server = TestServer::demo().await;
    let browser = server.client();
    for n in 0..5 {
        browser.say(&format!("prompt {n}")).await.ok();
    }
    let all = browser.history().await;
    let mut path = "/chat?limit=3".to_owned();
    let mut paged: Vec<Value> = Vec::new();
    loop {
        let page = browser.get(&path).await;
        let link = page.header("link").map(str::to_owned);
        let mut messages: Vec<Value> = serde_json::from_value(page.ok()).unwrap();
        messages.append(&mut paged);
        paged = messages;
        let Some(link) = link else { break };
        path = link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned();
    }
    let paged: Vec<&str> = paged.iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(paged, all.iter().map(|(_, content)| content.as_str()).collect::<Vec<_>>());
    for bad in ["limit=0", "limit=1001", "limit=x", "before=0", "before=-1", "colour=red", "conversationId=x"] {
        assert_eq!(browser.get(&format!("/chat?{bad}")).await.failed(400), "invalid_request", "{bad}");
    }
}

#[tokio::test]
async fn a_session_may_have_more_conversations() {
    let server = TestServer::demo().await;
    let (ada, eve) = (server.client(), server.client());
    let main = ada.say("In the main one").await.ok();
    let other = ada.post("/chat", &json!({"prompt": "In another", "conversationId": "new"})).await.ok();
    assert_ne!(main["conversationId"], other["conversationId"]);
    let id = other["conversationId"].as_str().unwrap();
    let again = ada.post("/chat", &json!({"prompt": "Again there", "conversationId": id})).await.ok();
    assert!(again["content"].as_str().unwrap().contains("In another"));
    assert_eq!(ada.history().await.len(), 2);
    assert_eq!(ada.get(&format!("/chat?conversationId={id}")).await.ok().as_array().unwrap().len(), 4);
    eve.say("I am another person").await.ok();
    for path in [id, "conv_00000000000000000000000000000000"] {
        let told = eve.post("/chat", &json!({"prompt": "x", "conversationId": path})).await;
        assert_eq!(told.failed(404), "not_found");
        assert_eq!(eve.get(&format!("/chat?conversationId={path}")).await.failed(404), "not_found");
    }
}
