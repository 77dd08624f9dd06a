//! `history`, `turns` and `window`.

use openai_backend::domain::turn::TurnStatus;
use openai_backend::domain::window::Budget;
use openai_backend::store::BeginTurn;

use crate::store::rig::{AMPLE, Caller, Rig};

pub async fn pages_from_the_newest(rig: &Rig) {
    let who = Caller::browser();
    for _ in 0..5 {
        rig.turn(&who, "hi").await;
    }
    let all = rig.history(&who).await.unwrap();
    assert_eq!(all.items.iter().map(|item| item.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(!all.has_more);
    assert!(all.session_expires_at_ms.unwrap() > rig.now_ms());
    let befores = (0..=12).map(Some).chain([None, Some(u64::MAX)]);
    for before in befores {
        for limit in [1, 2, 3, 9, 10, 11, usize::MAX] {
            let page = rig.peer.history(&who.place, before, limit, rig.now_ms()).await.unwrap().unwrap();
            let end = usize::try_from(before.unwrap_or(99).clamp(1, 11)).unwrap() - 1;
            let start = end.saturating_sub(limit);
            assert_eq!(page.items, all.items[start..end], "{limit} before {before:?}");
            assert_eq!(page.has_more, start > 0, "{limit} before {before:?}");
        }
    }
}

pub async fn of_the_unknown_is_none(rig: &Rig) {
    for who in [Caller::browser(), Caller::program()] {
        assert_eq!(rig.history(&who).await, None);
        assert_eq!(rig.store.turns(&who.place, 10).await.unwrap(), None);
        assert_eq!(rig.store.window(&who.place, AMPLE).await.unwrap().items, []);
        rig.turn(&who, "hi").await;
        let elsewhere = who.elsewhere();
        assert_eq!(rig.history(&elsewhere).await, None);
        assert_eq!(rig.store.turns(&elsewhere.place, 10).await.unwrap(), None);
        assert_eq!(rig.store.window(&elsewhere.place, AMPLE).await.unwrap().items, []);
    }
}

pub async fn lists_turns_newest_first(rig: &Rig) {
    let who = Caller::browser();
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.insert(0, rig.turn(&who, "hi").await.turn);
        rig.pass(0.01).await;
    }
    let running = rig.begin(&who);
    rig.started(&running).await;
    ids.insert(0, running.turn);
    rig.started(&rig.begin(&who.elsewhere())).await;
    for limit in [1, 3, 5, usize::MAX] {
        let turns = rig.peer.turns(&who.place, limit).await.unwrap().unwrap();
        let listed: Vec<_> = turns.iter().map(|record| record.id.clone()).collect();
        assert_eq!(listed, ids[..limit.min(5)]);
        assert_eq!(turns[0].status, TurnStatus::Running);
        for record in turns {
            assert_eq!(rig.store.turn(&who.place.owner, &record.id).await.unwrap(), Some(record));
        }
    }
}

pub async fn of_two_conversations_stays_apart(rig: &Rig) {
    let one = Caller::browser();
    rig.turn(&one, "one").await;
    let two = one.elsewhere();
    for _ in 0..3 {
        rig.turn(&two, "two").await;
    }
    rig.turn(&one, "one").await;
    for (who, word, count) in [(&one, "one", 4), (&two, "two", 6)] {
        let items = rig.history(who).await.unwrap().items;
        assert_eq!(items.iter().map(|item| item.seq).collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
        let answers = items.iter().skip(1).step_by(2);
        assert!(answers.map(|item| item.item.message().unwrap().text).all(|text| text == word));
        assert_eq!(rig.store.window(&who.place, AMPLE).await.unwrap().items, items);
    }
}

pub async fn window_begins_at_the_cut(rig: &Rig) {
    let who = Caller::browser();
    for _ in 0..20 {
        rig.turn_of_tokens(&who, &[30, 0, 20]).await;
    }
    let all = rig.history(&who).await.unwrap().items;
    for (tokens, fixed_tokens) in [(1, 0), (1, 1), (100, 0), (100, 100), (999, 17), (1_000, 0), (1_001, 1)] {
        let budget = Budget { tokens, fixed_tokens, whole: false };
        let cut = budget.cut(1_000);
        let expected: Vec<_> = all.iter().filter(|item| item.tokens_before >= cut).cloned().collect();
        assert_eq!(rig.peer.window(&who.place, budget).await.unwrap().items, expected, "{budget:?}");
        let begin = BeginTurn { budget, ..rig.begin(&who) };
        let started = rig.started(&begin).await;
        assert_eq!(started.history.items, expected, "{budget:?}");
        let mut finish = rig.finish(&begin, started.fence, 2, "");
        finish.items.clear();
        rig.store.finish_turn(finish).await.unwrap();
    }
}
