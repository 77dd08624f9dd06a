//! P4: a stream that is read on from event N gives N+1 to the end, once, in order, byte for byte, from any server.

use fake_openai::{FakeOpenAi, Gate, Step};

use super::*;
use crate::on_every_store;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

/// A thought, a word with what JSON escapes, another one, and a call in two parts: five chunks but for the arguments'.
fn reply(gate: &Gate) -> Reply {
    let said = Reply::reasoning("Hm.").then_text("\"thräé\"\n\n").then_text("👌").then_tool_call("a", "f", "{\"x\":1}");
    said.gate_each(gate)
}

fn number(frames: &[&str]) -> u64 {
    frames.len() as u64
}

async fn a_response_that_is_over_is_read_on_from_anywhere(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdk = Sdk::new(&pair.one.url);
    let open = Gate::new();
    open.open();
    fake.push(reply(&open));
    let mut whole = sdk.open(json!({"model": "m", "input": "Hi", "tools": [function("f")]})).await;
    let events = whole.rest().await;
    referee::judge(&events);
    let id = id(&events[0]["response"]);
    for url in [&pair.one.url, &pair.other().url] {
        let reader = sdk.at(url);
        let mut again = reader.resume(id, None).await;
        again.rest().await;
        assert_eq!(again.frames(), whole.frames());
        for after in 0..number(&whole.frames()) {
            let mut piece = reader.resume(id, Some(after)).await;
            piece.rest().await;
            assert_eq!(piece.frames(), whole.frames()[usize::try_from(after).unwrap() + 1..], "after {after}");
        }
        // Nothing comes after the end.
        for beyond in [number(&whole.frames()), u64::MAX] {
            let mut piece = reader.resume(id, Some(beyond)).await;
            assert_eq!(piece.rest().await, [] as [Value; 0]);
        }
        assert_eq!(reader.response(id).await, events.last().unwrap()["response"]);
    }
}

/// Stopped at each chunk in turn, and read on from each event that there is, and some that are yet to come.
async fn a_response_in_the_making_is_read_on_from_anywhere(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdk = Sdk::new(&pair.one.url);
    let stops = [
        "response.reasoning_summary_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_item.added",
        "response.function_call_arguments.delta",
    ];
    for background in [false, true] {
        for stop in 1..=stops.len() {
            let gate = Gate::new();
            fake.push(reply(&gate));
            gate.pass(1);
            let body = json!({"model": "m", "input": "Hi", "tools": [function("f")], "background": background});
            let mut live = sdk.open(body).await;
            let id = live.id().await;
            for (place, kind) in stops[..stop].iter().enumerate() {
                if place > 0 {
                    gate.pass(1);
                }
                live.until(kind).await;
            }
            let seen = live.last().unwrap();
            let mut readers = Vec::new();
            for url in [&pair.one.url, &pair.other().url] {
                for after in (0..seen + 3).map(Some).chain([None]) {
                    readers.push((after, sdk.at(url).resume(&id, after).await));
                }
            }
            gate.open();
            live.rest().await;
            let whole = live.frames();
            for (after, reader) in &mut readers {
                reader.rest().await;
                let from = after.map_or(0, |after| usize::try_from(after).unwrap() + 1);
                assert_eq!(reader.frames(), whole[from..], "stopped at {stop}, read on after {after:?}");
            }
            referee::judge(&sdk.at(&pair.other().url).resume(&id, None).await.rest().await);
        }
    }
}

/// Its client does not have to read it: its events are there from the first one on.
async fn a_background_response_is_streamed_to_any_later_reader(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdk = Sdk::new(&pair.one.url);
    let gate = Gate::new();
    fake.push(reply(&gate));
    let queued = sdk.respond(json!({"model": "m", "input": "Hi", "background": true, "tools": [function("f")]})).await;
    let mut here = sdk.resume(id(&queued), None).await;
    let mut there = sdk.at(&pair.other().url).resume(id(&queued), None).await;
    assert_eq!(here.next().await.unwrap()["response"], queued, "it is as it was when it was asked for");
    let other = sdk.at(&pair.other().url);
    assert_eq!(other.response(id(&queued)).await["status"], "in_progress");
    gate.open();
    let (_, events) = (here.rest().await, there.rest().await);
    referee::judge(&events);
    assert_eq!(here.frames(), there.frames());
    assert_eq!(other.response(id(&queued)).await, events.last().unwrap()["response"]);
}

async fn bad_cursors_are_refused(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdk = Sdk::new(&pair.one.url);
    let response = sdk.respond(ask("Hi")).await;
    let path = format!("/v1/responses/{}", id(&response));
    for url in [&pair.one.url, &pair.other().url] {
        let reader = sdk.at(url);
        for bad in ["-1", "1.5", "x", "+1", "%201", "18446744073709551616", ""] {
            let answer = reader.get(&format!("{path}?stream=true&starting_after={bad}")).await;
            assert_eq!(failed(&answer, 400)["param"], "starting_after", "{bad:?}");
        }
        for bad in ["yes", "2", "tru"] {
            assert_eq!(failed(&reader.get(&format!("{path}?stream={bad}")).await, 400)["param"], "stream");
        }
        for plain in ["", "?stream=false", "?starting_after=3", "?include%5B%5D=message.input_image.image_url"] {
            assert_eq!(reader.get(&format!("{path}{plain}")).await.ok(), response, "{plain}");
        }
        for unknown in ["resp_0", "resp_", "no-id", "turn_1"] {
            let answer = reader.get(&format!("/v1/responses/{unknown}?stream=true")).await;
            assert_eq!(failed(&answer, 404)["code"], "response_not_found");
        }
    }
}

/// When its events are gone there is still the whole, which is told anew, but not to a reader that saw a part of it.
async fn when_the_window_has_ended_the_whole_is_still_there(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake).set("RESUME_WINDOW", "1s")).await;
    let sdk = Sdk::new(&pair.one.url);
    let open = Gate::new();
    open.open();
    let replies = [
        reply(&open),
        Reply::text("Half").finish_reason("length"),
        Reply::text("Well.").then_refusal("No."),
        Reply::text("Broken").then(Step::Flush).then(Step::Reset),
        Reply::tool_call("a", "f", "{\"x\":").then(Step::Flush).then(Step::End),
        Reply::empty(),
    ];
    for reply in replies {
        fake.push(reply);
        let events = sdk.stream(json!({"model": "m", "input": "Hi", "tools": [function("f")]})).await;
        let response = events.last().unwrap()["response"].clone();
        let path = format!("/v1/responses/{}?stream=true", id(&response));
        for url in [&pair.one.url, &pair.other().url] {
            let reader = sdk.at(url);
            let late = format!("{path}&starting_after=2");
            eventually("the window ends", async || reader.get(&late).await.status.as_u16() == 410).await;
            assert_eq!(failed(&reader.get(&late).await, 410)["code"], "events_expired");
            let anew = reader.resume(id(&response), None).await.rest().await;
            referee::judge(&anew);
            assert_eq!(anew.last().unwrap()["response"], response);
            assert_eq!(reader.response(id(&response)).await, response);
        }
    }
}

on_every_store! {
    a_response_that_is_over_is_read_on_from_anywhere,
    a_response_in_the_making_is_read_on_from_anywhere,
    a_background_response_is_streamed_to_any_later_reader,
    bad_cursors_are_refused,
    when_the_window_has_ended_the_whole_is_still_there,
}
