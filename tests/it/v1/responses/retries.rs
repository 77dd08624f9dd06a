//! SDKs send again by themselves, and say so in a header: what runs or is made already is joined, not made twice.

use std::sync::Arc;

use fake_openai::{FakeOpenAi, Gate, Step};
use futures::future::join_all;
use openai_backend::domain::clock::{Clock, ManualClock, SystemClock};
use reqwest::RequestBuilder;

use super::*;
use crate::on_every_store;
use crate::support::SOON;
use crate::support::instance::Ground;
use crate::support::server::Setup;
use crate::v1::sdk::over;

/// As an SDK sends it for the `count`th time.
fn tried(sdk: &Sdk, count: u32, body: &Value) -> RequestBuilder {
    sdk.posting("/v1/responses", body).header("x-stainless-retry-count", count)
}

async fn one_that_was_sent_again_is_one_response(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let conversation = sdk.conversation(json!([])).await;
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation});
    // It was made, and its answer lost.
    let first = sdk.send(tried(&sdk, 0, &body)).await.ok();
    for (sdk, count) in [(&sdk, 1), (&elsewhere, 1), (&elsewhere, 2)] {
        assert_eq!(sdk.send(tried(sdk, count, &body)).await.ok(), first);
    }
    assert_eq!((fake.calls(), sdk.said(&conversation).await.len()), (1, 2));
    // Meant a second time, it is a second one; what is sent again is that.
    let second = sdk.send(tried(&sdk, 0, &body)).await.ok();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(sdk.send(tried(&sdk, 1, &body)).await.ok(), second);
    assert_eq!((fake.calls(), sdk.said(&conversation).await.len()), (2, 4));
}

async fn one_that_runs_is_joined(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let first = sdk.respond(ask("one")).await;
    for (round, mut body) in [ask("Hi"), after(&first, "Hi")].into_iter().enumerate() {
        let gate = Gate::new();
        fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
        body["stream"] = true.into();
        let mut live = sdk.live(tried(&sdk, 0, &body), None).await;
        live.until("response.output_text.delta").await;
        let mut again = Vec::new();
        for (sdk, count) in [(&sdk, 1), (&elsewhere, 1), (&sdk, 2)] {
            again.push(sdk.live(tried(sdk, count, &body), None).await);
        }
        gate.open();
        live.rest().await;
        for stream in &mut again {
            stream.rest().await;
            assert_eq!(stream.frames(), live.frames());
        }
        assert_eq!(fake.calls(), 2 + round);
    }
}

async fn a_failure_without_a_word_is_tried_anew(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    for body in [ask("Hi"), json!({"model": "m", "input": "Hi", "conversation": conversation})] {
        let calls = fake.calls();
        fake.push_all([Reply::server_error(), Reply::overloaded(), Reply::text("At last.")]);
        let answer = sdk.send(tried(&sdk, 0, &body)).await;
        failed(&answer, 502);
        assert_ne!(
            answer.header("x-should-retry"),
            Some("false"),
            "nothing was stored that sending it again would double"
        );
        failed(&sdk.send(tried(&sdk, 1, &body)).await, 502);
        let made = sdk.send(tried(&sdk, 2, &body)).await.ok();
        assert_eq!(text(&made), "At last.");
        assert_eq!(sdk.send(tried(&sdk, 3, &body)).await.ok(), made);
        assert_eq!(fake.calls(), calls + 3);
    }
    assert_eq!(sdk.said(&conversation).await, ["Hi", "At last."]);
}

/// What was said of it is stored; it would be said a second time.
async fn a_failure_after_a_word_is_told_again(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    fake.push(Reply::text("Half").then(Step::Flush).then(Step::Reset).streamed());
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation});
    for count in 0..3 {
        let answer = sdk.send(tried(&sdk, count, &body)).await;
        failed(&answer, 502);
        assert_eq!(answer.header("x-should-retry"), Some("false"));
    }
    assert_eq!((fake.calls(), sdk.said(&conversation).await.len()), (1, 2));
}

async fn others_are_not_joined(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let (sdk, other) = (Sdk::new(&server.url), Sdk::other(&server.url));
    let first = sdk.send(tried(&sdk, 0, &ask("Hi"))).await.ok();
    let theirs = other.send(tried(&other, 1, &ask("Hi"))).await.ok();
    let different = sdk.send(tried(&sdk, 1, &ask("Ho"))).await.ok();
    let untold = sdk.respond(ask("Hi")).await;
    let mut ids: Vec<&str> = [&first, &theirs, &different, &untold].map(id).into();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), fake.calls()), (4, 4));
    assert_eq!(failed(&other.get(&format!("/v1/responses/{}", id(&first))).await, 404)["code"], "response_not_found");
}

async fn a_key_is_one_response_wherever_and_however_often(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdks = [Sdk::new(&pair.one.url), Sdk::new(&pair.other().url)];
    let first = sdks[0].respond(ask("one")).await;
    let gate = Gate::new();
    fake.push(Reply::text("Once.").wait_first(&gate));
    let body = after(&first, "Hi");
    let keyed = |n: usize| {
        let sdk = &sdks[n % 2];
        sdk.send(sdk.posting("/v1/responses", &body).header("idempotency-key", "key-1"))
    };
    let opening = async {
        fake.wait_for_calls(2, SOON).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all((0..20).map(keyed)), opening);
    let made: Vec<Value> = answers.into_iter().map(Answer::ok).collect();
    assert!(made.iter().all(|response| *response == made[0]), "{made:?}");
    assert_eq!(fake.calls(), 2);
    let other = sdks[1].posting("/v1/responses", &after(&first, "Ho")).header("idempotency-key", "key-1");
    assert_eq!(failed(&sdks[1].send(other).await, 422)["code"], "idempotency_key_reused");
    let theirs = Sdk::other(&pair.one.url);
    let request = theirs.posting("/v1/responses", &ask("Ho")).header("idempotency-key", "key-1");
    theirs.send(request).await.ok();
    for bad in ["", "a b c\u{e9}", &"x".repeat(300)] {
        let request = sdks[0].posting("/v1/responses", &ask("Hi")).header("idempotency-key", bad.as_bytes());
        failed(&sdks[0].send(request).await, 400);
    }
    assert_eq!(fake.calls(), 3);
}

/// An SDK gives up long before.
#[tokio::test]
async fn after_a_minute_it_is_meant_anew() {
    let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
    let rig = Rig::with(Setup::default().clock(clock.clone()), |settings| settings).await;
    let sdk = rig.sdk();
    let first = sdk.send(tried(&sdk, 0, &ask("Hi"))).await.ok();
    clock.advance(59_000);
    assert_eq!(sdk.send(tried(&sdk, 1, &ask("Hi"))).await.ok(), first);
    clock.advance(2_000);
    let second = sdk.send(tried(&sdk, 1, &ask("Hi"))).await.ok();
    assert_ne!(second["id"], first["id"]);
    assert_eq!(rig.fake.calls(), 2);
}

#[tokio::test]
async fn a_count_that_is_none_is_no_retry() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    for count in ["", "x", "-1", "1.5"] {
        let request = sdk.posting("/v1/responses", &ask("Hi")).header("x-stainless-retry-count", count);
        sdk.send(request).await.ok();
    }
    assert_eq!(rig.fake.calls(), 4);
}

on_every_store! {
    one_that_was_sent_again_is_one_response,
    one_that_runs_is_joined,
    a_failure_without_a_word_is_tried_anew,
    a_failure_after_a_word_is_told_again,
    others_are_not_joined,
    a_key_is_one_response_wherever_and_however_often,
}
