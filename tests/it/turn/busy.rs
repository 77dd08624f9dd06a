//! P8: two writers on one conversation give one linear history: they wait, are refused, or interrupt, as asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use fake_openai::Gate;
use futures::future::join_all;
use openai_backend::domain::dialogue::PromptMessage;
use openai_backend::store::{Store, StoreError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{answering, begin, halves, known, over, record, spawned};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::intercepted::{Intercepted, Interceptor, Op};
use crate::support::script::{Script, say};
use crate::support::sse::EventStream;
use crate::support::{SOON, eventually};

/// Every question is followed by its own answer.
fn is_linear(history: &[(String, String)]) {
    for pair in history.chunks(2) {
        assert_eq!((pair[0].0.as_str(), pair[1].0.as_str()), ("user", "assistant"), "{history:?}");
        assert_eq!(pair[1].1, format!("You said {}.", pair[0].1), "{history:?}");
    }
}

async fn writers_on_two_servers_give_one_history(ground: Ground) {
    let script = Script::new(|_, prompt| vec![say("You said "), say(prompt), say(".")]);
    let pair = ground.two(|| over(&script).set("MAX_WAITING_TURNS", "30")).await;
    for writers in [2, 8, 20] {
        let client = known(&pair.one.url).await;
        let elsewhere = client.at(&pair.other().url);
        let asking = (0..writers).map(|n| {
            let client = if n % 2 == 0 { &client } else { &elsewhere };
            let body = json!({"prompt": format!("{writers}/{n}"), "stream": n % 3 == 0});
            async move { client.post("/chat", &body).await }
        });
        for answer in join_all(asking).await {
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        }
        let history = client.history().await;
        is_linear(&history);
        let questions: HashSet<&String> = history.iter().step_by(2).map(|(_, text)| text).collect();
        assert_eq!((questions.len(), history.len()), (writers + 1, 2 * (writers + 1)));
        for n in 0..writers {
            assert_eq!(script.calls_for(&format!("{writers}/{n}")), 1);
        }
    }
}

async fn each_call_has_the_history_before_it(ground: Ground) {
    let script = Script::new(|_, prompt| vec![say("You said "), say(prompt), say(".")]);
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let asking = (0..10).map(|n| {
        let client = if n % 2 == 0 { &client } else { &elsewhere };
        async move { client.say(&format!("x{n}")).await.ok() }
    });
    join_all(asking).await;
    let history = client.history().await;
    for (place, call) in script.calls().iter().enumerate() {
        let sent: Vec<_> = call.messages.iter().skip(1).map(PromptMessage::text).collect();
        let known: Vec<&str> = history[..place * 2 + 1].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(sent, known, "call {place}");
    }
}

async fn reject_is_refused_at_once(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let (mut live, _) = begin(&client, "x").await;
    for url in [&pair.one.url, &pair.other().url] {
        for key in [None, Some("key-1")] {
            let client = client.at(url);
            let mut request = client.json("/chat", &json!({"prompt": "y", "onBusy": "reject"}));
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            let answer = client.send(request).await;
            assert_eq!(answer.failed(409), "conversation_busy");
            assert!(answer.header("retry-after").is_some());
        }
    }
    gate.open();
    live.rest().await;
    let free = client.post("/chat", &json!({"prompt": "y", "onBusy": "reject"})).await;
    assert_eq!(free.ok()["content"], "Half and half");
    assert_eq!(script.calls_for("y"), 1);
}

async fn interrupt_takes_the_place(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    for (round, url) in [&pair.one.url, &pair.other().url].into_iter().enumerate() {
        let (mut live, turn) = begin(&client, "x").await;
        let interrupter = client.at(url);
        let answer = interrupter.post("/chat", &json!({"prompt": "hello", "onBusy": "interrupt"})).await.ok();
        assert_eq!(answer["content"], "Hello.");
        assert_eq!(live.rest().await.pop().unwrap().name, "error");
        let turns = client.get("/chat/turns").await.ok();
        let of =
            |id: &Value| turns.as_array().unwrap().iter().find(|turn| turn["turn"] == *id).unwrap()["status"].clone();
        assert_eq!((of(&json!(turn)), of(&answer["turn"])), (json!("cancelled"), json!("completed")));
        assert_eq!(script.left(), round + 1);
    }
    let said: Vec<String> = client.history().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["hello", "Hello.", "x", "Half ", "hello", "Hello.", "x", "Half ", "hello", "Hello."]);
    // Where nothing runs, there is nothing to interrupt.
    let alone = client.post("/chat", &json!({"prompt": "hello", "onBusy": "interrupt"})).await;
    assert_eq!(alone.ok()["content"], "Hello.");
}

async fn interrupt_goes_before_those_who_wait(ground: Ground) {
    let gate = Gate::new();
    let script = Script::new({
        let gate = gate.clone();
        move |_, prompt| if prompt == "x" { halves(&gate) } else { vec![say("You said "), say(prompt), say(".")] }
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    let (mut live, _) = begin(&client, "x").await;
    let mut waiting = spawned(client.at(&server.url).json("/chat", &json!({"prompt": "waits"})));
    let probe = client.at(&server.url);
    let in_line = async || {
        let told = std::time::Duration::from_millis(50);
        tokio::time::timeout(told, probe.post("/chat", &json!({"prompt": "probe"}))).await.is_err()
    };
    assert!(in_line().await);
    client.post("/chat", &json!({"prompt": "now", "onBusy": "interrupt"})).await.ok();
    live.rest().await;
    assert_eq!(waiting.join_next().await.unwrap().unwrap().unwrap().status().as_u16(), 200);
    eventually("the line is empty", async || client.history().await.len() == 10).await;
    // Which of the two that waited came in first is chance.
    let said: Vec<String> = client.history().await.into_iter().step_by(2).map(|(_, text)| text).collect();
    assert_eq!(said[..3], ["hello", "x", "now"]);
}

async fn the_line_is_bounded_and_so_is_the_wait(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script).set("MAX_WAITING_TURNS", "2").set("MAX_TURN_WAIT", "700ms")).await;
    let client = known(&pair.one.url).await;
    let (mut live, _) = begin(&client, "x").await;
    for url in [&pair.one.url, &pair.other().url] {
        let asking: Vec<Client> = (0..8).map(|_| client.at(url)).collect();
        for answer in join_all(asking.iter().map(|client| client.say("y"))).await {
            assert_eq!(answer.failed(409), "conversation_busy");
        }
    }
    assert_eq!(script.calls_for("y"), 0);
    gate.open();
    live.rest().await;
    let answer = tokio::time::timeout(SOON, client.say("y")).await.unwrap();
    let answer = answer.ok();
    assert_eq!(answer["content"], "Half and half");
    assert_eq!(record(&client, answer["turn"].as_str().unwrap()).await["status"], "completed");
}

/// With a key, too, a request that waits for the conversation counts.
async fn those_with_the_same_key_count_and_join_it_when_it_begins(ground: Ground) {
    let (gate, script) = gated_halves();
    let server = ground.start(over(&script).set("MAX_WAITING_TURNS", "4")).await;
    let client = known(&server.url).await;
    let (mut live, _) = begin(&client, "x").await;
    let body = json!({"prompt": "hello", "stream": true});
    let mut asking = JoinSet::new();
    for _ in 0..60 {
        let client = client.at(&server.url);
        asking.spawn(client.json("/chat", &body).header("idempotency-key", "key-1").send());
    }
    for _ in 0..56 {
        assert_eq!(next_of(&mut asking).await.status().as_u16(), 409);
    }
    gate.open();
    live.rest().await;
    let mut turns = HashSet::new();
    for _ in 0..4 {
        let mut stream = EventStream::new(next_of(&mut asking).await);
        turns.insert(stream.expect("started").await.data["turn"].to_string());
        assert_eq!(stream.rest().await.pop().unwrap().name, "completed");
    }
    assert_eq!((turns.len(), script.calls_for("hello")), (1, 2));
}

/// What they interrupt takes a while to end.
async fn those_that_interrupt_count(ground: Ground) {
    let ends = Gate::new();
    let (_never, script) = gated_halves();
    let holding = Arc::new(AtomicBool::new(false));
    let interceptor = HeldEnds { ends: ends.clone(), holding: holding.clone() };
    let setup = over(&script).set("MAX_WAITING_TURNS", "4");
    let server = ground.start_over(setup, move |store| Intercepted::new(store, interceptor) as Arc<dyn Store>).await;
    let client = known(&server.url).await;
    let (live, _) = begin(&client, "x").await;
    holding.store(true, Ordering::SeqCst);
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let client = client.at(&server.url);
        asking.spawn(client.json("/chat", &json!({"prompt": "hello", "onBusy": "interrupt"})).send());
    }
    for _ in 0..16 {
        assert_eq!(next_of(&mut asking).await.status().as_u16(), 409);
    }
    ends.open();
    for _ in 0..4 {
        assert_eq!(next_of(&mut asking).await.status().as_u16(), 200);
    }
    assert_eq!(script.calls_for("hello"), 5);
    drop(live);
}

/// Holds the ends of turns back.
struct HeldEnds {
    ends: Gate,
    holding: Arc<AtomicBool>,
}

#[async_trait]
impl Interceptor for HeldEnds {
    async fn before(&self, op: Op) -> Result<(), StoreError> {
        if op == Op::FinishTurn && self.holding.load(Ordering::SeqCst) {
            self.ends.wait().await;
        }
        Ok(())
    }
}

fn gated_halves() -> (Gate, Arc<Script>) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    (gate, script)
}

async fn next_of(asking: &mut JoinSet<reqwest::Result<reqwest::Response>>) -> reqwest::Response {
    let next = tokio::time::timeout(SOON, asking.join_next()).await.expect("an answer comes");
    next.unwrap().unwrap().unwrap()
}

on_every_store! {
    those_with_the_same_key_count_and_join_it_when_it_begins,
    those_that_interrupt_count,
    writers_on_two_servers_give_one_history,
    each_call_has_the_history_before_it,
    reject_is_refused_at_once,
    interrupt_takes_the_place,
    interrupt_goes_before_those_who_wait,
    the_line_is_bounded_and_so_is_the_wait,
}
