//! Bodies of `POST /chat` that are not fit: each gets its own refusal, and none reaches the model (P21).

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::raw::Raw;
use crate::support::scripted::Scripted;
use crate::support::server::{Setup, TestServer};

async fn server() -> (TestServer, Arc<Scripted>) {
    let upstream = Arc::new(Scripted::default());
    (Setup::default().upstream(upstream.clone()).start().await, upstream)
}

#[tokio::test]
async fn what_is_no_json() {
    let (server, upstream) = server().await;
    let deep = format!("{{\"prompt\": {}", "[".repeat(100_000));
    let deeper = format!("{{\"x\":{}", "{\"x\":".repeat(100_000));
    let cases: [&[u8]; 25] = [
        b"",
        b" ",
        b"{",
        b"{}",
        b"}",
        b"null",
        b"true",
        b"5",
        b"\"prompt\"",
        b"{\"prompt\": \"x\"",
        b"{\"prompt\": \"x\"} x",
        b"{\"prompt\": \"x\"}{\"prompt\": \"x\"}",
        b"{'prompt': 'x'}",
        b"{prompt: \"x\"}",
        b"{\"prompt\": \"x\",}",
        b"{\"prompt\": \"a\nb\"}",
        b"\xef\xbb\xbf{\"prompt\": \"x\"}",
        b"{\"prompt\": \"\xff\xfe\"}",
        b"{\"prompt\": \"\xed\xa0\x80\"}",
        b"{\"prompt\": \"\\ud800\"}",
        b"{\"prompt\": \"\\udc00\\ud800\"}",
        b"{\"prompt\": \"\\x\"}",
        b"{\"prompt\": \"x\", \"temperature\": NaN}",
        deep.as_bytes(),
        deeper.as_bytes(),
    ];
    for body in cases {
        let answer = Raw::connect(&server).await.chat(body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{shown}");
        assert!(answer.body.len() < 800, "{answer:?}");
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn what_has_not_the_right_shape() {
    let (server, upstream) = server().await;
    let cases = [
        r#"[]"#,
        r#"["Hello", null, null, null, null, null, null]"#,
        r#"[{"prompt": "x"}]"#,
        r#"{"prompt": 5}"#,
        r#"{"prompt": null}"#,
        r#"{"prompt": ["x"]}"#,
        r#"{"prompt": {"text": "x"}}"#,
        r#"{"prompt": true}"#,
        r#"{"prompt": ""}"#,
        r#"{"Prompt": "x"}"#,
        r#"{"prompt": "x", "prompt": "y"}"#,
        r#"{"prompt": "x", "colour": "red"}"#,
        r#"{"prompt": "x", "__proto__": {}}"#,
        r#"{"prompt": "x", "system_prompt": "y"}"#,
        r#"{"prompt": "x", "systemPrompt": 5}"#,
        r#"{"prompt": "x", "model": 5}"#,
        r#"{"prompt": "x", "stream": "true"}"#,
        r#"{"prompt": "x", "stream": 1}"#,
        r#"{"prompt": "x", "temperature": "hot"}"#,
        r#"{"prompt": "x", "temperature": -0.1}"#,
        r#"{"prompt": "x", "temperature": 2.0000001}"#,
        r#"{"prompt": "x", "temperature": 1e999}"#,
        r#"{"prompt": "x", "temperature": -1e999}"#,
        r#"{"prompt": "x", "maxTokens": 0}"#,
        r#"{"prompt": "x", "maxTokens": -1}"#,
        r#"{"prompt": "x", "maxTokens": 1.5}"#,
        r#"{"prompt": "x", "maxTokens": 16001}"#,
        r#"{"prompt": "x", "maxTokens": 99999999999999999999999}"#,
        r#"{"prompt": "x", "maxTokens": "10"}"#,
        r#"{"prompt": "x", "onBusy": "wait"}"#,
        r#"{"prompt": "x", "onBusy": true}"#,
        r#"{"prompt": "x", "onBusy": ["queue"]}"#,
        r#"{"prompt": "x", "onBusy": {"queue": 1}}"#,
        r#"{"prompt": "x", "onDisconnect": 5}"#,
        r#"{"prompt": "x", "conversationId": ""}"#,
        r#"{"prompt": "x", "conversationId": 5}"#,
        r#"{"prompt": "x", "conversationId": "NEW"}"#,
        r#"{"prompt": "x", "conversationId": "conv_"}"#,
        r#"{"prompt": "x", "conversationId": "conv_a/../b"}"#,
        r#"{"prompt": "x", "conversationId": "conv_a\u0000"}"#,
        r#"{"prompt": "x", "conversationId": "turn_1"}"#,
    ];
    let client = server.client();
    for body in cases {
        let request = client.request(Method::POST, "/chat").header("content-type", "application/json");
        let answer = client.send(request.body(body)).await;
        assert_eq!(answer.failed(400), "invalid_request", "{body}");
        assert!(!answer.text.contains("struct"), "an error speaks of the request, not of the code: {}", answer.text);
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn what_is_odd_but_right() {
    let (server, upstream) = server().await;
    for body in [
        r#"{"prompt": "x", "model": null, "systemPrompt": null, "stream": null, "temperature": null}"#,
        r#"{"prompt": "x", "maxTokens": null, "conversationId": null}"#,
        r#"{"prompt": "x", "onBusy": null, "onDisconnect": null}"#,
        r#"{"prompt": "x", "temperature": 0, "maxTokens": 1, "systemPrompt": ""}"#,
        r#"{"prompt": "x", "temperature": 2, "maxTokens": 16000}"#,
        r#"{"prompt": "x", "temperature": 1e-300}"#,
        "\r\n\t {\"prompt\"\n:\t\"x\"} \n",
        r#"{"prompt": "NUL \u0000, {x}, {{y}}, %s, ${z}, \u202e, \ud83d\udc4c"}"#,
        r#"{"prompt": " "}"#,
    ] {
        let answer = Raw::connect(&server).await.chat(body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
    }
    let prompts: Vec<String> =
        upstream.calls().iter().map(|call| call.messages.last().unwrap().text().into_owned()).collect();
    assert!(prompts.contains(&"NUL \0, {x}, {{y}}, %s, ${z}, \u{202e}, 👌".to_owned()), "{prompts:?}");
}

#[tokio::test]
async fn prompts_are_measured_in_characters() {
    let upstream = Arc::new(Scripted::default());
    let server = Setup::default().upstream(upstream.clone()).set("MAX_PROMPT_CHARS", "10").start().await;
    let client = server.client();
    client.say(&"👌".repeat(10)).await.ok();
    for body in [
        json!({"prompt": "a".repeat(11)}),
        json!({"prompt": "👌".repeat(11)}),
        json!({"prompt": "x", "systemPrompt": "a".repeat(11)}),
    ] {
        let answer = client.post("/chat", &body).await;
        assert_eq!(answer.failed(400), "prompt_too_long");
        let details = answer.json()["details"].as_str().unwrap().to_owned();
        assert!(details.contains("11") && details.contains("10"), "{details}");
    }
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_costs_nothing() {
    let upstream = Arc::new(Scripted::default());
    let server = Setup::default().upstream(upstream.clone()).set("HISTORY_MAX_TOKENS", "100").start().await;
    let client = server.client();
    let answer = client.say(&"many words ".repeat(200)).await;
    assert_eq!(answer.failed(400), "context_too_long");
    let details = answer.json()["details"].as_str().unwrap().to_owned();
    let numbers: Vec<u32> = details.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(matches!(numbers[..], [asked, room] if asked > room && room <= 100), "{details}");
    assert!(upstream.calls().is_empty());
    assert!(client.history().await.is_empty());
}

#[tokio::test]
async fn models_that_are_not_allowed() {
    let upstream = Arc::new(Scripted::default());
    let setup = Setup::default().upstream(upstream.clone()).set("ALLOWED_MODELS", "gpt-4o*,llama");
    let server = setup.start().await;
    let client = server.client();
    let long = format!("gpt-4o{}", "x".repeat(300));
    let wrong = ["gpt-5", "GPT-4o", "", " gpt-4o", "llama2", "gpt-4o\n", "gpt-4o\u{0}", "gpt-4o\u{7f}", &long, "*"];
    for model in wrong {
        let answer = client.post("/chat", &json!({"prompt": "x", "model": model})).await;
        assert_eq!(answer.failed(400), "unknown_model", "{model:?}");
        let details = answer.json()["details"].as_str().unwrap().to_owned();
        assert!(details.contains("gpt-4o*") && details.contains("llama"), "{details}");
    }
    assert!(upstream.calls().is_empty());
    for model in ["gpt-4o", "gpt-4o-mini", "llama"] {
        client.post("/chat", &json!({"prompt": "x", "model": model})).await.ok();
    }
    let called: Vec<String> = upstream.calls().into_iter().map(|call| call.model).collect();
    assert_eq!(called, ["gpt-4o", "gpt-4o-mini", "llama"]);
}

#[tokio::test]
async fn bodies_of_another_kind() {
    let (server, upstream) = server().await;
    let body = r#"{"prompt": "x"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonx",
        "application/x-ndjson",
        "json",
        "",
        "text/plain; application/json",
    ] {
        let head = format!("POST /chat HTTP/1.1\r\ncontent-type: {kind}");
        let answer = Raw::connect(&server).await.request(&head, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"), "{kind}");
    }
    let answer = Raw::connect(&server).await.request("POST /chat HTTP/1.1", body).await;
    assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"));
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.x+json"] {
        let head = format!("POST /chat HTTP/1.1\r\ncontent-type: {kind}");
        assert_eq!(Raw::connect(&server).await.request(&head, body).await.status, 200, "{kind}");
    }
    let calls = upstream.calls().len();
    // A bomb of a kilobyte must not become a gigabyte here.
    for encoding in ["gzip", "br", "deflate", "zstd", "gzip, identity", "x"] {
        let head = format!("POST /chat HTTP/1.1\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}");
        let answer = Raw::connect(&server).await.request(&head, b"\x1f\x8b\x08\0").await;
        assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"), "{encoding}");
    }
    assert_eq!(upstream.calls().len(), calls);
}

#[tokio::test]
async fn a_refusal_does_not_repeat_what_was_said() {
    const CANARY: &str = "a very private sentence";
    let (server, _) = server().await;
    let client = server.client();
    let text = CANARY;
    for body in [
        json!(text),
        json!([text]),
        json!({"prompt": [text]}),
        json!({"prompt": {"text": text}}),
        json!({"prompt": "x", "temperature": text}),
        json!({"prompt": "x", "maxTokens": text}),
        json!({"prompt": "x", "stream": text}),
        json!({"prompt": "x", "onBusy": text}),
        json!({"prompt": "x", "onDisconnect": format!("`, expected {text}, expected")}),
        json!({"prompt": "x", "conversationId": text}),
        json!({"prompt": "x", "model": format!("{text}\n")}),
        json!({"prompt": "x", "temperature": format!("\" {text} \\\" `")}),
        json!({"prompt": text, "maxTokens": 0}),
        json!({"prompt": text, "colour": text}),
    ] {
        let answer = client.post("/chat", &body).await;
        answer.failed(400);
        assert!(!answer.text.contains(CANARY), "{body}: {}", answer.text);
    }
    // The name of an unknown field helps, and is no message.
    let answer = client.post("/chat", &json!({"prompt": "x", "colour": 1})).await;
    let details: Value = answer.json()["details"].clone();
    assert!(details.as_str().unwrap().contains("colour"), "{details}");
}

/// Clients send a header and a body in two pieces, and the connection is used again after an answer to the first alone.
#[tokio::test]
async fn what_is_refused_before_it_has_come_ends_no_connection_unannounced() {
    let setup = Setup::default().set("API_KEYS", "web:key-0123456789-0123456789");
    let server = setup.upstream(Arc::new(Scripted::default())).start().await;
    let head = |path: &str, length: usize, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer wrong\r\ncontent-type: application/json\r\n\
             {more}content-length: {length}\r\n\r\n"
        )
    };
    for (path, status) in [("/v1/responses", 401), ("/v1/nothing", 404), ("/health/live", 405), ("/nothing", 404)] {
        // All of it comes, in pieces: the connection goes on.
        let mut raw = Raw::connect(&server).await;
        for _ in 0..3 {
            raw.send(head(path, 40, "")).await;
            raw.send([b' '; 10]).await;
            tokio::task::yield_now().await;
            raw.send([b' '; 30]).await;
            let answer = raw.answer().await.unwrap();
            assert_eq!((answer.status, answer.header("connection")), (status, None), "{path}");
        }
        // It never comes, is too much, or waits to be wanted: the connection ends, and the client knows.
        for (length, more) in [(40, ""), (1_000_000, ""), (40, "expect: 100-continue\r\n")] {
            let mut raw = Raw::connect(&server).await;
            raw.send(head(path, length, more)).await;
            let answer = raw.answer().await.unwrap();
            assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{path} {length} {more}");
            assert_eq!(raw.until_closed().await, "", "{path}");
        }
    }
}

/// Whether what was sent is JSON is one thing, and whether it is right another.
#[tokio::test]
async fn a_body_that_is_json_is_not_called_none() {
    let server = TestServer::demo().await;
    for (body, details) in [
        (r#"{"prompt": "x", "onBusy": 5}"#, "expected a string"),
        (r#"{"prompt": "x", "onDisconnect": {}}"#, "expected a string"),
        (r#"{"prompt": "x", "onBusy": "wait"}"#, "`queue`, `reject`, `interrupt`"),
    ] {
        let answer = Raw::connect(&server).await.chat(body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{body}");
        assert!(answer.body.contains("does not have the right shape"), "{answer:?}");
        assert!(answer.body.contains(details), "{answer:?}");
    }
    for half in [r"\ud83d", r"\ud83d and more", r"\udc00", r"\ud83d\ud83d"] {
        let answer = Raw::connect(&server).await.chat(format!(r#"{{"prompt": "x{half}"}}"#)).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"), "{half}");
        assert!(answer.body.contains("half of a character"), "{half}: {answer:?}");
    }
}
