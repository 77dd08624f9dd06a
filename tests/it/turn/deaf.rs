//! P5: the end of a turn is stored state: readers find it although no notice ever comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_openai::Gate;
use futures::future::join_all;
use openai_backend::store::Store;
use serde_json::json;

use super::{answering, begin, cancel, halves, known, over, resume};
use crate::support::SOON;
use crate::support::instance::{Ground, Instance};
use crate::support::intercepted::{Deaf, Intercepted};
use crate::support::server::Setup;
use crate::{on_every_store, on_shared_stores};

const WITHIN: Duration = Duration::from_secs(2);

async fn deaf(ground: &Ground, setup: Setup) -> Instance {
    ground.start_over(setup, |store| Intercepted::new(store, Deaf::default()) as Arc<dyn Store>).await
}

async fn every_reader_ends_soon_after_the_turn(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let one = deaf(&ground, over(&script)).await;
    let other = if ground.is_shared() { Some(deaf(&ground, over(&script)).await) } else { None };
    let client = known(&one.url).await;
    let (live, turn) = begin(&client, "x").await;
    let mut streams = vec![live];
    for after in [0, 1, 2, 9] {
        for url in [&one.url, &other.as_ref().unwrap_or(&one).url] {
            streams.push(resume(&client.at(url), &turn, after).await);
        }
    }
    gate.open();
    let stored = async {
        crate::support::eventually("the end is stored", async || client.history().await.len() == 4).await;
        Instant::now()
    };
    let ends = join_all(streams.iter_mut().map(async |stream| {
        let last = stream.rest().await.pop();
        (last, Instant::now())
    }));
    let (stored, ends) = tokio::join!(stored, ends);
    for (last, ended) in ends {
        assert!(last.is_none_or(|last| last.name == "completed"));
        assert!(ended.saturating_duration_since(stored) < WITHIN, "{:?}", ended - stored);
    }
}

async fn a_cancel_from_elsewhere_comes_through_all_the_same(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let hurried = || over(&script).pace(|pace| pace.lease = Duration::from_secs(3));
    let (one, other) = (deaf(&ground, hurried()).await, deaf(&ground, hurried()).await);
    let client = known(&one.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    // The turn's server hears of it when it next renews the lease.
    cancel(&client.at(&other.url), &turn).await;
    let last = tokio::time::timeout(SOON, live.rest()).await.unwrap().pop().unwrap();
    assert_eq!(last.name, "error");
    assert_eq!(super::record(&client, &turn).await["status"], "cancelled");
}

async fn writers_take_turns_all_the_same(ground: Ground) {
    let script = answering(|| vec![crate::support::script::say("An answer.")]);
    let (one, other) = (deaf(&ground, over(&script)).await, deaf(&ground, over(&script)).await);
    let client = known(&one.url).await;
    let elsewhere = client.at(&other.url);
    let asking = (0..6).map(|n| {
        let client = if n % 2 == 0 { &client } else { &elsewhere };
        async move { client.post("/chat", &json!({"prompt": format!("x{n}")})).await.ok() }
    });
    join_all(asking).await;
    assert_eq!(client.history().await.len(), 14);
}

on_every_store! {
    every_reader_ends_soon_after_the_turn,
}

mod shared {
    use super::{a_cancel_from_elsewhere_comes_through_all_the_same, writers_take_turns_all_the_same};
    super::on_shared_stores! {
        a_cancel_from_elsewhere_comes_through_all_the_same,
        writers_take_turns_all_the_same,
    }
}
