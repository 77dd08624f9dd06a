//! What is stored is made to its end when its client leaves; what is not ends with it, and leaves nothing.

use fake_openai::{FakeOpenAi, Gate};
use tokio::task::JoinSet;

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::support::{SOON, eventually};
use crate::v1::sdk::over;

async fn what_is_stored_goes_on_without_its_client(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut live = sdk.open(ask("Hi")).await;
    let id = live.id().await;
    live.until("response.output_text.delta").await;
    let last = live.last();
    drop(live);
    let mut rest = elsewhere.resume(&id, last).await;
    gate.open();
    let events = rest.rest().await;
    assert_eq!(text(&events.last().unwrap()["response"]), "Half and half");
    // A plain one, too, although its id is known to a conversation only.
    let conversation = sdk.conversation(json!([])).await;
    let gate = Gate::new();
    fake.push(Reply::text("Whole").wait_first(&gate));
    let mut leaving = JoinSet::new();
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation});
    leaving.spawn(sdk.posting("/v1/responses", &body).send());
    fake.wait_for_calls(2, SOON).await;
    drop(leaving);
    gate.open();
    eventually("it is whole", async || elsewhere.said(&conversation).await == ["Hi", "Whole"]).await;
    assert_eq!(fake.aborted().len(), 0);
}

async fn what_is_not_stored_leaves_nothing(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let stored = sdk.respond(ask("one")).await;
    let before = super::chains::remains(&ground).await;
    let unstored = |mut body: Value| {
        body["store"] = false.into();
        body
    };
    let plain = sdk.respond(unstored(ask("canary"))).await;
    let streamed = sdk.stream(unstored(ask("canary"))).await.pop().unwrap()["response"].clone();
    let further = sdk.respond(unstored(after(&stored, "two"))).await;
    assert_eq!(fake.last().conversation()[..2], pairs(&[("user", "one"), ("assistant", "Hello from the fake.")]));
    assert_eq!((&further["previous_response_id"], &further["store"]), (&stored["id"], &json!(false)));
    for response in [&plain, &streamed, &further] {
        assert_eq!(response["status"], "completed");
        let path = format!("/v1/responses/{}", id(response));
        for path in [path.clone(), format!("{path}?stream=true"), format!("{path}/input_items")] {
            assert_eq!(failed(&sdk.get(&path).await, 404)["code"], "response_not_found");
        }
        assert_eq!(failed(&sdk.delete(&path).await, 404)["code"], "response_not_found");
        let error = failed(&sdk.post("/v1/responses", &after(response, "x")).await, 400);
        assert_eq!(error["code"], "previous_response_not_found");
    }
    assert_eq!(super::chains::remains(&ground).await, before);
    assert_eq!(sdk.get("/v1/conversations").await.ok()["data"], json!([]));
    sdk.respond(after(&stored, "three")).await;
    assert_eq!(fake.last().messages().len(), 3, "what was not stored is not in the chain");
}

#[tokio::test]
async fn what_is_not_stored_ends_with_its_client() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    let gate = Gate::new();
    let body = json!({"model": "m", "input": "Hi", "store": false});
    rig.fake.push(Reply::text("Half").then_wait(&gate));
    let mut live = sdk.open(body.clone()).await;
    live.until("response.output_text.delta").await;
    drop(live);
    rig.fake.wait_for_aborts(1, SOON).await;
    // Before the first word, and before any answer.
    for (round, stream) in [true, false].into_iter().enumerate() {
        rig.fake.push(Reply::text("never").wait_first(&gate));
        let mut body = body.clone();
        body["stream"] = stream.into();
        let mut leaving = JoinSet::new();
        leaving.spawn(sdk.posting("/v1/responses", &body).send());
        rig.fake.wait_for_calls(2 + round, SOON).await;
        drop(leaving);
        rig.fake.wait_for_aborts(2 + round, SOON).await;
    }
}

#[tokio::test]
async fn what_is_not_stored_fails_as_the_rest_does() {
    let rig = Rig::new().await;
    let body = json!({"model": "m", "input": "Hi", "store": false});
    for stream in [false, true] {
        rig.fake.push(Reply::rate_limited_for(1));
        let mut body = body.clone();
        body["stream"] = stream.into();
        assert_eq!(failed(&rig.post("/v1/responses", &body).await, 429)["code"], "rate_limit_exceeded");
    }
    rig.fake.push(Reply::text("Half").then(fake_openai::Step::Flush).then(fake_openai::Step::Reset));
    let last = rig.stream(body).await.pop().unwrap();
    assert_eq!((&last["type"], text(&last["response"]).as_str()), (&json!("response.failed"), "Half"));
}

on_every_store! {
    what_is_stored_goes_on_without_its_client,
    what_is_not_stored_leaves_nothing,
}
