//! WebSockets and the process: few open files, and a stop.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Gate, Reply};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::support::process::Program;
use crate::support::socket::Socket;
use crate::support::{SOON, eventually};

#[tokio::test]
async fn sockets_leave_room_for_plain_requests_where_open_files_are_few() {
    let few_files = Program::bare().wrapped(&["sh", "-c", "ulimit -n 128 && exec \"$0\""]);
    let server = few_files.start().await;
    let mut sockets = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..112 {
        let opening = tokio::time::timeout(SOON, Socket::open(&server.url, &[]));
        match opening.await.expect("every handshake is answered") {
            Ok(socket) => sockets.push(socket),
            Err(Error::Http(response)) => refused.push(response),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sockets.len() >= 48, "{}", sockets.len());
    assert!(!refused.is_empty());
    for response in &refused {
        assert_eq!(response.status().as_u16(), 503);
        assert!(response.headers().contains_key("retry-after"));
        let body: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "too_many_connections", "{body}");
    }
    for _ in 0..10 {
        let browser = server.client();
        assert_eq!(browser.get("/health/ready").await.status.as_u16(), 200);
        browser.say("Hello").await.ok();
    }
    assert_eq!(sockets[0].respond(json!({"model": "m", "input": "Hi"})).await["status"], "completed");
    sockets.truncate(1);
    eventually("closed sockets leave room", async || Socket::open(&server.url, &[]).await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn an_idle_socket_is_told_and_holds_no_stop() {
    let mut server = Program::bare().start().await;
    let mut idle = Socket::open(&server.url, &[]).await.unwrap();
    let mut used = Socket::open(&server.url, &[]).await.unwrap();
    used.respond(json!({"model": "m", "input": "Hi"})).await;
    let since = Instant::now();
    server.signal("TERM");
    for socket in [&mut idle, &mut used] {
        assert_eq!(socket.hear().await["error"]["code"], "server_stopping");
        assert_eq!(socket.next().await, None);
    }
    assert!(server.ended().await.success(), "{}", server.stderr());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_socket_that_makes_a_response_may_end_it_and_makes_no_other() {
    let fake = FakeOpenAi::start().await;
    let mut server = Program::towards(&fake.base_url()).start().await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello").then_wait(&gate).then_text(" world"));
    let mut socket = Socket::open(&server.url, &[]).await.unwrap();
    socket.ask(json!({"model": "m", "input": "Hi"})).await;
    while socket.hear().await["type"] != "response.output_text.delta" {}
    socket.ask(json!({"model": "m", "input": "And then?"})).await;
    server.signal("TERM");
    let browser = server.client();
    eventually("it stops", async || browser.get("/health/ready").await.status == 503).await;
    gate.open();
    let frames = socket.hear_all().await;
    assert_eq!(frames.last().unwrap()["response"]["status"], "completed");
    assert_eq!(socket.hear().await["error"]["code"], "server_stopping");
    assert_eq!(socket.next().await, None);
    assert!(server.ended().await.success(), "{}", server.stderr());
    assert_eq!(fake.calls(), 1);
}
