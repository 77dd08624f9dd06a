//! Removals go in bounded steps between other writes, leave nothing that can be seen wherever they stop, and give their pages
//! back to what comes after them.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join;
use rusqlite::Connection;

use super::Bench;
use crate::domain::clock::Clock as _;
use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{Ids as _, SessionKey};
use crate::store::conversations::Conversations as _;
use crate::store::documents::{DocumentKind, Documents as _, DocumentsQuery};
use crate::store::sqlite::Sqlite;
use crate::store::sqlite::deletion::{DeleteConversation, DeleteOwner, DeleteTurn};
use crate::store::sqlite::fail::Fail;
use crate::store::sqlite::writer::Operation;
use crate::store::{BeginTurn, Begun, CancelRequest, EventsPage, Finished, IdempotencyKey, KeyRole, SessionUse, Store};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// The most rows that one step removes, and the few that an operation beside it may change.
const ROWS_A_STEP: u64 = 512 + 20;

/// Statements, run as one operation.
struct Run(String);

impl Operation for Run {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        Ok(db.execute_batch(&self.0)?)
    }
}

/// What is put beside a conversation's first turn.
struct Load {
    items: u32,
    events: u32,
    documents: u32,
    bytes: u32,
}

impl Bench {
    fn session(&self) -> Owner {
        Owner::Session(SessionKey::of_secret(&self.ids.secret()))
    }

    /// A conversation of `owner` with a turn that runs, begun with a key.
    async fn running(&self, owner: &Owner, session: SessionUse) -> BeginTurn {
        let begin = self.begin();
        let place = Place { owner: owner.clone(), ..begin.place };
        let key = IdempotencyKey {
            key: begin.turn.to_string(),
            fingerprint: "body".into(),
            keep_ms: DAY_MS,
            role: KeyRole::Join,
        };
        let begin = BeginTurn { place, session, idempotency: Some(key), ..begin };
        assert!(matches!(self.store.begin_turn(begin.clone()).await.unwrap(), Begun::Started(_)));
        begin
    }

    /// Fills up what [`Bench::running`] began.
    async fn fill(&self, begin: &BeginTurn, load: &Load) {
        let Load { items, events, documents, bytes } = load;
        let (tag, turn) = (begin.place.owner.tag(), &begin.turn);
        let number = format!("(SELECT number FROM turns WHERE id = '{turn}')");
        let conversation = format!("(SELECT conversation FROM turns WHERE id = '{turn}')");
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ";
        let sql = format!(
            "{numbers}{items}) INSERT OR IGNORE INTO items (place, id, tokens, encoding, tokens_before, created_at_ms, json) \
             SELECT {conversation} * 1000000000 + i, 'msg_' || i, 1, 'o200k_base', i, 0, printf('%.*c', {bytes}, 'x') FROM n; \
             {numbers}{events}) INSERT OR IGNORE INTO events (place, json) \
             SELECT {number} * 10000000 + i, printf('%.*c', {bytes}, 'x') FROM n; \
             {numbers}{documents}) INSERT OR IGNORE INTO documents (owner, kind, id, created_at_ms, json) \
             SELECT '{tag}', 'completion', 'd' || i, 0, '{{}}' FROM n; \
             {numbers}{documents}) INSERT OR IGNORE INTO idempotency_keys (owner, key, fingerprint, turn, conversation, until_ms) \
             SELECT '{tag}', 'k' || i, 'body', '{turn}', 'c', 9e15 FROM n;"
        );
        self.store.writer.submit(Run(sql)).await.unwrap();
    }

    /// What `removal` gives, how many operations it took, the most rows that one commit of them changed, and how many other
    /// writes were done meanwhile.
    async fn measured<T>(&self, removal: impl Future<Output = T>) -> (T, u64, u64, u64) {
        let counters = self.store.writer.counters();
        counters.most_rows.store(0, Ordering::Relaxed);
        let (before, is_done) = (self.store.stats(), AtomicBool::new(false));
        let removal = async {
            let answer = removal.await;
            is_done.store(true, Ordering::Relaxed);
            answer
        };
        let others = async {
            let mut others = 0;
            while !is_done.load(Ordering::Relaxed) {
                self.store.ping().await.unwrap();
                others += 1;
            }
            others
        };
        let (answer, others) = join(removal, others).await;
        let operations = self.store.stats().operations - before.operations;
        (answer, operations - others, counters.most_rows.load(Ordering::Relaxed), others)
    }

    fn rows_left(&self) -> i64 {
        let db = Connection::open(self.folder.path().join("openai-backend.db")).unwrap();
        let tables =
            ["sessions", "conversations", "items", "turns", "events", "leases", "idempotency_keys", "documents"];
        let counts = tables.map(|table| format!("(SELECT count(*) FROM {table})")).join(" + ");
        db.query_one(&format!("SELECT {counts}"), [], |row| row.get(0)).unwrap()
    }

    /// That no read shows the turn, no write reaches it, and its key is free; of an owner that lives, where `lives`.
    async fn assert_gone(&self, begin: &BeginTurn, lives: bool) {
        let (store, owner) = (&self.store, &begin.place.owner);
        assert_eq!(store.turn(owner, &begin.turn).await.unwrap(), None);
        assert_eq!(store.read_events(owner, &begin.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
        assert_eq!(store.request_cancel(owner, &begin.turn).await.unwrap(), CancelRequest::Unknown);
        assert_eq!(store.finish_turn(self.finish(begin)).await.unwrap(), Finished::Fenced);
        assert!(!store.delete_turn(owner, &begin.turn).await.unwrap());
        let adopt = crate::store::AdoptTurns {
            holder: begin.holder.clone(),
            lease_ms: 1,
            limit: 10,
            in_hand: std::sync::Arc::new(|_| false),
        };
        assert_eq!(store.adopt_turns(adopt).await.unwrap(), crate::store::Adopted::default());
        let again = BeginTurn { turn: self.begin().turn, session: SessionUse::None, ..begin.clone() };
        match store.begin_turn(again.clone()).await.unwrap() {
            Begun::Started(started) if lives => {
                assert_eq!(started.history.items, []);
                assert!(store.delete_conversation(&again.place).await.unwrap());
            }
            Begun::UnknownSession if !lives => {
                assert_eq!(store.conversation(&begin.place).await.unwrap(), None);
                let all = DocumentsQuery { after: None, ascending: true, limit: 10 };
                let page = store.documents(owner, DocumentKind::Completion, all).await.unwrap().unwrap();
                assert_eq!(page.documents, []);
            }
            other => panic!("{other:?}"),
        }
    }

    /// The server dies and comes back.
    fn crash(&mut self) {
        let gone = std::mem::replace(&mut self.store, Bench::new().store);
        drop(std::sync::Arc::into_inner(gone).expect("the only one"));
        self.store = std::sync::Arc::new(Sqlite::open(self.folder.path(), self.clock.clone()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_session_is_deleted_in_bounded_steps_between_other_writes() {
    let bench = Bench::new();
    let owner = bench.session();
    for i in 0..4 {
        let session = if i == 0 { SessionUse::Create(DAY_MS) } else { SessionUse::None };
        let begin = bench.running(&owner, session).await;
        bench.fill(&begin, &Load { items: 10_000, events: 40_000, documents: 0, bytes: 40 }).await;
        if i == 0 {
            bench.fill(&begin, &Load { items: 0, events: 0, documents: 2_000, bytes: 0 }).await;
        }
    }
    let rows = bench.rows_left();
    assert!(rows > 200_000, "{rows}");
    let ((), steps, most_rows, others) =
        bench.measured(async { bench.store.delete_owner(&owner).await.unwrap() }).await;
    assert_eq!(bench.rows_left(), 0);
    assert!(most_rows <= ROWS_A_STEP, "{most_rows} rows in one commit");
    assert!((390..450).contains(&steps), "{steps} steps");
    assert!(others >= 50, "only {others} other writes got in between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_conversation_and_a_large_turn_are_deleted_in_bounded_steps() {
    let bench = Bench::new();
    let owner = bench.session();
    for is_turn in [true, false] {
        let session = if is_turn { SessionUse::Create(DAY_MS) } else { SessionUse::None };
        let begin = bench.running(&owner, session).await;
        bench.fill(&begin, &Load { items: 1_000, events: 20_000, documents: 0, bytes: 40 }).await;
        let delete = async {
            match is_turn {
                true => bench.store.delete_turn(&owner, &begin.turn).await.unwrap(),
                false => bench.store.delete_conversation(&begin.place).await.unwrap(),
            }
        };
        let (deleted, steps, most_rows, _) = bench.measured(delete).await;
        assert!(deleted && most_rows <= ROWS_A_STEP && steps >= 39, "{most_rows} rows in one commit, {steps} steps");
    }
    bench.store.delete_owner(&owner).await.unwrap();
    assert_eq!(bench.rows_left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_large_rows_are_many_steps_too() {
    let bench = Bench::new();
    let owner = bench.session();
    let begin = bench.running(&owner, SessionUse::Create(DAY_MS)).await;
    bench.fill(&begin, &Load { items: 30, events: 30, documents: 0, bytes: 1 << 19 }).await;
    let ((), steps, ..) = bench.measured(async { bench.store.delete_owner(&owner).await.unwrap() }).await;
    assert!(steps >= 30, "{steps} steps for 30 MiB");
    assert_eq!(bench.rows_left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_until_nothing_expired_is_left_in_bounded_steps() {
    let bench = Bench::new();
    for _ in 0..3 {
        let begin = bench.running(&bench.session(), SessionUse::Create(DAY_MS)).await;
        bench.fill(&begin, &Load { items: 5_000, events: 20_000, documents: 500, bytes: 40 }).await;
    }
    bench.clock.advance(2 * DAY_MS);
    let sweep = async { bench.store.sweep(bench.clock.now_ms()).await.unwrap() };
    let (swept, steps, most_rows, others) = bench.measured(sweep).await;
    assert_eq!(bench.rows_left(), 0);
    assert!(swept > 75_000 && most_rows <= ROWS_A_STEP, "{swept} rows, {most_rows} in one commit");
    assert!(steps > 150 && others >= 20, "{steps} steps, {others} other writes");
    assert_eq!(bench.store.sweep(bench.clock.now_ms()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_reuses_the_pages_of_what_has_expired() {
    let bench = Bench::new();
    let owner = bench.session();
    bench.running(&owner, SessionUse::Create(400 * DAY_MS)).await;
    let mut sizes = Vec::new();
    for round in 0..6 {
        // More turns with events, and more sessions, than a sweep of a fixed number of steps would remove.
        let now_ms = bench.clock.now_ms();
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)";
        let sql = format!(
            "{numbers} INSERT INTO turns (id, conversation, status, attempt, fence, created_at_ms, events_until_ms, request) \
             SELECT 'turn_{round}_' || i, (SELECT max(number) FROM conversations), 'completed', 1, 1, 0, {now_ms} + 1000, '' \
             FROM n; \
             {numbers} INSERT INTO events (place, json) \
             SELECT number * 10000000 + 2, printf('%.*c', 400, 'x') FROM n, turns WHERE turns.id = 'turn_{round}_' || i; \
             {numbers} INSERT INTO sessions (key, expires_at_ms, expires_hour) \
             SELECT 'of_{round}_' || i, {now_ms} + 1000, ({now_ms} + 1000) / 3600000 FROM n; \
             DELETE FROM turns WHERE id LIKE 'turn_{}_%';",
            round - 1
        );
        bench.store.writer.submit(Run(sql)).await.unwrap();
        bench.clock.advance(60 * 60 * 1_000);
        assert!(bench.store.sweep(bench.clock.now_ms()).await.unwrap() >= 12_000);
        let pages: i64 =
            bench.store.readers.read(|db| Ok(db.query_one("PRAGMA page_count", [], |row| row.get(0))?)).await.unwrap();
        sizes.push(pages);
    }
    assert!(sizes[5] <= sizes[2] + sizes[2] / 20, "the file grows: {sizes:?} pages");
    let log = std::fs::metadata(bench.folder.path().join("openai-backend.db-wal")).unwrap().len();
    assert!(log < 40_000_000, "the log has {log} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_a_crash_cuts_short_shows_nothing_and_is_finished_by_the_next_sweep() {
    for what in ["owner", "conversation", "turn"] {
        let mut bench = Bench::new();
        let (owner, now_ms) = (bench.session(), bench.clock.now_ms());
        let begin = bench.running(&owner, SessionUse::Create(DAY_MS)).await;
        bench
            .fill(
                &begin,
                &Load { items: 700, events: 700, documents: if what == "owner" { 700 } else { 0 }, bytes: 40 },
            )
            .await;
        let (writer, place, turn) = (&bench.store.writer, begin.place.clone(), begin.turn.clone());
        match what {
            "owner" => assert!(!writer.submit(DeleteOwner { owner: owner.clone() }).await.unwrap()),
            "conversation" => {
                let left = writer.submit(DeleteConversation { place, now_ms }).await.unwrap().unwrap().left;
                assert!(left.is_some());
            }
            _ => {
                let deleted = writer.submit(DeleteTurn { owner: owner.clone(), turn, now_ms }).await.unwrap();
                assert!(deleted.unwrap().left.is_some());
            }
        }
        bench.crash();
        if what == "turn" {
            assert_eq!(bench.store.turns(&begin.place, 10).await.unwrap(), Some(vec![]));
            assert!(bench.store.delete_conversation(&begin.place).await.unwrap());
        }
        bench.assert_gone(&begin, what != "owner").await;
        assert!(bench.rows_left() > 600, "{what}: nothing was left to be found");
        assert!(bench.store.sweep(bench.clock.now_ms()).await.unwrap() > 600);
        bench.assert_gone(&begin, what != "owner").await;
        bench.store.delete_owner(&owner).await.unwrap();
        assert_eq!(bench.rows_left(), 0, "{what}");
    }
}
