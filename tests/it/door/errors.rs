//! One shape for every failure, whatever layer it comes from (P21).

use std::sync::Arc;

use openai_backend::domain::turn::FaultKind;
use reqwest::Method;
use serde_json::json;

use crate::support::faulty::Faulty;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn addresses_that_do_not_exist() {
    let server = TestServer::demo().await;
    let client = server.client();
    for path in [
        "/nowhere",
        "/chat/",
        "/chat/x",
        "/CHAT",
        "//chat",
        "/%63hat%2f",
        "/health",
        "/health/",
        "/health/nope",
        "/docs/nope.js",
        "/docs/../chat/x",
        "/docs/%2e%2e/x",
        "/openapi.json/",
        "/openapi.yaml",
        "/favicon.ico",
        "/%00",
        "/%ff",
        "/.env",
        "/data/openai-backend.db",
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.failed(404), "not_found", "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(client.send(client.request(method, "/nowhere")).await.failed(404), "not_found");
    }
}

#[tokio::test]
async fn methods_that_an_address_does_not_have() {
    let server = TestServer::demo().await;
    let client = server.client();
    for (method, path, allowed) in [
        (Method::PUT, "/chat", vec!["GET", "HEAD", "POST", "DELETE"]),
        (Method::PATCH, "/chat", vec!["GET", "HEAD", "POST", "DELETE"]),
        (Method::POST, "/", vec!["GET", "HEAD"]),
        (Method::POST, "/health/live", vec!["GET", "HEAD"]),
        (Method::DELETE, "/health/ready", vec!["GET", "HEAD"]),
        (Method::POST, "/openapi.json", vec!["GET", "HEAD"]),
        (Method::POST, "/docs/", vec!["GET", "HEAD"]),
        (Method::from_bytes(b"BREW").unwrap(), "/chat", vec!["GET", "HEAD", "POST", "DELETE"]),
    ] {
        let answer = client.send(client.request(method.clone(), path)).await;
        assert_eq!(answer.failed(405), "method_not_allowed", "{method} {path}");
        let mut named: Vec<&str> = answer.header("allow").expect("Allow").split(',').map(str::trim).collect();
        named.sort_unstable();
        let mut allowed = allowed;
        allowed.sort_unstable();
        assert_eq!(named, allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn head_says_what_get_would() {
    let server = TestServer::demo().await;
    let client = server.client();
    client.say("Hi").await.ok();
    for (path, status) in [("/", 200), ("/chat", 200), ("/health/live", 200), ("/openapi.json", 200), ("/nowhere", 404)]
    {
        let (got, head) = (client.get(path).await, client.send(client.request(Method::HEAD, path)).await);
        assert_eq!((got.status.as_u16(), head.status.as_u16()), (status, status), "{path}");
        assert_eq!(head.text, "");
        assert_eq!(head.header("content-type"), got.header("content-type"));
        assert_eq!(head.header("content-length"), Some(got.text.len().to_string().as_str()), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_its_own_id_and_is_not_kept() {
    let server = TestServer::demo().await;
    let client = server.client();
    let mut ids = std::collections::HashSet::new();
    for path in ["/chat", "/nowhere", "/chat?limit=x", "/health/live", "/"] {
        let answer = client.get(path).await;
        assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
        assert!(ids.insert(answer.header("x-request-id").unwrap().to_owned()));
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn parameters_that_are_not_right() {
    let server = TestServer::demo().await;
    let client = server.client();
    client.say("Hi").await.ok();
    for bad in [
        "limit=",
        "limit=-1",
        "limit=1e3",
        "limit=99999999999",
        "limit=1&limit=2",
        "before=18446744073709551616",
        "before=",
        "details=maybe",
        "details",
        "conversationId=",
        "conversationId=conv_",
        "conversationId=new",
        "conversationId=turn_1",
        "conversationId=conv_%00",
        "conversationId=conv_%FF",
        "conversation_id=conv_1",
        "limit[]=1",
        "%ff=1",
    ] {
        assert_eq!(client.get(&format!("/chat?{bad}")).await.failed(400), "invalid_request", "{bad}");
    }
    let long = format!("/chat?conversationId=conv_{}", "a".repeat(60_000));
    assert_eq!(client.get(&long).await.failed(400), "invalid_request");
    for good in ["", "limit=1", "before=18446744073709551615", "details=true", "&&"] {
        client.get(&format!("/chat?{good}")).await.ok();
    }
}

#[tokio::test]
async fn turns_and_cursors_that_are_not_right() {
    let server = TestServer::demo().await;
    let client = server.client();
    let turn = client.say("Hi").await.ok()["turn"].as_str().unwrap().to_owned();
    for bad in ["x", "turn_", "turn_%00", "turn_%ff", "%ff", "%F0%9F%92%A5", "..%2f..", "conv_1", &"x".repeat(10_000)] {
        let answer = client.get(&format!("/chat/turns/{bad}/events")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{bad}");
        answer.failed(answer.status.as_u16());
        let answer = client.send(client.request(Method::POST, &format!("/chat/turns/{bad}/cancel"))).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{bad}");
        answer.failed(answer.status.as_u16());
    }
    let path = format!("/chat/turns/{turn}/events");
    for bad in ["-1", "+1", "1e3", "0x1", "18446744073709551616", "x", "%20", "%ff", ""] {
        assert_eq!(client.get(&format!("{path}?after={bad}")).await.failed(400), "invalid_cursor", "{bad}");
    }
    for bad in ["-1", "+1", "x", "1, 2", "1 "] {
        let answer = client.send(client.request(Method::GET, &path).header("last-event-id", bad)).await;
        // Blanks around a header's value are no part of it.
        assert_eq!(answer.status.as_u16(), if bad == "1 " { 200 } else { 400 }, "{bad:?}");
    }
    let latin = reqwest::header::HeaderValue::from_bytes(b"\xe9").unwrap();
    let answer = client.send(client.request(Method::GET, &path).header("last-event-id", latin)).await;
    assert_eq!(answer.failed(400), "invalid_cursor");
    assert_eq!(client.get(&format!("{path}?before=1")).await.failed(400), "invalid_request");
    for (bad, status) in [("limit=0", 400), ("limit=101", 400), ("limit=x", 400), ("conversationId=x", 400)] {
        assert_eq!(client.get(&format!("/chat/turns?{bad}")).await.failed(status), "invalid_request", "{bad}");
    }
}

#[tokio::test]
async fn idempotency_keys_that_are_not_right() {
    let server = TestServer::demo().await;
    let client = server.client();
    for bad in [&b""[..], b"a b", b"\xe9", &[b'k'; 256]] {
        let bad = reqwest::header::HeaderValue::from_bytes(bad).unwrap();
        let answer = client.send(client.json("/chat", &json!({"prompt": "x"})).header("idempotency-key", bad)).await;
        assert_eq!(answer.failed(400), "invalid_request");
    }
    client.send(client.json("/chat", &json!({"prompt": "x"})).header("idempotency-key", "k".repeat(255))).await.ok();
    let other = client.json("/chat", &json!({"prompt": "y"})).header("idempotency-key", "k".repeat(255));
    assert_eq!(client.send(other).await.failed(422), "idempotency_key_reused");
}

#[tokio::test]
async fn a_long_address_is_no_harm() {
    let server = TestServer::demo().await;
    let path = format!("/{}", "a".repeat(60_000));
    let answer = server.client().get(&path).await;
    assert_eq!(answer.failed(404), "not_found");
    assert!(answer.text.len() < 300, "it is not quoted");
}

#[tokio::test]
async fn the_models_failures_keep_their_status() {
    let kinds = [
        (FaultKind::UpstreamRefusedKey, 502),
        (FaultKind::RateLimited, 429),
        (FaultKind::QuotaExhausted, 429),
        (FaultKind::ContextTooLong, 400),
        (FaultKind::UnknownModel, 400),
        (FaultKind::UpstreamRefused, 400),
        (FaultKind::UpstreamMisaddressed, 502),
        (FaultKind::UpstreamTimeout, 504),
        (FaultKind::UpstreamUnavailable, 502),
        (FaultKind::UpstreamCut, 502),
        (FaultKind::UpstreamGarbage, 502),
        (FaultKind::BreakerOpen, 503),
        (FaultKind::Internal, 500),
    ];
    let script = kinds.iter().flat_map(|(kind, _)| [vec![Act::Fail(*kind)], vec![Act::Fail(*kind)]]);
    let server = Setup::default().upstream(Arc::new(Scripted::new(script))).start().await;
    for (kind, status) in kinds {
        let client = server.client();
        assert_eq!(client.say("x").await.failed(status), kind.code());
        // Before the first word, a stream is no different.
        let streamed = client.post("/chat", &json!({"prompt": "x", "stream": true})).await;
        assert_eq!(streamed.failed(status), kind.code());
        let asked = vec![("user".to_owned(), "x".to_owned()); 2];
        assert_eq!(client.history().await, asked, "a turn in which nothing was said leaves its question");
    }
}

#[tokio::test]
async fn after_the_first_word_a_failure_is_an_event() {
    let fails = vec![Act::Say("Half"), Act::Fail(FaultKind::UpstreamCut)];
    let server = Setup::default().upstream(Arc::new(Scripted::new([fails.clone(), fails]))).start().await;
    let client = server.client();
    let mut stream = client.stream(&json!({"prompt": "x"})).await;
    let events = stream.rest().await;
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert!(names == ["started", "delta", "error"] || names == ["started", "error"], "{events:?}");
    let error = &events.last().unwrap().data;
    assert_eq!(error["code"], "upstream_cut");
    assert!(error["error"].is_string() && error.as_object().unwrap().len() <= 3, "{error}");
    assert_eq!(client.say("x").await.failed(502), "upstream_cut");
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503_on_every_route_that_needs_it() {
    let store = Faulty::well(TestServer::demo().await.store.clone());
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    client.say("Hi").await.ok();
    for (break_it, code) in [(Faulty::go_away as fn(&Faulty), "store_unavailable"), (Faulty::fill, "store_full")] {
        break_it(&store);
        let streamed = client.post("/chat", &json!({"prompt": "x", "stream": true})).await;
        let (get, delete) = (client.get("/chat").await, client.delete("/chat").await);
        for answer in [client.say("x").await, streamed, get, delete, client.get("/health/ready").await] {
            assert_eq!(answer.failed(503), code);
            assert_eq!(answer.header("retry-after"), Some("2"));
        }
        assert!(client.cookie().is_some(), "a log-out that failed keeps its cookie, to be tried again");
        assert_eq!(client.get("/health/live").await.status.as_u16(), 200);
    }
    store.mend();
    assert_eq!(client.history().await.len(), 2);
    client.get("/health/ready").await.ok();
}

/// An `EventSource` ends for good at any status but 200.
#[tokio::test]
async fn where_coming_back_helps_an_event_source_is_told_to() {
    let store = Faulty::well(TestServer::demo().await.store.clone());
    let server = Setup::default().store(store.clone()).start().await;
    let client = server.client();
    let turn = client.say("Hi").await.ok()["turn"].as_str().unwrap().to_owned();
    let path = format!("/chat/turns/{turn}/events");
    let as_event_source =
        |path: &str| client.send(client.request(Method::GET, path).header("accept", "text/event-stream"));
    store.go_away();
    assert_eq!(client.get(&path).await.failed(503), "store_unavailable", "others hear what is wrong");
    let answer = as_event_source(&path).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert!(answer.text.ends_with("retry: 2000\nevent: reconnect\ndata: {}\n\n"), "{}", answer.text);
    assert!(!answer.text.contains("id:"), "it keeps its cursor: {}", answer.text);
    store.mend();
    assert!(as_event_source(&path).await.text.contains("event: completed"));
    // Where it does not help, the status says so, and ends it.
    assert_eq!(as_event_source("/chat/turns/turn_0/events").await.failed(404), "not_found");
    assert_eq!(as_event_source(&format!("{path}?after=x")).await.failed(400), "invalid_cursor");
    assert_eq!(as_event_source(&format!("{path}?after=1000000")).await.status.as_u16(), 204);
}

#[tokio::test]
async fn an_address_with_a_slash_too_many_is_told_so() {
    let server = TestServer::demo().await;
    for (path, is_told) in [("/chat/", true), ("/nowhere/", true), ("/nowhere", false)] {
        let answer = server.client().get(path).await;
        assert_eq!(answer.failed(404), "not_found");
        assert_eq!(answer.text.contains("slash"), is_told, "{path}: {}", answer.text);
    }
    for path in ["/chat?_=1", "/chat/turns?_=1&limit=5", "/openapi.json?_=1", "/health/live?_=1"] {
        assert_eq!(server.client().get(path).await.status.as_u16(), 200, "{path}");
    }
}
