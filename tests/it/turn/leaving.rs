//! A client that leaves is a disconnect, not a stop; `onDisconnect` decides what becomes of its turn.

use std::time::Duration;

use fake_openai::Gate;
use serde_json::{Value, json};

use super::{answering, halves, known, over, record, spawned};
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::script::{Script, say, wait};
use crate::support::{SOON, eventually};

async fn by_default_the_turn_goes_on(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    for (round, streamed) in [true, false].into_iter().enumerate() {
        let leaver = client.at(&server.url);
        let leaving = spawned(leaver.json("/chat", &json!({"prompt": "x", "stream": streamed})));
        script.called(round + 2).await;
        drop(leaving);
        gate.pass(1);
        eventually("it is whole", async || client.history().await.len() == 4 + 2 * round).await;
        assert_eq!(client.history().await.pop().unwrap().1, "Half and half");
    }
    assert_eq!(script.left(), 0);
}

async fn where_asked_the_turn_ends_with_its_client(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    for (n, streamed) in [true, false].into_iter().enumerate() {
        let leaver = client.at(&server.url);
        let body = json!({"prompt": "x", "stream": streamed, "onDisconnect": "cancel"});
        let leaving = spawned(leaver.json("/chat", &body));
        script.called(n + 2).await;
        let running = async || {
            let turns = client.get("/chat/turns").await.ok();
            let found =
                turns.as_array().unwrap().iter().find(|turn| turn["status"] == "running" && turn["lastEvent"] == 2);
            found.map(|turn| turn["turn"].as_str().unwrap().to_owned())
        };
        eventually("half is said", async || running().await.is_some()).await;
        let turn = running().await.unwrap();
        drop(leaving);
        eventually("it is cancelled", async || record(&client, &turn).await["status"] == "cancelled").await;
        assert_eq!(client.history().await.pop().unwrap().1, "Half ");
        assert_eq!(script.left(), n + 1);
    }
}

async fn a_client_that_leaves_the_queue_is_not_begun(ground: Ground) {
    let (gate, never) = (Gate::new(), Gate::new());
    // Its server may notice a moment too late that the client has left; then the turn ends before it has said anything.
    let script = Script::new({
        let (gate, never) = (gate.clone(), never.clone());
        move |_, prompt| match prompt {
            "hello" => vec![say("Hello.")],
            "left" => vec![wait(&never), say("For no reader.")],
            _ => halves(&gate),
        }
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    let (mut live, _) = super::begin(&client, "x").await;
    for key in [None, Some("key-1")] {
        let leaver = client.at(&server.url);
        let mut request = leaver.json("/chat", &json!({"prompt": "left", "onDisconnect": "cancel"}));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let leaving = spawned(request);
        // It has come in when another one behind it does not get in at once.
        let probe = client.at(&server.url);
        let waits = async || tokio::time::timeout(Duration::from_millis(50), probe.say("hello")).await.is_err();
        assert!(waits().await);
        drop(leaving);
    }
    gate.open();
    assert_eq!(live.rest().await.pop().unwrap().name, "completed");
    client.say("hello").await.ok();
    let running = async || {
        let turns = client.get("/chat/turns").await.ok();
        turns.as_array().unwrap().iter().any(|turn| turn["status"] == "running")
    };
    eventually("nothing runs", async || !running().await).await;
    // One that had begun is a question that was cancelled, and has no answer.
    let history = client.get("/chat").await.ok();
    let left = |message: &&Value| message["content"] == "left" && message["status"] != "cancelled";
    assert_eq!(history.as_array().unwrap().iter().filter(left).count(), 0);
}

async fn a_client_that_heard_the_end_leaves_nothing_behind(ground: Ground) {
    let script = answering(|| vec![say("Whole.")]);
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    for streamed in [true, false] {
        let body = json!({"prompt": "x", "stream": streamed, "onDisconnect": "cancel"});
        let answer = tokio::time::timeout(SOON, client.post("/chat", &body)).await.unwrap();
        assert_eq!(answer.status.as_u16(), 200);
    }
    let turns = client.get("/chat/turns").await.ok();
    assert!(turns.as_array().unwrap().iter().all(|turn| turn["status"] == "completed"), "{turns}");
    assert_eq!(client.history().await.len(), 6);
}

on_every_store! {
    by_default_the_turn_goes_on,
    where_asked_the_turn_ends_with_its_client,
    a_client_that_leaves_the_queue_is_not_begun,
    a_client_that_heard_the_end_leaves_nothing_behind,
}
