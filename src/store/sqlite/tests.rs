//! What only this store promises, where it takes a hand inside to see it.

mod removal;

use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use rusqlite::Connection;

use super::fail::Fail;
use super::writer::Operation;
use super::{Sqlite, sql};
use crate::domain::clock::{Clock, ManualClock};
use crate::domain::conversation::{Owner, Place};
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::{ConversationId, Ids, InstanceId, ItemId, SeededIds, TurnId};
use crate::domain::item::{Item, StoredItem, user_message};
use crate::domain::question;
use crate::domain::tokens::Encoding;
use crate::domain::turn::{TurnRequest, TurnStatus};
use crate::domain::window::Budget;
use crate::store::{BeginTurn, Begun, FinishTurn, Finished, SessionUse, Store, StoreError};

/// Keeps the writer busy until it is let go, so that what is asked meanwhile queues up.
struct Gate {
    reached: Sender<()>,
    open: Mutex<Receiver<()>>,
}

impl Operation for Gate {
    type Answer = ();

    fn apply(&self, _: &Connection) -> Result<(), Fail> {
        self.reached.send(()).unwrap();
        self.open.lock().unwrap().recv().unwrap();
        Ok(())
    }
}

/// The most pages that the database may have: below the present number, it may not grow.
struct LimitPages(i64);

impl Operation for LimitPages {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        Ok(db.query_one(&format!("PRAGMA max_page_count = {}", self.0), [], |_| Ok(()))?)
    }
}

/// A defect in the writer.
struct Defect;

impl Operation for Defect {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        super::rows::execute(db, sql::BEAT, [])?;
        panic!("a defect that the test put there");
    }
}

struct Bench {
    store: Arc<Sqlite>,
    clock: Arc<ManualClock>,
    ids: SeededIds,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::within(super::DEADLINE)
    }

    /// One whose calls may take so long.
    fn within(deadline: Duration) -> Self {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let folder = tempfile::tempdir().unwrap();
        let opened = super::files::Folder::open(folder.path()).unwrap();
        let store = Arc::new(Sqlite::on(opened, clock.clone(), deadline).unwrap());
        Self { store, clock, ids: SeededIds::new(1), folder }
    }

    fn begin(&self) -> BeginTurn {
        let id = ItemId::fresh(&self.ids, &*self.clock);
        let json = user_message(&id, &"a question ".repeat(400));
        BeginTurn {
            place: Place {
                owner: Owner::ApiKey("k".into()),
                conversation: ConversationId::fresh(&self.ids, &*self.clock),
            },
            session: SessionUse::None,
            create_conversation: true,
            hidden: false,
            expected_items: None,
            turn: TurnId::fresh(&self.ids, &*self.clock),
            request: TurnRequest {
                model: "demo".into(),
                instructions: String::new(),
                input: vec![Item { id, turn: None, json, tokens: 5, encoding: Encoding::O200k }],
                answer_id: ItemId::fresh(&self.ids, &*self.clock),
                temperature: None,
                max_tokens: Some(10),
                stream: false,
                options: None,
                shown: None,
                whole_history: false,
                tools: Default::default(),
                aim: Default::default(),
            },
            idempotency: None,
            rate: None,
            budget: Budget { tokens: 1_000, fixed_tokens: 0, whole: false },
            holder: InstanceId::fresh(&self.ids, &*self.clock),
            lease_ms: 1_000,
            now_ms: self.clock.now_ms(),
        }
    }

    fn finish(&self, begin: &BeginTurn) -> FinishTurn {
        let end = End { status: TurnStatus::Completed, answer: None, usage: None, fault: None, at_ms: 0 };
        FinishTurn {
            place: begin.place.clone(),
            turn: begin.turn.clone(),
            fence: 1,
            status: TurnStatus::Completed,
            items: begin.request.input.clone(),
            usage: None,
            fault: None,
            answer: None,
            events: vec![Numbered { seq: 2, event: Event::Ended(Box::new(end)) }],
            keep_events_ms: 1_000,
            now_ms: self.clock.now_ms(),
        }
    }

    async fn begun(&self, count: usize) -> Vec<BeginTurn> {
        let begins: Vec<BeginTurn> = (0..count).map(|_| self.begin()).collect();
        for begin in &begins {
            assert!(matches!(self.store.begin_turn(begin.clone()).await.unwrap(), Begun::Started(_)));
        }
        begins
    }

    /// Has `calls` wait in one queue, then lets them go.
    async fn all_at_once<F: Future>(&self, calls: Vec<F>) -> Vec<F::Output> {
        let ((reached, at_gate), (go, open)) = (channel(), channel());
        let gate = self.store.writer.submit(Gate { reached, open: Mutex::new(open) });
        let release = async {
            tokio::task::spawn_blocking(move || at_gate.recv().unwrap()).await.unwrap();
            // Each call is in the queue after it was polled once; only then does the writer go on. The runtime's
            // budget for one task would cut that poll short.
            let mut calls = Box::pin(tokio::task::coop::unconstrained(join_all(calls)));
            assert!(futures::poll!(&mut calls).is_pending());
            go.send(()).unwrap();
            calls.await
        };
        let (passed, answers) = join(gate, release).await;
        passed.unwrap();
        answers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_together_is_committed_together() {
    let bench = Bench::new();
    let begins = bench.begun(200).await;
    let before = bench.store.stats();
    let calls = begins.iter().map(|begin| bench.store.finish_turn(bench.finish(begin))).collect();
    let answers = bench.all_at_once(calls).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Finished::Stored));
    let after = bench.store.stats();
    assert_eq!(after.operations - before.operations, 201, "the gate and 200 turns");
    assert_eq!(after.commits - before.commits, 2, "the gate's and one more");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_done_fails_alone() {
    let bench = Bench::new();
    let taken = bench.begun(1).await.remove(0);
    let mut begins: Vec<BeginTurn> = (0..9).map(|_| bench.begin()).collect();
    begins[4].turn = taken.turn.clone();
    let calls = begins.iter().map(|begin| bench.store.begin_turn(begin.clone())).collect();
    for (i, answer) in bench.all_at_once(calls).await.into_iter().enumerate() {
        match answer {
            Ok(Begun::Started(_)) => assert_ne!(i, 4),
            Err(StoreError::Broken(_)) => assert_eq!(i, 4),
            other => panic!("{i}: {other:?}"),
        }
    }
    assert_eq!(bench.store.turns(&begins[4].place, 10).await.unwrap(), None, "it left a trace");
    for begin in [&begins[0], &begins[8]] {
        assert_eq!(bench.store.turns(&begin.place, 10).await.unwrap().unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_clearly_and_heals() {
    let bench = Bench::new();
    let begins = bench.begun(40).await;
    bench.store.finish_turn(bench.finish(&begins[0])).await.unwrap();
    bench.store.writer.submit(LimitPages(1)).await.unwrap();

    let calls = begins[1..].iter().map(|begin| bench.store.finish_turn(bench.finish(begin))).collect();
    for answer in bench.all_at_once(calls).await {
        assert!(matches!(answer, Err(StoreError::Full(_))), "{answer:?}");
    }
    // Reading goes on, and sees nothing of what failed.
    assert_eq!(history_len(&bench, &begins[0]).await, 1);
    assert_eq!(history_len(&bench, &begins[1]).await, 0);

    bench.store.writer.submit(LimitPages(1_000_000)).await.unwrap();
    for begin in &begins {
        assert_eq!(bench.store.finish_turn(bench.finish(begin)).await.unwrap(), Finished::Stored);
        assert_eq!(history_len(&bench, begin).await, 1);
    }
    bench.store.close().await;
    let db = Connection::open(bench.folder.path().join("openai-backend.db")).unwrap();
    let verdict: String = db.query_one("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// How many items the history has, without what a running turn was asked.
async fn history_len(bench: &Bench, begin: &BeginTurn) -> usize {
    let page = bench.store.history(&begin.place, None, 10, bench.clock.now_ms()).await.unwrap();
    let is_open = |stored: &StoredItem| question::standing(&stored.item) == Some(TurnStatus::Running);
    page.unwrap().items.iter().filter(|stored| !is_open(stored)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_wait_for_the_writer() {
    let bench = Bench::new();
    let begin = bench.begun(1).await.remove(0);
    let ((reached, at_gate), (go, open)) = (channel(), channel());
    let gate = bench.store.writer.submit(Gate { reached, open: Mutex::new(open) });
    let read = async {
        tokio::task::spawn_blocking(move || at_gate.recv().unwrap()).await.unwrap();
        assert_eq!(history_len(&bench, &begin).await, 0);
        go.send(()).unwrap();
    };
    join(gate, read).await.0.unwrap();
}

/// How long a call may take where one is to hang: long against what does not.
const IMPATIENT: Duration = Duration::from_secs(1);

async fn is_soon(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "not so: {what}");
        tokio::task::yield_now().await;
    }
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_hangs_is_told_of_and_may_still_write() {
    let bench = Bench::within(IMPATIENT);
    let begin = bench.begin();
    let ((reached, at_gate), (go, open)) = (channel(), channel());
    let stuck = bench.store.writer.submit(Gate { reached, open: Mutex::new(open) }).await;
    assert!(is_unavailable(&stuck), "{stuck:?}");
    at_gate.recv().unwrap();
    let begun = bench.store.begin_turn(begin.clone()).await;
    assert!(is_unavailable(&begun), "{begun:?}");
    assert!(is_unavailable(&bench.store.ping().await));
    assert_eq!(bench.store.turns(&begin.place, 10).await.unwrap(), None, "reads go on");
    go.send(()).unwrap();
    is_soon("what was accepted is done", async || matches!(bench.store.turns(&begin.place, 10).await, Ok(Some(_))))
        .await;
    is_soon("it answers", async || bench.store.ping().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_hangs_for_ever_holds_up_no_stop() {
    let bench = Bench::within(IMPATIENT);
    let ((reached, _at_gate), (go, open)) = (channel(), channel());
    assert!(is_unavailable(&bench.store.writer.submit(Gate { reached, open: Mutex::new(open) }).await));
    tokio::time::timeout(Duration::from_secs(20), bench.store.close()).await.unwrap();
    drop(bench);
    drop(go);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_hang_are_told_of_and_make_room_again() {
    let bench = Bench::within(IMPATIENT);
    let begin = bench.begun(1).await.remove(0);
    let gates: Vec<(Sender<()>, Receiver<()>)> = (0..4).map(|_| channel()).collect();
    let (keys, gates): (Vec<Sender<()>>, Vec<Receiver<()>>) = gates.into_iter().unzip();
    let hung = gates.into_iter().map(|gate| {
        bench.store.readers.read(move |_| {
            gate.recv().unwrap();
            Ok(())
        })
    });
    for answer in join_all(hung).await {
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    let waits = bench.store.turns(&begin.place, 10).await;
    assert!(is_unavailable(&waits), "{waits:?}");
    assert!(is_unavailable(&bench.store.ping().await));
    bench.begun(1).await;
    keys.into_iter().for_each(|key| key.send(()).unwrap());
    is_soon("it can be read", async || matches!(bench.store.turns(&begin.place, 10).await, Ok(Some(_)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_the_writer_is_the_end_of_the_store_and_of_nothing_that_was_answered() {
    let bench = Bench::new();
    let begin = bench.begun(1).await.remove(0);
    assert!(futures::poll!(Box::pin(bench.store.lost())).is_pending());
    let calls = vec![bench.store.writer.submit(Defect), bench.store.writer.submit(Defect)];
    for answer in bench.all_at_once(calls).await {
        assert!(is_unavailable(&answer), "{answer:?}");
    }
    tokio::time::timeout(Duration::from_secs(20), bench.store.lost()).await.unwrap();
    assert!(is_unavailable(&bench.store.ping().await));
    assert!(is_unavailable(&bench.store.begin_turn(bench.begin()).await));
    bench.store.close().await;
    // The next process finds the folder free.
    let again = Sqlite::open(bench.folder.path(), bench.clock.clone()).unwrap();
    assert_eq!(again.turns(&begin.place, 10).await.unwrap().unwrap().len(), 1);
}

/// What can be waited for side by side.
type Call<'a> = Pin<Box<dyn Future<Output = Result<Finished, StoreError>> + 'a>>;

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_accepted() {
    let bench = Bench::new();
    let begins = bench.begun(20).await;
    let store = &bench.store;
    let mut calls: Vec<Call<'_>> = Vec::new();
    for begin in &begins {
        calls.push(Box::pin(store.finish_turn(bench.finish(begin))));
    }
    calls.push(Box::pin(async {
        store.close().await;
        Ok(Finished::Stored)
    }));
    for answer in bench.all_at_once(calls).await {
        assert_eq!(answer.unwrap(), Finished::Stored);
    }
    let refused = store.begin_turn(bench.begin()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let refused = store.history(&begins[0].place, None, 1, 0).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    store.close().await;

    let again = Sqlite::open(bench.folder.path(), bench.clock.clone()).unwrap();
    for begin in &begins {
        let page = again.history(&begin.place, None, 10, bench.clock.now_ms()).await.unwrap();
        assert_eq!(page.unwrap().items.len(), 1);
    }
}

#[test]
fn no_statement_scans_a_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.db");
    std::fs::File::create(&path).unwrap();
    let db = super::schema::open_writer(&path).unwrap();
    // One row a running turn, and one row.
    let short = ["LEASES", "PULSE", "BEAT"];
    for (name, statement) in sql::ALL {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let parameters = explain.parameter_count();
        let nulls = rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, parameters));
        let steps = explain.query_map(nulls, |row| row.get::<_, String>(3)).unwrap();
        for step in steps.map(Result::unwrap) {
            let slow = step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert!(!slow || short.contains(name), "{name}: {step}");
        }
    }
}

#[test]
fn ids_come_back_out_of_their_columns() {
    let (ids, clock) = (SeededIds::new(7), ManualClock::at(5));
    let key = crate::domain::ids::SessionKey::of_secret(&ids.secret());
    for owner in [Owner::Session(key), Owner::ApiKey("a:b".into())] {
        assert_eq!(super::rows::owner_of_tag(&owner.tag()), Some(owner));
    }
    let turn = TurnId::fresh(&ids, &clock);
    assert_eq!(super::rows::stored_id(turn.as_str()), Some(turn));
    assert_eq!(super::rows::owner_of_tag("x"), None);
}
