//! Tries of clients that send again by themselves: which one a retry joins.

use openai_backend::domain::ids::TurnId;
use openai_backend::store::{BeginTurn, Begun, IdempotencyKey, KeyRole, Try};

use crate::store::rig::{Caller, DAY_MS, Rig};

const RETRY: KeyRole = KeyRole::Retry { instead_of: None };

/// In a conversation of its own, `after_ms` later than now.
fn tried(rig: &Rig, who: &Caller, role: KeyRole, after_ms: i64) -> BeginTurn {
    let begin = rig.begin_with_key(&who.elsewhere(), "key", "body");
    let idempotency = begin.idempotency.clone().map(|key| IdempotencyKey { role, ..key });
    BeginTurn { idempotency, now_ms: begin.now_ms + after_ms, ..begin }
}

async fn begun(rig: &Rig, who: &Caller, role: KeyRole, after_ms: i64) -> BeginTurn {
    let begin = tried(rig, who, role, after_ms);
    rig.started(&begin).await;
    begin
}

/// The turn that a retry joins.
async fn joined(rig: &Rig, who: &Caller) -> TurnId {
    let begun = rig.peer.begin_turn(tried(rig, who, RETRY, 10)).await.unwrap();
    let Begun::Duplicate { turn, .. } = begun else { panic!("{begun:?}") };
    turn
}

async fn leave(rig: &Rig, begin: &BeginTurn) {
    rig.peer.leave_try(&begin.place, &begin.turn, "key").await.unwrap();
}

fn useless(begin: &BeginTurn) -> Option<Try> {
    Some(Try { turn: begin.turn.clone(), conversation: begin.place.conversation.clone() })
}

pub async fn are_apart_from_idempotency_keys(rig: &Rig) {
    for who in rig.callers().await {
        let keyed = rig.begin_with_key(&who, "key", "body");
        rig.started(&keyed).await;
        let first = tried(rig, &who, KeyRole::FirstTry, 0);
        let busy = Begun::Busy { running: keyed.turn.clone(), orphaned: false };
        let in_the_way = BeginTurn { place: who.place.clone(), ..first.clone() };
        assert_eq!(rig.store.begin_turn(in_the_way).await.unwrap(), busy, "a first try joins no other");
        rig.started(&first).await;
        assert_eq!(joined(rig, &who).await, first.turn, "what did not begin is no try");
        let keyed_again = rig.begin_with_key(&who.elsewhere(), "key", "body");
        let conversation = who.place.conversation.clone();
        let duplicate = Begun::Duplicate { turn: keyed.turn, conversation };
        assert_eq!(rig.peer.begin_turn(keyed_again).await.unwrap(), duplicate);
    }
}

pub async fn that_are_joined_are_named_with_their_conversation(rig: &Rig) {
    for who in rig.callers().await {
        let first = begun(rig, &who, KeyRole::FirstTry, 0).await;
        let conversation = first.place.conversation.clone();
        let duplicate = Begun::Duplicate { turn: first.turn.clone(), conversation };
        for _ in 0..3 {
            let retry = tried(rig, &who, RETRY, 1);
            assert_eq!(rig.peer.begin_turn(retry).await.unwrap(), duplicate, "the only one is joined each time");
        }
        let other = rig.begin_with_key(&who.elsewhere(), "another key", "body");
        let idempotency = other.idempotency.clone().map(|key| IdempotencyKey { role: RETRY, ..key });
        rig.started(&BeginTurn { idempotency, ..other }).await;
    }
}

pub async fn whose_clients_have_left_are_joined_first(rig: &Rig) {
    for who in rig.callers().await {
        let mut tries = Vec::new();
        for after_ms in 0..4 {
            tries.push(begun(rig, &who, KeyRole::FirstTry, after_ms).await);
        }
        leave(rig, &tries[1]).await;
        leave(rig, &tries[0]).await;
        leave(rig, &tries[0]).await;
        let order = [1, 0, 3, 2, 3, 2, 1, 0].map(|at: usize| tries[at].turn.clone());
        for (at, expected) in order.into_iter().enumerate() {
            assert_eq!(joined(rig, &who).await, expected, "retry {at}");
        }
        // The client of a retry may leave, too.
        leave(rig, &tries[2]).await;
        assert_eq!(joined(rig, &who).await, tries[2].turn);
    }
}

pub async fn are_each_joined_by_one_of_many_retries(rig: &Rig) {
    for who in rig.callers().await {
        let mut tries = Vec::new();
        for after_ms in 0..8 {
            tries.push(begun(rig, &who, KeyRole::FirstTry, after_ms).await.turn);
        }
        let retries = (0..8).map(|_| joined(rig, &who));
        let mut joined = futures::future::join_all(retries).await;
        joined.sort();
        tries.sort();
        assert_eq!(joined, tries);
    }
}

pub async fn of_no_use_are_replaced_once(rig: &Rig) {
    for who in rig.callers().await {
        let other = begun(rig, &who, KeyRole::FirstTry, 0).await;
        let failed = begun(rig, &who, KeyRole::FirstTry, 1).await;
        let instead = KeyRole::Retry { instead_of: useless(&failed) };
        let replacing = begun(rig, &who, instead.clone(), 2).await;
        let again = rig.peer.begin_turn(tried(rig, &who, instead, 3)).await.unwrap();
        assert!(matches!(&again, Begun::Duplicate { turn, .. } if *turn == replacing.turn), "{again:?}");
        assert_eq!(joined(rig, &who).await, other.turn);
        // A turn that could not begin replaces nothing.
        let busy = BeginTurn {
            place: other.place.clone(),
            ..tried(rig, &who, KeyRole::Retry { instead_of: useless(&replacing) }, 4)
        };
        assert!(matches!(rig.store.begin_turn(busy).await.unwrap(), Begun::Busy { .. }));
        leave(rig, &replacing).await;
        assert_eq!(joined(rig, &who).await, replacing.turn);
    }
}

pub async fn lapse(rig: &Rig) {
    for who in rig.callers().await {
        let older = tried(rig, &who, KeyRole::FirstTry, 0);
        let idempotency = older.idempotency.clone().map(|key| IdempotencyKey { keep_ms: rig.unit_ms(), ..key });
        let older = BeginTurn { idempotency, ..older };
        rig.started(&older).await;
        leave(rig, &older).await;
        let newer = begun(rig, &who, KeyRole::FirstTry, 1).await;
        assert_eq!(joined(rig, &who).await, older.turn);
        leave(rig, &older).await;
        rig.pass(2.0).await;
        assert_eq!(joined(rig, &who).await, newer.turn);
    }
}

pub async fn go_with_their_turns(rig: &Rig) {
    for who in rig.callers().await {
        let (one, two) = (begun(rig, &who, KeyRole::FirstTry, 0).await, begun(rig, &who, KeyRole::FirstTry, 1).await);
        let three = begun(rig, &who, KeyRole::FirstTry, 2).await;
        assert!(rig.store.delete_turn(&who.place.owner, &three.turn).await.unwrap());
        leave(rig, &three).await;
        assert!(rig.store.delete_conversation(&two.place).await.unwrap());
        assert_eq!(joined(rig, &who).await, one.turn);
        assert!(rig.store.delete_conversation(&one.place).await.unwrap());
        begun(rig, &who, RETRY, DAY_MS / 2).await;
    }
}

pub async fn belong_to_their_owner(rig: &Rig) {
    let [browser, program] = rig.callers().await;
    let first = begun(rig, &browser, KeyRole::FirstTry, 0).await;
    let theirs = begun(rig, &program, RETRY, 1).await;
    let intruder = BeginTurn { place: program.place.clone(), ..first.clone() };
    leave(rig, &intruder).await;
    let newer = begun(rig, &browser, KeyRole::FirstTry, 2).await;
    assert_eq!(joined(rig, &browser).await, newer.turn);
    assert_eq!(joined(rig, &program).await, theirs.turn);
}
