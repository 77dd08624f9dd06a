//! SQLite, put to the contract, and what only it promises: one file, one owner, nothing lost with the process.

mod beside;
mod deletion;
mod upgrade;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use openai_backend::domain::clock::ManualClock;
use openai_backend::domain::turn::TurnStatus;
use openai_backend::store::sqlite::Sqlite;
use openai_backend::store::takeover::InHand;
use openai_backend::store::{
    AdoptTurns, Adopted, Appended, BeginTurn, Begun, FinishTurn, Finished, Store, StoreError, Unreadable,
};

use super::rig::{Caller, DAY_MS, EPOCH_MS, Rig, Time, adopt, texts};

async fn fresh() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (path, clock) = (folder.path().to_owned(), rig.clock().unwrap());
    let reopen = move || -> BoxFuture<'static, Arc<dyn Store>> {
        let store = Sqlite::open(&path, clock.clone()).unwrap();
        Box::pin(async { Arc::new(store) as _ })
    };
    rig.reopened_by(Box::new(reopen)).keeping(folder)
}

fn open(folder: &Path) -> Rig {
    let clock = Arc::new(ManualClock::at(EPOCH_MS));
    let store = Arc::new(Sqlite::open(folder, clock.clone()).unwrap());
    Rig::new(store.clone(), store, Time::Manual(clock))
}

contract!(fresh);

fn refusal(folder: &Path) -> String {
    let clock = Arc::new(ManualClock::at(EPOCH_MS));
    Sqlite::open(folder, clock).err().expect("it must not open").to_string()
}

fn database(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("openai-backend.db")).unwrap()
}

fn value<T: rusqlite::types::FromSql>(db: &rusqlite::Connection, sql: &str) -> T {
    db.query_one(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let who = Caller::browser();
    for turns in 0..5 {
        let rig = open(folder.path());
        let begin = rig.begin(&who);
        assert_eq!(rig.started(&begin).await.history.items.len(), turns * 2);
        rig.store.finish_turn(rig.finish(&begin, 1, 2, "hi")).await.unwrap();
        // Both ways to go leave everything behind.
        if turns % 2 == 0 {
            rig.store.close().await;
        }
    }
    let rig = open(folder.path());
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 10);
    rig.store.close().await;
    assert_eq!(value::<String>(&database(folder.path()), "PRAGMA integrity_check"), "ok");
    assert!(!folder.path().join("openai-backend.db-wal").exists(), "closing leaves one file");
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (who, other) = (Caller::browser(), Caller::browser());
    let done = rig.turn(&who, "done").await;
    let running = rig.begin_with_key(&other, "key", "body");
    let fence = rig.started(&running).await.fence;
    rig.append_stored(rig.append(&running, fence, texts(2, &["sho", "wn"]))).await;

    // What the disk holds at this moment is what a killed process leaves.
    let left = tempfile::tempdir().unwrap();
    for file in ["openai-backend.db", "openai-backend.db-wal"] {
        fs::copy(folder.path().join(file), left.path().join(file)).unwrap();
    }
    assert_eq!(value::<String>(&database(left.path()), "PRAGMA integrity_check"), "ok");

    let next = open(left.path());
    assert_eq!(next.history(&who).await.unwrap().items.len(), 2);
    assert_eq!(next.events(&who, &done.turn).await.1, TurnStatus::Completed);
    let busy = next.store.begin_turn(next.begin(&other)).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: running.turn.clone(), orphaned: true });

    let adopted = Rig::adopted(&*next.store, &next.holder(), DAY_MS, 10).await;
    let [record] = adopted.as_slice() else { panic!("{adopted:?}") };
    assert_eq!((&record.id, &record.request), (&running.turn, &running.request));
    assert_eq!((record.attempt, record.last_event), (2, 3));
    let late = next.store.append_events(next.append(&running, fence, texts(4, &["late"]))).await.unwrap();
    assert_eq!(late, Appended::Fenced);
    let finish = next.finish(&running, record.fence, 4, "shown");
    assert_eq!(next.store.finish_turn(finish).await.unwrap(), Finished::Stored);
    let again = next.store.begin_turn(next.begin_with_key(&other, "key", "body")).await.unwrap();
    assert!(matches!(again, Begun::Duplicate { .. }), "{again:?}");
}

#[tokio::test]
async fn a_turn_that_its_holder_has_no_longer_in_hand_is_taken_over() {
    let rig = fresh().await;
    let (kept, lost) = (rig.begin(&Caller::browser()), rig.begin(&Caller::browser()));
    for begin in [&kept, &lost] {
        rig.started(begin).await;
    }
    let in_hand = Arc::new(Mutex::new(HashSet::from([kept.turn.clone()])));
    let look = async || {
        let in_hand = in_hand.clone();
        let in_hand: InHand = Arc::new(move |turn| in_hand.lock().unwrap().contains(turn));
        rig.store.adopt_turns(AdoptTurns { in_hand, ..adopt(&rig.holder(), DAY_MS, 10) }).await.unwrap()
    };
    for attempt in [2, 3] {
        let adopted = look().await;
        let [record] = adopted.turns.as_slice() else { panic!("{adopted:?}") };
        assert_eq!((&record.id, record.attempt, u64::from(record.attempt)), (&lost.turn, attempt, record.fence));
    }
    in_hand.lock().unwrap().insert(lost.turn.clone());
    assert_eq!(look().await, Adopted::default());
}

#[tokio::test]
async fn a_turn_that_cannot_be_read_stands_in_no_others_way() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let mut begun = Vec::new();
    for _ in 0..5 {
        let who = Caller::browser();
        let begin = rig.begin(&who);
        rig.started(&begin).await;
        begun.push((who, begin));
    }
    let spoil = [
        "UPDATE turns SET request = '{\"secret words\"' WHERE id = ?1",
        "UPDATE turns SET status = 'secret words', attempt = -7 WHERE id = ?1",
        "UPDATE conversations SET owner = 'secret words' WHERE number = (SELECT conversation FROM turns WHERE id = ?1)",
        "DELETE FROM turns WHERE id = ?1",
    ];
    let db = database(folder.path());
    for (sql, (_, begin)) in spoil.iter().zip(&begun) {
        assert_eq!(db.execute(sql, [begin.turn.as_str()]).unwrap(), 1);
    }
    let Adopted { turns, unreadable } = rig.store.adopt_turns(adopt(&rig.stranger(), DAY_MS, 10)).await.unwrap();
    assert_eq!(turns.iter().map(|record| &record.id).collect::<Vec<_>>(), [&begun[4].1.turn]);
    let found = |i: usize| Unreadable {
        place: begun[i].1.place.clone(),
        turn: begun[i].1.turn.clone(),
        fence: 2,
        last_event: 1,
    };
    assert_eq!(unreadable, [found(0), found(1)]);
    // These can be ended; of the others nothing is left that could be, and no lease.
    for (i, (who, begin)) in begun.iter().enumerate().take(2) {
        let finish = FinishTurn { status: TurnStatus::Failed, items: Vec::new(), ..rig.finish(begin, 2, 2, "") };
        assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored, "{i}");
        assert_eq!(rig.events(who, &begin.turn).await.1, TurnStatus::Failed);
        rig.turn(who, "hi").await;
        // A list shows what can be read.
        let listed = rig.store.turns(&who.place, 10).await.unwrap().unwrap();
        assert_eq!(listed.len(), 1);
    }
    rig.turn(&begun[3].0, "hi").await;
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM leases"), 1);
    assert_eq!(rig.store.adopt_turns(adopt(&rig.stranger(), DAY_MS, 10)).await.unwrap().turns.len(), 1);
}

#[tokio::test]
async fn no_jump_of_the_clock_ends_a_turn() {
    let rig = fresh().await;
    let who = Caller::browser();
    let begin = BeginTurn { lease_ms: 10_000, ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    for jump_ms in [DAY_MS / 2, -DAY_MS] {
        rig.clock().unwrap().advance(jump_ms);
        assert_eq!(Rig::adopted(&*rig.store, &rig.holder(), 10_000, 10).await, []);
        let busy = rig.store.begin_turn(rig.begin(&who)).await.unwrap();
        assert_eq!(busy, Begun::Busy { running: begin.turn.clone(), orphaned: false });
    }
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
}

#[tokio::test]
async fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let refusal = refusal(folder.path());
    assert!(refusal.contains("another server is using the data folder"), "{refusal}");
    first.store.ping().await.unwrap();
    drop(first);
    open(folder.path()).store.ping().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_server_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).store.close().await;
    let db = database(folder.path());
    assert_eq!(value::<i64>(&db, "PRAGMA user_version"), 5);
    db.pragma_update(None, "user_version", 1_000).unwrap();
    drop(db);
    let refusal = refusal(folder.path());
    assert!(refusal.contains("schema version 1000") && refusal.contains("newer version of the server"), "{refusal}");
}

#[tokio::test]
async fn what_is_not_a_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("openai-backend.db"), "no database, ".repeat(500)).unwrap();
    assert!(refusal(folder.path()).contains("not a database"));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(refusal(&file.path().join("data")).contains("cannot make"));
}

#[tokio::test]
async fn only_its_owner_may_look_into_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data").join("deep");
    let rig = open(&folder);
    rig.turn(&Caller::browser(), "hi").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_person_can_read_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let who = Caller::browser();
    let begin = rig.turn(&who, "a \"joke\"").await;
    rig.store.close().await;
    let db = database(folder.path());
    let conversation = &who.place.conversation;
    let sql =
        format!("SELECT group_concat(role || ': ' || text, '; ') FROM history WHERE conversation = '{conversation}'");
    assert_eq!(value::<String>(&db, &sql), "user: What is a joke?; assistant: a \"joke\"");
    let sql = format!("SELECT max(seq) FROM happened WHERE turn = '{}'", begin.turn);
    assert_eq!(value::<i64>(&db, &sql), 2);
}

#[tokio::test]
async fn errors_say_nothing_of_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let who = Caller::browser();
    let begin = rig.turn(&who, "hi").await;
    let db = database(folder.path());
    db.execute_batch("UPDATE turns SET status = 'secret words', request = 'secret words'; UPDATE items SET encoding = 'secret words'").unwrap();
    let failures: Vec<StoreError> = vec![
        rig.store.turn(&who.place.owner, &begin.turn).await.unwrap_err(),
        rig.store.read_events(&who.place.owner, &begin.turn, 0, 10).await.unwrap_err(),
        rig.store.history(&who.place, None, 10, rig.now_ms()).await.unwrap_err(),
        rig.store.begin_turn(rig.begin(&who)).await.unwrap_err(),
        rig.store.begin_turn(BeginTurn { turn: begin.turn.clone(), ..rig.begin(&who.elsewhere()) }).await.unwrap_err(),
    ];
    for failure in failures {
        let text = format!("{failure} {failure:?}");
        assert!(matches!(failure, StoreError::Broken(_)), "{text}");
        assert!(!text.contains("secret") && !text.contains(begin.turn.as_str()), "{text}");
    }
}
