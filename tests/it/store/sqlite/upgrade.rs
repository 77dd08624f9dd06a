//! A database of an older version, opened by this one.

use std::path::Path;

use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::event::Event;
use openai_backend::domain::ids::{ConversationId, SessionKey, TurnId};
use openai_backend::domain::turn::TurnStatus;
use openai_backend::store::conversations::ConversationInfo;
use openai_backend::store::{BeginTurn, Begun, Finished, SessionUse};

use super::{database, open, value};
use crate::store::rig::{AMPLE, Caller, DAY_MS, EPOCH_MS, Rig};

const FIRST: &str = include_str!("../../../../src/store/sqlite/migrations/0001_first.sql");
const SECOND: &str = include_str!("../../../../src/store/sqlite/migrations/0002_conversations.sql");

/// Rows as the first version wrote them: a session with a turn that ended and one that failed, a program with a turn that
/// runs.
const ROWS: &str = r#"
INSERT INTO sessions (key, expires_at_ms, expires_hour) VALUES ('{key}', {later}, {later} / 3600000);
INSERT INTO conversations (id, owner, version, item_count, total_tokens, newest_turn, created_at_ms)
VALUES ('conv_one', 's:{key}', 2, 2, 16, 2, {now} - 2000), ('conv_two', 'k:web', 0, 0, 0, NULL, {now} - 1000);
INSERT INTO items (place, id, turn, tokens, encoding, tokens_before, created_at_ms, json) VALUES
(1000000001, 'msg_1', 'turn_1', 9, 'cl100k', 0, {now}, '{"id":"msg_1","type":"message","role":"user","content":[{"type":"input_text","text":"Hello?"}]}'),
(1000000002, 'msg_2', 'turn_1', 7, 'cl100k', 9, {now}, '{"id":"msg_2","type":"message","role":"assistant","content":[{"type":"output_text","text":"Hi."}]}');
INSERT INTO turns (id, conversation, previous, status, attempt, fence, created_at_ms, ended_at_ms, last_event, events_until_ms, usage, fault, request) VALUES
('turn_1', 1, NULL, 'completed', 1, 1, {now}, {now} + 1, 3, {later}, '{usage}', NULL, '{request}'),
('turn_2', 1, 1, 'failed', 2, 2, {now} + 2, {now} + 3, 2, {now} - 1, NULL, '{"kind":"upstream_unavailable","message":"The model is away."}', '{request}'),
('turn_3', 2, NULL, 'running', 1, 1, {now} + 4, NULL, NULL, NULL, NULL, NULL, '{request}');
INSERT INTO leases (conversation, turn, holder) VALUES (2, 3, 'inst_before');
INSERT INTO events (place, json) VALUES
(10000002, '{"e":"text","delta":"Hi."}'),
(10000003, '{"e":"ended","status":"completed","answer":{"id":"msg_2","text":"Hi.","model":"demo","finish_reason":"stop"},"usage":{usage},"fault":null}'),
(30000002, '{"e":"text","delta":"Wel"}');
INSERT INTO idempotency_keys (owner, key, fingerprint, turn, conversation, until_ms)
VALUES ('s:{key}', 'key', 'body', 'turn_1', 'conv_one', {later});
"#;

const REQUEST: &str = r#"{"model":"demo","instructions":"Be kind.","input":[{"id":"msg_1","turn":null,"json":"{}","tokens":9,"encoding":"cl100k"}],"answer_id":"msg_2","temperature":0.95,"max_tokens":1000,"stream":true}"#;

const USAGE: &str = r#"{"input_tokens":20,"output_tokens":7,"cached_tokens":0,"reasoning_tokens":0,"estimated":false}"#;

fn write_first_version(folder: &Path, key: &SessionKey) {
    let db = database(folder);
    let rows = ROWS
        .replace("{key}", key.as_str())
        .replace("{request}", REQUEST)
        .replace("{usage}", USAGE)
        .replace("{now}", &EPOCH_MS.to_string())
        .replace("{later}", &(EPOCH_MS + DAY_MS).to_string());
    db.execute_batch(&format!("PRAGMA journal_mode = wal; {FIRST} PRAGMA user_version = 1; {rows}")).unwrap();
}

fn place(owner: Owner, conversation: &str) -> Place {
    Place { owner, conversation: ConversationId::parse(conversation).unwrap() }
}

#[tokio::test]
async fn of_the_first_version_is_read_and_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let key = SessionKey::of_secret(&[7; 32]);
    write_first_version(folder.path(), &key);
    let one = place(Owner::Session(key), "conv_one");
    for _ in 0..2 {
        let rig = open(folder.path());
        assert_as_it_was(&rig, &one).await;
        rig.store.close().await;
    }
    assert_eq!(value::<i64>(&database(folder.path()), "PRAGMA user_version"), 5);
    assert_eq!(value::<String>(&database(folder.path()), "PRAGMA integrity_check"), "ok");
    let rig = open(folder.path());
    goes_on(&rig, &one).await;
    takes_over(&rig, &place(Owner::ApiKey("web".into()), "conv_two")).await;
}

async fn assert_as_it_was(rig: &Rig, one: &Place) {
    let info = ConversationInfo {
        id: one.conversation.clone(),
        created_at_ms: EPOCH_MS - 2_000,
        metadata: "{}".into(),
        hidden: false,
    };
    assert_eq!(rig.store.conversation(one).await.unwrap().as_ref(), Some(&info));
    let page = rig.store.conversations(&one.owner, None, 10).await.unwrap().unwrap();
    assert_eq!(page.conversations, [info]);
    let page = rig.store.history(one, None, 10, rig.now_ms()).await.unwrap().unwrap();
    let said: Vec<String> = page.items.iter().map(|stored| stored.item.message().unwrap().text).collect();
    assert_eq!((said, page.has_more), (vec!["Hello?".to_owned(), "Hi.".into()], false));

    let turns = rig.store.turns(one, 10).await.unwrap().unwrap();
    let [failed, done] = turns.as_slice() else { panic!("{turns:?}") };
    assert_eq!((failed.id.as_str(), failed.status, failed.attempt), ("turn_2", TurnStatus::Failed, 2));
    assert_eq!((done.id.as_str(), done.status, done.last_event), ("turn_1", TurnStatus::Completed, 3));
    assert_eq!((done.usage.unwrap().output_tokens, done.request.instructions.as_str()), (7, "Be kind."));
    assert_eq!((&done.answer, done.items_then, failed.items_then), (&None, None, None));
    let (events, _) = rig.events(&Caller::at(one.clone()), &done.id).await;
    assert!(matches!(&events[2].event, Event::Ended(end) if end.status == TurnStatus::Completed), "{events:?}");
}

async fn goes_on(rig: &Rig, one: &Place) {
    let who = Caller::at(one.clone());
    let session = SessionUse::Renew(DAY_MS);
    let joins = BeginTurn { session, ..rig.begin_with_key(&who, "key", "body") };
    let joined = rig.store.begin_turn(joins).await.unwrap();
    assert!(matches!(&joined, Begun::Duplicate { turn, .. } if turn.as_str() == "turn_1"), "{joined:?}");
    let begin = BeginTurn { session, expected_items: Some(2), ..rig.begin(&who) };
    let started = rig.started(&begin).await;
    assert_eq!((started.history.items.len(), started.conversation.total_tokens), (2, 16));
    rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
    assert_eq!(rig.store.turn(&one.owner, &begin.turn).await.unwrap().unwrap().items_then, Some(4));
    let turn_1 = TurnId::parse("turn_1").unwrap();
    let first = rig.store.window(one, AMPLE).await.unwrap().items.remove(0).item.id;
    rig.store.remove_item(one, &first).await.unwrap();
    assert!(rig.store.delete_turn(&one.owner, &TurnId::parse("turn_2").unwrap()).await.unwrap());
    assert_eq!(rig.store.turns(one, 10).await.unwrap().unwrap().len(), 2);
    assert!(rig.store.delete_turn(&one.owner, &turn_1).await.unwrap());
    assert_eq!(rig.store.turns(one, 10).await.unwrap().unwrap()[0].id, begin.turn);
    let begin = BeginTurn { session, ..rig.begin_with_key(&who, "key", "body") };
    rig.started(&begin).await;
    assert_eq!(rig.store.window(one, AMPLE).await.unwrap().items.len(), 3);
}

async fn takes_over(rig: &Rig, two: &Place) {
    let adopted = Rig::adopted(&*rig.store, &rig.holder(), DAY_MS, 10).await;
    let [record] = adopted.as_slice() else { panic!("{adopted:?}") };
    assert_eq!((record.id.as_str(), &record.place, record.attempt, record.last_event), ("turn_3", two, 2, 2));
    let begin = BeginTurn { turn: record.id.clone(), ..rig.begin(&Caller::at(two.clone())) };
    let finished = rig.store.finish_turn(rig.finish(&begin, record.fence, 3, "Well.")).await.unwrap();
    assert_eq!(finished, Finished::Stored);
    assert_eq!(rig.store.turn(&two.owner, &record.id).await.unwrap().unwrap().items_then, Some(2));
}

/// Rows as the second version left them: of five items the third and the newest were removed, the newest with its number;
/// and what was stored for a session that had been deleted.
const GAPS: &str = r#"
INSERT INTO conversations (id, owner, version, item_count, total_tokens, newest_turn, created_at_ms)
VALUES ('conv_one', 'k:web', 3, 4, 15, 1, {now}), ('conv_two', 's:{key}', 1, 1, 9, 2, {now});
INSERT INTO items (place, id, turn, tokens, encoding, tokens_before, created_at_ms, json) VALUES
(1000000001, 'msg_1', NULL, 1, 'o200k', 0, {now}, '{}'), (1000000002, 'msg_2', NULL, 2, 'o200k', 1, {now}, '{}'),
(1000000003, '', NULL, 4, 'o200k', 3, {now}, ''), (1000000004, 'msg_4', 'turn_1', 8, 'o200k', 7, {now}, '{}'),
(2000000001, 'msg_1', 'turn_2', 9, 'o200k', 0, {now}, '{}');
INSERT INTO turns (id, conversation, status, attempt, fence, created_at_ms, ended_at_ms, last_event, events_until_ms, request, items_then) VALUES
('turn_1', 1, 'completed', 1, 1, {now}, {now}, 2, {now}, '{request}', 5),
('turn_2', 2, 'completed', 1, 1, {now}, {now}, 2, {now}, '{request}', 1);
"#;

#[tokio::test]
async fn of_the_second_version_gives_no_number_again_and_keeps_nothing_of_sessions_that_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let rows = GAPS.replace("{key}", SessionKey::of_secret(&[7; 32]).as_str()).replace("{request}", REQUEST);
    let rows = rows.replace("{now}", &EPOCH_MS.to_string());
    let db = database(folder.path());
    db.execute_batch(&format!("PRAGMA journal_mode = wal; {FIRST} {SECOND} PRAGMA user_version = 2; {rows}")).unwrap();
    drop(db);
    let rig = open(folder.path());
    let who = Caller::at(place(Owner::ApiKey("web".into()), "conv_one"));
    let begin = BeginTurn { expected_items: Some(5), ..rig.begin(&who) };
    let started = rig.started(&begin).await;
    assert_eq!(started.history.items.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 2, 4]);
    assert_eq!(started.conversation.total_tokens, 15);
    rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
    let items = rig.history(&who).await.unwrap().items;
    assert_eq!(items.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 2, 4, 6, 7]);
    while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    rig.store.close().await;
    let db = database(folder.path());
    assert_eq!(value::<String>(&db, "SELECT group_concat(id) FROM conversations"), "conv_one");
    assert_eq!(value::<String>(&db, "SELECT group_concat(seq) FROM history"), "1,2,4,6,7");
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM turns"), 2);
    assert_eq!(value::<i64>(&db, "SELECT count(*) FROM sessions"), 0);
    assert_eq!(value::<i64>(&db, "SELECT lost_tokens FROM conversations"), 4);
}
