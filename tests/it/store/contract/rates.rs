//! How often an owner may begin a turn: counted in the step that begins it.

use futures::future::join_all;
use openai_backend::domain::rate::{Rate, RateLeft};
use openai_backend::store::{BeginTurn, Begun};

use crate::store::rig::{Caller, DAY_MS, Rig};

/// Three in thirty time steps, so one every ten.
fn rate(rig: &Rig) -> Rate {
    Rate { most: 3, per_ms: rig.unit_ms() * 30 }
}

/// In a conversation of its own.
fn rated(rig: &Rig, who: &Caller) -> BeginTurn {
    BeginTurn { rate: Some(rate(rig)), ..rig.begin(&who.elsewhere()) }
}

/// What is left then, or `None` where the rate is used up.
async fn begin(rig: &Rig, begin: BeginTurn) -> Option<u32> {
    match rig.peer.begin_turn(begin).await.unwrap() {
        Begun::Started(started) => started.rate.map(|left| left.left),
        Begun::RateLimited { wait_ms } => {
            assert!((1..=rate(rig).per_ms / 3).contains(&wait_ms), "{wait_ms}");
            None
        }
        other => panic!("{other:?}"),
    }
}

pub async fn lets_so_many_begin_and_more_with_time(rig: &Rig) {
    for who in rig.callers().await {
        for left in [Some(2), Some(1), Some(0), None, None] {
            assert_eq!(begin(rig, rated(rig, &who)).await, left);
        }
        rig.pass(10.5).await;
        assert_eq!(begin(rig, rated(rig, &who)).await, Some(0), "one share of the time has passed");
        assert_eq!(begin(rig, rated(rig, &who)).await, None);
    }
}

pub async fn that_is_used_up_leaves_nothing_behind(rig: &Rig) {
    for who in rig.callers().await {
        for _ in 0..3 {
            begin(rig, rated(rig, &who)).await.unwrap();
        }
        let refused = rated(rig, &who);
        assert_eq!(begin(rig, refused.clone()).await, None);
        assert!(rig.store.turn(&refused.place.owner, &refused.turn).await.unwrap().is_none());
        assert!(rig.store.conversation(&refused.place).await.unwrap().is_none(), "it was not made");
        let free = BeginTurn { rate: None, ..refused };
        assert_eq!(rig.started(&free).await.rate, None, "where there is no rate, nothing is counted");
    }
}

pub async fn is_left_alone_by_what_does_not_begin(rig: &Rig) {
    for who in rig.callers().await {
        let keyed = BeginTurn { rate: Some(rate(rig)), ..rig.begin_with_key(&who, "key", "body") };
        assert_eq!(begin(rig, keyed.clone()).await, Some(2));
        for _ in 0..5 {
            let busy = BeginTurn { place: keyed.place.clone(), ..rated(rig, &who) };
            assert!(matches!(rig.peer.begin_turn(busy).await.unwrap(), Begun::Busy { .. }));
            let same = BeginTurn { turn: rig.turn_id(), ..keyed.clone() };
            assert!(matches!(rig.peer.begin_turn(same).await.unwrap(), Begun::Duplicate { .. }));
            let moved = BeginTurn { expected_items: Some(7), ..rated(rig, &who) };
            assert_eq!(rig.peer.begin_turn(moved).await.unwrap(), Begun::Moved);
        }
        assert_eq!(begin(rig, rated(rig, &who)).await, Some(1));
    }
}

pub async fn is_each_owners_own_for_turns_and_all_else(rig: &Rig) {
    let (rate, now_ms) = (rate(rig), rig.now_ms());
    let [ada, program] = rig.callers().await;
    let tag = ada.place.owner.tag();
    for left in [2, 1] {
        let taken = rig.peer.take_rate(&tag, rate, now_ms).await.unwrap().unwrap();
        assert_eq!((taken.most, taken.left), (3, left));
        assert!(taken.full_in_ms > 0);
    }
    assert_eq!(begin(rig, rated(rig, &ada)).await, Some(0));
    let wait_ms = rig.peer.take_rate(&tag, rate, now_ms).await.unwrap().unwrap_err();
    assert!((1..=rate.per_ms / 3).contains(&wait_ms), "{wait_ms}");
    assert_eq!(begin(rig, rated(rig, &program)).await, Some(2));
    for account in ["address:192.0.2.1", "address:192.0.2.2", "a}b{c"] {
        let RateLeft { left, .. } = rig.store.take_rate(account, rate, now_ms).await.unwrap().unwrap();
        assert_eq!(left, 2, "{account}");
    }
}

pub async fn lets_no_more_begin_when_many_ask_at_once(rig: &Rig) {
    for who in rig.callers().await {
        let slow = Rate { most: 3, per_ms: DAY_MS };
        let asking = (0..20).map(|_| async {
            let begin = BeginTurn { rate: Some(slow), ..rated(rig, &who) };
            matches!(rig.peer.begin_turn(begin).await.unwrap(), Begun::Started(_))
        });
        let begun = join_all(asking).await.into_iter().filter(|begun| *begun).count();
        assert_eq!(begun, 3);
    }
}

pub async fn goes_with_its_session(rig: &Rig) {
    let [ada, _] = rig.callers().await;
    for _ in 0..3 {
        begin(rig, rated(rig, &ada)).await.unwrap();
    }
    rig.store.delete_owner(&ada.place.owner).await.unwrap();
    let left = rig.store.take_rate(&ada.place.owner.tag(), rate(rig), rig.now_ms()).await.unwrap().unwrap();
    assert_eq!(left.left, 2, "the row that it used up is gone");
}
