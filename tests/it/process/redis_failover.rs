//! A Redis that is exchanged in the middle of a stream: by a planned failover, by an unplanned one, and by its own restart. The
//! stream goes on, and nothing of it is lost.

use std::sync::Arc;

use fake_openai::{FakeOpenAi, Gate, Reply};
use redis::aio::MultiplexedConnection;
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::eventually;
use crate::support::process::Program;
use crate::support::redis_server::RedisServer;
use crate::support::sse::text_of;

/// An address that leads to one server and then to another, as operators give it to a primary.
struct Address {
    url: String,
    port: watch::Sender<u16>,
    _forwarding: JoinSet<()>,
}

impl Address {
    async fn of(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (port, now) = watch::channel(server.port());
        let mut forwarding = JoinSet::new();
        forwarding.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut now = now.clone();
                open.spawn(async move {
                    let to = *now.borrow_and_update();
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = now.changed() => {}
                    }
                });
            }
        });
        Self { url, port, _forwarding: forwarding }
    }

    /// From now on it leads to `server`; what was connected is cut.
    fn lead_to(&self, server: &RedisServer) {
        self.port.send(server.port()).unwrap();
    }
}

async fn replication(admin: &mut MultiplexedConnection) -> String {
    redis::cmd("INFO").arg("replication").query_async(admin).await.unwrap()
}

/// A primary and a replica that has all that the primary has.
async fn pair() -> (RedisServer, RedisServer) {
    let primary = RedisServer::start();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let mut admin = replica.admin().await;
    eventually("the replica follows", async || replication(&mut admin).await.contains("master_link_status:up")).await;
    (primary, replica)
}

async fn is_primary(server: &RedisServer) -> bool {
    replication(&mut server.admin().await).await.contains("role:master")
}

/// A stream, in the middle of which `exchange` happens to Redis at `url`.
async fn goes_on_over(url: &str, exchange: impl AsyncFnOnce()) {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).set("REDIS_URL", url).start().await;
    let browser = server.client();
    browser.say("Before").await.ok();
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut stream = browser.stream(&json!({"prompt": "Meanwhile", "stream": true})).await;
    let turn = stream.expect("started").await.data["turn"].as_str().unwrap().to_owned();
    assert_eq!(stream.expect("delta").await.data["content"], "Half");

    exchange().await;
    gate.open();
    let told = stream.rest().await;
    let last = told.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["content"]), ("completed", &json!("Half and half")), "{told:?}");

    // Read again from its beginning, all of it is there, once.
    let path = format!("/chat/turns/{turn}/events");
    let again = browser.stream_of(browser.request(reqwest::Method::GET, &path)).await.rest().await;
    assert_eq!((again[0].name.as_str(), text_of(&again).as_str()), ("started", "Half and half"));
    assert!(again.iter().zip(1..).all(|(event, number)| event.id == Some(number)), "{again:?}");
    assert_eq!(again.last().unwrap().name, "completed");
    browser.say("After").await.ok();
    let history = browser.history().await;
    let texts: Vec<&str> = history.iter().map(|(_, text)| text.as_str()).collect();
    let hello = "Hello from the fake.";
    assert_eq!(texts, ["Before", hello, "Meanwhile", "Half and half", "After", hello]);
    assert_eq!(fake.calls(), 3, "nothing was asked twice");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_goes_on_over_a_planned_failover() {
    let (primary, replica) = pair().await;
    let address = Address::of(&primary).await;
    goes_on_over(&address.url, async || {
        let failover = redis::cmd("FAILOVER").query_async::<()>(&mut primary.admin().await).await;
        failover.expect("redis-server 6.2 or newer");
        eventually("the replica has taken over", async || is_primary(&replica).await).await;
        eventually("the primary follows", async || !is_primary(&primary).await).await;
        address.lead_to(&replica);
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_over_an_unplanned_failover() {
    let (primary, replica) = pair().await;
    let address = Address::of(&primary).await;
    goes_on_over(&address.url, async || {
        // Redis replicates a moment later, and what had no time to arrive would be lost. A write that has arrived says that all
        // before it have.
        let mut admin = primary.admin().await;
        let _: () = redis::cmd("SET").arg("last").arg(1).query_async(&mut admin).await.unwrap();
        let had: i64 = redis::cmd("WAIT").arg(1).arg(5_000).query_async(&mut admin).await.unwrap();
        assert_eq!(had, 1);
        primary.kill();
        let promoted = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async::<()>(&mut replica.admin().await).await;
        promoted.unwrap();
        address.lead_to(&replica);
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_over_a_kill_of_a_redis_that_keeps_a_log() {
    let redis = Arc::new(RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]));
    goes_on_over(&redis.url(), async || {
        let killed = redis.clone();
        tokio::task::spawn_blocking(move || killed.restart()).await.unwrap();
    })
    .await;
}
