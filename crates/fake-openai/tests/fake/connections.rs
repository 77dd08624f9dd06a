//! Connections: kept, closed, stale, refused, and taken up again.

use std::io::ErrorKind;
use std::time::Duration;

use fake_openai::{FakeOpenAi, Gate, KeepAlive, Outcome, Reply};
use tokio::net::TcpStream;

use crate::client::{Client, SOON, prompt};

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    for stream in [true, false, true] {
        assert_eq!(client.ask(&prompt("hi", stream)).await.status, 200);
    }
    assert_eq!((fake.calls(), fake.accepted_connections(), fake.open_connections()), (3, 1, 1));
    assert!(fake.requests().iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn two_requests_in_one_write_get_two_answers() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("first").wait_first(&gate));
    fake.push(Reply::text("second"));
    let mut client = Client::connect(&fake).await;
    client.chat(&prompt("one", false)).await;
    client.chat(&prompt("two", false)).await;
    gate.reached(1, SOON).await;
    gate.open();
    for (prompt, said) in [("one", "first"), ("two", "second")] {
        let answer = client.response().await.unwrap().json();
        assert_eq!(answer["choices"][0]["message"]["content"], said);
        assert!(fake.requests().iter().any(|request| request.last_prompt() == prompt));
    }
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_after_a_continue() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n";
    client.send(head.as_bytes()).await;
    assert_eq!(client.head().await.unwrap().status, 100);
    client.send(b"9\r\n{\"model\":\r\n4\r\n\"m\"}\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.unwrap().status, 200);
    assert_eq!(fake.last().model(), "m");
}

#[tokio::test]
async fn a_stale_connection_closes_when_the_next_request_has_come() {
    let fake = FakeOpenAi::start().await;
    fake.set_keep_alive(KeepAlive { stale_after_requests: Some(1), ..KeepAlive::default() });
    let mut client = Client::connect(&fake).await;
    assert_eq!(client.ask(&prompt("hi", false)).await.status, 200);
    assert_eq!(fake.open_connections(), 1);
    client.chat(&prompt("again", false)).await;
    let error = client.response().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!((fake.calls(), fake.stale_closes()), (1, 1));
}

#[tokio::test]
async fn connections_close_after_requests_or_idleness() {
    let fake = FakeOpenAi::start().await;
    fake.set_keep_alive(KeepAlive { close_after_requests: Some(1), ..KeepAlive::default() });
    let mut client = Client::connect(&fake).await;
    assert_eq!(client.ask(&prompt("hi", false)).await.header("connection"), None);
    assert_eq!(client.rest().await.unwrap(), b"");

    let idle = KeepAlive { close_idle_after: Some(Duration::from_millis(1)), ..KeepAlive::default() };
    fake.set_keep_alive(idle);
    assert_eq!(Client::connect(&fake).await.rest().await.unwrap(), b"");
}

#[tokio::test]
async fn closing_is_announced_when_either_side_asks() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("bye").close());
    fake.push(Reply::text("bye").until_close());
    for framing in [Some("chunked"), None] {
        let mut client = Client::connect(&fake).await;
        let response = client.ask(&prompt("hi", true)).await;
        assert_eq!(response.header("connection"), Some("close"));
        assert_eq!(response.header("transfer-encoding"), framing);
        assert!(response.text().ends_with("data: [DONE]\n\n"));
        assert_eq!(client.rest().await.unwrap(), b"");
    }
    let mut client = Client::connect(&fake).await;
    client.request("GET", "/v1/models", "Connection: close\r\n", "").await;
    assert_eq!(client.response().await.unwrap().header("connection"), Some("close"));
    assert_eq!(client.rest().await.unwrap(), b"");
}

#[tokio::test]
async fn an_outage_refuses_cuts_and_heals_on_the_same_port() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::hang_after_headers());
    let mut running = Client::connect(&fake).await;
    running.chat(&prompt("hi", true)).await;
    running.head().await.unwrap();

    fake.outage().await;
    assert!(running.rest().await.unwrap().is_empty());
    assert_eq!((fake.outcome(0), fake.open_connections()), (Some(Outcome::Cut), 0));
    let refused = TcpStream::connect(fake.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    fake.restart().await;
    assert_eq!(Client::connect(&fake).await.ask(&prompt("hi", true)).await.status, 200);
}

#[tokio::test]
async fn connections_outlive_the_listener_when_only_that_stops() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    client.get("/v1/models").await;
    fake.stop_listening().await;
    assert!(TcpStream::connect(fake.address()).await.is_err());
    assert_eq!(client.get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn dropping_the_fake_closes_everything() {
    let fake = FakeOpenAi::start().await;
    let address = fake.address();
    let mut client = Client::connect(&fake).await;
    client.get("/v1/models").await;
    drop(fake);
    assert!(client.rest().await.unwrap().is_empty());
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let fake = FakeOpenAi::start().await;
    let mut client = Client::connect(&fake).await;
    client.send(b"nonsense\r\n\r\n").await;
    let response = client.response().await.unwrap();
    assert_eq!((response.status, response.header("connection")), (400, Some("close")));
}
