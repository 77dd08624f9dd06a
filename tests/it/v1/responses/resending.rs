//! One of several identical requests is lost and sent again: it gets the response that was its own.

use async_trait::async_trait;
use fake_openai::{FakeOpenAi, Gate};
use openai_backend::store::StoreError;
use reqwest::RequestBuilder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::on_every_store;
use crate::support::SOON;
use crate::support::instance::{Ground, Instance};
use crate::support::intercepted::{Intercepted, Interceptor, Op};
use crate::v1::sdk::{Live, over};

/// Tells how many leaves the store has been told of.
struct Leaves(watch::Sender<usize>);

#[async_trait]
impl Interceptor for Leaves {
    async fn after(&self, op: Op) -> Result<(), StoreError> {
        self.0.send_if_modified(|leaves| {
            *leaves += usize::from(op == Op::LeaveTry);
            op == Op::LeaveTry
        });
        Ok(())
    }
}

struct Servers {
    fake: FakeOpenAi,
    sdk: Sdk,
    elsewhere: Sdk,
    leaves: watch::Receiver<usize>,
    _instances: Vec<Instance>,
    _ground: Ground,
}

impl Servers {
    /// Two, where two may stand on this ground.
    async fn start(ground: Ground) -> Self {
        let fake = FakeOpenAi::start().await;
        let (told, leaves) = watch::channel(0);
        let mut instances = Vec::new();
        for _ in 0..if ground.is_shared() { 2 } else { 1 } {
            let told = told.clone();
            instances.push(ground.start_over(over(&fake), |store| Intercepted::new(store, Leaves(told))).await);
        }
        let sdk = Sdk::new(&instances[0].url);
        let elsewhere = sdk.at(&instances.last().unwrap().url);
        Self { fake, sdk, elsewhere, leaves, _instances: instances, _ground: ground }
    }

    async fn left(&mut self, count: usize) {
        let waiting = self.leaves.wait_for(|leaves| *leaves == count);
        tokio::time::timeout(SOON, waiting).await.expect("the store is told that a client has left").unwrap();
    }

    /// First tries of one request, each of which has got one of these words, and waits for the gate to go on.
    async fn asked(&self, gate: &Gate, words: &[&str]) -> Vec<Live> {
        let mut asked = Vec::new();
        for &word in words {
            self.fake.push(Reply::text(word).then_wait(gate).then_text("."));
            let mut live = self.sdk.live(tried(&self.sdk, 0, &streamed()), None).await;
            assert_eq!(live.until("response.output_text.delta").await["delta"], word);
            asked.push(live);
        }
        asked
    }

    /// A retry, and the first word of what it joins.
    async fn retried(&self, sdk: &Sdk) -> (String, Live) {
        let mut live = sdk.live(tried(sdk, 1, &streamed()), None).await;
        let delta = live.until("response.output_text.delta").await["delta"].clone();
        (delta.as_str().unwrap().to_owned(), live)
    }
}

fn streamed() -> Value {
    json!({"model": "m", "input": "Hi", "stream": true})
}

/// As an SDK sends it for the `count`th time.
fn tried(sdk: &Sdk, count: u32, body: &Value) -> RequestBuilder {
    sdk.posting("/v1/responses", body).header("x-stainless-retry-count", count)
}

async fn the_one_whose_client_has_left_is_joined(ground: Ground) {
    let mut servers = Servers::start(ground).await;
    let gate = Gate::new();
    let mut asked = servers.asked(&gate, &["zero", "one", "two", "three"]).await;
    // Two are lost, and sent again to another server, and one of these is lost, too.
    drop(asked.remove(2));
    servers.left(1).await;
    let (word, retried) = servers.retried(&servers.elsewhere).await;
    assert_eq!(word, "two");
    drop(asked.remove(0));
    servers.left(2).await;
    let (word, zero) = servers.retried(&servers.elsewhere).await;
    assert_eq!(word, "zero");
    drop(retried);
    servers.left(3).await;
    let (word, two) = servers.retried(&servers.sdk).await;
    assert_eq!(word, "two");
    gate.open();
    let mut texts = Vec::new();
    for mut live in [zero, two].into_iter().chain(asked) {
        texts.push(text(&live.rest().await.last().unwrap()["response"]));
    }
    assert_eq!(texts, ["zero.", "two.", "one.", "three."]);
    assert_eq!(servers.fake.calls(), 4);
}

async fn a_plain_one_whose_client_has_left_is_joined(ground: Ground) {
    let mut servers = Servers::start(ground).await;
    let gate = Gate::new();
    let mut asked = JoinSet::new();
    let mut lost = None;
    for (at, word) in ["zero", "one", "two"].into_iter().enumerate() {
        servers.fake.push(Reply::text(word).wait_first(&gate));
        let sending = tried(&servers.sdk, 0, &ask("Hi")).send();
        let handle = asked
            .spawn(async { serde_json::from_str::<Value>(&sending.await.unwrap().text().await.unwrap()).unwrap() });
        lost = if at == 1 { Some(handle) } else { lost };
        servers.fake.wait_for_calls(at + 1, SOON).await;
    }
    lost.unwrap().abort();
    servers.left(1).await;
    gate.open();
    let retried = servers.elsewhere.send(tried(&servers.elsewhere, 1, &ask("Hi"))).await.ok();
    assert_eq!(text(&retried), "one");
    let mut texts = Vec::new();
    while let Some(response) = asked.join_next().await {
        texts.extend(response.ok().map(|response| text(&response)));
    }
    texts.sort();
    assert_eq!(texts, ["two", "zero"]);
    assert_eq!(servers.fake.calls(), 3);
}

/// The server has handed all answers over, and cannot know which of them were lost.
async fn each_of_those_that_are_done_is_joined_once(ground: Ground) {
    let servers = Servers::start(ground).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(servers.sdk.send(tried(&servers.sdk, 0, &ask("Hi"))).await.ok());
    }
    let mut again = Vec::new();
    for sdk in [&servers.sdk, &servers.elsewhere, &servers.sdk] {
        again.push(sdk.send(tried(sdk, 1, &ask("Hi"))).await.ok());
    }
    again.reverse();
    assert_eq!(again, made);
    assert_eq!(servers.fake.calls(), 3);
}

/// Its client sends it again because it failed, and means none of the others.
async fn what_failed_without_a_word_is_made_anew_while_others_run(ground: Ground) {
    let mut servers = Servers::start(ground).await;
    let gate = Gate::new();
    servers.fake.push(Reply::server_error());
    let failure = servers.sdk.send(tried(&servers.sdk, 0, &streamed())).await;
    failed(&failure, 502);
    servers.left(1).await;
    let mut running = servers.asked(&gate, &["running"]).await;
    servers.fake.push(Reply::text("anew").then_wait(&gate).then_text("."));
    let (word, mut anew) = servers.retried(&servers.elsewhere).await;
    assert_eq!(word, "anew");
    gate.open();
    assert_eq!(text(&anew.rest().await.last().unwrap()["response"]), "anew.");
    assert_eq!(text(&running[0].rest().await.last().unwrap()["response"]), "running.");
    assert_eq!(servers.fake.calls(), 3);
}

/// Its client has its answer, and leaves nothing to be joined.
async fn a_background_one_is_not_taken_for_lost(ground: Ground) {
    let mut servers = Servers::start(ground).await;
    let body = json!({"model": "m", "input": "Hi", "background": true});
    let older = servers.sdk.send(tried(&servers.sdk, 0, &body)).await.ok();
    let newer = servers.sdk.send(tried(&servers.sdk, 0, &body)).await.ok();
    let retried = servers.elsewhere.send(tried(&servers.elsewhere, 1, &body)).await.ok();
    assert_eq!(retried["id"], newer["id"]);
    assert_ne!(retried["id"], older["id"]);
    // A leave that the store is told of later is the first one.
    servers.fake.wait_for_calls(2, SOON).await;
    drop(servers.asked(&Gate::new(), &["lost"]).await);
    servers.left(1).await;
}

on_every_store! {
    the_one_whose_client_has_left_is_joined,
    a_plain_one_whose_client_has_left_is_joined,
    each_of_those_that_are_done_is_joined_once,
    what_failed_without_a_word_is_made_anew_while_others_run,
    a_background_one_is_not_taken_for_lost,
}
