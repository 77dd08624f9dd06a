//! Conversations apart from their turns: made, listed, described, hidden, deleted.

use openai_backend::domain::conversation::{Conversation, Owner};
use openai_backend::domain::ids::{ConversationId, ItemId, SystemIds};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::store::conversations::{
    Added, ConversationInfo, ConversationsPage, Created, ItemsPage, ItemsQuery, NewConversation, Removed,
};
use openai_backend::store::{Appended, BeginTurn, Begun, CancelRequest, EventsPage, Finished, Notice};

use super::events::expect;
use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig, notes, texts};

/// What a page of everything is asked with.
pub const ALL: ItemsQuery = ItemsQuery { after: None, ascending: true, limit: 1_000 };

async fn listed(rig: &Rig, owner: &Owner) -> Vec<ConversationId> {
    let page = rig.peer.conversations(owner, None, 1_000).await.unwrap().unwrap();
    assert!(!page.has_more);
    page.conversations.into_iter().map(|info| info.id).collect()
}

fn empty_page() -> Option<ConversationsPage> {
    Some(ConversationsPage { conversations: vec![], has_more: false })
}

pub async fn are_made_with_items_and_metadata(rig: &Rig) {
    for who in rig.callers().await {
        let items = notes(&[5, 0, 7]);
        let metadata = "{ \"topic\" : \"a \\u0000 👌\",\"n\":\"1.0e+2\" }";
        let new = NewConversation { metadata: metadata.into(), ..rig.new_conversation(&who, &items) };
        assert_eq!(rig.store.create_conversation(new.clone()).await.unwrap(), Created::Created);

        let info = ConversationInfo {
            id: who.place.conversation.clone(),
            created_at_ms: new.now_ms,
            metadata: metadata.into(),
            hidden: false,
        };
        assert_eq!(rig.peer.conversation(&who.place).await.unwrap(), Some(info));
        let stored = |(i, tokens_before): (usize, u64)| {
            let (seq, item) = (i as u64 + 1, items[i].clone());
            StoredItem { seq, tokens_before, created_at_ms: new.now_ms, item }
        };
        let stored: Vec<StoredItem> = [0, 5, 5].into_iter().enumerate().map(stored).collect();
        assert_eq!(rig.history(&who).await.unwrap().items, stored);
        assert_eq!(rig.peer.turns(&who.place, 10).await.unwrap(), Some(vec![]));

        let begin = BeginTurn { create_conversation: false, ..rig.begin(&who) };
        let started = rig.started(&begin).await;
        assert_eq!(started.history.items, stored);
        let head = Conversation {
            id: who.place.conversation.clone(),
            version: started.conversation.version,
            item_count: 3,
            total_tokens: 12,
            created_at_ms: new.now_ms,
            running: Some(begin.turn),
        };
        assert_eq!(started.conversation, head);
    }
}

pub async fn may_be_made_empty(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[]).await;
        assert_eq!(rig.peer.conversation(&who.place).await.unwrap().unwrap().metadata, "{}");
        assert_eq!(rig.history(&who).await.unwrap().items, []);
        let page = ItemsPage::Page { items: vec![], has_more: false };
        assert_eq!(rig.peer.items(&who.place, ALL).await.unwrap(), page);
        assert_eq!(rig.started(&rig.begin(&who)).await.history.items, []);
    }
}

pub async fn made_by_a_turn_are_like_others(rig: &Rig) {
    for who in rig.callers().await {
        rig.pass(0.01).await;
        let begin = rig.turn(&who, "hi").await;
        let info = ConversationInfo {
            id: who.place.conversation.clone(),
            created_at_ms: begin.now_ms,
            metadata: "{}".into(),
            hidden: false,
        };
        assert_eq!(rig.peer.conversation(&who.place).await.unwrap(), Some(info));
        assert_eq!(listed(rig, &who.place.owner).await[0], who.place.conversation);
        let again = rig.store.create_conversation(rig.new_conversation(&who, &notes(&[1]))).await.unwrap();
        assert_eq!(again, Created::Exists);
        assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
    }
}

pub async fn are_not_made_twice(rig: &Rig) {
    let [one, other] = rig.callers().await;
    let items = rig.created(&one, &[3]).await;
    let before = rig.peer.conversation(&one.place).await.unwrap();
    let again = NewConversation {
        metadata: "{\"new\":true}".into(),
        hidden: true,
        ..rig.new_conversation(&one, &notes(&[4, 5]))
    };
    assert_eq!(rig.store.create_conversation(again).await.unwrap(), Created::Exists);
    // Where ids are each owner's own, this makes another conversation; where they are everybody's, it is refused.
    let intruder = other.intruding(&one);
    let theirs = NewConversation { metadata: "{\"theirs\":1}".into(), ..rig.new_conversation(&intruder, &notes(&[4])) };
    match rig.store.create_conversation(theirs).await.unwrap() {
        Created::Created => assert_eq!(rig.history(&intruder).await.unwrap().items.len(), 1),
        Created::Exists => assert_eq!(rig.history(&intruder).await, None),
        Created::UnknownSession => panic!("a program needs no session"),
    }
    assert_eq!(rig.peer.conversation(&one.place).await.unwrap(), before);
    let stored: Vec<Item> = rig.history(&one).await.unwrap().items.into_iter().map(|stored| stored.item).collect();
    assert_eq!(stored, items);
}

pub async fn are_listed_newest_first(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let (first, soon_ms) = (listed(rig, owner).await, rig.now_ms() + 60_000);
        let mut made: Vec<(i64, ConversationId)> = Vec::new();
        // Two of each millisecond, not in order, and hidden ones between them.
        for (i, later_ms) in [5, 1, 3, 1, 5, 4, 4, 2].into_iter().enumerate() {
            let one = who.elsewhere();
            let now_ms = soon_ms + later_ms;
            let new = NewConversation { now_ms, hidden: i % 4 == 3, ..rig.new_conversation(&one, &notes(&[1])) };
            assert_eq!(rig.store.create_conversation(new).await.unwrap(), Created::Created);
            if i % 4 != 3 {
                made.push((now_ms, one.place.conversation));
            }
        }
        made.sort();
        let ids: Vec<ConversationId> = made.into_iter().rev().map(|(_, id)| id).chain(first).collect();
        assert_eq!(listed(rig, owner).await, ids);
        let afters = (0..ids.len()).map(|i| (i + 1, Some(&ids[i]))).chain([(0, None)]);
        for (from, after) in afters {
            for limit in [1, 2, 5, 6, 7, 100] {
                let page = rig.peer.conversations(owner, after, limit).await.unwrap().unwrap();
                let to = (from + limit).min(ids.len());
                let given: Vec<ConversationId> = page.conversations.iter().map(|info| info.id.clone()).collect();
                assert_eq!(given, ids[from..to], "{limit} after {after:?}");
                assert_eq!(page.has_more, to < ids.len(), "{limit} after {after:?}");
            }
        }
        let unknown = who.elsewhere().place.conversation;
        assert_eq!(rig.peer.conversations(owner, Some(&unknown), 10).await.unwrap(), None);
        let stranger = Caller::program();
        assert_eq!(rig.peer.conversations(&stranger.place.owner, None, 10).await.unwrap(), empty_page());
        assert_eq!(rig.peer.conversations(&stranger.place.owner, ids.first(), 10).await.unwrap(), None);
    }
}

pub async fn that_are_hidden_are_in_no_list(rig: &Rig) {
    for who in rig.callers().await {
        let owner = &who.place.owner;
        let (by_turn, made, seen) = (who.elsewhere(), who.elsewhere(), who.elsewhere());
        let begin = BeginTurn { hidden: true, ..rig.begin(&by_turn) };
        let fence = rig.started(&begin).await.fence;
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
        let new = NewConversation { hidden: true, ..rig.new_conversation(&made, &notes(&[1, 2])) };
        assert_eq!(rig.store.create_conversation(new).await.unwrap(), Created::Created);
        rig.created(&seen, &[1]).await;
        // Only what makes a conversation can hide it.
        rig.started(&BeginTurn { hidden: true, ..rig.begin(&seen) }).await;

        let ids = listed(rig, owner).await;
        assert!(ids.contains(&seen.place.conversation));
        for hidden in [&by_turn, &made] {
            let id = &hidden.place.conversation;
            assert!(!ids.contains(id));
            assert_eq!(rig.peer.conversations(owner, Some(id), 10).await.unwrap(), None);
            let info = rig.peer.conversation(&hidden.place).await.unwrap().unwrap();
            assert_eq!((&info.id, info.hidden), (id, true));
            assert_eq!(rig.history(hidden).await.unwrap().items.len(), 2);
            assert_eq!(rig.started(&rig.begin(hidden)).await.history.items.len(), 2);
        }
        assert!(!rig.peer.conversation(&seen.place).await.unwrap().unwrap().hidden);
        assert_eq!(rig.peer.turns(&by_turn.place, 10).await.unwrap().unwrap().len(), 2);
    }
}

pub async fn have_their_metadata_replaced(rig: &Rig) {
    for who in rig.callers().await {
        let neighbour = who.elsewhere();
        rig.created(&who, &[1]).await;
        rig.created(&neighbour, &[1]).await;
        let before = rig.peer.conversation(&who.place).await.unwrap().unwrap();
        for metadata in ["{\"a\":\"1\",  \"b\":\"\u{2028}👌\"}", "{\"c\":\"3\"}", "{}"] {
            assert!(rig.store.set_metadata(&who.place, metadata).await.unwrap());
            let after = ConversationInfo { metadata: metadata.into(), ..before.clone() };
            assert_eq!(rig.peer.conversation(&who.place).await.unwrap(), Some(after.clone()));
            let page = rig.peer.conversations(&who.place.owner, None, 10).await.unwrap().unwrap();
            assert!(page.conversations.contains(&after));
        }
        assert!(!rig.store.set_metadata(&who.elsewhere().place, "{}").await.unwrap());
        assert_eq!(rig.peer.conversation(&neighbour.place).await.unwrap().unwrap().metadata, "{}");
        assert_eq!(rig.history(&who).await.unwrap().items.len(), 1);
    }
}

pub async fn deleted_take_everything_along(rig: &Rig) {
    for who in rig.callers().await {
        let neighbour = who.elsewhere();
        rig.turn(&neighbour, "hi").await;
        let items = rig.created(&who, &[1, 2]).await;
        let done = rig.begin(&who);
        let fence = rig.started(&done).await.fence;
        rig.append_stored(rig.append(&done, fence, texts(2, &["a"]))).await;
        rig.store.finish_turn(rig.finish(&done, fence, 3, "a")).await.unwrap();

        assert!(rig.store.delete_conversation(&who.place).await.unwrap());
        assert!(!rig.peer.delete_conversation(&who.place).await.unwrap(), "twice");
        assert_unknown(rig, &who, &done, &items[0].id).await;
        assert!(!listed(rig, &who.place.owner).await.contains(&who.place.conversation));
        let begin = BeginTurn { create_conversation: false, ..rig.begin(&who) };
        assert_eq!(rig.store.begin_turn(begin).await.unwrap(), Begun::UnknownConversation);
        assert_eq!(rig.history(&neighbour).await.unwrap().items.len(), 2);

        // One of the same id begins from nothing.
        let items = rig.created(&who, &[4]).await;
        let started = rig.started(&rig.begin(&who)).await;
        assert_eq!((started.conversation.item_count, started.conversation.total_tokens), (1, 4));
        assert_eq!(started.history.items[0].item, items[0]);
        assert_eq!(rig.peer.turn(&who.place.owner, &done.turn).await.unwrap(), None);
        assert_eq!(rig.peer.turns(&who.place, 10).await.unwrap().unwrap().len(), 1);
    }
}

pub async fn deleted_tell_the_turn_that_runs(rig: &Rig) {
    for who in rig.callers().await {
        rig.turn(&who, "hi").await;
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        rig.append_stored(rig.append(&begin, fence, texts(2, &["a"]))).await;
        let mut notices = rig.store.notices();
        assert!(rig.peer.delete_conversation(&who.place).await.unwrap());
        expect(&mut notices, &Notice::Cancel(begin.turn.clone())).await;

        let owner = &who.place.owner;
        assert_eq!(rig.peer.request_cancel(owner, &begin.turn).await.unwrap(), CancelRequest::Unknown);
        // Not even where there is a conversation of this id again, and another turn in it.
        for comes_again in [true, false] {
            let append = rig.append(&begin, fence, texts(3, &["b"]));
            assert_eq!(rig.store.append_events(append).await.unwrap(), Appended::Fenced);
            let finish = rig.finish(&begin, fence, 4, "ab");
            assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Fenced);
            rig.store.release_turn(&begin.place, &begin.turn, fence).await.unwrap();
            assert_eq!(Rig::adopted(&*rig.peer, &rig.holder(), DAY_MS, 10).await, []);
            if comes_again {
                rig.started(&rig.begin(&who)).await;
            }
        }
        assert_eq!(rig.settled(&who).await, []);
        assert_eq!(rig.peer.read_events(owner, &begin.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
    }
}

/// Nothing of a conversation, a turn and an item of it is known to this caller.
pub async fn assert_unknown(rig: &Rig, who: &Caller, turn: &BeginTurn, item: &ItemId) {
    let (place, owner) = (&who.place, &who.place.owner);
    assert_eq!(rig.peer.conversation(place).await.unwrap(), None);
    assert_eq!(rig.peer.conversations(owner, Some(&place.conversation), 10).await.unwrap(), None);
    assert!(!rig.store.set_metadata(place, "{\"x\":\"y\"}").await.unwrap());
    assert!(!rig.store.delete_conversation(place).await.unwrap());
    assert_eq!(rig.store.add_items(place, notes(&[1]), rig.now_ms()).await.unwrap(), Added::Unknown);
    for after in [None, Some(item.clone())] {
        let query = ItemsQuery { after, ..ALL };
        assert_eq!(rig.peer.items(place, query).await.unwrap(), ItemsPage::UnknownConversation);
    }
    assert_eq!(rig.peer.item(place, item).await.unwrap(), None);
    assert_eq!(rig.store.remove_item(place, item).await.unwrap(), Removed::UnknownConversation);
    assert!(!rig.store.delete_turn(owner, &turn.turn).await.unwrap());
    assert_eq!(rig.peer.history(place, None, 10, rig.now_ms()).await.unwrap(), None);
    assert_eq!(rig.peer.turns(place, 10).await.unwrap(), None);
    assert_eq!(rig.peer.turn(owner, &turn.turn).await.unwrap(), None);
    assert_eq!(rig.peer.read_events(owner, &turn.turn, 0, 10).await.unwrap(), EventsPage::Unknown);
    assert_eq!(rig.store.request_cancel(owner, &turn.turn).await.unwrap(), CancelRequest::Unknown);
}

pub async fn of_others_look_unknown(rig: &Rig) {
    for one in rig.callers().await {
        let items = rig.created(&one, &[1, 2]).await;
        let done = rig.turn(&one, "hi").await;
        let before = (rig.peer.conversation(&one.place).await.unwrap(), rig.peer.items(&one.place, ALL).await.unwrap());
        for other in rig.callers().await {
            rig.turn(&other, "hello").await;
            assert_unknown(rig, &other.intruding(&one), &done, &items[0].id).await;
            // Its own conversation has no such item either.
            let (place, item) = (&other.place, &items[0].id);
            assert_eq!(rig.peer.item(place, item).await.unwrap(), None);
            assert_eq!(rig.store.remove_item(place, item).await.unwrap(), Removed::UnknownItem);
            let query = ItemsQuery { after: Some(item.clone()), ..ALL };
            assert_eq!(rig.peer.items(place, query).await.unwrap(), ItemsPage::UnknownItem);
            assert_eq!(rig.peer.window(&other.intruding(&one).place, AMPLE).await.unwrap().items, []);
        }
        let after = (rig.peer.conversation(&one.place).await.unwrap(), rig.peer.items(&one.place, ALL).await.unwrap());
        assert_eq!(after, before);
        assert_eq!(rig.events(&one, &done.turn).await.0.len(), 2);
    }
}

pub async fn of_sessions_that_expired_are_gone(rig: &Rig) {
    let [who, _] = rig.callers().await;
    let owner = &who.place.owner;
    let items = rig.created(&who, &[1, 2]).await;
    let done = rig.turn(&who, "hi").await;
    let hidden = who.elsewhere();
    let new = NewConversation { hidden: true, ..rig.new_conversation(&hidden, &notes(&[3])) };
    assert_eq!(rig.store.create_conversation(new).await.unwrap(), Created::Created);
    assert!(rig.store.renew_session(owner, rig.unit_ms(), rig.now_ms()).await.unwrap());
    rig.pass(1.5).await;
    for _ in 0..2 {
        assert_unknown(rig, &who, &done, &items[0].id).await;
        assert_unknown(rig, &hidden, &done, &items[0].id).await;
        assert_eq!(rig.peer.conversations(owner, None, 10).await.unwrap(), empty_page());
        let refused = rig.store.create_conversation(rig.new_conversation(&who.elsewhere(), &[])).await.unwrap();
        assert_eq!(refused, Created::UnknownSession);
        while rig.store.sweep(rig.now_ms()).await.unwrap() > 0 {}
    }
}

pub async fn need_a_session_that_lives(rig: &Rig) {
    let who = Caller::browser();
    let refused = rig.store.create_conversation(rig.new_conversation(&who, &notes(&[1]))).await.unwrap();
    assert_eq!(refused, Created::UnknownSession);
    let (turn, item) = (rig.begin(&who), ItemId::fresh(&SystemIds, &openai_backend::domain::clock::SystemClock));
    assert_unknown(rig, &who, &turn, &item).await;
    assert_eq!(rig.peer.conversations(&who.place.owner, None, 10).await.unwrap(), empty_page());
}
