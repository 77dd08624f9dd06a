//! P16: when the wall clock jumps, no turn ends, and nothing changes its order.

use std::sync::Arc;
use std::time::Duration;

use fake_openai::Gate;
use openai_backend::domain::clock::{Clock, ManualClock, SystemClock};
use serde_json::{Value, json};

use super::{answering, begin, halves, known, over, resume};
use crate::on_every_store;
use crate::support::instance::Ground;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn contents(history: &Value) -> Vec<&str> {
    history.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect()
}

async fn a_jump_to_tomorrow_ends_no_turn(ground: Ground) {
    a_jump_ends_no_turn(ground, DAY_MS).await;
}

async fn a_jump_to_yesterday_ends_no_turn(ground: Ground) {
    a_jump_ends_no_turn(ground, -DAY_MS).await;
}

async fn a_jump_ends_no_turn(ground: Ground, jump: i64) {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let lease = Duration::from_millis(600);
    let pair = ground.two(|| over(&script).clock(clock.clone()).pace(|pace| pace.lease = lease)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let (mut live, turn) = begin(&client, "x").await;
    let mut reader = resume(&elsewhere, &turn, 0).await;
    reader.expect("started").await;
    clock.advance(jump);
    // Long enough for the lease to have been renewed, or lost, a few times over.
    tokio::time::sleep(lease * 3).await;
    let second = async { elsewhere.say("hello").await.ok() };
    let rest = async {
        gate.open();
        live.rest().await
    };
    let (second, rest) = tokio::join!(second, rest);
    assert_eq!(rest.last().unwrap().data["content"], "Half and half");
    assert_eq!(reader.rest().await.last().unwrap().name, "completed");
    assert_eq!(second["content"], "Hello.");
    let record = client.get("/chat/turns").await.ok();
    let of = |id: &Value| record.as_array().unwrap().iter().find(|known| known["turn"] == *id).unwrap().clone();
    assert_eq!((&of(&json!(turn))["attempt"], &of(&second["turn"])["attempt"]), (&json!(1), &json!(1)));
    let history = client.get("/chat?details=true").await.ok();
    assert_eq!(contents(&history), ["hello", "Hello.", "x", "Half and half", "hello", "Hello."]);
    let numbers: Vec<u64> = history.as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(script.calls_for("x"), 1);
}

on_every_store! {
    a_jump_to_tomorrow_ends_no_turn,
    a_jump_to_yesterday_ends_no_turn,
}
