//! Sessions that have ended, by hand or by time: nothing more is stored for them, whatever is tried.

use openai_backend::store::conversations::{Added, Created, ItemsQuery, Removed};
use openai_backend::store::documents::{Document, DocumentKind, DocumentsQuery};
use openai_backend::store::{Appended, BeginTurn, Begun, CancelRequest, Finished, SessionUse};

use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig, notes, texts};

const KIND: DocumentKind = DocumentKind::Completion;

/// What a session had when it ended.
pub struct Remains {
    pub who: Caller,
    done: BeginTurn,
    running: BeginTurn,
    fence: u64,
}

impl Remains {
    /// A session with a turn that has ended, one that runs, an idempotency key and a document.
    pub async fn of(rig: &Rig, who: Caller) -> Self {
        let done = rig.turn(&who, "hi").await;
        let running = rig.begin_with_key(&who, "running", "body");
        let fence = rig.started(&running).await.fence;
        rig.append_stored(rig.append(&running, fence, texts(2, &["a"]))).await;
        assert!(rig.store.put_document(&who.place.owner, KIND, document("old")).await.unwrap());
        Self { who, done, running, fence }
    }
}

fn document(id: &str) -> Document {
    Document { id: id.into(), created_at_ms: 1, json: "{}".into() }
}

/// Tries every write there is, each of which must say that there is nothing to write to.
pub async fn assert_all_writes_refused(rig: &Rig, remains: &Remains) {
    let Remains { who, done, running, fence } = remains;
    let (store, place, owner) = (&rig.peer, &who.place, &who.place.owner);
    for session in [SessionUse::None, SessionUse::Renew(DAY_MS)] {
        for place in [place, &who.elsewhere().place] {
            for create_conversation in [true, false] {
                let begin = rig.begin_with_key(who, "another", "body");
                let begin = BeginTurn { place: place.clone(), session, create_conversation, ..begin };
                assert_eq!(store.begin_turn(begin).await.unwrap(), Begun::UnknownSession);
            }
        }
    }
    let joining = BeginTurn { session: SessionUse::None, ..rig.begin_with_key(who, "running", "body") };
    assert_eq!(store.begin_turn(joining).await.unwrap(), Begun::UnknownSession);

    let append = rig.append(running, *fence, texts(3, &["b"]));
    assert_eq!(store.append_events(append).await.unwrap(), Appended::Fenced);
    assert_eq!(store.append_events(rig.append(running, *fence, vec![])).await.unwrap(), Appended::Fenced);
    assert_eq!(store.finish_turn(rig.finish(running, *fence, 3, "hi")).await.unwrap(), Finished::Fenced);
    assert_eq!(store.request_cancel(owner, &running.turn).await.unwrap(), CancelRequest::Unknown);
    store.release_turn(place, &running.turn, *fence).await.unwrap();
    assert!(!store.renew_session(owner, DAY_MS, rig.now_ms()).await.unwrap());

    let new = rig.new_conversation(&who.elsewhere(), &notes(&[1]));
    assert_eq!(store.create_conversation(new).await.unwrap(), Created::UnknownSession);
    assert_eq!(store.add_items(place, notes(&[1]), rig.now_ms()).await.unwrap(), Added::Unknown);
    assert!(!store.set_metadata(place, "{\"a\":\"b\"}").await.unwrap());
    let item = &done.request.input[0].id;
    assert_eq!(store.remove_item(place, item).await.unwrap(), Removed::UnknownConversation);
    assert!(!store.delete_turn(owner, &done.turn).await.unwrap());
    assert!(!store.delete_conversation(place).await.unwrap());
    for id in ["old", "new"] {
        assert!(!store.put_document(owner, KIND, document(id)).await.unwrap());
        assert!(!store.update_document(owner, KIND, id, "[]".into()).await.unwrap());
        assert!(!store.delete_document(owner, KIND, id).await.unwrap());
    }
}

/// A new session of this name finds nothing of the old one.
async fn assert_nothing_is_left(rig: &Rig, who: &Caller) {
    let (store, owner) = (&rig.store, &who.place.owner);
    assert_eq!(store.window(&who.place, AMPLE).await.unwrap().items, []);
    let other = who.again().elsewhere();
    let begin = rig.begin_with_key(&other, "another", "body");
    let started = rig.started(&BeginTurn { hidden: true, ..begin }).await;
    assert_eq!(started.conversation.item_count, 0);
    assert_eq!(store.conversations(owner, None, 10).await.unwrap().unwrap().conversations, []);
    assert_eq!(store.turns(&who.place, 10).await.unwrap(), None);
    let all = DocumentsQuery { after: None, ascending: true, limit: 10 };
    assert_eq!(store.documents(owner, KIND, all).await.unwrap().unwrap().documents, []);
}

pub async fn of_deleted_sessions_are_final(rig: &Rig) {
    let remains = Remains::of(rig, Caller::browser()).await;
    rig.store.delete_owner(&remains.who.place.owner).await.unwrap();
    assert_all_writes_refused(rig, &remains).await;
    assert_nothing_is_left(rig, &remains.who).await;
}

pub async fn of_expired_sessions_are_final(rig: &Rig) {
    let remains = Remains::of(rig, Caller::browser()).await;
    assert!(rig.store.renew_session(&remains.who.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    for _ in 0..2 {
        assert_all_writes_refused(rig, &remains).await;
        while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    }
    assert_nothing_is_left(rig, &remains.who).await;
}

pub async fn between_two_writes_of_a_turn_fence_it(rig: &Rig) {
    for by_hand in [true, false] {
        let who = Caller::browser();
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
        if by_hand {
            rig.peer.delete_owner(&who.place.owner).await.unwrap();
        } else {
            rig.store.renew_session(&who.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap();
            rig.pass(1.5).await;
        }
        let append = rig.append(&begin, fence, texts(3, &["b"]));
        assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
        for _ in 0..2 {
            let finish = rig.finish(&begin, fence, 3, "hi");
            assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Fenced, "by hand: {by_hand}");
        }
    }
}

pub async fn leave_no_turn_to_take_over(rig: &Rig) {
    let (gone, living) = (Caller::browser(), Caller::browser());
    let mut begun = Vec::new();
    for who in [&gone, &living] {
        let begin = BeginTurn { lease_ms: rig.unit_ms(), ..rig.begin(who) };
        rig.started(&begin).await;
        begun.push(begin.turn);
    }
    assert!(rig.store.renew_session(&gone.place.owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    let adopted = Rig::adopted(&*rig.peer, &rig.stranger(), DAY_MS, 10).await;
    assert_eq!(adopted.iter().map(|record| &record.id).collect::<Vec<_>>(), [&begun[1]]);
}

pub async fn leave_other_owners_alone(rig: &Rig) {
    let (gone, living, program) = (Caller::browser(), Caller::browser(), Caller::program());
    let mut running = Vec::new();
    for who in [&gone, &living, &program] {
        let begin = rig.begin(who);
        running.push((rig.started(&begin).await.fence, begin));
    }
    rig.store.delete_owner(&gone.place.owner).await.unwrap();
    for (who, (fence, begin)) in [&living, &program].into_iter().zip(&running[1..]) {
        rig.append_stored(rig.append(begin, *fence, texts(2, &["a"]))).await;
        rig.store.release_turn(&begin.place, &begin.turn, *fence).await.unwrap();
        let finish = rig.finish(begin, *fence, 3, "hi");
        assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
        let next = BeginTurn { session: SessionUse::None, ..rig.begin(who) };
        let fence = rig.started(&next).await.fence;
        rig.store.finish_turn(rig.finish(&next, fence, 2, "hi")).await.unwrap();
        let page = ItemsQuery { after: None, ascending: true, limit: 10 };
        assert_eq!(rig.history(who).await.unwrap().items.len(), 4);
        assert!(rig.store.items(&who.place, page).await.is_ok());
    }
}
