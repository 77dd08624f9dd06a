//! Counting tokens takes long, and nothing else waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Reply};
use serde_json::{Value, json};

use super::sdk::{Sdk, over};
use crate::support::client::Client;
use crate::support::instance::Ground;

/// How long counting a text of this kind takes is the worst there is.
fn slow_text() -> String {
    "a".repeat(250_000)
}

fn message() -> Value {
    json!({"role": "user", "content": slow_text()})
}

/// Asks the server how it is, over and over, until told to stop; gives the longest time that an answer took.
async fn longest_probe(url: String, stop: Arc<AtomicBool>) -> Duration {
    let (client, mut longest) = (Client::new(&url), Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let asked = Instant::now();
        client.get("/health/live").await;
        longest = longest.max(asked.elapsed());
    }
    longest
}

/// The server has one thread for all of its tasks: counting there, it answers nothing else meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_answered_while_tokens_are_counted() {
    let fake = FakeOpenAi::start().await;
    let ground = Ground::memory();
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    let items = json!([message(), message(), message()]);
    let requests = [
        ("/v1/responses/input_tokens", json!({"model": "m", "input": items, "instructions": slow_text()})),
        ("/v1/responses/input_tokens", json!({"model": "m", "input": "Hi", "instructions": slow_text().repeat(3)})),
        ("/v1/conversations", json!({"items": items})),
        (&*format!("/v1/conversations/{conversation}/items"), json!({"items": items})),
        ("/v1/responses/compact", json!({"model": "m", "input": items})),
        ("/v1/responses", json!({"model": "m", "input": items})),
        ("/v1/responses", json!({"model": "m", "input": "Hi", "instructions": slow_text().repeat(3)})),
    ];
    for (path, body) in requests {
        others_are_answered_meanwhile(&server.url, path, async || {
            sdk.post(path, &body).await.ok();
        })
        .await;
    }
}

/// The same for what the model says, with usage and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_answered_while_an_answer_is_counted() {
    let fake = FakeOpenAi::start().await;
    let server = Ground::memory().start(over(&fake)).await;
    let (sdk, browser) = (Sdk::new(&server.url), Client::new(&server.url));
    for usage in [true, false] {
        let reply = Reply::text(slow_text());
        let reply = if usage { reply } else { reply.without_usage() };
        fake.set_responder(move |_| reply.clone());
        for stream in [false, true] {
            let body = json!({"model": "m", "input": "Hi", "stream": stream});
            others_are_answered_meanwhile(&server.url, "/v1/responses", async || {
                sdk.post("/v1/responses", &body).await;
            })
            .await;
        }
        others_are_answered_meanwhile(&server.url, "/chat", async || {
            browser.say("Hi").await.ok();
        })
        .await;
    }
}

/// Whether what a slow request takes is hardly what any other one meanwhile waits for.
async fn others_are_answered_meanwhile(url: &str, what: &str, request: impl AsyncFn()) {
    // The machine may be busy with something else once, and is not each time.
    let mut tries = Vec::new();
    while tries.len() < 5 {
        let stop = Arc::new(AtomicBool::new(false));
        let probing = tokio::spawn(longest_probe(url.to_owned(), stop.clone()));
        let asked = Instant::now();
        request().await;
        let took = asked.elapsed();
        stop.store(true, Ordering::SeqCst);
        let longest = probing.await.unwrap();
        tries.push((longest, took));
        if longest * 2 < took {
            return;
        }
    }
    panic!("{what}: of how long each request took, another waited for most: {tries:?}");
}
