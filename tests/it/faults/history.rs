//! "Eight turns sent at once interleave", "the window never trims", "a turn costs 46 s at 1,000 stored messages".

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_openai::{Gate, Reply};
use futures::future::join_all;
use openai_backend::domain::clock::{Clock as _, SystemClock};
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::event::{End, Event, Numbered};
use openai_backend::domain::ids::{InstanceId, ItemId, SessionKey, SystemIds, TurnId};
use openai_backend::domain::item::{Item, assistant_message, user_message};
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::{TurnRequest, TurnStatus};
use openai_backend::domain::window::Budget;
use openai_backend::store::{BeginTurn, Begun, FinishTurn, Finished, SessionUse};
use serde_json::json;

use super::{BOTH, Rig, spoken};
use crate::support::SOON;
use crate::support::client::Client;

#[tokio::test]
async fn eight_turns_sent_at_once_in_one_session_do_not_interleave() {
    for kept in BOTH {
        let rig = Rig::with(kept, &[]).await;
        let browser = rig.server.client();
        browser.say("first").await.ok();
        rig.fake.set_responder(|request| Reply::text(format!("answer to {}", request.last_prompt())));
        let prompts: Vec<String> = (0..8).map(|n| format!("prompt {n}")).collect();
        join_all(prompts.iter().map(async |prompt| browser.say(prompt).await.ok())).await;
        let history = browser.history().await;
        assert_eq!(history.len(), 18, "{kept:?}");
        for turn in history[2..].chunks(2) {
            assert_eq!((turn[0].0.as_str(), turn[1].0.as_str()), ("user", "assistant"), "{kept:?}: {history:?}");
            assert_eq!(turn[1].1, format!("answer to {}", turn[0].1), "{kept:?}");
        }
        let asked: BTreeSet<&str> = history[2..].iter().map(|(_, text)| text.as_str()).collect();
        assert!(prompts.iter().all(|prompt| asked.contains(prompt.as_str())), "{kept:?}: {history:?}");
        // Each call had all the turns before it, whole, and no part of a later one.
        let requests = rig.fake.chat_requests();
        assert_eq!(requests.len(), 9, "{kept:?}");
        for (n, request) in requests.iter().enumerate() {
            assert_eq!(spoken(request), history[..=n * 2], "{kept:?}, call {n}");
        }
        assert_eq!(rig.fake.peak_in_flight(), 1, "{kept:?}: one after another");
    }
}

#[tokio::test]
async fn sixty_turns_stay_inside_the_window_whose_front_rarely_moves() {
    const BUDGET: usize = 2_000;
    for kept in BOTH {
        let rig = Rig::with(kept, &[("HISTORY_MAX_TOKENS", "2000")]).await;
        let browser = rig.server.client();
        let words = "a sentence of the kind that people write, and some more of it so that it counts. ".repeat(3);
        rig.fake.set_default(Reply::text(format!("answer: {words}")));
        for n in 0..60 {
            browser.say(&format!("prompt {n}: {words}")).await.ok();
        }
        let history = browser.history().await;
        assert_eq!(history.len(), 120, "{kept:?}: nothing is trimmed in the store");
        let mut fronts = Vec::new();
        for (n, request) in rig.fake.chat_requests().iter().enumerate() {
            let messages = request.conversation();
            let tokens: usize = messages.iter().map(|(_, text)| Encoding::Cl100k.count_message(text) as usize).sum();
            assert!(tokens <= BUDGET, "{kept:?}, turn {n}: {tokens} tokens");
            assert_eq!(messages[0].0, "system", "{kept:?}, turn {n}");
            let spoken = spoken(request);
            let start = (n + 1) * 2 - 1 - spoken.len();
            assert_eq!(spoken, history[start..=n * 2], "{kept:?}, turn {n}: the newest turns, without a gap");
            assert_eq!(start % 2, 0, "{kept:?}, turn {n}: whole turns");
            if start > 0 {
                assert!(tokens > BUDGET / 2, "{kept:?}, turn {n}: {tokens} tokens are less than there is room for");
            }
            fronts.push(start);
        }
        let moves = fronts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(fronts.is_sorted() && *fronts.last().unwrap() > 0, "{kept:?}: {fronts:?}");
        assert!((5..=20).contains(&moves), "{kept:?}: the front moved {moves} times: {fronts:?}");
    }
}

/// Puts so many messages of a few words into the browser's conversation, behind its back; gives how many items the
/// store loaded for the turn that they came with.
async fn remember(rig: &Rig, browser: &Client, messages: usize) -> usize {
    let (ids, clock, store) = (SystemIds, SystemClock, &rig.server.store);
    let cookie = browser.cookie().unwrap();
    let secret = URL_SAFE_NO_PAD.decode(cookie.split(['=', '.']).nth(1).unwrap()).unwrap();
    let key = SessionKey::of_secret(&secret.try_into().unwrap());
    let place = Place { conversation: key.main_conversation(), owner: Owner::Session(key) };
    let message = |n: usize| {
        let id = ItemId::fresh(&ids, &clock);
        let words = format!("message {n} of a long conversation");
        let json =
            if n.is_multiple_of(2) { user_message(&id, &words) } else { assistant_message(&id, &words, "", true) };
        Item { id, turn: None, json, tokens: 12, encoding: Encoding::Cl100k }
    };
    let turn = TurnId::fresh(&ids, &clock);
    let (model, instructions) = ("gpt-3.5-turbo".to_owned(), String::new());
    let request = TurnRequest {
        model,
        instructions,
        input: Vec::new(),
        answer_id: ItemId::fresh(&ids, &clock),
        temperature: None,
        max_tokens: Some(10),
        stream: false,
        options: None,
        shown: None,
        whole_history: false,
        tools: Default::default(),
        aim: Default::default(),
    };
    let begin = BeginTurn {
        place: place.clone(),
        session: SessionUse::Renew(60_000),
        create_conversation: false,
        hidden: false,
        expected_items: None,
        turn: turn.clone(),
        request,
        idempotency: None,
        rate: None,
        budget: Budget { tokens: 1_000, fixed_tokens: 100, whole: false },
        holder: InstanceId::fresh(&ids, &clock),
        lease_ms: 60_000,
        now_ms: clock.now_ms(),
    };
    let Begun::Started(started) = store.begin_turn(begin).await.unwrap() else { panic!("the turn does not begin") };
    let end = End { status: TurnStatus::Completed, answer: None, usage: None, fault: None, at_ms: 0 };
    let finish = FinishTurn {
        place,
        turn,
        fence: started.fence,
        status: TurnStatus::Completed,
        items: (0..messages).map(message).collect(),
        usage: None,
        fault: None,
        answer: None,
        events: vec![Numbered { seq: 2, event: Event::Ended(Box::new(end)) }],
        keep_events_ms: 60_000,
        now_ms: clock.now_ms(),
    };
    assert_eq!(store.finish_turn(finish).await.unwrap(), Finished::Stored);
    started.history.items.len()
}

#[tokio::test]
async fn a_turn_at_ten_thousand_stored_messages_loads_and_sends_no_more_than_at_a_hundred_and_freezes_no_other() {
    for kept in BOTH {
        let rig = Rig::with(kept, &[("HISTORY_MAX_TOKENS", "1000")]).await;
        let browser = rig.server.client();
        browser.say("the first message").await.ok();
        remember(&rig, &browser, 98).await;
        browser.say("the hundredth message").await.ok();
        let sent = rig.fake.last().body.len();
        let loaded = remember(&rig, &browser, 900).await;
        browser.say("the thousandth message").await.ok();
        assert!(rig.fake.last().body.len() <= sent * 13 / 10, "{kept:?}: {} bytes", rig.fake.last().body.len());
        assert!(remember(&rig, &browser, 9_000).await <= loaded * 13 / 10, "{kept:?}");
        browser.say("the ten thousandth message").await.ok();
        assert!(rig.fake.last().body.len() <= sent * 13 / 10, "{kept:?}: {} bytes", rig.fake.last().body.len());
        assert!(remember(&rig, &browser, 0).await <= loaded * 13 / 10, "{kept:?}");
        assert!(loaded < 100, "{kept:?}: {loaded} items were loaded");
        // While a turn of the long conversation runs, another owner's begins, runs and ends.
        let gate = Gate::new();
        rig.fake.push(Reply::text("slow").then_wait(&gate));
        let mut long = browser.stream(&json!({"prompt": "Take your time"})).await;
        gate.reached(1, SOON).await;
        rig.server.client().say("Hello").await.ok();
        gate.open();
        assert_eq!(long.rest().await.last().unwrap().name, "completed", "{kept:?}");
        let page = browser.get("/chat").await.ok();
        assert_eq!(page.as_array().unwrap().len(), 1_000, "{kept:?}: a long history is read in pages");
    }
}
