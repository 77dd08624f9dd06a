//! Sessions: how they expire, roll, and go.

use openai_backend::domain::conversation::Owner;
use openai_backend::store::{BeginTurn, Begun, CancelRequest, EventsPage, SessionUse};

use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig};

/// Everything that this owner could see of `turn` is answered as for an unknown one.
async fn assert_unknown(rig: &Rig, who: &Caller, turn: &BeginTurn) {
    let owner = &who.place.owner;
    assert_eq!(rig.history(who).await, None);
    assert_eq!(rig.store.session_expires_at(owner, rig.now_ms()).await.unwrap(), None);
    assert_eq!(rig.store.turns(&who.place, 10).await.unwrap(), None);
    assert_eq!(rig.store.turn(owner, &turn.turn).await.unwrap(), None);
    assert_eq!(rig.store.read_events(owner, &turn.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
    assert_eq!(rig.store.request_cancel(owner, &turn.turn).await.unwrap(), CancelRequest::Unknown);
    if matches!(owner, Owner::Session(_)) {
        assert!(!rig.store.renew_session(owner, DAY_MS, rig.now_ms()).await.unwrap());
        let begin = BeginTurn { session: SessionUse::Renew(DAY_MS), ..rig.begin(who) };
        assert_eq!(rig.store.begin_turn(begin).await.unwrap(), Begun::UnknownSession);
    }
}

pub async fn expire_with_all_that_they_own(rig: &Rig) {
    let who = Caller::browser();
    let done = rig.turn(&who, "hi").await;
    let elsewhere = who.elsewhere();
    let keyed = rig.begin_with_key(&elsewhere, "key", "body");
    let fence = rig.started(&keyed).await.fence;
    rig.store.finish_turn(rig.finish(&keyed, fence, 2, "hi")).await.unwrap();
    assert!(rig.store.renew_session(&who.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    for _ in 0..2 {
        assert_unknown(rig, &who, &done).await;
        assert_unknown(rig, &elsewhere, &keyed).await;
        rig.store.sweep(rig.now_ms()).await.unwrap();
    }
    assert_eq!(rig.store.window(&who.place, AMPLE).await.unwrap().items, []);
}

pub async fn are_made_before_they_own_anything(rig: &Rig) {
    let who = Caller::browser();
    let owner = &who.place.owner;
    let now_ms = rig.now_ms();
    rig.store.create_session(owner, DAY_MS, now_ms).await.unwrap();
    let expires_at_ms = rig.peer.session_expires_at(owner, rig.now_ms()).await.unwrap().unwrap();
    assert!((now_ms..=rig.now_ms() + DAY_MS).contains(&expires_at_ms), "{expires_at_ms}");
    assert_eq!(rig.history(&who).await, None);
    rig.started(&BeginTurn { session: SessionUse::Renew(DAY_MS), ..rig.begin(&who) }).await;
    let brief = Caller::browser();
    rig.store.create_session(&brief.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap();
    rig.pass(1.5).await;
    assert!(!rig.store.renew_session(&brief.place.owner, DAY_MS, rig.now_ms()).await.unwrap());
}

pub async fn that_follow_from_a_key_are_opened_by_it_alone(rig: &Rig) {
    let who = Caller::browser();
    let first = BeginTurn { session: SessionUse::OfKey(DAY_MS), ..rig.begin_with_key(&who, "key", "body") };
    // What does not begin makes no session.
    let moved = BeginTurn { expected_items: Some(5), ..first.clone() };
    assert_eq!(rig.store.begin_turn(moved).await.unwrap(), Begun::Moved);
    assert_eq!(rig.peer.session_expires_at(&who.place.owner, rig.now_ms()).await.unwrap(), None);
    let fence = rig.started(&first).await.fence;
    let again = |key: &str| BeginTurn { session: SessionUse::OfKey(DAY_MS), ..rig.begin_with_key(&who, key, "body") };
    let joined = Begun::Duplicate { turn: first.turn.clone(), conversation: who.place.conversation.clone() };
    assert_eq!(rig.peer.begin_turn(again("key")).await.unwrap(), joined);
    assert_eq!(rig.peer.begin_turn(again("another")).await.unwrap(), Begun::UnknownSession);
    let bare = BeginTurn { session: SessionUse::OfKey(DAY_MS), ..rig.begin(&who) };
    assert_eq!(rig.peer.begin_turn(bare).await.unwrap(), Begun::UnknownSession);
    rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
    assert_eq!(rig.peer.begin_turn(again("key")).await.unwrap(), joined);
    assert!(rig.store.delete_turn(&who.place.owner, &first.turn).await.unwrap());
    assert_eq!(rig.peer.begin_turn(again("key")).await.unwrap(), Begun::UnknownSession, "the key is gone");
}

pub async fn roll_with_every_use(rig: &Rig) {
    let who = Caller::browser();
    let owner = &who.place.owner;
    rig.turn(&who, "hi").await;
    let step = rig.unit_ms() * 2;
    let created = rig.store.renew_session(owner, step, rig.now_ms()).await.unwrap();
    assert!(created);
    rig.pass(1.0).await;
    let begin = BeginTurn { session: SessionUse::Renew(step), ..rig.begin(&who) };
    let fence = rig.started(&begin).await.fence;
    rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
    rig.pass(1.0).await;
    let now_ms = rig.now_ms();
    assert!(rig.store.renew_session(owner, step, now_ms).await.unwrap());
    let renewed_by_ms = rig.now_ms();
    rig.store.sweep(rig.now_ms()).await.unwrap();
    rig.pass(1.0).await;
    let page = rig.history(&who).await.unwrap();
    assert_eq!(page.items.len(), 4);
    assert_eq!(page.session_expires_at_ms, Some(now_ms + step));
    let asked_ms = rig.now_ms();
    let expires_at_ms = rig.store.session_expires_at(owner, asked_ms).await.unwrap().unwrap();
    assert!(
        (asked_ms..=renewed_by_ms + step).contains(&expires_at_ms),
        "{expires_at_ms} is asked about, and not renewed"
    );
    assert_eq!(rig.store.turns(&who.place, 10).await.unwrap().unwrap().len(), 2);
    rig.pass(1.5).await;
    assert_unknown(rig, &who, &begin).await;
}

pub async fn that_are_unknown_are_not_renewed(rig: &Rig) {
    let who = Caller::browser();
    assert!(!rig.store.renew_session(&who.place.owner, DAY_MS, rig.now_ms()).await.unwrap());
    let begin = BeginTurn { session: SessionUse::Renew(DAY_MS), ..rig.begin(&who) };
    assert_eq!(rig.store.begin_turn(begin.clone()).await.unwrap(), Begun::UnknownSession);
    assert_unknown(rig, &who, &begin).await;
}

pub async fn deleted_leave_nothing(rig: &Rig) {
    for (who, bystander) in [(Caller::browser(), Caller::browser()), (Caller::program(), Caller::program())] {
        let first = rig.begin_with_key(&who, "key", "body");
        let fence = rig.started(&first).await.fence;
        rig.store.finish_turn(rig.finish(&first, fence, 2, "hi")).await.unwrap();
        let elsewhere = who.elsewhere();
        let running = rig.begin(&elsewhere);
        rig.started(&running).await;
        rig.started(&rig.begin_with_key(&bystander, "key", "body")).await;

        for _ in 0..2 {
            rig.store.delete_owner(&who.place.owner).await.unwrap();
        }
        assert_unknown(rig, &who, &first).await;
        assert_unknown(rig, &elsewhere, &running).await;
        assert_eq!(rig.store.turns(&bystander.place, 10).await.unwrap().unwrap().len(), 1);

        // A session that comes back under the same name begins from nothing: no history, no key, no running turn.
        let session = match who.place.owner {
            Owner::Session(_) => SessionUse::Create(DAY_MS),
            Owner::ApiKey(_) => SessionUse::None,
        };
        let again = BeginTurn { session, ..rig.begin_with_key(&who, "key", "another body") };
        let started = rig.started(&again).await;
        assert_eq!((started.history.items, started.conversation.item_count), (vec![], 0));
        assert_eq!(rig.store.turns(&who.place, 10).await.unwrap().unwrap().len(), 1);
    }
}

pub async fn of_programs_need_no_session(rig: &Rig) {
    let who = Caller::program();
    rig.turn(&who, "hi").await;
    rig.store.sweep(rig.now_ms()).await.unwrap();
    let page = rig.history(&who).await.unwrap();
    assert_eq!((page.items.len(), page.session_expires_at_ms), (2, None));
    assert!(!rig.store.renew_session(&who.place.owner, DAY_MS, rig.now_ms()).await.unwrap());
}

pub async fn swept_leave_the_living_alone(rig: &Rig) {
    let living: Vec<Caller> = (0..3).map(|_| Caller::browser()).collect();
    let program = Caller::program();
    let expired: Vec<Caller> = (0..3).map(|_| Caller::browser()).collect();
    for who in living.iter().chain(&expired).chain([&program]) {
        rig.turn(who, "hi").await;
    }
    for who in &expired {
        rig.store.renew_session(&who.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap();
    }
    rig.pass(1.5).await;
    while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    for who in &expired {
        assert_eq!(rig.history(who).await, None);
        assert_eq!(rig.store.window(&who.place, AMPLE).await.unwrap().items, []);
    }
    for who in living.iter().chain([&program]) {
        let begin = rig.turn(who, "hi again").await;
        assert_eq!(rig.history(who).await.unwrap().items.len(), 4);
        assert_eq!(rig.events(who, &begin.turn).await.0.len(), 2);
    }
}

pub async fn a_store_answers_and_says_what_it_is(rig: &Rig) {
    rig.store.ping().await.unwrap();
    rig.peer.ping().await.unwrap();
    assert!(["memory", "sqlite", "redis"].contains(&rig.store.info().kind));
    assert!(!rig.store.info().location.is_empty());
}
