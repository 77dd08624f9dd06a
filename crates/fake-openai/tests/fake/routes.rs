//! Routes, keys, errors, scripts and records.

use std::time::{Duration, UNIX_EPOCH};

use fake_openai::{FAULTS, FakeOpenAi, Gate, Reply, magic};
use serde_json::json;

use crate::client::{Client, SOON, prompt};

#[tokio::test]
async fn replies_come_from_the_queue_then_the_responder_then_the_default() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    fake.set_default(Reply::text("default"));
    fake.push(Reply::text("queued"));
    let mut said = Vec::new();
    for round in 0..3 {
        if round == 2 {
            fake.set_responder(|request| Reply::text(format!("{} messages", request.messages().len())));
        }
        let answer = client.ask(&prompt("hi", false)).await.json();
        said.push(answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(said, ["queued", "default", "1 messages"]);
    assert_eq!(fake.queued(), 0);
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    let parts = json!([{"type": "text", "text": "what "}, {"type": "text", "text": "now"}]);
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]);
    let body = json!({"model": "m", "messages": messages}).to_string();
    client.request("POST", "/v1/chat/completions?x=1", "Authorization: Bearer sk-1\r\nX-Two:  b \r\n", &body).await;
    client.response().await.unwrap();
    client.get("/v1/models").await;

    let call = fake.last();
    assert_eq!(
        (call.method.as_str(), call.path.as_str(), call.query.as_str()),
        ("POST", "/v1/chat/completions", "x=1")
    );
    assert_eq!((call.key(), call.header("x-two"), call.model()), (Some("sk-1"), Some("b"), "m"));
    let expected = [("system", "be brief"), ("user", "what now")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(call.conversation(), expected);
    assert_eq!(call.last_prompt(), "what now");
    assert_eq!(call.body, body.as_bytes());
    assert_eq!((fake.calls(), fake.requests().len()), (1, 2));
}

#[tokio::test]
async fn errors_are_those_of_the_real_services() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    let until = UNIX_EPOCH + Duration::from_secs(784_111_777);
    let cases = [
        (Reply::model_not_found(), 404, json!("model_not_found"), None),
        (Reply::context_length_exceeded(), 400, json!("context_length_exceeded"), None),
        (Reply::rate_limited_for(7), 429, json!("rate_limit_exceeded"), Some(("retry-after", "7"))),
        (
            Reply::rate_limited_until(until),
            429,
            json!("rate_limit_exceeded"),
            Some(("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")),
        ),
        (
            Reply::rate_limited_for_ms(Duration::from_millis(9)),
            429,
            json!("rate_limit_exceeded"),
            Some(("retry-after-ms", "9")),
        ),
        (Reply::insufficient_quota(), 429, json!("insufficient_quota"), None),
        (Reply::server_error().header("x-more", "1"), 500, json!(null), Some(("x-more", "1"))),
        (Reply::llama_loading(), 503, json!(503), None),
    ];
    for (reply, status, code, header) in cases {
        fake.push(reply);
        let response = client.ask(&prompt("hi", true)).await;
        assert_eq!((response.status, &response.json()["error"]["code"]), (status, &code));
        if let Some((name, value)) = header {
            assert_eq!(response.header(name), Some(value));
        }
    }
    fake.push(Reply::bad_gateway());
    let page = client.ask(&prompt("hi", true)).await;
    assert_eq!((page.status, page.header("content-type")), (502, Some("text/html")));
}

#[tokio::test]
async fn a_required_key_is_required_everywhere() {
    let key = "sk-test-0123456789abcdef";
    let fake = FakeOpenAi::start().await;
    fake.require_key("sk-right");
    let mut client = Client::connect(&fake).await;
    assert_eq!(client.get("/v1/models").await.status, 401);

    let header = format!("Authorization: Bearer {key}\r\n");
    client.request("GET", "/v1/models", &header, "").await;
    let masked = client.response().await.unwrap().text();
    assert!(masked.contains("invalid_api_key") && masked.contains("sk-test-************cdef"), "{masked}");

    client.request("GET", "/v1/models", "Authorization: Bearer sk-right\r\n", "").await;
    assert_eq!(client.response().await.unwrap().status, 200);

    fake.push(Reply::invalid_api_key_leaking());
    let both = "Authorization: Bearer sk-right\r\n";
    client.request("POST", "/v1/chat/completions", both, "{}").await;
    assert!(client.response().await.unwrap().text().contains("sk-right"));
}

#[tokio::test]
async fn models_embeddings_and_what_there_is_not() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    let models = client.get("/v1/models").await.json();
    let first = models["data"][0]["id"].as_str().unwrap();
    assert_eq!(client.get(&format!("/v1/models/{first}")).await.json()["id"], first);
    assert_eq!(client.get("/v1/models/nope").await.json()["error"]["code"], "model_not_found");

    let floats = json!({"model": "e", "input": ["a", "b"], "dimensions": 3}).to_string();
    client.request("POST", "/v1/embeddings", "", &floats).await;
    let answer = client.response().await.unwrap().json();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 3);
    let base64 = json!({"model": "e", "input": [1, 2, 3], "encoding_format": "base64", "dimensions": 1}).to_string();
    client.request("POST", "/v1/embeddings", "", &base64).await;
    let answer = client.response().await.unwrap().json();
    assert_eq!((&answer["data"][0]["embedding"], answer["data"].as_array().unwrap().len()), (&json!("AAAAPw=="), 1));

    let unknown = client.get("/v1/nope").await;
    assert_eq!(
        (unknown.status, unknown.json()["error"]["message"].as_str()),
        (404, Some("Invalid URL (GET /v1/nope)"))
    );
    fake.set_path("/v1/models", Reply::server_error());
    assert_eq!(client.get("/v1/models").await.status, 500);
}

#[tokio::test]
async fn the_peak_of_requests_at_once_is_kept() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.set_default(Reply::text("ok").wait_first(&gate));
    let mut clients = [Client::connect(&fake).await, Client::connect(&fake).await];
    for client in &mut clients {
        client.chat(&prompt("hi", false)).await;
    }
    let calls = fake.wait_for_calls(2, SOON).await;
    assert_eq!((calls.len(), fake.in_flight()), (2, 2));
    gate.open();
    fake.wait_until_idle(SOON).await;
    assert_eq!((fake.in_flight(), fake.peak_in_flight()), (0, 2));
}

#[tokio::test]
async fn magic_prompts_name_faults() {
    let fake = FakeOpenAi::start().await;
    fake.set_responder(|request| magic(request).unwrap_or_else(|| Reply::text("no magic")));
    let mut client = Client::connect(&fake).await;
    assert_eq!(client.ask(&prompt("!429", false)).await.status, 429);
    for (asked, said) in [("!echo a b", "a b"), ("!wat", "no magic"), ("hi", "no magic")] {
        let answer = client.ask(&prompt(asked, false)).await.json();
        assert_eq!(answer["choices"][0]["message"]["content"], said);
    }
    let mut names: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAULTS.len());
}
