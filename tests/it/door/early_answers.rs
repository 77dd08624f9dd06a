//! Answers that go out before the request has come in whole reach a client that first sends all of it and only then reads.

use std::sync::Arc;

use openai_backend::domain::clock::SystemClock;
use openai_backend::store::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::SOON;
use crate::support::server::{Setup, TestServer};

/// More than the buffers between client and server hold.
const MUCH: usize = 5_000_000;

const CHAT: &str = "POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

async fn connect(server: &TestServer) -> TcpStream {
    TcpStream::connect(server.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Sends all of `head` and `rest` before it reads; gives all that the server sent until it closed.
async fn send_all_then_read(server: &TestServer, head: &str, rest: &[u8]) -> String {
    let mut socket = connect(server).await;
    let exchange = async {
        socket.write_all(head.as_bytes()).await.unwrap();
        for chunk in rest.chunks(100_000) {
            socket.write_all(chunk).await.unwrap_or_else(|error| panic!("{head}: the server closed: {error}"));
        }
        let mut got = String::new();
        socket.read_to_string(&mut got).await.unwrap_or_else(|error| panic!("{head}: the answer is lost: {error}"));
        got
    };
    tokio::time::timeout(SOON, exchange).await.expect("an answer and an end")
}

#[tokio::test]
async fn a_body_past_the_limit_gets_its_413_every_time() {
    let server = TestServer::demo().await;
    let body = vec![b' '; MUCH];
    let head = format!("{CHAT}content-length: {MUCH}\r\n\r\n");
    for _ in 0..50 {
        let got = send_all_then_read(&server, &head, &body).await;
        assert!(got.starts_with("HTTP/1.1 413 ") && got.contains("body_too_large"), "{got}");
    }
}

#[tokio::test]
async fn so_does_every_other_early_answer() {
    let server = Setup::default().set("API_KEYS", "web:a-key-of-more-than-sixteen").start().await;
    let body = vec![b' '; MUCH];
    let chunked = [format!("{MUCH:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let length = format!("content-length: {MUCH}\r\n\r\n");
    let json = "HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    for (head, rest, status) in [
        (format!("{CHAT}transfer-encoding: chunked\r\n\r\n"), &chunked, 413),
        (format!("POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n{length}"), &body, 415),
        (format!("{CHAT}origin: https://evil.example\r\n{length}"), &body, 403),
        (format!("POST /nowhere {json}{length}"), &body, 404),
        (format!("PUT /chat {json}{length}"), &body, 405),
        (format!("POST /v1/responses {json}{length}"), &body, 401),
        (format!("POST /v1/files {json}{length}"), &body, 401),
        (format!("POST /chat HTTP/1.1\r\nx: {}", "x".repeat(100_000)), &body, 431),
        ("NO REQUEST\r\n\r\n".to_owned(), &body, 400),
    ] {
        for _ in 0..5 {
            let got = send_all_then_read(&server, &head, rest).await;
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {got}");
        }
    }
}

#[tokio::test]
async fn a_body_that_was_too_slow_gets_its_408() {
    let server = Setup::default().set("MAX_CHAT_BODY_BYTES", "10000000").set("BODY_TIMEOUT", "100ms").start().await;
    for _ in 0..5 {
        let mut socket = connect(&server).await;
        socket.write_all(format!("{CHAT}content-length: {MUCH}\r\n\r\n{{").as_bytes()).await.unwrap();
        // The answer is there, and the client goes on sending before it looks.
        tokio::time::timeout(SOON, socket.peek(&mut [0])).await.expect("an answer").unwrap();
        for _ in 0..MUCH / 100_000 {
            socket.write_all(&[b' '; 100_000]).await.expect("the server reads on");
        }
        let mut got = String::new();
        tokio::time::timeout(SOON, socket.read_to_string(&mut got))
            .await
            .expect("an end")
            .expect("the answer is there");
        assert!(got.starts_with("HTTP/1.1 408 "), "{got}");
    }
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut() {
    let store = Arc::new(Memory::new(Arc::new(SystemClock)));
    let server = Setup::default().set("MAX_CONNECTIONS", "1").store(store).start().await;
    let mut socket = connect(&server).await;
    socket.write_all(format!("{CHAT}content-length: 1000000000000\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = vec![b' '; 1 << 20];
    let sending = async { while socket.write_all(&chunk).await.is_ok() {} };
    tokio::time::timeout(SOON, sending).await.expect("the server closes in the end");
    assert_eq!(server.client().get("/health/live").await.status.as_u16(), 200, "its place is free");
}
