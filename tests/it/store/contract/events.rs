//! `append_events`, `read_events`, `request_cancel` and notices.

use openai_backend::domain::event::{Event, Numbered};
use openai_backend::domain::turn::TurnStatus;
use openai_backend::store::{CancelRequest, EventsPage, FinishTurn, Finished, Notice};
use tokio::sync::broadcast::Receiver;

use crate::store::rig::{Caller, Rig, texts};

fn started() -> Numbered {
    Numbered { seq: 1, event: Event::Started { attempt: 1 } }
}

pub async fn are_read_in_order_and_in_pages(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a", "b\u{0}", "ç👌"]))).await;
    rig.append_stored(rig.append(&begin, fence, texts(5, &["d", "\"e\"\n"]))).await;
    let all: Vec<Numbered> = [started()].into_iter().chain(texts(2, &["a", "b\u{0}", "ç👌", "d", "\"e\"\n"])).collect();
    let owner = &who.place.owner;
    for after in 0..=7u64 {
        for limit in 1..=7usize {
            let page = rig.peer.read_events(owner, &begin.turn, after, limit).await.unwrap();
            let events: Vec<Numbered> = all.iter().skip(after as usize).take(limit).cloned().collect();
            assert_eq!(page, EventsPage::Events { events, status: TurnStatus::Running }, "{limit} after {after}");
        }
    }
    let far = rig.peer.read_events(owner, &begin.turn, u64::MAX, usize::MAX).await.unwrap();
    assert_eq!(far, EventsPage::Events { events: vec![], status: TurnStatus::Running });
    assert_eq!(rig.store.turn(owner, &begin.turn).await.unwrap().unwrap().last_event, 6);
}

pub async fn appended_twice_are_stored_once(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    for _ in 0..2 {
        rig.append_stored(rig.append(&begin, fence, texts(2, &["a", "b"]))).await;
    }
    // The first write stands.
    rig.append_stored(rig.append(&begin, fence, texts(3, &["not b"]))).await;
    let (events, _) = rig.events(&who, &begin.turn).await;
    assert_eq!(events, [vec![started()], texts(2, &["a", "b"])].concat());
}

pub async fn an_append_that_overlaps_adds_the_rest(rig: &Rig) {
    let who = Caller::program();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a", "b"]))).await;
    rig.append_stored(rig.append(&begin, fence, texts(3, &["b", "c"]))).await;
    let finish = rig.finish(&begin, fence, 5, "abc");
    let events = [texts(4, &["c"]), finish.events.clone()].concat();
    rig.store.finish_turn(FinishTurn { events, ..finish.clone() }).await.unwrap();
    let (events, status) = rig.events(&who, &begin.turn).await;
    assert_eq!(events, [vec![started()], texts(2, &["a", "b", "c"]), finish.events].concat());
    assert_eq!(status, TurnStatus::Completed);
}

pub async fn a_cancel_shows_in_the_next_append_and_as_a_notice(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    let mut notices = rig.store.notices();
    assert!(!rig.append_stored(rig.append(&begin, fence, vec![])).await);
    let asked = rig.peer.request_cancel(&who.place.owner, &begin.turn).await.unwrap();
    assert_eq!(asked, CancelRequest::Requested);
    expect(&mut notices, &Notice::Cancel(begin.turn.clone())).await;
    assert!(rig.append_stored(rig.append(&begin, fence, vec![])).await, "without events");
    assert!(rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await, "with events, and again");
    let asked = rig.peer.request_cancel(&who.place.owner, &begin.turn).await.unwrap();
    assert_eq!(asked, CancelRequest::Requested, "asked twice");
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!(record.status, TurnStatus::Running);
}

pub async fn a_cancel_after_the_end_says_how_it_ended(rig: &Rig) {
    let who = Caller::browser();
    for status in [TurnStatus::Completed, TurnStatus::Failed, TurnStatus::Cancelled, TurnStatus::Interrupted] {
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        let finish = FinishTurn { status, ..rig.finish(&begin, fence, 2, "hi") };
        assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
        let asked = rig.store.request_cancel(&who.place.owner, &begin.turn).await.unwrap();
        assert_eq!(asked, CancelRequest::AlreadyEnded(status));
    }
}

pub async fn are_told_of(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    // A reader follows the turn on another instance, which is when a store may begin to tell.
    rig.peer.read_events(&who.place.owner, &begin.turn, 0, 10).await.unwrap();
    let mut notices = rig.peer.notices();
    rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
    expect(&mut notices, &Notice::Free(who.place.conversation.clone())).await;
    rig.store.delete_owner(&who.place.owner).await.unwrap();
    expect(&mut notices, &Notice::OwnerGone(who.place.owner.tag())).await;
}

/// Waits for this notice.
pub async fn expect(notices: &mut Receiver<Notice>, wanted: &Notice) {
    while notices.recv().await.unwrap() != *wanted {}
}

pub async fn expire_some_time_after_the_end(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a", "b"]))).await;
    let keep_events_ms = rig.unit_ms();
    let finish = FinishTurn { keep_events_ms, ..rig.finish(&begin, fence, 4, "ab") };
    rig.store.finish_turn(finish).await.unwrap();
    rig.pass(1.5).await;
    let owner = &who.place.owner;
    for _ in 0..2 {
        for after in [0, 4, 100] {
            assert_eq!(rig.store.read_events(owner, &begin.turn, after, 10).await.unwrap(), EventsPage::Expired);
        }
        rig.store.sweep(rig.now_ms()).await.unwrap();
    }
    let record = rig.store.turn(owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!((record.status, record.last_event), (TurnStatus::Completed, 4));
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
}

pub async fn ten_thousand_come_back_whole(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    let words: Vec<String> = (2..=10_000).map(|i| format!("word {i} ")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all = texts(2, &words);
    for batch in all.chunks(1_000) {
        rig.append_stored(rig.append(&begin, fence, batch.to_vec())).await;
    }
    let mut read = Vec::new();
    loop {
        let after = read.last().map_or(1, |last: &Numbered| last.seq);
        match rig.peer.read_events(&who.place.owner, &begin.turn, after, 1_500).await.unwrap() {
            EventsPage::Events { events, .. } if events.is_empty() => break,
            EventsPage::Events { events, .. } => read.extend(events),
            other => panic!("{other:?}"),
        }
    }
    assert!(read == all, "10,000 events did not come back as they were");
}
