//! P4: a stream resumed after event N gives N+1 to the end, once, in order, from any server.

use fake_openai::Gate;
use reqwest::Method;
use serde_json::json;

use super::{answering, begin, frames, halves, known, over, resume};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::support::script::{say, wait};
use crate::support::sse::EventStream;

const WORDS: [&str; 5] = ["One ", "two\n\n", "thräé ", "data: four\r\n", "👌"];

/// `started`, the words, `completed`.
const EVENTS: u64 = WORDS.len() as u64 + 2;

fn joined(pieces: &[&EventStream]) -> String {
    pieces.iter().map(|piece| frames(piece)).collect()
}

/// With the cursor in the header, as an `EventSource` sends it.
async fn reconnect(client: &Client, turn: &str, after: u64) -> EventStream {
    let path = format!("/chat/turns/{turn}/events");
    client.stream_of(client.request(Method::GET, &path).header("last-event-id", after)).await
}

async fn a_stream_cut_anywhere_is_joined_byte_for_byte(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || WORDS.iter().flat_map(|word| [wait(&gate), say(*word)]).chain([wait(&gate)]).collect()
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    // The status is held back for the first word.
    for cut in 2..=EVENTS {
        for elsewhere in [false, true] {
            let turn_body = json!({"prompt": "x"});
            gate.pass(1);
            let mut live = client.stream(&turn_body).await;
            let turn = live.expect("started").await.data["turn"].as_str().unwrap().to_owned();
            for seq in 2..=cut {
                if seq > 2 {
                    gate.pass(1);
                }
                assert_eq!(live.next().await.unwrap().id, Some(seq));
            }
            let url = if elsewhere { &pair.other().url } else { &pair.one.url };
            let reader = client.at(url);
            let path = format!("/chat/turns/{turn}/events?after={cut}");
            if cut == EVENTS {
                assert!(live.next().await.is_none());
                assert_eq!(reader.get(&path).await.status.as_u16(), 204);
            }
            let uncut = async || {
                let mut whole = resume(&reader, &turn, 0).await;
                assert_eq!(whole.rest().await.len() as u64, EVENTS);
                frames(&whole)
            };
            if cut == EVENTS {
                assert_eq!(joined(&[&live]), uncut().await);
                continue;
            }
            // Two readers that came back, one that was there before, and the one that never left.
            let mut by_query = resume(&reader, &turn, cut).await;
            let mut by_header = reconnect(&reader, &turn, cut).await;
            let mut early = resume(&reader, &turn, cut - 1).await;
            let seen = early.next().await.unwrap();
            assert_eq!(seen.id, Some(cut));
            let before = frames(&live);
            for seq in cut + 1..=EVENTS {
                gate.pass(1);
                assert_eq!(live.next().await.unwrap().id, Some(seq));
            }
            for stream in [&mut by_query, &mut by_header, &mut early, &mut live] {
                stream.rest().await;
            }
            let whole = uncut().await;
            assert_eq!(format!("{before}{}", frames(&by_query)), frames(&live), "cut at {cut}");
            assert_eq!(frames(&by_query), frames(&by_header));
            assert!(frames(&live).ends_with(&frames(&early)));
            let text = "One two\n\nthräé data: four\r\n👌";
            assert!(whole.contains(&json!(text).to_string()), "{whole}");
            assert_eq!(whole, frames(&live), "cut at {cut}");
        }
    }
}

async fn an_ended_turn_is_resumed_from_anywhere(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || WORDS.iter().flat_map(|word| [wait(&gate), say(*word)]).collect()
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    gate.pass(1);
    let mut uncut = client.stream(&json!({"prompt": "x"})).await;
    let turn = uncut.expect("started").await.data["turn"].as_str().unwrap().to_owned();
    for _ in 1..WORDS.len() {
        uncut.expect("delta").await;
        gate.pass(1);
    }
    uncut.rest().await;
    let whole = frames(&uncut);
    let parts: Vec<&str> = whole.split_inclusive("\n\n").collect();
    assert_eq!(parts.len() as u64, EVENTS);
    for url in [&pair.one.url, &pair.other().url] {
        let reader = client.at(url);
        for after in 0..EVENTS {
            let mut by_query = resume(&reader, &turn, after).await;
            let mut by_header = reconnect(&reader, &turn, after).await;
            by_query.rest().await;
            by_header.rest().await;
            let expected = parts[usize::try_from(after).unwrap()..].concat();
            assert_eq!((frames(&by_query), frames(&by_header)), (expected.clone(), expected));
        }
        for beyond in [EVENTS, EVENTS + 7] {
            let answer = reader.get(&format!("/chat/turns/{turn}/events?after={beyond}")).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""));
        }
    }
}

async fn bad_cursors_and_strangers_are_refused(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let (client, stranger) = (known(&pair.one.url).await, known(&pair.one.url).await);
    let (mut live, turn) = begin(&client, "x").await;
    for url in [&pair.one.url, &pair.other().url] {
        let (client, stranger) = (client.at(url), stranger.at(url));
        let path = format!("/chat/turns/{turn}/events");
        for bad in ["-1", "1.5", "x", "+1", "%201", "18446744073709551616", ""] {
            let answer = client.get(&format!("{path}?after={bad}")).await;
            assert_eq!(answer.failed(400), "invalid_cursor", "{bad:?}");
        }
        for bad in ["-1", "x", "1,2"] {
            let answer = client.send(client.request(Method::GET, &path).header("last-event-id", bad)).await;
            assert_eq!(answer.failed(400), "invalid_cursor", "{bad:?}");
        }
        let newcomer = Client::new(url);
        for who in [&stranger, &newcomer] {
            assert_eq!(who.get(&path).await.failed(404), "not_found");
            assert_eq!(who.post(&format!("/chat/turns/{turn}/cancel"), &json!({})).await.failed(404), "not_found");
        }
        assert_eq!(client.get("/chat/turns/turn_0/events").await.failed(404), "not_found");
    }
    gate.open();
    assert_eq!(live.rest().await.last().unwrap().name, "completed");
}

async fn the_window_ends_and_the_message_stays(ground: Ground) {
    let script = answering(|| vec![say("A short answer.")]);
    let pair = ground.two(|| over(&script).set("RESUME_WINDOW", "1s")).await;
    let client = known(&pair.one.url).await;
    let (mut live, turn) = begin(&client, "x").await;
    live.rest().await;
    for url in [&pair.one.url, &pair.other().url] {
        let reader = client.at(url);
        let path = format!("/chat/turns/{turn}/events?after=1");
        eventually("the window ends", async || reader.get(&path).await.status.as_u16() == 410).await;
        assert_eq!(reader.get(&path).await.failed(410), "events_expired");
        assert_eq!(reader.history().await[3].1, "A short answer.");
    }
}

async fn a_reloaded_page_finds_its_turn(ground: Ground) {
    let gate = Gate::new();
    let script = answering({
        let gate = gate.clone();
        move || halves(&gate)
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let (live, turn) = begin(&client, "x").await;
    drop(live);
    let page = client.at(&pair.other().url);
    let found = super::record(&page, &turn).await;
    assert_eq!((&found["turn"], &found["status"], &found["attempt"]), (&json!(turn), &json!("running"), &json!(1)));
    assert_eq!(found["lastEvent"], 2);
    let mut stream = resume(&page, &turn, 0).await;
    stream.expect("started").await;
    assert_eq!(stream.expect("delta").await.data["content"], "Half ");
    gate.open();
    assert_eq!(stream.rest().await.last().unwrap().data["content"], "Half and half");
    let found = super::record(&page, &turn).await;
    assert_eq!(found["status"], "completed");
    assert!(found["usage"]["outputTokens"].as_u64() > Some(0), "{found}");
}

on_every_store! {
    a_stream_cut_anywhere_is_joined_byte_for_byte,
    an_ended_turn_is_resumed_from_anywhere,
    bad_cursors_and_strangers_are_refused,
    the_window_ends_and_the_message_stays,
    a_reloaded_page_finds_its_turn,
}
