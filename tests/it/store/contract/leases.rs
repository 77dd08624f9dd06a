//! `adopt_turns`, `release_turn` and fences: who may write to a turn.

use std::collections::HashMap;

use openai_backend::domain::event::{Event, Numbered};
use openai_backend::domain::ids::TurnId;
use openai_backend::domain::turn::{TurnRecord, TurnStatus};
use openai_backend::store::{AppendEvents, Appended, BeginTurn, Begun, Finished};

use crate::store::rig::{Caller, DAY_MS, Rig, texts};

/// A turn whose server is gone: its lease has ended, and the next to ask is another instance.
async fn abandoned(rig: &Rig, who: &Caller) -> (BeginTurn, u64) {
    let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(who) };
    let fence = rig.started(&begin).await.fence;
    rig.pass(1.5).await;
    (begin, fence)
}

async fn adopt_as_stranger(rig: &Rig) -> Vec<TurnRecord> {
    Rig::adopted(&*rig.peer, &rig.stranger(), DAY_MS, 100).await
}

pub async fn a_live_one_is_not_taken_over(rig: &Rig) {
    let who = Caller::browser();
    rig.started(&rig.begin(&who)).await;
    assert_eq!(Rig::adopted(&*rig.store, &rig.holder(), DAY_MS, 10).await, []);
    assert_eq!(Rig::adopted(&*rig.peer, &rig.other_live_holder(), DAY_MS, 10).await, []);
}

pub async fn a_lapsed_one_is_taken_over(rig: &Rig) {
    let who = Caller::browser();
    let (begin, fence) = abandoned(rig, &who).await;
    let before = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    let heir = rig.stranger();
    let adopted = Rig::adopted(&*rig.peer, &heir, DAY_MS, 10).await;
    assert_eq!(adopted.len(), 1);
    let record = &adopted[0];
    assert!(record.fence > fence);
    assert_eq!(*record, TurnRecord { fence: record.fence, attempt: 2, ..before });
    assert_eq!(rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().as_ref(), Some(record));
    assert_eq!(Rig::adopted(&*rig.peer, &heir, DAY_MS, 10).await, [], "it is held now");
    let next = BeginTurn { holder: heir, ..rig.begin(&who) };
    let busy = rig.peer.begin_turn(next).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: begin.turn, orphaned: false });
}

pub async fn a_renewed_one_lives_on(rig: &Rig) {
    let who = Caller::browser();
    let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    rig.append_stored(AppendEvents { lease_ms: DAY_MS, ..rig.append(&begin, fence, vec![]) }).await;
    rig.pass(1.5).await;
    assert_eq!(Rig::adopted(&*rig.peer, &rig.other_live_holder(), DAY_MS, 10).await, []);
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
}

pub async fn a_released_one_is_taken_over_at_once(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    rig.store.release_turn(&begin.place, &begin.turn, fence).await.unwrap();
    let busy = rig.peer.begin_turn(rig.begin(&who)).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: begin.turn.clone(), orphaned: true });
    let adopted = Rig::adopted(&*rig.peer, &rig.other_live_holder(), DAY_MS, 10).await;
    assert_eq!(adopted.iter().map(|record| &record.id).collect::<Vec<_>>(), [&begin.turn]);

    // The fence that it was released under has no say any more.
    rig.store.release_turn(&begin.place, &begin.turn, fence).await.unwrap();
    assert_eq!(Rig::adopted(&*rig.peer, &rig.other_live_holder(), DAY_MS, 10).await, []);
    // Releasing what is not there is no error.
    rig.store.release_turn(&begin.place, &rig.turn_id(), 1).await.unwrap();
}

pub async fn a_released_one_that_goes_on_is_held_again(rig: &Rig) {
    let who = Caller::browser();
    let begin = rig.begin(&who);
    let fence = rig.started(&begin).await.fence;
    rig.store.release_turn(&begin.place, &begin.turn, fence).await.unwrap();
    rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
    assert_eq!(Rig::adopted(&*rig.peer, &rig.other_live_holder(), DAY_MS, 10).await, []);
    let busy = rig.peer.begin_turn(rig.begin(&who)).await.unwrap();
    assert_eq!(busy, Begun::Busy { running: begin.turn, orphaned: false });
}

pub async fn the_old_fence_can_store_nothing(rig: &Rig) {
    let who = Caller::browser();
    let (begin, old) = abandoned(rig, &who).await;
    let adopted = adopt_as_stranger(rig).await;
    let new = adopted[0].fence;
    let append = rig.append(&begin, old, texts(2, &["late"]));
    assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
    let finish = rig.finish(&begin, old, 2, "late");
    assert_eq!(rig.store.finish_turn(finish.clone()).await.unwrap(), Finished::Fenced);
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!((record.status, record.last_event), (TurnStatus::Running, 1));
    assert_eq!(rig.settled(&who).await, []);

    assert_eq!(rig.store.finish_turn(rig.finish(&begin, new, 2, "new")).await.unwrap(), Finished::Stored);
    assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Fenced, "also after the end");
    assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
}

pub async fn the_new_fence_goes_on_where_the_old_one_stopped(rig: &Rig) {
    let who = Caller::browser();
    let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    let shown = AppendEvents { lease_ms: rig.unit_ms(), ..rig.append(&begin, fence, texts(2, &["sho", "wn"])) };
    rig.append_stored(shown).await;
    rig.pass(1.5).await;
    let record = adopt_as_stranger(rig).await.remove(0);
    assert_eq!(record.last_event, 3);
    let again = vec![Numbered { seq: 4, event: Event::Started { attempt: 2 } }];
    rig.append_stored(rig.append(&begin, record.fence, again.clone())).await;
    let finish = rig.finish(&begin, record.fence, 5, "new");
    rig.store.finish_turn(finish.clone()).await.unwrap();
    let (events, status) = rig.events(&who, &begin.turn).await;
    let first = vec![Numbered { seq: 1, event: Event::Started { attempt: 1 } }];
    assert_eq!(events, [first, texts(2, &["sho", "wn"]), again, finish.events].concat());
    assert_eq!(status, TurnStatus::Completed);
    let record = rig.store.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap();
    assert_eq!((record.attempt, record.last_event), (2, 5));
}

pub async fn each_turn_goes_to_one_caller(rig: &Rig) {
    let mut begun = HashMap::new();
    for _ in 0..20 {
        let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&Caller::browser()) };
        begun.insert(begin.turn.clone(), rig.started(&begin).await.fence);
    }
    rig.pass(1.5).await;
    // Where only one process may use the store, the callers are one instance.
    let shared = rig.store.info().shared;
    let heir = rig.stranger();
    let calls = (0..8).map(|i| {
        let holder = if shared { rig.stranger() } else { heir.clone() };
        async move {
            let store = if i % 2 == 0 { &rig.store } else { &rig.peer };
            let mut mine: Vec<(TurnId, u64)> = Vec::new();
            loop {
                let adopted = Rig::adopted(&**store, &holder, DAY_MS, 3).await;
                assert!(adopted.len() <= 3);
                if adopted.is_empty() {
                    return mine;
                }
                mine.extend(adopted.into_iter().map(|record| (record.id, record.fence)));
            }
        }
    });
    let adopted = futures::future::join_all(calls).await.concat();
    assert_eq!(adopted.len(), 20);
    for (turn, fence) in adopted {
        assert!(fence > begun.remove(&turn).expect("each once"));
    }
}

pub async fn of_ended_turns_are_over(rig: &Rig) {
    let who = Caller::browser();
    let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
    rig.store.release_turn(&begin.place, &begin.turn, fence).await.unwrap();
    rig.pass(1.5).await;
    assert_eq!(adopt_as_stranger(rig).await, []);
    let gone = Caller::browser();
    rig.started(&BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(&gone) }).await;
    rig.store.delete_owner(&gone.place.owner).await.unwrap();
    rig.pass(1.5).await;
    assert_eq!(adopt_as_stranger(rig).await, []);
}
