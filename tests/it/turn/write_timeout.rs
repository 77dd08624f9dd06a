//! P14: a reader that stops reading costs no memory to speak of, slows no other, is cut, and can come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{known, over, resume};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::script::{Script, say, wait};
use crate::support::server::Setup;
use crate::support::{SOON, eventually};
use fake_openai::Gate;

/// More than any socket's buffers hold.
const EVENTS: usize = 150;
const WORD: usize = 20_000;

fn long_winded(gate: &Gate) -> Arc<Script> {
    let gate = gate.clone();
    Script::new(move |_, prompt| match prompt {
        "hello" => vec![say("Hello.")],
        _ => [say("Well, "), wait(&gate)].into_iter().chain((0..EVENTS).map(|_| say("w".repeat(WORD)))).collect(),
    })
}

/// Asks for a turn's events and never reads them.
async fn never_reads(client: &Client, turn: &str) -> TcpStream {
    let address = client.base().strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let cookie = client.cookie().unwrap();
    let request = format!("GET /chat/turns/{turn}/events HTTP/1.1\r\nhost: test\r\ncookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn impatient(script: &Arc<Script>) -> Setup {
    // Long enough that the one who reads is not taken for another on a busy machine.
    // One that a busy store could not be read for has had its answer, and is idle.
    over(script).set("IDLE_TIMEOUT", "5s").pace(|pace| pace.write_timeout = Duration::from_secs(4))
}

async fn it_is_cut_and_can_come_back(ground: Ground) {
    let gate = Gate::new();
    let script = long_winded(&gate);
    let server = ground.start(impatient(&script)).await;
    let client = known(&server.url).await;
    let (mut live, turn) = super::begin(&client, "x").await;
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(never_reads(&client, &turn).await);
    }
    gate.open();
    let rest = live.rest().await;
    assert_eq!(rest.last().unwrap().name, "completed");
    for mut stream in stalled {
        // What the socket's buffers held is all that ever comes.
        let mut got = Vec::new();
        let (ours, theirs) = (stream.local_addr().unwrap().port(), stream.peer_addr().unwrap().port());
        eventually("it is cut", async || !is_open(theirs, ours)).await;
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut got)).await;
        assert!(read.is_ok(), "the server closes");
        assert!(got.len() < 1_000_000, "{}", got.len());
        assert!(!String::from_utf8_lossy(&got).contains("event: completed"));
    }
    let last = rest.last().unwrap().id.unwrap();
    let again = resume(&client, &turn, last - 1).await.rest().await;
    assert_eq!(again.last(), rest.last());
}

async fn a_hundred_of_them_slow_no_other_turn(ground: Ground) {
    let gate = Gate::new();
    let script = long_winded(&gate);
    // These are never cut.
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    let (mut live, turn) = super::begin(&client, "x").await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        stalled.push(never_reads(&client, &turn).await);
    }
    let before = resident_kb();
    gate.open();
    let since = Instant::now();
    let rest = live.rest().await;
    assert_eq!(rest.last().unwrap().name, "completed");
    let took = since.elapsed();
    let others = Instant::now();
    known(&server.url).await;
    eventually("others are served", async || client.get("/health/ready").await.status.as_u16() == 200).await;
    let others = others.elapsed();
    let grown = resident_kb().saturating_sub(before);
    println!("a turn of 3 MB beside 100 that never read: {took:?}, another's {others:?}, {grown} kB more");
    assert!(took < SOON && others < SOON / 2, "{took:?} {others:?}");
    drop(stalled);
    assert_eq!(client.post("/chat", &json!({"prompt": "hello"})).await.ok()["content"], "Hello.");
}

/// Whether the server's end of a connection is open, as the kernel sees it: the client's end cannot tell without reading.
fn is_open(server: u16, client: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = format!("0100007F:{server:04X} 0100007F:{client:04X} 01");
    table.lines().any(|line| line.contains(&ends))
}

/// What this process has in memory; other tests are in it, too, so the figure is printed and not checked.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

on_every_store! {
    it_is_cut_and_can_come_back,
}

mod readers {
    use super::a_hundred_of_them_slow_no_other_turn;
    // What readers cost has nothing to do with the store.
    crate::on_store! { memory, a_hundred_of_them_slow_no_other_turn, }
}
