//! `finish_turn`: all in one write, once.

use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::event::{End, Event, Numbered};
use openai_backend::domain::ids::{ItemId, SystemIds};
use openai_backend::domain::item::{Item, StoredItem, user_message};
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::{Fault, FaultKind, TurnStatus};
use openai_backend::store::{Appended, BeginTurn, Begun, FinishTurn, Finished};

use crate::store::rig::{Caller, Rig, texts};

pub async fn stores_history_usage_status_and_events(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        rig.append_stored(rig.append(&begin, fence, texts(2, &["h"]))).await;
        let finish = rig.finish(&begin, fence, 4, "hi");
        let events = [texts(3, &["i"]), finish.events.clone()].concat();
        let finish = FinishTurn { events, ..finish };
        assert_eq!(rig.store.finish_turn(finish.clone()).await.unwrap(), Finished::Stored);

        let stored = rig.peer.history(&who.place, None, 10, rig.now_ms()).await.unwrap().unwrap();
        let expected = |i: usize, tokens_before| StoredItem {
            seq: i as u64 + 1,
            tokens_before,
            created_at_ms: finish.now_ms,
            item: finish.items[i].clone(),
        };
        assert_eq!(stored.items, [expected(0, 0), expected(1, 9)]);
        assert!(!stored.has_more);

        let record = rig.peer.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
        assert_eq!((record.status, record.attempt, record.fence), (TurnStatus::Completed, 1, fence));
        assert_eq!((record.usage, record.fault), (finish.usage, None));
        assert_eq!((record.ended_at_ms, record.last_event), (Some(finish.now_ms), 4));
        assert_eq!(record.request, begin.request);

        let (events, status) = rig.events(&who, &begin.turn).await;
        assert_eq!(events[1..], [texts(2, &["h", "i"]), vec![finish.events[1].clone()]].concat());
        assert_eq!(status, TurnStatus::Completed);
    }
}

pub async fn done_twice_is_stored_once(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    let finish = rig.finish(&begin, fence, 2, "hi");
    for _ in 0..3 {
        assert_eq!(rig.store.finish_turn(finish.clone()).await.unwrap(), Finished::Stored);
    }
    // However it says to have ended now, the first word stands.
    let other = FinishTurn { status: TurnStatus::Failed, usage: None, ..rig.finish(&begin, fence, 2, "other") };
    assert_eq!(rig.peer.finish_turn(other).await.unwrap(), Finished::Stored);
    assert_eq!(rig.store.append_events(rig.append(&begin, fence, texts(3, &["x"]))).await.unwrap(), Appended::Fenced);

    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!((record.status, record.usage, record.last_event), (TurnStatus::Completed, finish.usage, 2));
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
    assert_eq!(rig.events(&who, &begin.turn).await.0.len(), 2);

    // Nor does a late repetition disturb the turn that runs by then.
    let next = rig.begin(&who);
    rig.started(&next).await;
    assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
    let busy = rig.store.begin_turn(rig.begin(&who)).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: next.turn, orphaned: false });
}

pub async fn without_items_frees_the_conversation(rig: &Rig) {
    let who = Caller::browser();
    rig.turn(&who, "hi").await;
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    let fault =
        Fault { retry_after_ms: Some(1_500), ..Fault::new(FaultKind::RateLimited, "the model's \"provider\" 👌") };
    let end = End { status: TurnStatus::Failed, answer: None, usage: None, fault: Some(fault.clone()), at_ms: 0 };
    let finish = FinishTurn {
        status: TurnStatus::Failed,
        items: vec![],
        usage: None,
        fault: Some(fault.clone()),
        events: vec![Numbered { seq: 2, event: Event::Ended(Box::new(end)) }],
        ..rig.finish(&begin, fence, 2, "")
    };
    assert_eq!(rig.store.finish_turn(finish.clone()).await.unwrap(), Finished::Stored);
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!((record.status, record.usage, record.fault), (TurnStatus::Failed, None, Some(fault)));
    assert_eq!(rig.events(&who, &begin.turn).await.0[1..], finish.events);
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
    assert_eq!(rig.started(&rig.begin(&who)).await.history.items.len(), 2);
}

pub async fn after_a_deletion_is_fenced(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        rig.store.delete_owner(&who.place.owner).await.unwrap();
        let append = rig.append(&begin, fence, texts(2, &["a"]));
        assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
        let finish = rig.finish(&begin, fence, 2, "a");
        assert_eq!(rig.peer.finish_turn(finish).await.unwrap(), Finished::Fenced);
        assert_eq!(rig.history(&who).await, None);
        assert_eq!(rig.store.turn(&who.place.owner, &begin.turn).await.unwrap(), None);
    }
}

pub async fn of_many_turns_counts_on(rig: &Rig) {
    let who = Caller::browser();
    let mut versions = Vec::new();
    for turn in 0..10u64 {
        let begin = rig.begin(&who);
        let started = rig.started(&begin).await;
        let conversation = &started.conversation;
        assert_eq!((conversation.item_count, conversation.total_tokens), (turn * 2, turn * 16));
        assert_eq!(started.history.items.len() as u64, turn * 2);
        assert!(started.history.items.iter().zip(1..).all(|(item, seq)| item.seq == seq));
        versions.push(conversation.version);
        rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
    }
    assert!(versions.windows(2).all(|pair| pair[1] == pair[0] + 1), "{versions:?}");
    let totals: Vec<u64> = rig.history(&who).await.unwrap().items.iter().map(|item| item.tokens_before).collect();
    assert_eq!(totals, (0..10).flat_map(|turn| [turn * 16, turn * 16 + 9]).collect::<Vec<_>>());
}

pub async fn keeps_text_byte_for_byte(rig: &Rig) {
    let who = Caller::browser();
    let ugly = "quotes \" ' ` and \\ and {x} and %s; NUL \u{0}, line\r\n\u{2028}, 👌🏽 e\u{301} \u{feff}\u{fffd} null";
    let raw = [
        "{ \"type\" : \"function_call\",\n\t\"arguments\":\"{\\\"x\\\": 1.10}\", \"n\": 1.0e+2, \"n\": 3 }".to_owned(),
        "[1, 2 ,3]".to_owned(),
        "not even JSON \u{0} after NUL".to_owned(),
        user_message(&ItemId::parse("msg_1").unwrap(), ugly),
    ];
    let begin = BeginTurn { request: crate::store::rig::request(ugly), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(rig.append(&begin, fence, texts(2, &[ugly]))).await;
    let item = |json: &String| Item {
        id: ItemId::fresh(&SystemIds, &SystemClock),
        turn: None,
        json: json.clone(),
        tokens: 3,
        encoding: Encoding::Cl100k,
    };
    let items: Vec<Item> = raw.iter().map(item).collect();
    let finish = FinishTurn { items: items.clone(), ..rig.finish(&begin, fence, 3, ugly) };
    rig.store.finish_turn(finish.clone()).await.unwrap();

    let stored: Vec<Item> = rig.history(&who).await.unwrap().items.into_iter().map(|stored| stored.item).collect();
    assert_eq!(stored, items);
    assert_eq!(rig.events(&who, &begin.turn).await.0[1..], [texts(2, &[ugly]), finish.events].concat());
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!(record.request, begin.request);
    let window: Vec<Item> =
        rig.started(&rig.begin(&who)).await.history.items.into_iter().map(|stored| stored.item).collect();
    assert_eq!(window, items);
}

pub async fn takes_large_items(rig: &Rig) {
    let who = Caller::browser();
    let big = "0123456789abcdef".repeat(64 * 1024);
    let begin = BeginTurn { request: crate::store::rig::request(&big), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    let finish = rig.finish(&begin, fence, 2, &big);
    rig.store.finish_turn(finish.clone()).await.unwrap();
    let stored: Vec<Item> = rig.history(&who).await.unwrap().items.into_iter().map(|stored| stored.item).collect();
    assert!(stored == finish.items, "items of 1 MiB did not come back as they were");
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert!(record.request == begin.request, "a request of 1 MiB did not come back as it was");
    assert!(rig.events(&who, &begin.turn).await.0[1..] == finish.events, "nor an event of 1 MiB");
}
