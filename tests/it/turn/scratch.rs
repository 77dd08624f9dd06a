//! Turns that are not stored leave nothing behind, and little while they are there.

use std::sync::Arc;
use std::time::Duration;

use openai_backend::config::OnCrash;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::ids::{ConversationId, ItemId, SystemIds, TurnId};
use openai_backend::domain::item::{Item, user_message};
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::TurnRequest;
use openai_backend::metering::{Metering, Route, Wish};
use openai_backend::store::SessionUse;
use openai_backend::store::memory::Memory;
use openai_backend::tasks::Tasks;
use openai_backend::turn::scratch::Scratch;
use openai_backend::turn::{Ask, OnBusy, Refused, TurnLimits};

use crate::support::eventually;
use crate::support::script::{Script, say};
use crate::support::server::Setup;

fn scratch() -> (Scratch, Metering) {
    let limits = TurnLimits {
        history_max_tokens: 8_000,
        max_waiting: 8,
        max_wait: Duration::from_secs(5),
        lease: Duration::from_secs(10),
        keep_events: Duration::from_secs(60),
        store_patience: Duration::from_secs(2),
        on_crash: OnCrash::Interrupt,
    };
    let clock = Arc::new(SystemClock);
    let store = Arc::new(Memory::new(clock.clone()));
    let metering = Metering::new(Script::new(|_, _| vec![say("Ok.")]), store, clock, &Setup::default().config());
    let scratch = Scratch::new(metering.clone(), Arc::new(SystemClock), Arc::new(SystemIds), &limits, Tasks::default());
    (scratch, metering)
}

fn ask(metering: &Metering, owner: &Owner, prompt: &str) -> Ask {
    let (clock, ids) = (SystemClock, SystemIds);
    let (turn, id) = (TurnId::fresh(&ids, &clock), ItemId::fresh(&ids, &clock));
    let json = user_message(&id, prompt);
    Ask {
        place: Place { owner: owner.clone(), conversation: ConversationId::fresh(&ids, &clock) },
        session: SessionUse::None,
        create_conversation: true,
        hidden: true,
        expected_items: None,
        permit: metering.permit(&Owner::ApiKey("a".into()), &Wish::of(Route::Responses)).unwrap(),
        request: TurnRequest {
            model: "demo".into(),
            instructions: String::new(),
            input: vec![Item { id, turn: Some(turn.clone()), json, tokens: 9, encoding: Encoding::Cl100k }],
            answer_id: ItemId::fresh(&ids, &clock),
            temperature: None,
            max_tokens: Some(1_000),
            stream: true,
            options: None,
            shown: None,
            whole_history: false,
            tools: Default::default(),
            aim: Default::default(),
        },
        turn,
        idempotency: None,
        on_busy: OnBusy::Reject,
        drop_if_unheard: true,
    }
}

/// The client left between the look at whether it is there and the beginning of the turn.
#[tokio::test]
async fn a_turn_that_comes_after_its_space_has_gone_is_none() {
    let (scratch, metering) = scratch();
    let space = scratch.space();
    let (owner, turns) = (space.owner().clone(), space.turns().clone());
    let mut accepted = turns.ask(ask(&metering, &owner, "one")).await.expect("it runs");
    accepted.reader.end().await.expect("an end");
    drop(accepted);
    drop(space);
    eventually("it is gone", async || scratch.held(&[]).0 == 0).await;
    let late = turns.ask(ask(&metering, &owner, "two")).await;
    assert!(matches!(late, Err(Refused::UnknownSession)));
    assert_eq!(scratch.held(&[]).0, 0);
}

#[tokio::test]
async fn a_turn_that_has_ended_takes_its_items_once() {
    let (scratch, metering) = scratch();
    let mut space = scratch.space();
    let prompt = "x".repeat(100_000);
    let mut kept = Vec::new();
    for _ in 0..40 {
        let ask = ask(&metering, space.owner(), &prompt);
        let turn = ask.turn.clone();
        let mut accepted = space.turns().ask(ask).await.expect("it runs");
        accepted.reader.end().await.expect("an end");
        accepted.on_leave.into_iter().for_each(|on_leave| on_leave.told(true));
        space.keep(turn.clone()).await.unwrap();
        kept.push(turn);
    }
    let (rows, bytes) = scratch.held(&kept);
    assert_eq!(rows, 1 + 2 * 16, "the session, and 16 turns with a conversation each");
    assert!((1_600_000..1_700_000).contains(&bytes), "{bytes}");
}
