//! Requests that no handler sees, because their header cannot be read: refused in the shape of the door that they are for,
//! with a `Connection: close` that is true.

use serde_json::Value;

use crate::support::SOON;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Setup, TestServer};

/// The code, from either door's shape.
fn code(answer: &RawAnswer, path: &str) -> String {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    if path.starts_with("/v1/") {
        let error = body["error"].as_object().unwrap_or_else(|| panic!("not OpenAI's shape: {answer:?}"));
        assert!(error["message"].is_string() && error["param"].is_null(), "{answer:?}");
        assert_eq!(error["type"], "invalid_request_error", "{answer:?}");
        return error["code"].as_str().unwrap().to_owned();
    }
    assert!(body["details"].is_string(), "{answer:?}");
    answer.code()
}

async fn refused(server: &TestServer, request: &str, path: &str) -> (u16, String) {
    let mut socket = Raw::connect(server).await;
    socket.send(request).await;
    let answer = socket.answer().await.unwrap_or_else(|| panic!("an answer to {request:.60}"));
    for (name, value) in [
        ("content-type", "application/json"),
        ("connection", "close"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{request:.60}: {answer:?}");
    }
    assert!(answer.header("x-request-id").is_some_and(|id| id.starts_with("req_")), "{answer:?}");
    assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{answer:?}");
    assert!(!answer.body.contains("canary"), "{answer:?}");
    let code = code(&answer, path);
    assert_eq!(socket.until_closed().await, "", "{request:.60}");
    (answer.status, code)
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_the_shape_of_its_door() {
    let server = TestServer::demo().await;
    for path in ["/chat", "/v1/models", "/v1/chat/completions?canary=1"] {
        let whole = format!("http://canary.example{path}");
        for (request, status, code) in [
            (format!("GET {path} HTTP/1.1\r\nbad header\r\n\r\n"), 400, "invalid_request"),
            (format!("GET {path} HTTP/1.1\r\nhost: a\r\ncookie: a\0canary\r\n\r\n"), 400, "invalid_request"),
            (format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n"), 400, "invalid_request"),
            (format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n"), 400, "invalid_request"),
            (format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n"), 400, "invalid_request"),
            (format!("POST {path} HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"), 400, "invalid_request"),
            (format!("GET {whole} HTTP/1.1\r\nbad header\r\n\r\n"), 400, "invalid_request"),
            (format!("GET  {path} HTTP/1.1\r\n\r\n"), 400, "invalid_request"),
            (format!("GET {path} HTTP/1.1 canary\r\n\r\n"), 400, "invalid_request"),
            (format!("GET {path} HTTP/2.0\r\nhost: a\r\n\r\n"), 505, "http_version_not_supported"),
            (format!("GET {path} HTTP/1.2\r\nhost: a\r\n\r\n"), 505, "http_version_not_supported"),
            (format!("GET {path} HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(1 << 20)), 431, "header_too_large"),
            (format!("GET {path} HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(500)), 431, "header_too_large"),
            (format!("GET {path}/{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(70_000)), 414, "uri_too_long"),
        ] {
            assert_eq!(refused(&server, &request, path).await, (status, code.to_owned()), "{request:.60}");
        }
    }
    for (request, status, code) in [
        ("nonsense\r\n\r\n", 400, "invalid_request"),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\r\n\r\n", 400, "invalid_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"),
    ] {
        assert_eq!(refused(&server, request, "/").await, (status, code.to_owned()), "{request:.60}");
    }
    server.client().say("Still here").await.ok();
}

#[tokio::test]
async fn a_header_that_is_late_is_told_so() {
    let server = Setup::default().set("HEADER_TIMEOUT", "300ms").start().await;
    for (part, path) in
        [("G", "/"), ("GET /chat HTTP/1.1\r\nhost: a\r\nx: ", "/chat"), ("POST /v1/m HTTP/1.1\r\n", "/v1/m")]
    {
        assert_eq!(refused(&server, part, path).await, (408, "header_timeout".to_owned()), "{part}");
    }
}

#[tokio::test]
async fn a_second_request_that_is_none_is_refused_after_the_first_answer() {
    let server = TestServer::demo().await;
    let good = "GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n";
    for bad in ["nonsense\r\n\r\n", "POST /v1/files HTTP/1.1\r\ncontent-length: x\r\n\r\n"] {
        let mut socket = Raw::connect(&server).await;
        socket.send(good).await;
        assert_eq!(socket.answer().await.unwrap().status, 200);
        socket.send(bad).await;
        assert_eq!(
            code(&socket.answer().await.unwrap(), if bad.contains("/v1") { "/v1/" } else { "/" }),
            "invalid_request"
        );
        assert_eq!(socket.until_closed().await, "");

        // Both at once: the first is answered all the same.
        let mut socket = Raw::connect(&server).await;
        socket.send([good, bad].concat()).await;
        assert_eq!(socket.answer().await.unwrap().status, 200);
        assert_eq!(socket.answer().await.unwrap().code(), "invalid_request");
        assert_eq!(socket.until_closed().await, "");
    }
}

#[tokio::test]
async fn head_is_refused_without_a_body() {
    let server = TestServer::demo().await;
    let mut socket = Raw::connect(&server).await;
    socket.send("HEAD /chat HTTP/1.1\r\ncontent-length: x\r\n\r\n").await;
    let all = tokio::time::timeout(SOON, socket.until_closed()).await.expect("it is closed");
    assert!(all.starts_with("HTTP/1.1 400 Bad Request\r\n") && all.ends_with("\r\n\r\n"), "{all}");
}
