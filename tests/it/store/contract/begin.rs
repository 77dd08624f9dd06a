//! `begin_turn`: what starts, and what each thing in the way is answered with.

use std::collections::HashSet;

use openai_backend::domain::event::{Event, Numbered};
use openai_backend::domain::turn::TurnStatus;
use openai_backend::store::{BeginTurn, Begun, CancelRequest, EventsPage, IdempotencyKey, KeyRole, SessionUse};

use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig};

pub async fn a_turn_begins_with_an_empty_history(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        let begin = rig.begin(&who);
        let started = rig.started(&begin).await;
        assert_eq!(started.history.items, []);
        let conversation = &started.conversation;
        assert_eq!(conversation.id, who.place.conversation);
        assert_eq!((conversation.item_count, conversation.total_tokens), (0, 0));
        assert_eq!(conversation.created_at_ms, begin.now_ms);
        assert_eq!(conversation.running.as_ref(), Some(&begin.turn));

        let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
        assert_eq!((&record.id, &record.place, &record.request), (&begin.turn, &begin.place, &begin.request));
        assert_eq!((record.status, record.attempt, record.fence), (TurnStatus::Running, 1, started.fence));
        assert_eq!((record.usage, record.fault, record.ended_at_ms), (None, None, None));
        assert_eq!((record.created_at_ms, record.last_event), (begin.now_ms, 1));

        let first = Numbered { seq: 1, event: Event::Started { attempt: 1 } };
        assert_eq!(rig.events(&who, &begin.turn).await, (vec![first], TurnStatus::Running));
        assert_eq!(rig.settled(&who).await, []);
    }
}

pub async fn a_second_turn_is_told_which_one_runs(rig: &Rig) {
    let who = Caller::browser();
    let first = rig.begin(&who);
    rig.started(&first).await;
    for holder in [rig.holder(), rig.other_live_holder()] {
        let second = BeginTurn { holder, ..rig.begin(&who) };
        let begun = rig.peer.begin_turn(second).await.unwrap();
        assert_eq!(begun, Begun::Busy { running: first.turn.clone(), orphaned: false });
    }
    rig.started(&rig.begin(&who.elsewhere())).await;
}

pub async fn a_turn_whose_lease_ended_is_orphaned(rig: &Rig) {
    let who = Caller::browser();
    let first = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&who) };
    rig.started(&first).await;
    rig.pass(1.5).await;
    let second = BeginTurn { holder: rig.stranger(), ..rig.begin(&who) };
    let begun = rig.peer.begin_turn(second).await.unwrap();
    assert_eq!(begun, Begun::Busy { running: first.turn, orphaned: true });
}

pub async fn a_key_with_the_same_body_is_a_duplicate(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        let first = rig.begin_with_key(&who, "key \"1\"", "body");
        let fence = rig.started(&first).await.fence;
        let duplicate = Begun::Duplicate { turn: first.turn.clone(), conversation: who.place.conversation.clone() };
        let again = rig.begin_with_key(&who, "key \"1\"", "body");
        assert_eq!(rig.peer.begin_turn(again.clone()).await.unwrap(), duplicate, "while it runs");
        rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
        assert_eq!(rig.peer.begin_turn(again).await.unwrap(), duplicate, "after it ended");
        let from_elsewhere = rig.begin_with_key(&who.elsewhere(), "key \"1\"", "body");
        assert_eq!(rig.store.begin_turn(from_elsewhere).await.unwrap(), duplicate, "from another conversation");
    }
}

pub async fn a_key_with_another_body_is_refused(rig: &Rig) {
    let who = Caller::browser();
    let first = rig.begin_with_key(&who, "key", "body");
    let fence = rig.started(&first).await.fence;
    let other = rig.begin_with_key(&who, "key", "another body");
    assert_eq!(rig.store.begin_turn(other.clone()).await.unwrap(), Begun::KeyReused, "while it runs");
    rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
    assert_eq!(rig.store.begin_turn(other).await.unwrap(), Begun::KeyReused, "after it ended");
}

pub async fn a_key_belongs_to_its_owner(rig: &Rig) {
    let (one, other) = (Caller::browser(), Caller::program());
    rig.started(&rig.begin_with_key(&one, "key", "body")).await;
    rig.started(&rig.begin_with_key(&other, "key", "body")).await;
}

pub async fn a_key_lapses(rig: &Rig) {
    let who = Caller::browser();
    let idempotency =
        IdempotencyKey { key: "key".into(), fingerprint: "body".into(), role: KeyRole::Join, keep_ms: rig.unit_ms() };
    let first = BeginTurn { idempotency: Some(idempotency), ..rig.begin(&who) };
    let fence = rig.started(&first).await.fence;
    rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
    rig.pass(1.5).await;
    let second = rig.begin_with_key(&who, "key", "another body");
    rig.started(&second).await;
    let third = rig.store.begin_turn(rig.begin_with_key(&who, "key", "another body")).await.unwrap();
    assert_eq!(third, Begun::Duplicate { turn: second.turn, conversation: who.place.conversation.clone() });
}

pub async fn the_order_of_looking_is_session_key_conversation_turn(rig: &Rig) {
    let who = Caller::browser();
    let running = rig.begin_with_key(&who, "key", "body");
    rig.started(&running).await;

    let stranger = Caller::browser();
    let begin = BeginTurn {
        session: SessionUse::Renew(DAY_MS),
        create_conversation: false,
        hidden: false,
        expected_items: None,
        ..rig.begin_with_key(&stranger.intruding(&who), "key", "body")
    };
    assert_eq!(rig.store.begin_turn(begin).await.unwrap(), Begun::UnknownSession, "session before all");

    let begin = BeginTurn { create_conversation: false, ..rig.begin_with_key(&who.elsewhere(), "key", "other") };
    assert_eq!(rig.store.begin_turn(begin).await.unwrap(), Begun::KeyReused, "key before conversation");

    let begin = rig.begin_with_key(&who, "key", "body");
    let begun = rig.store.begin_turn(begin).await.unwrap();
    assert!(matches!(begun, Begun::Duplicate { .. }), "key before running turn: {begun:?}");
}

pub async fn what_does_not_start_changes_nothing(rig: &Rig) {
    let who = Caller::browser();
    let running = rig.begin(&who);
    let fence = rig.started(&running).await.fence;

    let refused = rig.begin_with_key(&who, "key", "body");
    assert!(matches!(rig.store.begin_turn(refused.clone()).await.unwrap(), Begun::Busy { .. }));
    assert_eq!(rig.store.turn(&who.place.owner, &refused.turn).await.unwrap(), None);
    let page = rig.store.read_events(&who.place.owner, &refused.turn, 0, 10).await.unwrap();
    assert_eq!(page, EventsPage::Unknown);
    assert_eq!(rig.store.turns(&who.place, 10).await.unwrap().unwrap().len(), 1);

    rig.store.finish_turn(rig.finish(&running, fence, 2, "hi")).await.unwrap();
    rig.started(&rig.begin_with_key(&who, "key", "another body")).await;
}

pub async fn a_conversation_is_made_only_where_asked(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        rig.turn(&who, "hi").await;
        let elsewhere = who.elsewhere();
        let begin = BeginTurn { create_conversation: false, ..rig.begin(&elsewhere) };
        assert_eq!(rig.store.begin_turn(begin.clone()).await.unwrap(), Begun::UnknownConversation);
        assert_eq!(rig.history(&elsewhere).await, None);
        assert_eq!(rig.store.turns(&elsewhere.place, 10).await.unwrap(), None);
        rig.started(&BeginTurn { create_conversation: true, ..begin }).await;
        assert_eq!(rig.settled(&elsewhere).await, []);
    }
}

pub async fn eight_at_once_give_one_turn(rig: &Rig) {
    let who = Caller::browser();
    rig.turn(&who, "hi").await;
    let begins: Vec<BeginTurn> = (0..8).map(|_| rig.begin(&who)).collect();
    let mut started = HashSet::new();
    let mut told = HashSet::new();
    for (begin, begun) in begins.iter().zip(all_at_once(rig, &begins).await) {
        match begun {
            Begun::Started(_) => assert!(started.insert(begin.turn.clone())),
            Begun::Busy { running, orphaned: false } => drop(told.insert(running)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((started.len(), &told), (1, &started));
}

pub async fn eight_duplicates_at_once_give_one_turn(rig: &Rig) {
    let who = Caller::browser();
    rig.turn(&who, "hi").await;
    let begins: Vec<BeginTurn> = (0..8).map(|_| rig.begin_with_key(&who, "key", "body")).collect();
    let mut started = HashSet::new();
    let mut told = HashSet::new();
    for (begin, begun) in begins.iter().zip(all_at_once(rig, &begins).await) {
        match begun {
            Begun::Started(_) => assert!(started.insert(begin.turn.clone())),
            Begun::Duplicate { turn, .. } => drop(told.insert(turn)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((started.len(), &told), (1, &started));
}

async fn all_at_once(rig: &Rig, begins: &[BeginTurn]) -> Vec<Begun> {
    let calls = begins.iter().enumerate().map(|(i, begin)| {
        let store = if i % 2 == 0 { &rig.store } else { &rig.peer };
        store.begin_turn(begin.clone())
    });
    futures::future::try_join_all(calls).await.unwrap()
}

pub async fn ids_of_others_look_unknown(rig: &Rig) {
    let one = Caller::browser();
    let done = rig.turn(&one, "hi").await;
    for other in [Caller::browser(), Caller::program()] {
        rig.turn(&other, "hello").await;
        let intruder = other.intruding(&one);
        let begin = BeginTurn { create_conversation: false, ..rig.begin(&intruder) };
        assert_eq!(rig.store.begin_turn(begin).await.unwrap(), Begun::UnknownConversation);
        let owner = &intruder.place.owner;
        assert_eq!(rig.history(&intruder).await, None);
        assert_eq!(rig.store.turns(&intruder.place, 10).await.unwrap(), None);
        assert_eq!(rig.store.window(&intruder.place, AMPLE).await.unwrap().items, []);
        for turn in [&done.turn, &rig.turn_id()] {
            assert_eq!(rig.store.turn(owner, turn).await.unwrap(), None);
            assert_eq!(rig.store.read_events(owner, turn, 0, 10).await.unwrap(), EventsPage::Unknown);
            assert_eq!(rig.store.request_cancel(owner, turn).await.unwrap(), CancelRequest::Unknown);
        }
        // Where ids are each owner's own, this makes another conversation; where they are everybody's, it is refused.
        let begin = BeginTurn { create_conversation: true, ..rig.begin(&intruder) };
        match rig.store.begin_turn(begin).await.unwrap() {
            Begun::UnknownConversation => {}
            Begun::Started(started) => assert_eq!(started.history.items, []),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.history(&one).await.unwrap().items.len(), 2);
}
