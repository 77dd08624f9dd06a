//! "Eight turns sent at once interleave", "the window never trims", "a turn costs 46 s at 1,000 stored messages".

use std::collections::BTreeSet;

use fake_openai::{Gate, Reply};
use futures::future::join_all;
use openai_backend::domain::tokens::Encoding;
use serde_json::json;

use super::{BOTH, Kept, Rig, spoken};
use crate::support::SOON;

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

/// Turns of one conversation, many of them at once in the store.
async fn converse(rig: &Rig, browser: &crate::support::client::Client, messages: usize) {
    let words = "a few words that count ".repeat(4);
    let gone = browser.history().await.len();
    rig.fake.set_default(Reply::text(words.clone()));
    for _ in (gone..messages).step_by(2) {
        browser.say(&words).await.ok();
    }
}

#[tokio::test]
async fn a_turn_at_a_thousand_stored_messages_sends_no_more_than_at_a_hundred_and_freezes_nobody() {
    for kept in BOTH {
        let rig = Rig::with(kept, &[("HISTORY_MAX_TOKENS", "1000")]).await;
        let browser = rig.server.client();
        converse(&rig, &browser, 100).await;
        let at_hundred = bodies(&rig, 20);
        converse(&rig, &browser, 1_000).await;
        let at_thousand = bodies(&rig, 20);
        assert!(at_thousand <= at_hundred + at_hundred / 10, "{kept:?}: {at_thousand} bytes, {at_hundred} before");
        // While a turn of the long conversation runs, somebody else's begins, runs and ends.
        let gate = Gate::new();
        rig.fake.push(Reply::text("slow").then_wait(&gate));
        let mut long = browser.stream(&json!({"prompt": "Take your time"})).await;
        gate.reached(1, SOON).await;
        rig.server.client().say("Hello").await.ok();
        gate.open();
        assert_eq!(long.rest().await.last().unwrap().name, "completed", "{kept:?}");
        if kept == Kept::Sqlite {
            let page = browser.get("/chat?limit=10").await.ok();
            assert_eq!(page.as_array().unwrap().len(), 10, "a long history is read in pages");
        }
    }
}

/// The largest of the newest `count` bodies that went upstream, in bytes.
fn bodies(rig: &Rig, count: usize) -> usize {
    let requests = rig.fake.chat_requests();
    requests.iter().rev().take(count).map(|request| request.body.len()).max().unwrap()
}
