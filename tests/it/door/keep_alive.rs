//! Connections between requests: they last longer than those that proxies keep, and their last answer says that it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_openai::Gate;
use serde_json::json;

use crate::support::raw::Raw;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::Setup;
use crate::support::{SOON, eventually};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n";

fn chat(prompt: &str) -> String {
    let body = json!({"prompt": prompt}).to_string();
    let length = body.len();
    format!(
        "POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn the_limit_of_headers_does_not_close_idle_connections() {
    let server = Setup::default().set("HEADER_TIMEOUT", "300ms").start().await;
    // Connections that never had a request, ones that had one, and what many pools would send just as the limit is over.
    let mut sockets = Vec::new();
    for _ in 0..8 {
        let (fresh, mut used) = (Raw::connect(&server).await, Raw::connect(&server).await);
        used.send(LIVE).await;
        assert_eq!(used.answer().await.unwrap().status, 200);
        sockets.extend([fresh, used]);
    }
    let since = Instant::now();
    for (socket, pause) in sockets.iter_mut().zip((285..).step_by(4)) {
        tokio::time::sleep_until((since + Duration::from_millis(pause)).into()).await;
        socket.send(chat("Hi")).await;
        assert_eq!(socket.answer().await.expect("an answer").status, 200, "after {pause} ms");
    }
}

#[tokio::test]
async fn answers_while_the_server_stops_say_that_the_connection_ends() {
    let gate = Gate::new();
    let script =
        [vec![Act::Wait(gate.clone()), Act::Say("Here it is.")], vec![Act::Say("Half"), Act::Wait(gate.clone())]];
    let upstream = Arc::new(Scripted::new(script));
    let mut server = Setup::default().upstream(upstream.clone()).start().await;
    let (mut idle, mut asking) = (Raw::connect(&server).await, Raw::connect(&server).await);
    idle.send(LIVE).await;
    assert_eq!(idle.answer().await.unwrap().header("connection"), None);
    asking.send(chat("x")).await;
    eventually("the model is asked", async || upstream.calls().len() == 1).await;
    let client = server.client();
    let mut stream = client.stream(&json!({"prompt": "y"})).await;
    stream.expect("started").await;
    server.begin_stop();
    let ready = async || client.get("/health/ready").await.status.as_u16() == 503;
    eventually("it stops", ready).await;

    // One that was idle has its request answered, and is told not to send another.
    idle.send(chat("z")).await;
    let answer = idle.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert_eq!(idle.until_closed().await, "");
    assert_eq!(client.get("/health/live").await.header("connection"), Some("close"));
    // So has one whose request was under way.
    gate.open();
    let answer = asking.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(stream.rest().await.last().unwrap().name, "completed");
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
}

#[tokio::test]
async fn where_a_client_waits_for_a_place_answers_say_that_the_connection_ends() {
    let server = Setup::default().set("MAX_CONNECTIONS", "1").start().await;
    let mut first = Raw::connect(&server).await;
    first.send(LIVE).await;
    assert_eq!(first.answer().await.unwrap().header("connection"), None);
    let mut second = Raw::connect(&server).await;
    second.send(LIVE).await;
    eventually("the first connection makes room", async || {
        first.send(LIVE).await;
        first.answer().await.expect("an answer").header("connection") == Some("close")
    })
    .await;
    assert_eq!(first.until_closed().await, "");
    let answer = second.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.header("connection")), (200, None));
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_client_that_waits_for_a_place() {
    let server = Setup::default().set("MAX_CONNECTIONS", "1").set("HEADER_TIMEOUT", "300ms").start().await;
    let mut first = Raw::connect(&server).await;
    first.send(LIVE).await;
    assert_eq!(first.answer().await.unwrap().status, 200);
    let mut second = Raw::connect(&server).await;
    second.send(LIVE).await;
    assert_eq!(second.answer().await.expect("an answer").status, 200);
    assert_eq!(first.until_closed().await, "");
}
