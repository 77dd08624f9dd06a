//! Slow, large and many: each client is held to its share, and others do not notice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openai_backend::store::memory::Memory;
use serde_json::json;

use crate::support::SOON;
use crate::support::raw::Raw;
use crate::support::server::{Setup, TestServer};

const HEAD: &str = "POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

async fn server_with(name: &str, value: &str) -> TestServer {
    Setup::default().set(name, value).start().await
}

#[tokio::test]
async fn a_header_that_does_not_come_closes_its_connection() {
    let server = Setup::default().set("HEADER_TIMEOUT", "300ms").set("IDLE_TIMEOUT", "300ms").start().await;
    for start in ["", "G", "GET /chat HTTP/1.1\r\n", "GET /chat HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut socket = Raw::connect(&server).await;
        socket.send(start).await;
        let since = Instant::now();
        let said = socket.until_closed().await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        assert!(since.elapsed() >= Duration::from_millis(200), "{start:?} had too little time");
        assert!(since.elapsed() < Duration::from_secs(5), "{start:?} had too much time");
    }
}

#[tokio::test]
async fn a_trickled_header_has_no_more_time_than_another() {
    let server = server_with("HEADER_TIMEOUT", "300ms").await;
    let mut socket = Raw::connect(&server).await;
    socket.send("GET /chat HTTP/1.1\r\nhost: a\r\nx: ").await;
    let since = Instant::now();
    // A byte now and then must not buy another 300 ms.
    while socket.send("a").await {
        assert!(since.elapsed() < Duration::from_secs(5), "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let server = server_with("IDLE_TIMEOUT", "300ms").await;
    let mut socket = Raw::connect(&server).await;
    for _ in 0..2 {
        socket.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(socket.answer().await.unwrap().status, 200, "it is used again");
    }
    assert_eq!(socket.until_closed().await, "");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let server = server_with("BODY_TIMEOUT", "300ms").await;
    for (framing, part) in [
        ("content-length: 100", ""),
        ("content-length: 100", "{\"prompt\": "),
        ("transfer-encoding: chunked", ""),
        ("transfer-encoding: chunked", "5\r\n{\"pro"),
    ] {
        let mut socket = Raw::connect(&server).await;
        socket.send(format!("{HEAD}{framing}\r\n\r\n{part}")).await;
        let since = Instant::now();
        let answer = socket.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"), "{framing}");
        assert!(since.elapsed() < Duration::from_secs(5));
        // The rest of the body must not be read as the next request.
        socket.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(socket.until_closed().await, "", "{framing}");
    }
}

#[tokio::test]
async fn a_trickled_body_is_a_408() {
    let server = server_with("BODY_TIMEOUT", "300ms").await;
    let mut socket = Raw::connect(&server).await;
    socket.send(format!("{HEAD}content-length: 100000\r\n\r\n")).await;
    let since = Instant::now();
    for _ in 0..40 {
        socket.send(" ").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = socket.answer().await.expect("an answer");
    assert_eq!(answer.code(), "body_timeout");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_turn() {
    let server = TestServer::demo().await;
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut socket = Raw::connect(&server).await;
        socket.send(format!("{HEAD}{framing}\r\n\r\n{{\"prompt\": \"x\"}}")).await;
    }
    let mut socket = Raw::connect(&server).await;
    socket.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\nZZ\r\n")).await;
    let answer = socket.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_request"));
    server.client().say("Still here").await.ok();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let server = TestServer::demo().await;
    // Nothing of the body is sent: waiting for it would take BODY_TIMEOUT.
    for length in ["1048577", "1073741824", "9223372036854775807"] {
        let mut socket = Raw::connect(&server).await;
        let since = Instant::now();
        socket.send(format!("{HEAD}content-length: {length}\r\n\r\n")).await;
        let answer = socket.answer().await.expect("an answer");
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{length}");
        assert!(answer.body.contains("1048576"), "{answer:?}");
        assert!(since.elapsed() < Duration::from_secs(5), "{length}");
        socket.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(socket.until_closed().await, "", "the connection ends with it");
    }
    let mut socket = Raw::connect(&server).await;
    socket.send(format!("{HEAD}expect: 100-continue\r\ncontent-length: 1048577\r\n\r\n")).await;
    assert_eq!(socket.answer().await.unwrap().status, 413, "it is not told to go on");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_up_to_the_limit() {
    let server = TestServer::demo().await;
    let mut socket = Raw::connect(&server).await;
    socket.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let mut sent = 0;
    // The server stops reading, so that sending fails or stops; either way it ends far below what a client may send.
    while sent < 64 << 20 {
        match tokio::time::timeout(Duration::from_secs(1), socket.send(&chunk)).await {
            Ok(true) => sent += chunk.len(),
            Ok(false) | Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "all of it was read");

    let mut socket = Raw::connect(&server).await;
    socket.send(format!("{HEAD}transfer-encoding: chunked\r\n\r\n")).await;
    for _ in 0..16 {
        socket.send(&chunk).await;
    }
    socket.send("1\r\n \r\n").await;
    let answer = socket.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
}

#[tokio::test]
async fn the_limit_itself_is_allowed() {
    let server = server_with("MAX_BODY_BYTES", "1024").await;
    let body = |length: usize| format!("{:length$}", r#"{"prompt": "x"}"#);
    assert_eq!(Raw::connect(&server).await.chat(body(1024)).await.status, 200);
    assert_eq!(Raw::connect(&server).await.chat(body(1025)).await.status, 413);
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_no_request() {
    let server = TestServer::demo().await;
    let inner = "DELETE /chat HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in ["POST /nowhere", "POST /chat", "PUT /chat", "GET /chat", "DELETE /chat", "GET /health/live"] {
        let mut socket = Raw::connect(&server).await;
        let first = socket.request(&format!("{head} HTTP/1.1\r\ncontent-type: text/plain"), inner).await;
        assert_ne!(first.status, 500);
        socket.send("GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let rest = socket.until_closed().await;
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 200"), "{head}: {rest}");
        assert!(!rest.contains("204"), "{head}: the body was taken for a request: {rest}");
    }
}

#[tokio::test]
async fn one_connection_too_many_waits_until_one_leaves() {
    let server = server_with("MAX_CONNECTIONS", "2").await;
    let request = "GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut held = vec![Raw::connect(&server).await, Raw::connect(&server).await];
    for socket in &mut held {
        socket.send(request).await;
        assert_eq!(socket.answer().await.unwrap().status, 200);
    }
    let mut waiting = Raw::connect(&server).await;
    waiting.send(request).await;
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.answer()).await;
    assert!(early.is_err(), "there was no room: {early:?}");
    held.pop();
    assert_eq!(tokio::time::timeout(SOON, waiting.answer()).await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn slow_clients_do_not_slow_others() {
    let server = TestServer::demo().await;
    let mut slow = Vec::new();
    for n in 0..300 {
        let mut socket = Raw::connect(&server).await;
        match n % 3 {
            0 => socket.send("GET /chat HTTP/1.1\r\nx: ").await,
            1 => socket.send(format!("{HEAD}content-length: 100\r\n\r\n{{")).await,
            _ => true,
        };
        slow.push(socket);
    }
    let client = server.client();
    let since = Instant::now();
    for _ in 0..5 {
        client.say("Hi").await.ok();
        client.stream(&json!({"prompt": "Hi"})).await.rest().await;
    }
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test]
async fn connections_that_are_dropped_leave_room() {
    let store = Arc::new(Memory::new(Arc::new(openai_backend::domain::clock::SystemClock)));
    let server = Setup::default().set("MAX_CONNECTIONS", "4").store(store).start().await;
    for _ in 0..40 {
        let mut socket = Raw::connect(&server).await;
        socket.send(format!("{HEAD}content-length: 100\r\n\r\n{{")).await;
    }
    tokio::time::timeout(SOON, server.client().say("Hi")).await.expect("room").ok();
}
