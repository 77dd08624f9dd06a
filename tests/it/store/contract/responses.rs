//! Turns that are read as responses: their answers, what they expect, and how they are forgotten with their keys.

use openai_backend::domain::event::Event;
use openai_backend::domain::ids::{ItemKind, TurnId};
use openai_backend::domain::output::{Answer, Output};
use openai_backend::domain::tools::ClientTool;
use openai_backend::domain::turn::{TurnRecord, TurnStatus};
use openai_backend::store::conversations::Added;
use openai_backend::store::{
    Appended, BeginTurn, Begun, CancelRequest, EventsPage, FinishTurn, Finished, IdempotencyKey, Notice,
};

use super::conversations::assert_unknown;
use crate::store::rig::{Caller, DAY_MS, Rig, notes, texts};

/// An answer that has everything.
pub fn answer(begin: &BeginTurn) -> Answer {
    let id = begin.request.answer_id.clone();
    let refusal = "I \"won't\" \u{0} 👌".to_owned();
    let output = vec![
        Output::Reasoning { id: id.beside(ItemKind::Reasoning, 0), text: "hm\r\n".into() },
        Output::Message { id: id.clone(), text: "well".into(), refusal },
        Output::Call {
            id: id.beside(ItemKind::Call, 2),
            index: 1,
            call_id: "call_1".into(),
            name: "f".into(),
            arguments: "{\"x\": 1.10}".into(),
            tool: Some(Box::new(ClientTool { name: "g".into(), namespace: Some("n".into()), custom: true })),
        },
    ];
    Answer {
        id,
        text: "well".into(),
        model: "demo-1".into(),
        finish_reason: Some("tool_calls".into()),
        output,
        provider: None,
    }
}

async fn record(rig: &Rig, who: &Caller, turn: &TurnId) -> TurnRecord {
    rig.peer.turn(&who.place.owner, turn).await.unwrap().unwrap()
}

async fn listed(rig: &Rig, who: &Caller) -> Option<Vec<TurnId>> {
    let records = rig.peer.turns(&who.place, 100).await.unwrap();
    records.map(|records| records.into_iter().map(|record| record.id).collect())
}

pub async fn keep_their_answers(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2, 3]).await;
        let mut answers = Vec::new();
        for (items_then, with_answer, with_items) in
            [(5, true, true), (5, false, false), (7, false, true), (7, true, false)]
        {
            let begin = rig.begin(&who);
            let fence = rig.started(&begin).await.fence;
            let running = record(rig, &who, &begin.turn).await;
            assert_eq!((running.answer, running.items_then), (None, None));
            let kept = with_answer.then(|| answer(&begin));
            let finish = rig.finish(&begin, fence, 2, "hi");
            let items = if with_items { finish.items.clone() } else { vec![] };
            let finish = FinishTurn { answer: kept.clone(), items, ..finish };
            assert_eq!(rig.store.finish_turn(finish.clone()).await.unwrap(), Finished::Stored);
            // The first word stands.
            let late = FinishTurn { answer: None, items: vec![], status: TurnStatus::Failed, ..finish };
            assert_eq!(rig.store.finish_turn(late).await.unwrap(), Finished::Stored);
            let ended = record(rig, &who, &begin.turn).await;
            assert_eq!((&ended.answer, ended.items_then), (&kept, Some(items_then)));
            answers.insert(0, (kept, Some(items_then)));
        }
        rig.store.add_items(&who.place, notes(&[1]), rig.now_ms()).await.unwrap();
        let records = rig.peer.turns(&who.place, 10).await.unwrap().unwrap();
        let kept: Vec<_> = records.into_iter().map(|record| (record.answer, record.items_then)).collect();
        assert_eq!(kept, answers);
    }
}

pub async fn begin_where_the_items_are_as_expected(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2]).await;
        let expecting = |count| BeginTurn { expected_items: Some(count), ..rig.begin(&who) };
        for count in [0, 1, 3, u64::MAX] {
            let begin = expecting(count);
            assert_eq!(rig.store.begin_turn(begin.clone()).await.unwrap(), Begun::Moved);
            assert_eq!(rig.peer.turn(&who.place.owner, &begin.turn).await.unwrap(), None);
        }
        let begin = expecting(2);
        let started = rig.started(&begin).await;
        assert_eq!((started.conversation.item_count, started.history.items.len()), (2, 2));
        for count in [2, 4] {
            assert_eq!(rig.peer.begin_turn(expecting(count)).await.unwrap(), Begun::Moved, "while a turn runs");
        }
        rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
        assert_eq!(rig.peer.begin_turn(expecting(2)).await.unwrap(), Begun::Moved);

        let Added::Added(stored) = rig.store.add_items(&who.place, notes(&[1, 1]), rig.now_ms()).await.unwrap() else {
            panic!("not added")
        };
        assert_eq!(rig.store.begin_turn(expecting(4)).await.unwrap(), Begun::Moved, "after items were added");
        // Both one from the middle and the newest leave their numbers.
        for (removed, count) in [(&stored[0], 6), (&stored[1], 6)] {
            rig.store.remove_item(&who.place, &removed.item.id).await.unwrap();
            let begin = expecting(count);
            let fence = rig.started(&begin).await.fence;
            let finish = FinishTurn { items: vec![], ..rig.finish(&begin, fence, 2, "") };
            rig.store.finish_turn(finish).await.unwrap();
            assert_eq!(record(rig, &who, &begin.turn).await.items_then, Some(count));
        }
    }
}

pub async fn that_do_not_begin_make_nothing(rig: &Rig) {
    for who in rig.callers().await {
        let begin = BeginTurn { expected_items: Some(1), hidden: true, ..rig.begin_with_key(&who, "key", "body") };
        assert_eq!(rig.store.begin_turn(begin.clone()).await.unwrap(), Begun::Moved);
        assert_eq!(rig.peer.conversation(&who.place).await.unwrap(), None);
        assert_eq!(rig.history(&who).await, None);
        let elsewhere = BeginTurn { create_conversation: false, ..begin.clone() };
        assert_eq!(rig.store.begin_turn(elsewhere).await.unwrap(), Begun::UnknownConversation);
        // Nor is the key used up.
        let begin = BeginTurn { expected_items: Some(0), ..rig.begin_with_key(&who, "key", "another body") };
        rig.started(&begin).await;
        assert!(!rig.peer.conversation(&who.place).await.unwrap().unwrap().hidden);
        let joins = BeginTurn { expected_items: Some(7), ..rig.begin_with_key(&who, "key", "another body") };
        let conversation = who.place.conversation.clone();
        let duplicate = Begun::Duplicate { turn: begin.turn, conversation };
        assert_eq!(rig.peer.begin_turn(joins).await.unwrap(), duplicate, "key before items");
    }
}

pub async fn of_eight_that_expect_the_same_one_begins(rig: &Rig) {
    let who = Caller::browser();
    rig.turn(&who, "hi").await;
    let begins: Vec<BeginTurn> = (0..8).map(|_| BeginTurn { expected_items: Some(2), ..rig.begin(&who) }).collect();
    let calls = begins.iter().enumerate().map(|(i, begin)| {
        let store = if i % 2 == 0 { &rig.store } else { &rig.peer };
        store.begin_turn(begin.clone())
    });
    let begun = futures::future::try_join_all(calls).await.unwrap();
    assert_eq!(begun.iter().filter(|begun| matches!(begun, Begun::Started(_))).count(), 1);
    assert_eq!(begun.iter().filter(|begun| matches!(begun, Begun::Moved)).count(), 7);
}

pub async fn that_are_forgotten_free_their_keys(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let begun = |body: &'static str, keep_ms, after_ms| {
            let begin = rig.begin_with_key(&who, "key", body);
            let idempotency = begin.idempotency.clone().map(|key| IdempotencyKey { keep_ms, ..key });
            let begin = BeginTurn { idempotency, now_ms: begin.now_ms + after_ms, ..begin };
            async move {
                let fence = rig.started(&begin).await.fence;
                rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
                begin.turn
            }
        };
        let older = begun("body", DAY_MS, 0).await;
        assert!(rig.store.delete_turn(owner, &older).await.unwrap());
        // A key that another turn has by now stays.
        let older = begun("another body", 1, 0).await;
        rig.pass(0.1).await;
        let newer = begun("a third body", DAY_MS, 2).await;
        assert!(rig.store.delete_turn(owner, &older).await.unwrap());
        let joins = rig.begin_with_key(&who, "key", "a third body");
        let conversation = who.place.conversation.clone();
        assert_eq!(rig.peer.begin_turn(joins).await.unwrap(), Begun::Duplicate { turn: newer, conversation });
        assert!(rig.store.delete_conversation(&who.place).await.unwrap());
        begun("a fourth body", DAY_MS, 2).await;
    }
}

pub async fn forgotten_while_they_run_are_gone_at_once(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let before = rig.turn(&who, "hi").await;
        let begin = rig.begin_with_key(&who, "key", "body");
        let fence = rig.started(&begin).await.fence;
        rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
        let mut notices = rig.store.notices();
        assert!(rig.store.delete_turn(owner, &begin.turn).await.unwrap());
        assert_eq!(notices.recv().await.unwrap(), Notice::Cancel(begin.turn.clone()));
        assert!(!rig.peer.delete_turn(owner, &begin.turn).await.unwrap());
        assert_eq!(rig.peer.turn(owner, &begin.turn).await.unwrap(), None);
        assert_eq!(rig.peer.read_events(owner, &begin.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
        let append = rig.append(&begin, fence, texts(3, &["b"]));
        assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
        assert_eq!(rig.store.finish_turn(rig.finish(&begin, fence, 3, "ab")).await.unwrap(), Finished::Fenced);
        // It is not in the way of the next one, nor is its key.
        let next = BeginTurn { expected_items: Some(2), ..rig.begin_with_key(&who, "key", "another body") };
        let started = rig.started(&next).await;
        assert_eq!(started.history.items.len(), 2);
        assert_eq!(listed(rig, &who).await, Some(vec![next.turn.clone(), before.turn.clone()]));
        rig.store.finish_turn(rig.finish(&next, started.fence, 2, "hi")).await.unwrap();
        assert_eq!(listed(rig, &who).await, Some(vec![next.turn, before.turn]));

        let hidden = who.elsewhere();
        let only = BeginTurn { hidden: true, ..rig.begin(&hidden) };
        rig.started(&only).await;
        assert!(rig.store.delete_turn(owner, &only.turn).await.unwrap());
        assert_eq!(rig.peer.conversation(&hidden.place).await.unwrap(), None);
    }
}

pub async fn can_be_forgotten(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        rig.append_stored(rig.append(&begin, fence, texts(2, &["h", "i"]))).await;
        rig.append_stored(rig.append(&begin, fence, texts(4, &["!"]))).await;
        let finish = rig.finish(&begin, fence, 5, "hi!");
        let finish = FinishTurn { answer: Some(answer(&begin)), ..finish };
        rig.store.finish_turn(finish.clone()).await.unwrap();
        let other = rig.turn(&who, "hello").await;

        assert!(!rig.store.delete_turn(&Caller::program().place.owner, &begin.turn).await.unwrap(), "by another owner");
        assert!(rig.peer.delete_turn(owner, &begin.turn).await.unwrap());
        assert!(!rig.store.delete_turn(owner, &begin.turn).await.unwrap(), "twice");
        assert!(!rig.store.delete_turn(owner, &rig.turn_id()).await.unwrap(), "of an unknown one");

        assert_eq!(rig.peer.turn(owner, &begin.turn).await.unwrap(), None);
        assert_eq!(listed(rig, &who).await, Some(vec![other.turn.clone()]));
        assert_eq!(rig.peer.read_events(owner, &begin.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
        assert_eq!(rig.store.request_cancel(owner, &begin.turn).await.unwrap(), CancelRequest::Unknown);
        assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Fenced);
        let append = rig.append(&begin, fence, texts(6, &["x"]));
        assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
        // What was said stays said.
        let items = rig.history(&who).await.unwrap().items;
        assert_eq!(items.len(), 4);
        assert_eq!(items[0].item.turn.as_ref(), Some(&begin.turn));
        let (events, status) = rig.events(&who, &other.turn).await;
        assert_eq!((events.len(), status), (2, TurnStatus::Completed));
        assert!(matches!(events[1].event, Event::Ended(_)));
        assert_eq!(rig.started(&rig.begin(&who)).await.history.items, items);
    }
}

pub async fn forgotten_one_by_one_leave_the_others(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let mut known = Vec::new();
        for _ in 0..6 {
            known.insert(0, rig.turn(&who, "hi").await.turn);
            rig.pass(0.01).await;
        }
        let running = rig.begin(&who);
        let fence = rig.started(&running).await.fence;
        known.insert(0, running.turn.clone());
        // The newest that has ended, which the running one came after; one in the middle; the oldest.
        for at in [1, 2, 4] {
            assert!(rig.store.delete_turn(owner, &known.remove(at)).await.unwrap());
            assert_eq!(listed(rig, &who).await.as_ref(), Some(&known));
        }
        rig.store.finish_turn(rig.finish(&running, fence, 2, "hi")).await.unwrap();
        assert_eq!(listed(rig, &who).await.as_ref(), Some(&known));
        rig.pass(0.01).await;
        known.insert(0, rig.turn(&who, "hi").await.turn);
        assert_eq!(listed(rig, &who).await.as_ref(), Some(&known));
        while !known.is_empty() {
            assert!(rig.store.delete_turn(owner, &known.remove(known.len() / 2)).await.unwrap());
            assert_eq!(listed(rig, &who).await.as_ref(), Some(&known));
        }
        // A conversation that lists show outlives all its turns.
        assert!(rig.peer.conversation(&who.place).await.unwrap().is_some());
        assert_eq!(rig.history(&who).await.unwrap().items.len(), 16);
        let next = rig.turn(&who, "hi").await;
        assert_eq!(listed(rig, &who).await, Some(vec![next.turn]));
    }
}

pub async fn that_are_the_last_take_a_hidden_conversation_along(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let first = BeginTurn { hidden: true, ..rig.begin(&who) };
        let fence = rig.started(&first).await.fence;
        rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
        let second = rig.begin(&who);
        let fence = rig.started(&second).await.fence;
        assert!(rig.store.delete_turn(owner, &first.turn).await.unwrap());
        assert_eq!(rig.settled(&who).await.len(), 2, "another turn runs");
        rig.store.finish_turn(rig.finish(&second, fence, 2, "hi")).await.unwrap();
        let third = rig.turn(&who, "hi").await;
        assert!(rig.store.delete_turn(owner, &third.turn).await.unwrap());
        assert_eq!(rig.history(&who).await.unwrap().items.len(), 6, "another turn is known");
        let item = rig.history(&who).await.unwrap().items.remove(0).item.id;
        assert!(rig.store.delete_turn(owner, &second.turn).await.unwrap());
        for turn in [&first, &second, &third] {
            assert_unknown(rig, &who, turn, &item).await;
        }
        let started = rig.started(&rig.begin(&who)).await;
        assert_eq!((started.history.items, started.conversation.item_count), (vec![], 0));
    }
}
