//! P12: a server that is stopped gives its turns away, and nothing of them is lost.

use fake_openai::Gate;
use futures::future::join_all;
use serde_json::json;

use super::{answering, begin, halves, known, over, record, resume};
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::script::{Script, say, wait};
use crate::support::server::Setup;

/// The first so many answers wait half said; later ones are whole at once.
fn stuck(first: usize, gate: &Gate) -> std::sync::Arc<Script> {
    let (gate, counted) = (gate.clone(), std::sync::atomic::AtomicUsize::new(0));
    answering(move || match counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        n if n < first => halves(&gate),
        _ => vec![say("Half "), say("and half")],
    })
}

fn brief(script: &std::sync::Arc<Script>) -> Setup {
    over(script).set("SHUTDOWN_GRACE", "200ms")
}

async fn running_turns_go_on_elsewhere(ground: Ground) {
    const TURNS: usize = 8;
    let gate = Gate::new();
    let script = stuck(TURNS, &gate);
    let old = ground.start(brief(&script)).await;
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        let client = known(&old.url).await;
        let (live, turn) = begin(&client, "x").await;
        turns.push((client, live, turn));
    }
    // A rolling deploy, where two may stand on the store; a restart otherwise.
    let new = if ground.is_shared() { Some(ground.start(brief(&script)).await) } else { None };
    let elsewhere = match &new {
        Some(new) => Some(resume(&turns[0].0.at(&new.url), &turns[0].2, 2).await),
        None => None,
    };
    let stopping = old.stop();
    let reading = join_all(turns.iter_mut().map(async |(_, live, _)| {
        let rest = live.rest().await;
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!((rest[0].name.as_str(), rest[0].id), ("reconnect", None));
    }));
    tokio::join!(stopping, reading);
    let new = match new {
        Some(new) => new,
        None => ground.start(brief(&script)).await,
    };
    for (client, _, turn) in &turns {
        let client = client.at(&new.url);
        let rest = resume(&client, turn, 2).await.rest().await;
        assert_eq!((rest[0].name.as_str(), rest[0].id), ("restarted", Some(3)));
        assert_eq!(rest.last().unwrap().data["content"], "Half and half");
        let shown = record(&client, turn).await;
        assert_eq!((&shown["status"], &shown["attempt"]), (&json!("completed"), &json!(2)));
        assert_eq!(client.history().await.len(), 4);
    }
    if let Some(mut stream) = elsewhere {
        assert_eq!(stream.rest().await.last().unwrap().data["content"], "Half and half");
    }
    assert_eq!(script.calls_for("x"), 2 * TURNS);
    assert_eq!(script.left(), TURNS);
}

async fn a_stream_that_has_said_nothing_yet_names_its_turn(ground: Ground) {
    let gate = Gate::new();
    let first = std::sync::atomic::AtomicBool::new(true);
    let script = answering({
        let gate = gate.clone();
        move || match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => vec![wait(&gate)],
            false => vec![say("Here it is.")],
        }
    });
    let mut old = ground.start(brief(&script)).await;
    let client = known(&old.url).await;
    let body = json!({"prompt": "x"});
    let asking = client.stream(&body);
    let stopping = async {
        script.called(2).await;
        old.begin_stop();
    };
    let (mut stream, ()) = tokio::join!(asking, stopping);
    let turn = stream.expect("started").await.data["turn"].as_str().unwrap().to_owned();
    stream.expect("reconnect").await;
    old.stop().await;
    let new = ground.start(brief(&script)).await;
    let rest = resume(&client.at(&new.url), &turn, 1).await.rest().await;
    assert_eq!(rest[0].name, "restarted");
    assert_eq!(rest.last().unwrap().data["content"], "Here it is.");
}

async fn where_set_they_end_as_interrupted(ground: Ground) {
    let gate = Gate::new();
    let script = stuck(1, &gate);
    let old = ground.start(brief(&script).set("ON_CRASH", "interrupt")).await;
    let client = known(&old.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    let (rest, ()) = tokio::join!(live.rest(), old.stop());
    assert_eq!((rest[0].name.as_str(), &rest[0].data["code"]), ("error", &json!("server_stopped")));
    let new = ground.start(brief(&script)).await;
    let client = client.at(&new.url);
    assert_eq!(resume(&client, &turn, 2).await.rest().await, rest);
    assert_eq!(client.history().await[3].1, "Half ");
    assert_eq!(record(&client, &turn).await["status"], "interrupted");
    assert_eq!(script.calls_for("x"), 1);
}

on_every_store! {
    running_turns_go_on_elsewhere,
    a_stream_that_has_said_nothing_yet_names_its_turn,
    where_set_they_end_as_interrupted,
}
