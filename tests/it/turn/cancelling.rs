//! Stop stops, from anywhere, at once, and keeps what was shown (P6).

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Gate, Reply};
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use serde_json::json;

use super::{answering, begin, cancel, halves, known, over, record, resume};
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::script::{say, wait};
use crate::support::server::Setup;
use crate::support::{SOON, eventually};

async fn from_another_server_it_takes_no_time(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    elsewhere.get("/chat").await.ok();
    let (mut live, turn) = begin(&client, "x").await;
    let since = Instant::now();
    let stopped = cancel(&elsewhere, &turn).await;
    let took = since.elapsed();
    println!("a cancel from another server took {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!((&stopped["status"], &stopped["turn"]), (&json!("cancelled"), &json!(turn)));
    assert_eq!(script.left(), 1, "the upstream's answer was left");
    assert_eq!((&stopped["usage"]["estimated"], &stopped["usage"]["outputTokens"]), (&json!(true), &json!(2)));
    assert!(stopped["usage"]["inputTokens"].as_u64() > Some(0));
    let last = live.rest().await.pop().unwrap();
    assert_eq!(last.name, "error");
    let history = client.get("/chat?details=true").await.ok();
    assert_eq!((&history[2]["content"], &history[3]["content"]), (&json!("x"), &json!("Half ")));
    assert_eq!((&history[2]["status"], &history[3]["status"]), (&json!("completed"), &json!("incomplete")));
}

async fn the_request_to_the_model_is_closed(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello."));
    fake.push(Reply::text("Half ").then_wait(&gate).then_text("and half"));
    // A model that has not said anything yet.
    fake.push(Reply::text("").then_wait(&gate).then_text("Late."));
    let base_url = fake.base_url();
    let upstream = move || {
        let settings = OpenAiSettings::new(base_url.parse().unwrap(), None, "compatible");
        let (clock, ids) = (openai_backend::domain::clock::SystemClock, openai_backend::domain::ids::SystemIds);
        std::sync::Arc::new(OpenAi::new(settings, std::sync::Arc::new(clock), std::sync::Arc::new(ids)).unwrap())
    };
    let pair = ground.two(|| Setup::default().upstream(upstream()).set("FIRST_EVENT_WAIT", "100ms")).await;
    let client = known(&pair.one.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    cancel(&client.at(&pair.other().url), &turn).await;
    fake.wait_for_abort(SOON).await;
    assert_eq!(live.rest().await.pop().unwrap().name, "error");
    let mut silent = client.stream(&json!({"prompt": "y"})).await;
    let turn = silent.expect("started").await.data["turn"].as_str().unwrap().to_owned();
    gate.reached(2, SOON).await;
    assert_eq!(cancel(&client, &turn).await["status"], "cancelled");
    fake.wait_for_aborts(2, SOON).await;
    assert_eq!(silent.rest().await.pop().unwrap().name, "error");
    assert_eq!(fake.calls(), 3);
    // Nothing was shown of it, so there is only what was asked.
    assert_eq!(client.history().await.len(), 5);
}

async fn a_finished_turn_is_left_as_it_is(ground: Ground) {
    let script = answering(|| vec![say("A whole answer.")]);
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    live.rest().await;
    let before = record(&client, &turn).await;
    for url in [&pair.one.url, &pair.other().url, &pair.one.url] {
        let client = client.at(url);
        assert_eq!(cancel(&client, &turn).await, before);
        let empty = client.send(client.request(reqwest::Method::POST, &format!("/chat/turns/{turn}/cancel"))).await;
        assert_eq!(empty.ok(), before, "an empty body is allowed");
    }
    assert_eq!(record(&client, &turn).await, before);
    assert_eq!(client.history().await[3].1, "A whole answer.");
    assert_eq!(resume(&client, &turn, 0).await.rest().await.pop().unwrap().name, "completed");
}

async fn twice_and_from_everywhere_is_once(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let (live, turn) = begin(&client, "x").await;
    let cancelling = (0..8).map(|n| cancel(if n % 2 == 0 { &client } else { &elsewhere }, &turn));
    for stopped in futures::future::join_all(cancelling).await {
        assert_eq!(stopped["status"], "cancelled");
    }
    drop(live);
    assert_eq!(client.history().await.len(), 4);
    assert_eq!(script.left(), 1);
}

async fn the_next_turn_follows_at_once(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let (live, turn) = begin(&client, "x").await;
    let waiting = async { elsewhere.say("hello").await.ok() };
    let stopping = async { cancel(&client, &turn).await };
    let (answer, stopped) = tokio::join!(waiting, stopping);
    assert_eq!((&answer["content"], &stopped["status"]), (&json!("Hello."), &json!("cancelled")));
    drop(live);
    let said: Vec<String> = client.history().await.into_iter().map(|(_, content)| content).collect();
    assert_eq!(said, ["hello", "Hello.", "x", "Half ", "hello", "Hello."]);
}

async fn a_reader_may_have_seen_less_than_is_kept_and_never_more(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || (0..40).flat_map(|n| [say(format!("w{n} ")), wait(&gate)]).collect()
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    for round in 0..8 {
        let (mut live, turn) = begin(&client, "x").await;
        let reading = async {
            let events = live.rest().await;
            crate::support::sse::text_of(&events)
        };
        let stopping = async {
            // Words come as fast as they can when the stop comes.
            gate.pass(round * 4);
            cancel(&client.at(&pair.other().url), &turn).await
        };
        let (shown, stopped) = tokio::join!(reading, stopping);
        assert_eq!(stopped["status"], "cancelled");
        let stored = client.history().await.pop().unwrap().1;
        assert_eq!(stored, format!("w0 {shown}"));
        // Passes that were not used open nothing.
        eventually("the passes are used", async || {
            let mut drain = std::pin::pin!(gate.wait());
            futures::poll!(&mut drain).is_pending()
        })
        .await;
    }
}

async fn a_deleted_conversations_turn_ends_too(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let (mut live, turn) = begin(&client, "x").await;
    let mut reader = resume(&elsewhere, &turn, 2).await;
    elsewhere.delete("/chat").await;
    assert_eq!(live.expect("error").await.data["code"], "conversation_gone");
    assert_eq!(reader.rest().await.pop().unwrap().name, "error");
    assert_eq!(script.left(), 1);
    assert_eq!(client.history().await.len(), 0);
}

on_every_store! {
    a_deleted_conversations_turn_ends_too,
    from_another_server_it_takes_no_time,
    the_request_to_the_model_is_closed,
    a_finished_turn_is_left_as_it_is,
    twice_and_from_everywhere_is_once,
    the_next_turn_follows_at_once,
    a_reader_may_have_seen_less_than_is_kept_and_never_more,
}
