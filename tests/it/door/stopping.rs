//! The server is asked to stop: what runs may end, nothing new begins, and it goes (P12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_openai::Gate;
use openai_backend::domain::clock::SystemClock;
use openai_backend::store::memory::Memory;
use serde_json::json;

use crate::support::faulty::Faulty;
use crate::support::raw::Raw;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::{Setup, TestServer};
use crate::support::sse::{EventStream, text_of};
use crate::support::{SOON, eventually};

fn gated(gate: &Gate) -> Vec<Act> {
    vec![Act::Say("Half "), Act::Wait(gate.clone()), Act::Say("and half")]
}

async fn running(server: &TestServer) -> (crate::support::client::Client, EventStream) {
    let client = server.client();
    let mut stream = client.stream(&json!({"prompt": "x"})).await;
    stream.expect("started").await;
    stream.expect("delta").await;
    (client, stream)
}

#[tokio::test]
async fn running_streams_end_and_nothing_new_begins() {
    let gate = Gate::new();
    let upstream = Arc::new(Scripted::new([gated(&gate)]));
    let mut server = Setup::default().upstream(upstream.clone()).start().await;
    let (client, mut stream) = running(&server).await;
    server.begin_stop();
    eventually("it is no longer ready", async || client.get("/health/ready").await.status.as_u16() == 503).await;
    assert_eq!(client.get("/health/ready").await.failed(503), "server_stopping");
    assert_eq!(client.get("/health/live").await.status.as_u16(), 200);
    for body in [json!({"prompt": "x"}), json!({"prompt": "x", "stream": true})] {
        for asking in [&client, &server.client()] {
            let answer = asking.post("/chat", &body).await;
            assert_eq!(answer.failed(503), "server_stopping");
            assert!(answer.header("retry-after").is_some());
        }
    }
    assert_eq!(client.get("/chat").await.status.as_u16(), 200, "reading goes on");
    gate.open();
    let rest = stream.rest().await;
    assert_eq!(rest.last().unwrap().name, "completed");
    assert_eq!(rest.last().unwrap().data["content"], "Half and half");
    let store = server.store.clone();
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
    assert_eq!(upstream.calls().len(), 1);
    let again = Setup::default().store(store).start().await;
    assert_eq!(client.at(&again.url).history().await[1].1, "Half and half");
}

#[tokio::test]
async fn streams_that_outlast_the_grace_are_told() {
    // A turn that runs again elsewhere or later is no failure: its reader is told to come back.
    for (on_crash, event, code) in [("rerun", "reconnect", "server_stopping"), ("interrupt", "error", "server_stopped")]
    {
        let gate = Gate::new();
        let upstream = Arc::new(Scripted::new([gated(&gate), gated(&gate)]));
        let setup = Setup::default().upstream(upstream).set("SHUTDOWN_GRACE", "200ms").set("ON_CRASH", on_crash);
        let mut server = setup.start().await;
        let (client, mut stream) = running(&server).await;
        let plain = server.client();
        let since = Instant::now();
        let stop = async {
            gate.reached(2, SOON).await;
            server.begin_stop();
        };
        let (plain, ()) = tokio::join!(plain.say("x"), stop);
        assert_eq!(plain.failed(503), code);
        let rest = stream.rest().await;
        let last = rest.last().expect("an event says why");
        assert_eq!(last.name, event, "{rest:?}");
        assert!(event != "error" || last.data["code"] == code, "{rest:?}");
        let store = server.store.clone();
        tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        if on_crash == "interrupt" {
            let again = Setup::default().store(store).start().await;
            let shown = client.at(&again.url).get("/chat?details=true").await.ok();
            assert_eq!((&shown[1]["content"], &shown[1]["status"]), (&"Half ".into(), &"incomplete".into()), "{shown}");
        }
    }
}

#[tokio::test]
async fn idle_connections_do_not_delay_it() {
    let mut server = TestServer::demo().await;
    let mut idle = Vec::new();
    for n in 0..50 {
        let mut socket = Raw::connect(&server).await;
        if n % 2 == 0 {
            socket.send("GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(socket.answer().await.unwrap().status, 200);
        }
        idle.push(socket);
    }
    let client = server.client();
    client.say("Hi").await.ok();
    let since = Instant::now();
    server.begin_stop();
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
    assert!(since.elapsed() < Duration::from_millis(1500), "{:?}", since.elapsed());
}

#[tokio::test]
async fn clients_that_never_finish_do_not_hold_it() {
    let mut server = TestServer::demo().await;
    let mut half = Raw::connect(&server).await;
    half.send("GET /chat HTTP/1.1\r\nx: ").await;
    let mut body = Raw::connect(&server).await;
    body.send("POST /chat HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{").await;
    // Both connections are being served when a later one is.
    server.client().get("/health/live").await.ok();
    let since = Instant::now();
    server.begin_stop();
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[tokio::test]
async fn hundreds_of_open_streams_all_end_whole() {
    const STREAMS: usize = 250;
    let gate = Gate::new();
    let upstream = Arc::new(Scripted::new((0..STREAMS).map(|_| gated(&gate))));
    let mut server = Setup::default().upstream(upstream.clone()).start().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(running(&server).await.1);
    }
    server.begin_stop();
    let probe = server.client();
    eventually("it is no longer ready", async || probe.get("/health/ready").await.status.as_u16() == 503).await;
    gate.open();
    for mut stream in streams {
        let rest = stream.rest().await;
        let last = rest.last().expect("an end");
        assert_eq!((last.name.as_str(), last.data["content"].as_str()), ("completed", Some("Half and half")));
        assert_eq!(text_of(&rest), "and half");
    }
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
    assert_eq!(upstream.calls().len(), STREAMS);
}

#[tokio::test]
async fn a_turn_that_is_just_beginning_is_waited_for() {
    let (begins, says) = (Gate::new(), Gate::new());
    let store = Faulty::slow(TestServer::demo().await.store.clone(), &begins);
    let upstream = Arc::new(Scripted::new([gated(&says)]));
    let mut server = Setup::default().store(store).upstream(upstream).start().await;
    let client = server.client();
    let probe = server.client();
    let stop = async {
        begins.reached(1, SOON).await;
        server.begin_stop();
        eventually("it is no longer ready", async || probe.get("/health/ready").await.status.as_u16() == 503).await;
        begins.open();
        says.reached(1, SOON).await;
        assert_eq!(probe.get("/health/live").await.status.as_u16(), 200, "it serves as long as a turn runs");
        says.open();
    };
    let (answer, ()) = tokio::join!(client.say("x"), stop);
    assert_eq!(answer.ok()["content"], "Half and half");
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
}

#[tokio::test]
async fn turns_that_wait_in_line_are_not_begun() {
    let gate = Gate::new();
    let upstream = Arc::new(Scripted::new([vec![Act::Say("Hi")], gated(&gate)]));
    let mut server = Setup::default().upstream(upstream.clone()).start().await;
    let client = server.client();
    client.say("Hi").await.ok();
    let mut stream = client.stream(&json!({"prompt": "one"})).await;
    stream.expect("started").await;
    gate.reached(1, SOON).await;
    let stop = async {
        // A request that has come in is not told from one that waits, so another one must be seen to wait behind it.
        let probe = client.at(&server.url);
        let waits = async || tokio::time::timeout(Duration::from_millis(50), probe.say("probe")).await.is_err();
        eventually("turns wait", waits).await;
        server.begin_stop();
        eventually("it stops", async || probe.get("/health/ready").await.status.as_u16() == 503).await;
        gate.open();
    };
    let (waiting, ()) = tokio::join!(client.say("two"), stop);
    assert_eq!(stream.rest().await.last().unwrap().name, "completed");
    assert_eq!(waiting.failed(503), "server_stopping");
    tokio::time::timeout(SOON, server.ended()).await.expect("an orderly end");
    assert_eq!(upstream.calls().len(), 2, "nothing new was begun");
}

#[tokio::test]
async fn a_server_whose_store_is_lost_is_not_ready_and_ends_with_the_reason() {
    let gate = Gate::new();
    let store = Faulty::well(Arc::new(Memory::new(Arc::new(SystemClock))));
    let setup = Setup::default().upstream(Arc::new(Scripted::new([gated(&gate)]))).store(store.clone());
    // What was shown is to be stored, so that the end takes a moment.
    let setup = setup.set("ON_CRASH", "interrupt").pace(|pace| pace.store_patience = Duration::from_secs(1));
    let server = setup.start().await;
    let (client, mut stream) = running(&server).await;
    store.lose();
    eventually("it is not ready", async || client.get("/health/ready").await.status.as_u16() == 503).await;
    assert_eq!(stream.rest().await.last().unwrap().name, "error");
    let reason = tokio::time::timeout(SOON, server.failed()).await.expect("an end");
    assert!(reason.contains("the test lost it"), "{reason}");
}
