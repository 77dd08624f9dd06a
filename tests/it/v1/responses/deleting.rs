//! Responses that are deleted while they are made.

use fake_openai::{FakeOpenAi, Gate};

use super::*;
use crate::on_shared_stores;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

/// Its server is dead, so nothing stops it in the time that the request waits for that.
async fn one_that_does_not_stop_is_gone_all_the_same(ground: Ground) {
    let (fake, gate) = (FakeOpenAi::start().await, Gate::new());
    fake.push(Reply::text("begun").then_wait(&gate).then_text(" and never done"));
    let one = ground.start(over(&fake)).await;
    let other = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&one.url);
    let mut live = sdk.open(ask("Hi")).await;
    let path = format!("/v1/responses/{}", live.id().await);
    one.crash().await;
    let sdk = sdk.at(&other.url);
    assert_eq!(sdk.delete(&path).await.ok()["deleted"], true);
    assert_eq!(failed(&sdk.get(&path).await, 404)["code"], "response_not_found");
}

on_shared_stores! {
    one_that_does_not_stop_is_gone_all_the_same,
}
