//! A conversation's items, apart from turns: added, paged, found, removed.

use openai_backend::domain::ids::{ItemId, SystemIds};
use openai_backend::domain::item::{Item, StoredItem, user_message};
use openai_backend::domain::window::{Budget, Loaded};
use openai_backend::store::conversations::{Added, ItemsPage, ItemsQuery, Removed};
use openai_backend::store::{BeginTurn, Begun, Finished};

use super::conversations::ALL;
use crate::store::rig::{AMPLE, Caller, Rig, notes};

async fn added(rig: &Rig, who: &Caller, tokens: &[u32]) -> Vec<StoredItem> {
    let items = notes(tokens);
    match rig.store.add_items(&who.place, items.clone(), rig.now_ms()).await.unwrap() {
        Added::Added(stored) => {
            assert_eq!(stored.iter().map(|stored| stored.item.clone()).collect::<Vec<_>>(), items);
            stored
        }
        other => panic!("not added: {other:?}"),
    }
}

async fn remove(rig: &Rig, who: &Caller, stored: &StoredItem) {
    assert_eq!(rig.store.remove_item(&who.place, &stored.item.id).await.unwrap(), Removed::Removed);
}

/// Every way to read items gives these, and takes `count` and `tokens` for the conversation's own figures.
async fn assert_items(rig: &Rig, who: &Caller, expected: &[StoredItem], count: u64, tokens: u64) {
    let history = rig.history(who).await.unwrap();
    assert_eq!((history.items.as_slice(), history.has_more), (expected, false));
    assert_eq!(rig.peer.window(&who.place, AMPLE).await.unwrap().items, expected);
    let mut page = ItemsPage::Page { items: expected.to_vec(), has_more: false };
    assert_eq!(rig.peer.items(&who.place, ALL).await.unwrap(), page);
    if let ItemsPage::Page { items, .. } = &mut page {
        items.reverse();
    }
    assert_eq!(rig.peer.items(&who.place, ItemsQuery { ascending: false, ..ALL }).await.unwrap(), page);
    for stored in expected {
        assert_eq!(rig.peer.item(&who.place, &stored.item.id).await.unwrap().as_ref(), Some(stored));
    }
    // A turn sees the same, and leaves it as it is.
    let begin = rig.begin(who);
    let started = rig.started(&begin).await;
    assert_eq!(started.history.items, expected);
    assert_eq!((started.conversation.item_count, started.conversation.total_tokens), (count, tokens));
    let finish = openai_backend::store::FinishTurn { items: vec![], ..rig.finish(&begin, started.fence, 2, "") };
    assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
    assert_eq!(rig.peer.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap().items_then, Some(count));
}

fn figures(stored: &[StoredItem]) -> Vec<(u64, u64)> {
    stored.iter().map(|stored| (stored.seq, stored.tokens_before)).collect()
}

pub async fn that_are_added_count_on(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[3, 4]).await;
        assert_eq!(figures(&added(rig, &who, &[5, 0]).await), [(3, 7), (4, 12)]);
        rig.turn(&who, "hi").await;
        assert_eq!(figures(&added(rig, &who, &[1]).await), [(7, 28)]);
        assert_eq!(added(rig, &who, &[]).await, []);
        let all = rig.history(&who).await.unwrap().items;
        assert_eq!(figures(&all), [(1, 0), (2, 3), (3, 7), (4, 12), (5, 12), (6, 21), (7, 28)]);
        assert_items(rig, &who, &all, 7, 29).await;
    }
}

pub async fn that_are_added_count_as_a_change(rig: &Rig) {
    let who = Caller::program();
    let items = rig.created(&who, &[1]).await;
    let mut versions = Vec::new();
    for step in 0..3 {
        let begin = rig.begin(&who);
        let started = rig.started(&begin).await;
        rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
        versions.push(started.conversation.version);
        match step {
            0 => drop(added(rig, &who, &[1, 2]).await),
            _ => drop(rig.store.remove_item(&who.place, &items[0].id).await.unwrap()),
        }
    }
    assert_eq!([versions[1] - versions[0], versions[2] - versions[1]], [2, 2], "a turn and another change each");
}

pub async fn are_kept_byte_for_byte(rig: &Rig) {
    let who = Caller::program();
    rig.created(&who, &[]).await;
    let raw =
        ["{ \"type\":\"function_call\" ,\n\"arguments\":\"{\\\"x\\\": 1.10}\",\"n\":1.0e+2}", "null \u{0} \u{2028}👌🏽"];
    let big =
        user_message(&ItemId::fresh(&SystemIds, &openai_backend::domain::clock::SystemClock), &"x".repeat(1 << 20));
    let mut items = notes(&[1, 2, 3]);
    for (item, json) in items.iter_mut().zip(raw.map(str::to_owned).into_iter().chain([big])) {
        item.json = json;
    }
    let answer = rig.store.add_items(&who.place, items.clone(), rig.now_ms()).await.unwrap();
    assert!(matches!(answer, Added::Added(stored) if stored.iter().map(|stored| &stored.item).eq(&items)));
    for item in &items {
        let stored = rig.peer.item(&who.place, &item.id).await.unwrap();
        assert!(stored.is_some_and(|stored| stored.item == *item), "{}", &item.json[..10]);
    }
}

pub async fn wait_for_the_turn_that_runs(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1]).await;
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        let refused = rig.peer.add_items(&who.place, notes(&[1, 2]), rig.now_ms()).await.unwrap();
        assert_eq!(refused, Added::Busy(begin.turn.clone()));
        assert_eq!(rig.settled(&who).await.len(), 1);
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
        assert_eq!(figures(&added(rig, &who, &[1]).await), [(4, 17)]);
    }
}

pub async fn come_in_pages_both_ways(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2, 3]).await;
        rig.turn(&who, "hi").await;
        added(rig, &who, &[4, 5]).await;
        let gone = rig.history(&who).await.unwrap().items.remove(2);
        remove(rig, &who, &gone).await;
        for ascending in [true, false] {
            let mut all = rig.history(&who).await.unwrap().items;
            assert_eq!(all.len(), 6);
            if !ascending {
                all.reverse();
            }
            for from in 0..=all.len() {
                let after = from.checked_sub(1).map(|i| all[i].item.id.clone());
                for limit in [1, 2, 5, 6, 7, usize::MAX] {
                    let to = from.saturating_add(limit).min(all.len());
                    let expected = ItemsPage::Page { items: all[from..to].to_vec(), has_more: to < all.len() };
                    let query = ItemsQuery { after: after.clone(), ascending, limit };
                    assert_eq!(rig.peer.items(&who.place, query.clone()).await.unwrap(), expected, "{query:?}");
                }
            }
            for unknown in [gone.item.id.clone(), notes(&[1]).remove(0).id] {
                let query = ItemsQuery { after: Some(unknown), ascending, limit: 10 };
                assert_eq!(rig.peer.items(&who.place, query).await.unwrap(), ItemsPage::UnknownItem);
            }
        }
        let nowhere = who.elsewhere().place;
        assert_eq!(rig.peer.items(&nowhere, ALL).await.unwrap(), ItemsPage::UnknownConversation);
    }
}

pub async fn are_found_by_their_ids(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2]).await;
        let begin = rig.turn(&who, "hi").await;
        let all = rig.history(&who).await.unwrap().items;
        for stored in &all {
            assert_eq!(rig.peer.item(&who.place, &stored.item.id).await.unwrap().as_ref(), Some(stored));
        }
        assert_eq!(all[3].item.id, begin.request.answer_id);
        // The same id in another conversation is another item.
        let elsewhere = who.elsewhere();
        assert_eq!(rig.peer.item(&elsewhere.place, &all[0].item.id).await.unwrap(), None);
        let copy = Item { tokens: 99, ..all[0].item.clone() };
        rig.store.create_conversation(rig.new_conversation(&elsewhere, &[copy])).await.unwrap();
        let copy = rig.peer.item(&elsewhere.place, &all[0].item.id).await.unwrap().unwrap();
        assert_eq!((copy.seq, copy.item.tokens), (1, 99));
        let unknown = notes(&[1]).remove(0).id;
        assert_eq!(rig.peer.item(&elsewhere.place, &unknown).await.unwrap(), None);
        assert_eq!(rig.store.remove_item(&elsewhere.place, &unknown).await.unwrap(), Removed::UnknownItem);
        let nowhere = who.elsewhere().place;
        assert_eq!(rig.store.remove_item(&nowhere, &unknown).await.unwrap(), Removed::UnknownConversation);
    }
}

pub async fn that_were_newest_leave_nothing_but_their_numbers(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[3, 4]).await;
        let mut all = rig.history(&who).await.unwrap().items;
        for (tokens, number) in [(5, 3), (6, 4)] {
            let newest = added(rig, &who, &[tokens]).await.remove(0);
            assert_eq!((newest.seq, newest.tokens_before), (number, 7));
            remove(rig, &who, &newest).await;
            assert_items(rig, &who, &all, number, 7).await;
            let again = rig.store.remove_item(&who.place, &newest.item.id).await.unwrap();
            assert_eq!(again, Removed::UnknownItem);
        }
        while let Some(newest) = all.pop() {
            remove(rig, &who, &newest).await;
            assert_items(rig, &who, &all, 4, newest.tokens_before).await;
        }
        assert_eq!(figures(&added(rig, &who, &[1, 2]).await), [(5, 0), (6, 1)]);
    }
}

/// Where a turn ended stays where it was, whatever is removed and said after it.
pub async fn never_get_the_number_of_one_that_is_gone(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1]).await;
        let first = rig.turn(&who, "hi").await;
        let items = rig.history(&who).await.unwrap().items;
        for gone in items[1..].iter().rev() {
            remove(rig, &who, gone).await;
        }
        let up_to_first = items[..1].to_vec();
        let begin = BeginTurn { expected_items: Some(3), ..rig.begin(&who) };
        let started = rig.started(&begin).await;
        assert_eq!(started.history.items, up_to_first);
        rig.store.finish_turn(rig.finish(&begin, started.fence, 2, "hi")).await.unwrap();
        let now = rig.history(&who).await.unwrap().items;
        assert_eq!(figures(&now), [(1, 0), (4, 1), (5, 10)]);

        let then = async |begin: &BeginTurn| {
            rig.peer.turn(&who.place.owner, &begin.turn).await.unwrap().unwrap().items_then.unwrap()
        };
        assert_eq!((then(&first).await, then(&begin).await), (3, 5));
        let before = |number: u64| rig.peer.history(&who.place, Some(number + 1), 10, rig.now_ms());
        assert_eq!(before(3).await.unwrap().unwrap().items, up_to_first);
        assert_eq!(before(5).await.unwrap().unwrap().items, now);
        let late = BeginTurn { expected_items: Some(3), ..rig.begin(&who) };
        assert_eq!(rig.store.begin_turn(late).await.unwrap(), Begun::Moved);
        assert_items(rig, &who, &now, 5, 17).await;
    }
}

pub async fn from_the_middle_leave_their_numbers(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2, 4, 8, 16]).await;
        let mut all = rig.history(&who).await.unwrap().items;
        for (at, left) in [(2, 4), (0, 3)] {
            let gone = all.remove(at);
            remove(rig, &who, &gone).await;
            assert_eq!(all.len(), left);
            assert_items(rig, &who, &all, 5, 31).await;
            assert_eq!(rig.peer.item(&who.place, &gone.item.id).await.unwrap(), None);
            let again = rig.store.remove_item(&who.place, &gone.item.id).await.unwrap();
            assert_eq!(again, Removed::UnknownItem);
        }
        assert_eq!(figures(&all), [(2, 1), (4, 7), (5, 15)]);
        for before in [None, Some(6), Some(5), Some(4), Some(3), Some(2), Some(1)] {
            let end = all.partition_point(|stored| before.is_none_or(|before| stored.seq < before));
            for limit in [1, 2, 3, 4] {
                let page = rig.peer.history(&who.place, before, limit, rig.now_ms()).await.unwrap().unwrap();
                let start = end.saturating_sub(limit);
                assert_eq!((page.items.as_slice(), page.has_more), (&all[start..end], start > 0), "{limit} {before:?}");
            }
        }
        assert_eq!(figures(&added(rig, &who, &[32]).await), [(6, 31)]);
    }
}

pub async fn take_along_what_was_left_before_them(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2, 4, 8, 16]).await;
        let all = rig.history(&who).await.unwrap().items;
        for middle in [1, 3, 2] {
            remove(rig, &who, &all[middle]).await;
        }
        assert_items(rig, &who, &[all[0].clone(), all[4].clone()], 5, 31).await;
        remove(rig, &who, &all[4]).await;
        assert_items(rig, &who, &all[..1], 5, 1).await;
        assert_eq!(figures(&added(rig, &who, &[7, 7]).await), [(6, 1), (7, 8)]);

        // The first of all, then all behind it.
        remove(rig, &who, &all[0]).await;
        for stored in rig.history(&who).await.unwrap().items.iter().rev() {
            remove(rig, &who, stored).await;
        }
        assert_items(rig, &who, &[], 7, 0).await;
        assert_eq!(figures(&added(rig, &who, &[1]).await), [(8, 0)]);
    }
}

pub async fn that_are_gone_are_in_no_window(rig: &Rig) {
    let who = Caller::program();
    rig.created(&who, &[10; 40]).await;
    let mut all = rig.history(&who).await.unwrap().items;
    for at in [33, 20, 20, 20, 7, 0] {
        let gone = all.remove(at);
        remove(rig, &who, &gone).await;
    }
    for (tokens, fixed_tokens) in [(1, 0), (50, 20), (100, 0), (200, 50), (250, 0), (399, 0), (400, 0), (401, 1)] {
        let budget = Budget { tokens, fixed_tokens, whole: false };
        let cut = budget.cut(400);
        let expected: Vec<StoredItem> = all.iter().filter(|stored| stored.tokens_before >= cut).cloned().collect();
        assert_eq!(rig.peer.window(&who.place, budget).await.unwrap().items, expected, "{budget:?}");
        let begin = BeginTurn { budget, ..rig.begin(&who) };
        let started = rig.started(&begin).await;
        assert_eq!(started.history.items, expected, "{budget:?}");
        let finish = openai_backend::store::FinishTurn { items: vec![], ..rig.finish(&begin, started.fence, 2, "") };
        rig.store.finish_turn(finish).await.unwrap();
    }
    let whole = Budget { tokens: 340, fixed_tokens: 0, whole: true };
    assert_eq!(rig.peer.window(&who.place, whole).await.unwrap().items, all);
}

pub async fn are_loaded_whole_or_not_at_all_where_none_may_be_left_out(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[10; 40]).await;
        let mut all = rig.history(&who).await.unwrap().items;
        for removed in [0, 3, 2] {
            for at in [30, 38, 0].into_iter().take(removed) {
                let gone = all.remove(at.min(all.len() - 1));
                remove(rig, &who, &gone).await;
            }
            let tokens = all.len() as u64 * 10;
            let room = u32::try_from(tokens).unwrap() + 5;
            for (budget, fits) in [(room, true), (room - 1, false)] {
                let budget = Budget { tokens: budget, fixed_tokens: 5, whole: true };
                let expected = Loaded { items: if fits { all.clone() } else { Vec::new() }, tokens };
                assert_eq!(rig.peer.window(&who.place, budget).await.unwrap(), expected, "{budget:?}");
                let begin = BeginTurn { budget, ..rig.begin(&who) };
                let started = rig.started(&begin).await;
                assert_eq!(started.history, expected, "{budget:?}");
                assert_eq!(started.conversation.item_count, 40);
                let finish =
                    openai_backend::store::FinishTurn { items: vec![], ..rig.finish(&begin, started.fence, 2, "") };
                rig.store.finish_turn(finish).await.unwrap();
            }
        }
    }
}

pub async fn may_go_while_a_turn_runs(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[1, 2, 4]).await;
        let all = rig.history(&who).await.unwrap().items;
        let begin = rig.begin(&who);
        let fence = rig.started(&begin).await.fence;
        remove(rig, &who, &all[0]).await;
        remove(rig, &who, &all[2]).await;
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "hi")).await.unwrap();
        let now = rig.history(&who).await.unwrap().items;
        assert_eq!(now[0], all[1]);
        assert_eq!(figures(&now), [(2, 1), (4, 3), (5, 12)]);
        assert_items(rig, &who, &now, 5, 19).await;
    }
}
