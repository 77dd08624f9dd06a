//! What is deleted, and that nothing of it can be found in the files afterwards.

use std::fs;
use std::path::Path;

use openai_backend::domain::ids::ItemId;
use openai_backend::domain::item::{Item, user_message};
use openai_backend::store::documents::{Document, DocumentKind};
use openai_backend::store::{BeginTurn, FinishTurn};

use super::{database, open, value};
use crate::store::contract::endings::{Remains, assert_all_writes_refused};
use crate::store::contract::responses::answer;
use crate::store::rig::{Caller, DAY_MS, Rig, notes, request, texts};

/// Everything in the folder's files.
fn bytes(folder: &Path) -> Vec<u8> {
    fs::read_dir(folder).unwrap().flat_map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[tokio::test]
async fn nothing_of_a_deleted_owner_is_left_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (who, bystander) = (Caller::browser(), Caller::browser());
    for _ in 0..30 {
        for (who, word) in [(&who, "forgetmenow"), (&bystander, "keepthis")] {
            let begin = BeginTurn { request: request(word), ..rig.begin_with_key(who, word, word) };
            let begin = BeginTurn { idempotency: None, ..begin };
            let fence = rig.started(&begin).await.fence;
            let finish = rig.finish(&begin, fence, 2, &format!("{word} ").repeat(200));
            rig.store.finish_turn(finish).await.unwrap();
        }
    }
    rig.store.delete_owner(&who.place.owner).await.unwrap();
    rig.store.close().await;
    let bytes = bytes(folder.path());
    assert!(!has(&bytes, "forgetmenow") && !has(&bytes, &who.place.owner.tag()[2..]));
    assert!(has(&bytes, "keepthis"));
}

#[tokio::test]
async fn deletion_and_sweeping_leave_no_row_behind() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (deleted, expired, program) = (Caller::browser(), Caller::browser(), Caller::program());
    for who in [&deleted, &expired, &program] {
        for who in [who, &who.elsewhere()] {
            rig.turn(who, "hi").await;
            let running = rig.begin_with_key(who, &who.place.conversation.to_string(), "body");
            let fence = rig.started(&running).await.fence;
            rig.append_stored(rig.append(&running, fence, texts(2, &["a"]))).await;
            for i in 0..70 {
                let document = Document { id: format!("d{i}"), created_at_ms: 1, json: "{}".into() };
                rig.store.put_document(&who.place.owner, DocumentKind::Completion, document).await.unwrap();
            }
        }
    }
    rig.store.delete_owner(&deleted.place.owner).await.unwrap();
    rig.store.delete_owner(&program.place.owner).await.unwrap();
    rig.clock().unwrap().advance(2 * DAY_MS);
    while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    rig.store.close().await;
    assert_no_rows(folder.path());
}

#[tokio::test]
async fn writes_for_a_session_that_has_ended_leave_no_row() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let (deleted, expired) = (Remains::of(&rig, Caller::browser()).await, Remains::of(&rig, Caller::browser()).await);
    rig.store.delete_owner(&deleted.who.place.owner).await.unwrap();
    assert_all_writes_refused(&rig, &deleted).await;
    rig.clock().unwrap().advance(2 * DAY_MS);
    assert_all_writes_refused(&rig, &expired).await;
    while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    for remains in [&deleted, &expired] {
        assert_all_writes_refused(&rig, remains).await;
    }
    rig.store.close().await;
    assert_no_rows(folder.path());
}

fn assert_no_rows(folder: &Path) {
    let db = database(folder);
    let tables = ["sessions", "conversations", "items", "turns", "events", "leases", "idempotency_keys", "documents"];
    for table in tables {
        assert_eq!(value::<i64>(&db, &format!("SELECT count(*) FROM {table}")), 0, "{table}");
    }
}

/// Items whose text says what is to become of them.
fn items_saying(words: &[&str]) -> Vec<Item> {
    let items = notes(&vec![3; words.len()]).into_iter().zip(words);
    items.map(|(item, word)| Item { json: user_message(&item.id, &word.repeat(40)), ..item }).collect()
}

/// A turn with events, items and an answer that say `word`.
async fn turn_saying(rig: &Rig, who: &Caller, word: &str) -> BeginTurn {
    let begin = BeginTurn { request: request(word), ..rig.begin(who) };
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(rig.append(&begin, fence, texts(2, &[word]))).await;
    let mut answer = answer(&begin);
    answer.text = word.repeat(40);
    let finish = FinishTurn { answer: Some(answer), ..rig.finish(&begin, fence, 3, word) };
    rig.store.finish_turn(FinishTurn { items: items_saying(&["keepthis"]), ..finish }).await.unwrap();
    begin
}

#[tokio::test]
async fn nothing_of_a_deleted_part_is_left_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let rig = open(folder.path());
    let who = Caller::program();
    let items = items_saying(&["keepthis", "forgetmenow", "keepthis", "forgetmenow"]);
    let ids: Vec<ItemId> = items.iter().map(|item| item.id.clone()).collect();
    rig.store.create_conversation(rig.new_conversation(&who, &items)).await.unwrap();
    let gone = who.elsewhere();
    rig.store.create_conversation(rig.new_conversation(&gone, &items_saying(&["forgetmenow"; 9]))).await.unwrap();
    rig.store.set_metadata(&gone.place, "{\"forgetmenow\":\"1\"}").await.unwrap();
    for word in ["forgetmenow", "keepthis"] {
        turn_saying(&rig, &gone, "forgetmenow").await;
        let json = format!("\"{}\"", word.repeat(400));
        let document = Document { id: word.into(), created_at_ms: 1, json };
        rig.store.put_document(&who.place.owner, DocumentKind::Completion, document).await.unwrap();
    }
    for id in [&ids[3], &ids[1]] {
        rig.store.remove_item(&who.place, id).await.unwrap();
    }
    let turn = turn_saying(&rig, &who, "forgetmenow").await;
    turn_saying(&rig, &who, "keepthis").await;
    assert!(rig.store.delete_turn(&who.place.owner, &turn.turn).await.unwrap());
    assert!(rig.store.delete_conversation(&gone.place).await.unwrap());
    rig.store.delete_document(&who.place.owner, DocumentKind::Completion, "forgetmenow").await.unwrap();
    rig.store.close().await;

    let bytes = bytes(folder.path());
    assert!(!has(&bytes, "forgetmenow") && !has(&bytes, ids[1].as_str()) && !has(&bytes, turn.turn.as_str()));
    assert!(has(&bytes, "keepthis") && has(&bytes, ids[0].as_str()));
    // People are shown what is left, too.
    let db = database(folder.path());
    assert_eq!(value::<String>(&db, "SELECT group_concat(seq) FROM history"), "1,3,5,6");
}
