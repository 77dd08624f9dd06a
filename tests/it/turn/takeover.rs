//! P7: a turn whose server died, or stalled, is taken over; its readers are told, and a second charge is recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fake_openai::Gate;
use openai_backend::domain::ids::TurnId;
use openai_backend::domain::turn::Usage;
use openai_backend::store::{CancelRequest, Store, StoreError};
use serde_json::json;

use super::{begin, halves, known, over, owner_of, record, resume};
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::support::intercepted::{Intercepted, Interceptor, Op};
use crate::support::script::{Act, Script, say, wait};
use crate::support::server::Setup;
use crate::{on_every_store, on_shared_stores};

const LEASE: Duration = Duration::from_millis(900);

fn hurried(script: &Arc<Script>) -> Setup {
    over(script).pace(|pace| pace.lease = LEASE)
}

/// The first attempt at `x` says half and waits for ever; the next ones say this.
fn second_time(gate: &Gate, then: impl Fn() -> Vec<Act> + Send + Sync + 'static) -> Arc<Script> {
    let (gate, first) = (gate.clone(), AtomicBool::new(true));
    Script::new(move |_, prompt| match prompt {
        "hello" => vec![say("Hello.")],
        _ if first.swap(false, Ordering::SeqCst) => halves(&gate),
        _ => then(),
    })
}

async fn a_crashed_servers_turn_runs_again_elsewhere(ground: Ground) {
    let (never, gate) = (Gate::new(), Gate::new());
    let script = second_time(&never, {
        let gate = gate.clone();
        move || {
            let usage = Usage { input_tokens: 1_000, output_tokens: 2, ..Usage::default() };
            vec![say("Once "), wait(&gate), say("more."), Act::Count(usage)]
        }
    });
    let one = ground.start(hurried(&script)).await;
    let client = known(&one.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    // Where two may stand on one store, the other has been there all the time.
    let other = if ground.is_shared() { Some(ground.start(hurried(&script)).await) } else { None };
    let early = match &other {
        Some(other) => Some(resume(&client.at(&other.url), &turn, 1).await),
        None => None,
    };
    one.crash().await;
    assert!(live.next().await.is_none(), "cut, without any word");
    let other = match other {
        Some(other) => other,
        None => ground.start(hurried(&script)).await,
    };
    let client = client.at(&other.url);
    script.called(3).await;
    let mut late = resume(&client, &turn, 2).await;
    let restarted = late.expect("restarted").await;
    assert_eq!((restarted.id, &restarted.data["attempt"], &restarted.data["turn"]), (Some(3), &json!(2), &json!(turn)));
    assert_eq!(late.expect("delta").await.data["content"], "Once ");
    gate.open();
    let completed = late.rest().await.pop().unwrap();
    assert_eq!((completed.name.as_str(), &completed.data["content"]), ("completed", &json!("Once more.")));
    if let Some(mut early) = early {
        let names: Vec<String> = early.rest().await.into_iter().map(|event| event.name).collect();
        assert_eq!(names, ["delta", "restarted", "delta", "delta", "completed"]);
    }
    let shown = record(&client, &turn).await;
    assert_eq!((&shown["attempt"], &shown["status"]), (&json!(2), &json!("completed")));
    // The first attempt's prompt and its two tokens, by our own count, come on top.
    let usage = &shown["usage"];
    assert!(usage["inputTokens"].as_u64() > Some(1_000), "{usage}");
    assert_eq!((&usage["outputTokens"], &usage["estimated"]), (&json!(4), &json!(true)));
    assert_eq!(&completed.data["usage"], usage, "the client is told, too");
    assert_eq!(client.history().await[2..], [("user".into(), "x".into()), ("assistant".into(), "Once more.".into())]);
    assert_eq!(script.calls_for("x"), 2);
}

async fn a_turn_runs_again_only_once(ground: Ground) {
    let gate = Gate::new();
    let script = second_time(&gate, {
        let gate = gate.clone();
        move || vec![say("Again "), wait(&gate)]
    });
    let one = ground.start(hurried(&script)).await;
    let client = known(&one.url).await;
    let (live, turn) = begin(&client, "x").await;
    one.crash().await;
    drop(live);
    let other = ground.start(hurried(&script)).await;
    let mut stream = resume(&client.at(&other.url), &turn, 2).await;
    stream.expect("restarted").await;
    stream.expect("delta").await;
    other.crash().await;
    let third = ground.start(hurried(&script)).await;
    let client = client.at(&third.url);
    let mut stream = resume(&client, &turn, 4).await;
    let error = stream.expect("error").await;
    assert_eq!(error.data["code"], "server_stopped");
    let shown = record(&client, &turn).await;
    assert_eq!(shown["status"], "interrupted");
    assert_eq!(script.calls_for("x"), 2);
    assert_eq!(client.history().await[3].1, "Again ");
    // Both attempts are paid for.
    let alone = shown["usage"]["inputTokens"].as_u64().unwrap() / 2;
    assert_eq!(shown["usage"]["inputTokens"].as_u64(), Some(alone * 2));
    assert_eq!(shown["usage"]["outputTokens"], 4);
}

async fn where_set_it_ends_as_interrupted(ground: Ground) {
    let gate = Gate::new();
    let script = second_time(&gate, Vec::new);
    let setup = || hurried(&script).set("ON_CRASH", "interrupt");
    let one = ground.start(setup()).await;
    let client = known(&one.url).await;
    let (live, turn) = begin(&client, "x").await;
    one.crash().await;
    drop(live);
    let other = ground.start(setup()).await;
    let client = client.at(&other.url);
    let mut stream = resume(&client, &turn, 2).await;
    assert_eq!(stream.expect("error").await.data["code"], "server_stopped");
    assert_eq!(record(&client, &turn).await["status"], "interrupted");
    let history = client.get("/chat?details=true").await.ok();
    assert_eq!((&history[3]["content"], &history[3]["status"]), (&json!("Half "), &json!("incomplete")));
    assert_eq!(script.calls_for("x"), 1);
}

async fn a_stop_that_no_server_was_there_to_hear_counts(ground: Ground) {
    let gate = Gate::new();
    let script = second_time(&gate, Vec::new);
    let one = ground.start(hurried(&script)).await;
    let client = known(&one.url).await;
    let (live, turn) = begin(&client, "x").await;
    one.crash().await;
    drop(live);
    // It is there before any server may take the turn over, and after the server that would have heard it.
    let asked = ground.store().await.request_cancel(&owner_of(&client), &TurnId::parse(&turn).unwrap()).await;
    assert_eq!(asked.unwrap(), CancelRequest::Requested);
    let other = ground.start(hurried(&script)).await;
    let client = client.at(&other.url);
    let mut stream = resume(&client, &turn, 2).await;
    assert_eq!(stream.rest().await.pop().unwrap().name, "error");
    assert_eq!(record(&client, &turn).await["status"], "cancelled");
    assert_eq!(script.calls_for("x"), 1, "nothing is spent on what no client wants");
    assert_eq!(client.history().await[3].1, "Half ", "what was shown is kept");
}

/// Once it is up, it keeps these operations from the store until its gate opens.
#[derive(Clone)]
struct Wall {
    up: Arc<AtomicBool>,
    gate: Gate,
    ops: &'static [Op],
}

impl Wall {
    fn against(ops: &'static [Op]) -> Self {
        Self { up: Arc::default(), gate: Gate::new(), ops }
    }

    fn raise(&self) {
        self.up.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Interceptor for Wall {
    async fn before(&self, op: Op) -> Result<(), StoreError> {
        if self.up.load(Ordering::SeqCst) && self.ops.contains(&op) {
            self.gate.wait().await;
        }
        Ok(())
    }
}

async fn a_stalled_server_is_fenced(ground: Ground) {
    for ends_meanwhile in [false, true] {
        let wall = Wall::against(&[Op::AppendEvents, Op::FinishTurn, Op::AdoptTurns]);
        let (gate, again) = (Gate::new(), Gate::new());
        let script = second_time(&gate, {
            let again = again.clone();
            move || vec![say("Another "), wait(&again), say("answer.")]
        });
        let between = wall.clone();
        let wrap = move |store| Intercepted::new(store, between) as Arc<dyn Store>;
        let stalled = ground.start_over(hurried(&script), wrap).await;
        let client = known(&stalled.url).await;
        let (mut live, turn) = begin(&client, "x").await;
        wall.raise();
        let other = ground.start(hurried(&script)).await;
        script.called(3).await;
        let mut reader = resume(&client.at(&other.url), &turn, 2).await;
        reader.expect("restarted").await;
        assert_eq!(reader.expect("delta").await.data["content"], "Another ");
        if ends_meanwhile {
            // The old one has its whole answer ready, too late.
            gate.open();
        }
        wall.gate.open();
        // Readers of the old one get what really goes on.
        live.expect("restarted").await;
        assert_eq!(live.expect("delta").await.data["content"], "Another ");
        again.open();
        for stream in [&mut live, &mut reader] {
            let last = stream.rest().await.pop().unwrap();
            assert_eq!(last.data["content"], "Another answer.");
        }
        gate.open();
        assert_eq!(client.history().await[3].1, "Another answer.");
        assert_eq!(script.calls_for("x"), 2);
        assert_eq!(record(&client, &turn).await["attempt"], 2);
    }
}

async fn a_server_that_takes_its_own_turn_over_can_still_stop_it(ground: Ground) {
    // Only its lease is kept from being renewed.
    let (wall, gate) = (Wall::against(&[Op::AppendEvents]), Gate::new());
    let script = second_time(&gate, {
        let gate = gate.clone();
        move || vec![say("Another "), wait(&gate), say("answer.")]
    });
    let between = wall.clone();
    let wrap = move |store| Intercepted::new(store, between) as Arc<dyn Store>;
    let server = ground.start_over(hurried(&script), wrap).await;
    let client = known(&server.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    wall.raise();
    eventually("it is taken over", async || record(&client, &turn).await["attempt"] == 2).await;
    wall.gate.open();
    live.expect("restarted").await;
    assert_eq!(live.expect("delta").await.data["content"], "Another ");
    assert_eq!(script.left(), 1, "the first attempt's answer is left: no reader gets it");
    let stopped = super::cancel(&client, &turn).await;
    assert_eq!(stopped["status"], "cancelled");
    assert_eq!(live.rest().await.pop().unwrap().name, "error");
    assert_eq!(script.left(), 2);
    assert_eq!(client.history().await[3].1, "Another ");
}

on_every_store! {
    a_crashed_servers_turn_runs_again_elsewhere,
    a_turn_runs_again_only_once,
    where_set_it_ends_as_interrupted,
    a_stop_that_no_server_was_there_to_hear_counts,
}

mod shared {
    use super::{a_server_that_takes_its_own_turn_over_can_still_stop_it, a_stalled_server_is_fenced};
    super::on_shared_stores! {
        a_stalled_server_is_fenced,
        a_server_that_takes_its_own_turn_over_can_still_stop_it,
    }
}
