//! The real program as a process: started, asked, stopped, killed, started again.

mod backup;
pub mod curl;
mod disk;
mod durable;
mod examples;
mod keys;
mod kills;
mod model_down;
mod redis_down;
mod redis_failover;
mod sockets;
mod start;
mod stop;

use crate::support::client::Client;
use crate::support::process::Program;
use crate::support::redis_server::RedisServer;
use crate::support::sse::{Event, EventStream};

/// A program on each store that outlives it, by name; the Redis server must be kept as long as the program is used.
pub fn on_both_stores(make: impl Fn() -> Program) -> Vec<(&'static str, Program, Option<RedisServer>)> {
    let redis = RedisServer::start();
    let on_redis = make().set("REDIS_URL", &redis.url());
    vec![("SQLite", make(), None), ("Redis", on_redis, Some(redis))]
}

/// The turn's id, from `started`.
pub fn turn_of(started: &Event) -> String {
    started.data["turn"].as_str().unwrap().to_owned()
}

/// Reads a turn on after event number `last`, as an `EventSource` does.
pub async fn resume(browser: &Client, turn: &str, last: u64) -> EventStream {
    let request = browser.request(reqwest::Method::GET, &format!("/chat/turns/{turn}/events"));
    browser.stream_of(request.header("last-event-id", last.to_string())).await
}
