//! A response whose server died is made again, and its readers are told; one whose server stops can be read on elsewhere.

use std::time::Duration;

use fake_openai::{Chunking, FakeOpenAi, Gate};

use super::*;
use crate::on_every_store;
use crate::support::SOON;
use crate::support::instance::Ground;
use crate::support::server::Setup;
use crate::v1::sdk::over;

const LEASE: Duration = Duration::from_millis(900);

fn hurried(fake: &FakeOpenAi) -> Setup {
    over(fake).pace(|pace| pace.lease = LEASE)
}

async fn a_crash_is_told_and_the_new_answer_follows(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    for background in [false, true] {
        let (never, gate) = (Gate::new(), Gate::new());
        let first =
            Reply::reasoning("Hm.").then_text("Half").then_tool_call("a", "f", "{\"x\":1}").chunked(Chunking::Whole);
        fake.push(first.then_wait(&never));
        fake.push(Reply::text("Once ").chunked(Chunking::Whole).then_wait(&gate).then_text("more."));
        let one = ground.start(hurried(&fake)).await;
        let sdk = Sdk::new(&one.url);
        let calls = fake.calls();
        let conversation = sdk.conversation(json!([])).await;
        let body = json!({"model": "m", "input": "Hi", "conversation": conversation, "background": background,
            "tools": [function("f")]});
        let mut live = sdk.open(body).await;
        let id = live.id().await;
        let mut shown = String::new();
        while shown != "{\"x\":1}" {
            shown.push_str(live.until("response.function_call_arguments.delta").await["delta"].as_str().unwrap());
        }
        let seen = live.last().unwrap();
        let before = live.frames().concat();
        let early = if ground.is_shared() { Some(ground.start(hurried(&fake)).await) } else { None };
        let mut waiting = match &early {
            Some(other) => Some(sdk.at(&other.url).resume(&id, Some(seen)).await),
            None => None,
        };
        one.crash().await;
        let other = match early {
            Some(other) => other,
            None => ground.start(hurried(&fake)).await,
        };
        fake.wait_for_calls(calls + 2, SOON).await;
        let sdk = sdk.at(&other.url);
        let mut late = sdk.resume(&id, Some(seen)).await;
        // What had been shown is closed: the text was whole, of the call that is unknown.
        let closed = late.until("response.output_item.done").await;
        assert_eq!(
            (&closed["item"]["type"], &closed["item"]["status"]),
            (&json!("function_call"), &json!("incomplete"))
        );
        let added = late.until("response.output_item.added").await;
        assert_eq!(added["output_index"], 3, "its place is behind those of the lost ones");
        gate.open();
        let mut rest = late.rest().await;
        let last = rest.pop().unwrap()["response"].clone();
        assert_eq!((&last["status"], text(&last).as_str()), (&json!("completed"), "Once more."));
        assert_eq!(last["output"].as_array().unwrap().len(), 1);
        assert_eq!(sdk.response(&id).await, last);
        let mut whole = sdk.resume(&id, None).await;
        let done = referee::judge_all(&whole.rest().await);
        assert_eq!(done.len(), 4);
        assert_eq!(done[3], last["output"][0]);
        let ids: std::collections::BTreeSet<&str> = done.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 4, "a new item is not called what a lost one was: {ids:?}");
        assert_eq!(format!("{before}{}", late.frames().concat()), whole.frames().concat());
        if let Some(waiting) = &mut waiting {
            waiting.rest().await;
            assert_eq!(waiting.frames(), late.frames());
        }
        assert_eq!(sdk.said(&conversation).await, ["Hi", "Once more."]);
        assert_eq!(fake.calls(), calls + 2);
    }
}

async fn where_set_it_ends_as_far_as_it_came(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let setup = || hurried(&fake).set("ON_CRASH", "interrupt");
    let one = ground.start(setup()).await;
    let sdk = Sdk::new(&one.url);
    fake.push(Reply::text("Half").then_wait(&Gate::new()));
    let mut live = sdk.open(ask("Hi")).await;
    let id = live.id().await;
    live.until("response.output_text.delta").await;
    let seen = live.last();
    one.crash().await;
    drop(live);
    let other = ground.start(setup()).await;
    let sdk = sdk.at(&other.url);
    let rest = sdk.resume(&id, seen).await.rest().await;
    let last = &rest.last().unwrap()["response"];
    assert_eq!(
        (&last["status"], text(last).as_str(), &last["error"]["code"]),
        (&json!("failed"), "Half", &json!("server_error"))
    );
    referee::judge(&sdk.resume(&id, None).await.rest().await);
    assert_eq!(sdk.response(&id).await, *last);
    assert_eq!(fake.calls(), 1);
}

/// What its client does not know yet it cannot ask for again; with its own key it can.
async fn a_plain_one_is_joined_after_the_crash(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("never").wait_first(&Gate::new()));
    fake.push(Reply::text("After all."));
    let one = ground.start(hurried(&fake)).await;
    let sdk = Sdk::new(&one.url);
    let (body, mut leaving) = (ask("Hi"), tokio::task::JoinSet::new());
    leaving.spawn(sdk.posting("/v1/responses", &body).header("x-stainless-retry-count", 0).send());
    fake.wait_for_calls(1, SOON).await;
    one.crash().await;
    let other = ground.start(hurried(&fake)).await;
    let sdk = sdk.at(&other.url);
    let response = sdk.send(sdk.posting("/v1/responses", &body).header("x-stainless-retry-count", 1)).await.ok();
    assert_eq!(text(&response), "After all.");
    assert_eq!(fake.calls(), 2, "the lost one, and its second attempt");
}

/// SIGTERM: readers are told to come back, and miss nothing.
async fn a_server_that_stops_sends_its_readers_elsewhere(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let setup = || hurried(&fake).set("SHUTDOWN_GRACE", "200ms");
    let old = ground.start(setup()).await;
    let sdk = Sdk::new(&old.url);
    fake.push(Reply::text("Half").then_wait(&Gate::new()));
    fake.push(Reply::text("Once more."));
    fake.push(Reply::text("Half").then_wait(&Gate::new()));
    let mut live = sdk.open(ask("Hi")).await;
    let id = live.id().await;
    live.until("response.output_text.delta").await;
    let seen = live.last();
    let (rest, ()) = tokio::join!(live.rest(), old.stop());
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!((&rest[0]["type"], &rest[0]["code"]), (&json!("error"), &json!("server_stopping")));
    assert_eq!(rest[0]["error"]["code"], "server_stopping");
    let new = ground.start(setup()).await;
    let sdk = sdk.at(&new.url);
    let after = rest[0]["sequence_number"].as_u64();
    assert_eq!(after, seen, "a reader that goes by the last number goes on where it was");
    let events = sdk.resume(&id, after).await.rest().await;
    let last = &events.last().unwrap()["response"];
    assert_eq!((&last["status"], text(last).as_str()), (&json!("completed"), "Once more."));
    let whole = sdk.resume(&id, None).await.rest().await;
    assert_eq!(referee::judge_all(&whole).len(), 2);
    assert_eq!(whole[usize::try_from(seen.unwrap()).unwrap() + 1..], events);
}

on_every_store! {
    a_crash_is_told_and_the_new_answer_follows,
    where_set_it_ends_as_far_as_it_came,
    a_plain_one_is_joined_after_the_crash,
    a_server_that_stops_sends_its_readers_elsewhere,
}
