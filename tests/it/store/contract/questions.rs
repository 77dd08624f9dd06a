//! What a running turn was asked: there from its beginning, under the numbers that its end gives it.

use openai_backend::domain::item::StoredItem;
use openai_backend::domain::question;
use openai_backend::domain::turn::{TurnRequest, TurnStatus};
use openai_backend::store::conversations::{ItemsPage, ItemsQuery, Removed};
use openai_backend::store::{BeginTurn, FinishTurn, Finished};

use super::conversations::ALL;
use crate::store::rig::{AMPLE, Caller, Rig, request};

/// A turn that asks two things.
fn asking(rig: &Rig, who: &Caller) -> BeginTurn {
    let (first, second) = (request("Why?"), request("And how?"));
    let turn = rig.turn_id();
    let mut input = [first.input.clone(), second.input].concat();
    input.iter_mut().for_each(|item| item.turn = Some(turn.clone()));
    BeginTurn { turn, request: TurnRequest { input, ..first }, ..rig.begin(who) }
}

async fn page(rig: &Rig, who: &Caller, after: Option<&StoredItem>, ascending: bool, limit: usize) -> (Vec<u64>, bool) {
    let query = ItemsQuery { after: after.map(|stored| stored.item.id.clone()), ascending, limit };
    match rig.peer.items(&who.place, query).await.unwrap() {
        ItemsPage::Page { items, has_more } => (items.iter().map(|stored| stored.seq).collect(), has_more),
        other => panic!("no page: {other:?}"),
    }
}

/// The numbers of a page of `count` items, as every store gives it.
fn expected(count: u64, after: Option<u64>, ascending: bool, limit: usize) -> (Vec<u64>, bool) {
    let mut all: Vec<u64> = match ascending {
        true => (after.unwrap_or(0) + 1..=count).collect(),
        false => (1..after.unwrap_or(count + 1)).rev().collect(),
    };
    let has_more = all.len() > limit;
    all.truncate(limit);
    (all, has_more)
}

pub async fn are_there_from_the_beginning(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[3, 4]).await;
        let begin = asking(rig, &who);
        let started = rig.started(&begin).await;
        assert_eq!((started.history.items.len(), started.conversation.item_count), (2, 2));
        let all = rig.history(&who).await.unwrap().items;
        assert_eq!(all.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let asked: Vec<_> = all[2..].iter().map(|stored| stored.item.clone()).collect();
        assert_eq!(asked, question::unanswered(&begin.request, TurnStatus::Running));
        assert!(all[2..].iter().all(|stored| (stored.tokens_before, stored.created_at_ms) == (7, begin.now_ms)));
        // On every way, from every place.
        for stored in &all {
            assert_eq!(rig.peer.item(&who.place, &stored.item.id).await.unwrap().as_ref(), Some(stored));
        }
        for after in [None, Some(0), Some(1), Some(2), Some(3)] {
            for (ascending, limit) in [1, 2, 3, 4, 5].into_iter().flat_map(|limit| [(true, limit), (false, limit)]) {
                let wanted = expected(4, after.map(|at| all[at].seq), ascending, limit);
                let found = page(rig, &who, after.map(|at| &all[at]), ascending, limit).await;
                assert_eq!(found, wanted, "{after:?} {ascending} {limit}");
            }
        }
        for (before, limit) in (1..6).flat_map(|before| (1..5).map(move |limit| (before, limit))) {
            let page = rig.peer.history(&who.place, Some(before), limit, rig.now_ms()).await.unwrap().unwrap();
            let (mut wanted, has_more) = expected(4, Some(before), false, limit);
            wanted.reverse();
            let found: Vec<u64> = page.items.iter().map(|stored| stored.seq).collect();
            assert_eq!((found, page.has_more), (wanted, has_more), "{before} {limit}");
        }
        // No prompt has them but their own turn's.
        assert_eq!(rig.peer.window(&who.place, AMPLE).await.unwrap().items, all[..2]);
    }
}

pub async fn join_the_history_with_the_answer(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[3]).await;
        let begin = asking(rig, &who);
        let fence = rig.started(&begin).await.fence;
        let asked: Vec<_> = rig.history(&who).await.unwrap().items.into_iter().skip(1).collect();
        // Of what else is removed meanwhile nothing changes their numbers.
        let old = rig.settled(&who).await.remove(0).item.id;
        assert_eq!(rig.store.remove_item(&who.place, &old).await.unwrap(), Removed::Removed);
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "So.")).await.unwrap();
        let all = rig.history(&who).await.unwrap().items;
        assert_eq!(all.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [2, 3, 4]);
        for (asked, stored) in asked.iter().zip(&all) {
            assert_eq!((asked.seq, &asked.item.id), (stored.seq, &stored.item.id));
            assert_eq!((question::standing(&stored.item), stored.item.tokens), (None, 9));
        }
        assert_eq!(rig.peer.window(&who.place, AMPLE).await.unwrap().items, all);
    }
}

pub async fn stay_without_an_answer_and_cost_nothing(rig: &Rig) {
    for who in rig.callers().await {
        rig.created(&who, &[3]).await;
        let begin = asking(rig, &who);
        let fence = rig.started(&begin).await.fence;
        let items = question::unanswered(&begin.request, TurnStatus::Failed);
        let finish = FinishTurn { items, status: TurnStatus::Failed, ..rig.finish(&begin, fence, 2, "") };
        assert_eq!(rig.store.finish_turn(finish).await.unwrap(), Finished::Stored);
        let all = rig.history(&who).await.unwrap().items;
        let standing: Vec<_> = all.iter().map(|stored| question::standing(&stored.item)).collect();
        assert_eq!(standing, [None, Some(TurnStatus::Failed), Some(TurnStatus::Failed)]);
        let next = rig.started(&asking(rig, &who)).await.conversation;
        assert_eq!((next.item_count, next.total_tokens), (3, 3));
    }
}

pub async fn cannot_be_removed_while_it_runs(rig: &Rig) {
    for who in rig.callers().await {
        let begin = asking(rig, &who);
        let fence = rig.started(&begin).await.fence;
        let asked = begin.request.input[1].id.clone();
        let refused = rig.peer.remove_item(&who.place, &asked).await.unwrap();
        assert_eq!(refused, Removed::Busy(begin.turn.clone()));
        rig.store.finish_turn(rig.finish(&begin, fence, 2, "So.")).await.unwrap();
        assert_eq!(rig.peer.remove_item(&who.place, &asked).await.unwrap(), Removed::Removed);
        assert_eq!(rig.history(&who).await.unwrap().items.len(), 2);
    }
}

pub async fn go_with_a_turn_that_is_forgotten(rig: &Rig) {
    for who in rig.callers().await {
        let begin = asking(rig, &who);
        rig.started(&begin).await;
        assert!(rig.store.delete_turn(&who.place.owner, &begin.turn).await.unwrap());
        let page = ItemsPage::Page { items: Vec::new(), has_more: false };
        assert_eq!(rig.peer.items(&who.place, ALL).await.unwrap(), page);
    }
}
