//! P2: the same `Idempotency-Key` and body give one upstream call and one result, however often, wherever, whenever.

use fake_openai::Gate;
use futures::future::join_all;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{answering, frames, halves, known, over};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::script::say;

const MANY: usize = 50;

fn keyed(client: &Client, key: &str, body: &Value) -> RequestBuilder {
    client.json("/chat", body).header("idempotency-key", key)
}

/// Half of them at the one server, half at the other.
fn spread(client: &Client, other: &str) -> Vec<Client> {
    let elsewhere = client.at(other);
    (0..MANY).map(|n| if n % 2 == 0 { client.at(client.base()) } else { elsewhere.at(other) }).collect()
}

async fn fifty_streams_at_once_are_one_turn(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let body = json!({"prompt": "x", "stream": true});
    let asking = spread(&client, &pair.other().url).into_iter().map(|client| {
        let body = body.clone();
        async move { client.stream_of(keyed(&client, "key-1", &body)).await }
    });
    let mut streams = join_all(asking).await;
    // The answer is half said, so all of them read live.
    for stream in &mut streams {
        stream.expect("started").await;
        stream.expect("delta").await;
    }
    gate.open();
    let mut seen = Vec::new();
    for stream in &mut streams {
        stream.rest().await;
        seen.push(frames(stream));
    }
    assert!(seen[0].contains("event: completed"), "{}", seen[0]);
    assert!(seen.iter().all(|frames| *frames == seen[0]), "{seen:?}");
    assert_eq!(script.calls_for("x"), 1);
    assert_eq!(client.history().await.len(), 4, "one turn beside the hello");
}

async fn fifty_plain_ones_at_once_are_one_turn(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let body = json!({"prompt": "x"});
    let asking = spread(&client, &pair.other().url).into_iter().map(|client| {
        let body = body.clone();
        async move { client.send(keyed(&client, "key-1", &body)).await }
    });
    let opening = async {
        gate.reached(1, crate::support::SOON).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all(asking), opening);
    for answer in &answers {
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        assert_eq!(answer.text, answers[0].text);
    }
    assert_eq!(script.calls_for("x"), 1);
    assert_eq!(client.history().await.len(), 4, "one turn beside the hello");
    // Later, on either server, with a stream or without (the body says which, so that is another key's business).
    for url in [&pair.one.url, &pair.other().url] {
        let late = client.at(url);
        assert_eq!(late.send(keyed(&late, "key-1", &body)).await.text, answers[0].text);
    }
    assert_eq!(script.calls_for("x"), 1);
}

async fn a_key_takes_one_body_and_one_owner(ground: Ground) {
    let script = answering(|| vec![say("A new answer.")]);
    let pair = ground.two(|| over(&script)).await;
    let (client, stranger) = (known(&pair.one.url).await, known(&pair.one.url).await);
    let body = json!({"prompt": "x"});
    let first = client.send(keyed(&client, "key-1", &body)).await.ok();
    for url in [&pair.one.url, &pair.other().url] {
        let again = client.at(url);
        let other = again.send(keyed(&again, "key-1", &json!({"prompt": "y"}))).await;
        assert_eq!(other.failed(422), "idempotency_key_reused");
        assert_eq!(again.send(keyed(&again, "key-2", &body)).await.status.as_u16(), 200);
        client.send(keyed(&again, "key-2", &body)).await.ok();
    }
    let theirs = stranger.send(keyed(&stranger, "key-1", &body)).await.ok();
    assert_ne!((&first["turn"], &first["conversationId"]), (&theirs["turn"], &theirs["conversationId"]));
    assert_eq!(script.calls_for("x"), 3, "key-1 twice, by two owners, and key-2");
    assert_eq!(script.calls_for("y"), 0);
}

async fn a_failed_one_stays_failed(ground: Ground) {
    use openai_backend::domain::turn::FaultKind;

    use crate::support::script::Act;
    let script = answering(|| vec![Act::Fail(FaultKind::UpstreamCut)]);
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let body = json!({"prompt": "x"});
    let first = client.send(keyed(&client, "key-1", &body)).await;
    let code = first.failed(502);
    let elsewhere = client.at(&pair.other().url);
    assert_eq!(elsewhere.send(keyed(&elsewhere, "key-1", &body)).await.failed(502), code);
    assert_eq!(script.calls_for("x"), 1);
}

on_every_store! {
    fifty_streams_at_once_are_one_turn,
    fifty_plain_ones_at_once_are_one_turn,
    a_key_takes_one_body_and_one_owner,
    a_failed_one_stays_failed,
}
