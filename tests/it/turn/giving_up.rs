//! A turn that its server cannot go on with keeps neither its conversation busy nor its readers waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fake_openai::Gate;
use openai_backend::store::{Store, StoreError};
use serde_json::json;

use super::{answering, begin, halves, known, over, record};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::{Ground, Instance};
use crate::support::intercepted::{Intercepted, Interceptor, Op};
use crate::support::script::{Script, say, wait};
use crate::support::server::Setup;
use crate::support::{SOON, eventually};

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It panics before the store hears of it.
    Panic,
    /// It fails before the store hears of it.
    Fail,
    /// It happens, and its answer is lost.
    Lose,
}

/// Has one kind of operation in trouble while it is set.
#[derive(Clone)]
struct Trap {
    op: Op,
    trouble: Trouble,
    is_set: Arc<AtomicBool>,
    /// Whether it goes off once only.
    once: bool,
}

impl Trap {
    fn once(op: Op, trouble: Trouble) -> Self {
        Self { op, trouble, is_set: Arc::default(), once: true }
    }

    fn always(op: Op, trouble: Trouble) -> Self {
        Self { once: false, ..Self::once(op, trouble) }
    }

    fn set(&self) {
        self.is_set.store(true, Ordering::SeqCst);
    }

    fn lift(&self) {
        self.is_set.store(false, Ordering::SeqCst);
    }

    fn goes_off(&self, op: Op) -> bool {
        op == self.op
            && if self.once { self.is_set.swap(false, Ordering::SeqCst) } else { self.is_set.load(Ordering::SeqCst) }
    }

    async fn start(&self, ground: &Ground, setup: Setup) -> Instance {
        let trap = self.clone();
        ground.start_over(setup, move |store| Intercepted::new(store, trap) as Arc<dyn Store>).await
    }
}

#[async_trait]
impl Interceptor for Trap {
    async fn before(&self, op: Op) -> Result<(), StoreError> {
        match self.trouble {
            Trouble::Panic if self.goes_off(op) => panic!("the test has this store panic"),
            Trouble::Fail if self.goes_off(op) => Err(StoreError::Unavailable("the test took it away".into())),
            _ => Ok(()),
        }
    }

    async fn after(&self, op: Op) -> Result<(), StoreError> {
        match self.trouble {
            Trouble::Lose if self.goes_off(op) => Err(StoreError::Unavailable("the test lost the answer".into())),
            _ => Ok(()),
        }
    }
}

fn gated() -> (Gate, Arc<Script>) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    (gate, script)
}

/// Asks, in less time than any lease lasts.
async fn answered(client: &Client, prompt: &str) {
    let answer = tokio::time::timeout(SOON, client.say(prompt)).await.expect("the conversation is free");
    answer.ok();
}

async fn a_run_that_panics_frees_its_conversation_at_once(ground: Ground) {
    for op in [Op::AppendEvents, Op::FinishTurn] {
        let trap = Trap::once(op, Trouble::Panic);
        let (gate, rest) = (Gate::new(), Gate::new());
        let script = answering({
            let (gate, rest) = (gate.clone(), rest.clone());
            move || vec![say("Half "), wait(&gate), say("and "), wait(&rest), say("half")]
        });
        if op == Op::FinishTurn {
            rest.open();
        }
        // Long enough that no lease runs out meanwhile.
        let server = trap.start(&ground, over(&script).pace(|pace| pace.lease = Duration::from_secs(600))).await;
        let client = known(&server.url).await;
        let (mut live, turn) = begin(&client, "x").await;
        trap.set();
        gate.open();
        let last = live.rest().await.pop().unwrap();
        assert_eq!((last.name.as_str(), &last.data["code"]), ("error", &json!("internal")));
        answered(&client, "hello").await;
        let shown = record(&client, &turn).await;
        assert_eq!((&shown["status"], &shown["error"]["code"]), (&json!("failed"), &json!("internal")));
        let history = client.history().await;
        assert!(history[3].1.starts_with("Half "), "what was shown is kept: {history:?}");
        assert_eq!((history.len(), script.calls_for("x")), (6, 1));
        server.stop().await;
    }
}

/// The end cannot be stored, whatever is tried: another run of the server is to do that.
async fn one_that_cannot_even_fail_is_released(ground: Ground) {
    let trap = Trap::always(Op::FinishTurn, Trouble::Panic);
    let (gate, script) = gated();
    let server = trap.start(&ground, over(&script).pace(|pace| pace.lease = Duration::from_secs(600))).await;
    let client = known(&server.url).await;
    let (live, turn) = begin(&client, "x").await;
    trap.set();
    gate.open();
    // Released and taken over, again and again.
    eventually("it is taken over", async || record(&client, &turn).await["attempt"].as_u64() > Some(2)).await;
    trap.lift();
    eventually("it ends", async || record(&client, &turn).await["status"] != "running").await;
    answered(&client, "hello").await;
    assert!(script.calls_for("x") <= 2, "a turn is run twice at the most");
    drop(live);
    server.stop().await;
}

async fn a_take_over_that_fails_is_tried_again(ground: Ground) {
    for trouble in [Trouble::Fail, Trouble::Panic] {
        let trap = Trap::always(Op::ReadEvents, trouble);
        let (gate, script) = gated();
        let hurried = || over(&script).pace(|pace| pace.lease = Duration::from_millis(300));
        let one = ground.start(hurried()).await;
        let client = known(&one.url).await;
        let (live, turn) = begin(&client, "x").await;
        one.crash().await;
        drop(live);
        trap.set();
        let other = trap.start(&ground, hurried()).await;
        let client = client.at(&other.url);
        eventually("it was given up", async || record(&client, &turn).await["attempt"].as_u64() > Some(2)).await;
        trap.lift();
        gate.open();
        eventually("it ends", async || record(&client, &turn).await["status"] != "running").await;
        answered(&client, "hello").await;
        other.stop().await;
    }
}

/// The client was told that the store is away, though the turn is stored as running.
async fn a_turn_whose_begin_was_not_heard_of_frees_its_conversation(ground: Ground) {
    let trap = Trap::once(Op::BeginTurn, Trouble::Lose);
    let script = Script::new(|_, prompt| vec![say("You said "), say(prompt), say(".")]);
    let server = trap.start(&ground, over(&script).pace(|pace| pace.lease = Duration::from_secs(600))).await;
    let client = known(&server.url).await;
    trap.set();
    assert_eq!(client.say("lost").await.failed(503), "store_unavailable");
    answered(&client, "hello").await;
    assert_eq!(script.calls_for("lost"), 0, "its client was told that there is no such turn");
    trap.set();
    let keyed = || client.json("/chat", &json!({"prompt": "keyed"})).header("idempotency-key", "key-1");
    client.send(keyed()).await.failed(503);
    let answer = tokio::time::timeout(SOON, client.send(keyed())).await.expect("it is joined").ok();
    assert_eq!((answer["content"].as_str(), script.calls_for("keyed")), (Some("You said keyed."), 1));
}

on_every_store! {
    a_run_that_panics_frees_its_conversation_at_once,
    one_that_cannot_even_fail_is_released,
    a_take_over_that_fails_is_tried_again,
    a_turn_whose_begin_was_not_heard_of_frees_its_conversation,
}
