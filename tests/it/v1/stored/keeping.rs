//! What cannot be kept, what the store does not take, what fails on the way; and what client and store then have.

use std::sync::Arc;

use fake_openai::{Gate, LineEnd, Reply, Step};
use openai_backend::domain::clock::SystemClock;
use openai_backend::store::memory::Memory;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use serde_json::{Value, json};

use super::{ID, PATH, kept, list, reply, told};
use crate::support::SOON;
use crate::support::faulty::Faulty;
use crate::support::schema::{Spec, check};
use crate::support::server::Setup;
use crate::v1::{Rig, ask, assert_shape, data, failed, hasty};

#[tokio::test]
async fn what_cannot_be_kept_is_refused_before_the_model_is_asked() {
    let setup = Setup::default().set("MAX_BODY_BYTES", "20000000");
    let rig = Rig::with(setup, |settings| settings).await;
    let with = |name: &str, value: Value| {
        let mut body = kept(false);
        body[name] = value;
        body
    };
    let pairs: serde_json::Map<String, Value> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    let long = json!([{"role": "user", "content": "x".repeat(8 * 1024 * 1024)}]);
    for (body, param, code) in [
        (with("store", json!("canary")), "store", "invalid_type"),
        (with("store", json!(1)), "store", "invalid_type"),
        (with("metadata", json!("canary")), "metadata", "invalid_type"),
        (with("metadata", json!({"k": 1})), "metadata", "invalid_type"),
        (with("metadata", json!(pairs)), "metadata", "object_above_max_properties"),
        (with("metadata", json!({"k": "v".repeat(513)})), "metadata", "string_above_max_length"),
        (with("messages", json!("canary")), "messages", "invalid_type"),
        (with("messages", json!({"a": []})), "messages", "invalid_type"),
        (with("messages", json!(["canary"])), "messages", "invalid_type"),
        (with("messages", Value::Null), "messages", "invalid_type"),
        (with("messages", long), "messages", "too_large_to_store"),
        (json!({"model": "m", "store": true}), "messages", "missing_required_parameter"),
    ] {
        let error = failed(&rig.complete(&body).await, 400);
        assert_eq!((error["param"].as_str(), error["code"].as_str()), (Some(param), Some(code)));
    }
    failed(&rig.client.send(rig.completion(r#"{"model":"m","store":false,"messages":[],"messages":[]}"#)).await, 400);
    assert_eq!(rig.fake.calls(), 0);
    // What is not to be kept is the model's business, as before.
    rig.complete(&json!({"model": "m", "store": false, "metadata": "x", "messages": "x"})).await.ok();
    rig.complete(&json!({"model": "m", "store": null})).await.ok();
    assert!(list(&rig).await.is_empty());
}

async fn over(store: &Arc<Faulty>, change: impl FnOnce(OpenAiSettings) -> OpenAiSettings) -> Rig {
    Rig::with(Setup::default().store(store.clone()), change).await
}

#[tokio::test]
async fn an_answer_that_the_store_does_not_take_has_no_good_end() {
    let store = Faulty::well(Arc::new(Memory::new(Arc::new(SystemClock))));
    let rig = over(&store, |settings| settings).await;
    for code in ["store_full", "store_unavailable"] {
        if code == "store_full" {
            store.fill()
        } else {
            store.go_away()
        }
        for id in [json!(ID), json!("short")] {
            rig.fake.push(reply(&id, false, "words"));
            let answer = rig.complete(&kept(false)).await;
            assert_eq!(failed(&answer, 503)["code"], code);
            assert_eq!(answer.header("x-should-retry"), Some("false"), "it would cost again: {answer:?}");
        }
        rig.fake.push(reply(&json!("short"), true, "words"));
        let answer = rig.complete(&kept(true)).await;
        assert_eq!(answer.status.as_u16(), 200);
        let last: Value = serde_json::from_str(data(&answer.text).last().unwrap()).unwrap();
        assert_shape(&last);
        assert_eq!(last["error"]["code"], code);
        assert!(answer.text.contains("words") && !answer.text.contains("[DONE]"), "{}", answer.text);
        // Where it shows before the first byte, the status says it.
        rig.fake.push(reply(&json!(ID), true, "words"));
        let early = rig.complete(&kept(true)).await;
        assert_eq!((failed(&early, 503)["code"].as_str(), early.header("x-should-retry")), (Some(code), Some("false")));
        // What is not to be kept needs no store.
        assert!(rig.complete(&ask(true)).await.text.ends_with("data: [DONE]\n\n"));
        let error = failed(&rig.get(PATH).await, 503);
        assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!("api_error")));
        store.mend();
        assert!(list(&rig).await.is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let rig = Rig::new().await;
    rig.fake.push(reply(&json!(ID), false, &"x".repeat(8 * 1024 * 1024)));
    let answer = rig.complete(&kept(false)).await;
    assert_eq!(failed(&answer, 502)["code"], "too_large_to_store");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
    let piece = json!({"id": ID, "choices": [{"index": 0, "delta": {"content": "x".repeat(900_000)}}]});
    let end = json!({"id": ID, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let pieces = std::iter::repeat_n(Step::json(&piece), 10);
    rig.fake.push(Reply::stream(pieces.chain([Step::json(&end), Step::Done])));
    let text = rig.complete(&kept(true)).await.text;
    assert_eq!(text.matches("xxx\"").count(), 10, "all of it goes through");
    assert!(text.contains("too_large_to_store") && !text.contains("[DONE]"));
    assert!(list(&rig).await.is_empty());
}

#[tokio::test]
async fn what_fails_or_is_left_is_not_kept() {
    let rig = Rig::with(Setup::default(), hasty).await;
    let words = || Reply::text("Some words");
    for reply in [
        words().then(Step::End),
        words().then(Step::Flush).then(Step::Fin),
        words().then(Step::Flush).then(Step::Hang),
        words().then_error("canary"),
        Reply::server_error(),
        Reply::stream([Step::Done, Step::End]),
    ] {
        rig.fake.push(reply);
        let text = rig.complete(&kept(true)).await.text;
        assert!(text.contains("error") && !text.contains("[DONE]") && !text.contains("canary"), "{text}");
    }
    for reply in [Reply::server_error(), Reply::json(200, &json!({"choices": []})), Reply::raw(200, "text/html", "<")] {
        rig.fake.push(reply);
        failed(&rig.complete(&kept(false)).await, 502);
    }
    assert!(list(&rig).await.is_empty());
    let rig = Rig::new().await;
    rig.fake.push(Reply::text("Half").then(Step::Hang));
    let mut response = rig.completion(kept(true).to_string()).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    rig.fake.wait_for_abort(SOON).await;
    assert!(list(&rig).await.is_empty());
}

#[tokio::test]
async fn chunks_of_a_kept_answer_are_not_held_back_and_its_end_comes_with_the_store() {
    let rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.push(Reply::pieces(["one", "two", "three"]).gate_each(&gate));
    let mut response = rig.completion(kept(true).to_string()).send().await.unwrap();
    let mut text = String::new();
    for word in ["one", "two", "three"] {
        assert!(!text.contains(word), "{word} was there before it was said");
        assert!(list(&rig).await.is_empty());
        gate.pass(1);
        while !text.contains(word) {
            let chunk = tokio::time::timeout(SOON, response.chunk()).await.expect("nothing is held back");
            text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }
    gate.open();
    while !text.contains("[DONE]") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(list(&rig).await.len(), 1);
}

#[tokio::test]
async fn the_answer_goes_through_byte_for_byte_and_is_read_again() {
    let rig = Rig::new().await;
    for stream in [false, true] {
        let id = format!("{ID}-{stream}");
        rig.fake.push_all([reply(&json!(id), stream, "Hello \u{1f44c}"), reply(&json!(id), stream, "Hello \u{1f44c}")]);
        let plain = rig.complete(&ask(stream)).await;
        let answer = rig.complete(&kept(stream)).await;
        assert_eq!(answer.text, plain.text);
        assert_eq!(told(&answer, stream), id);
        let read = rig.get(&format!("{PATH}/{id}")).await.ok();
        check(Spec::OpenAi, "CreateChatCompletionResponse", &read);
        let message = json!({"role": "assistant", "content": "Hello \u{1f44c}", "refusal": null});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
        assert_eq!(
            read,
            json!({"id": id, "object": "chat.completion", "created": 1, "model": "m-1", "choices": [choice],
                "metadata": {"topic": "lighthouses"}})
        );
    }
    assert_eq!(list(&rig).await.len(), 2);
}

#[tokio::test]
async fn a_stream_is_the_same_however_it_is_cut_into_lines_and_pieces() {
    let rig = Rig::new().await;
    for (number, line_end) in [LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr].into_iter().enumerate() {
        for step in [Step::Flush, Step::SplitEveryByte, Step::SplitEvery(7)] {
            rig.fake.push(Reply::text("Hello \u{1f44c} there").line_end(line_end).before(step));
            let text = rig.complete(&kept(true)).await.text;
            assert!(text.trim_end().ends_with("data: [DONE]"), "{text:?}");
        }
        let found = list(&rig).await;
        assert_eq!(found.len(), 3 * (number + 1));
        for completion in found {
            assert_eq!(completion["choices"][0]["message"]["content"], "Hello \u{1f44c} there");
        }
    }
    // Data in several lines, a name, a comment, and an id in the middle.
    let odd = "event: message\ndata: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"role\":\"assistant\",\"content\":\"Odd\"}}],\
               \ndata: \"id\": \"x\"}\n\n: ping\n\ndata:{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\n\
               data: [DONE]\n\n";
    rig.fake.push(Reply::stream([Step::send(odd), Step::End]));
    let answer = rig.complete(&kept(true)).await;
    let newest = rig.get(&format!("{PATH}?order=desc&limit=1")).await.ok()["data"][0].clone();
    assert_eq!(newest["choices"][0]["message"]["content"], "Odd");
    let id = newest["id"].as_str().unwrap();
    assert_eq!(answer.text.matches(id).count(), 2, "{}", answer.text);
    assert!(answer.text.contains(": ping\n\n") && answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
}

#[tokio::test]
async fn an_id_that_tells_nothing_apart_is_replaced_for_client_and_store() {
    let rig = Rig::new().await;
    let mut ids = Vec::new();
    for id in
        [json!(null), json!(""), json!("chatcmpl-123"), json!(7), json!("x".repeat(200)), json!(format!("{ID}/..?#"))]
    {
        for stream in [false, true] {
            rig.fake.push(reply(&id, stream, "Hello"));
            ids.push(told(&rig.complete(&kept(stream)).await, stream));
        }
    }
    let bare =
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":null}"#;
    rig.fake.push(Reply::raw(200, "application/json", bare));
    ids.push(told(&rig.complete(&kept(false)).await, false));
    // One that is taken is not taken again.
    for stream in [false, true, false] {
        rig.fake.push(reply(&json!(ID), stream, "Hello"));
        ids.push(told(&rig.complete(&kept(stream)).await, stream));
    }
    assert_eq!(ids.iter().filter(|id| *id == ID).count(), 1);
    let page = rig.get(&format!("{PATH}?limit=100")).await.ok();
    let listed: Vec<&str> =
        page["data"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    assert!(ids.iter().all(|id| id.starts_with("chatcmpl-") && id.len() > 24), "{ids:?}");
    check(Spec::OpenAi, "ChatCompletionList", &page);
}

#[tokio::test]
async fn calls_refusals_figures_and_several_choices() {
    let rig = Rig::new().await;
    for stream in [false, true] {
        let mut asked = kept(stream);
        asked["stream_options"] = json!({"include_usage": true});
        rig.fake.push_all([
            Reply::text("Let me see.")
                .then_tool_call("call_1", "look", "{\"at\":1}")
                .then_tool_call("call_2", "go", "{}"),
            Reply::refusal("I will not"),
            Reply::reasoning("Hm").then_text("Yes"),
        ]);
        for _ in 0..3 {
            assert_eq!(rig.complete(&asked).await.status.as_u16(), 200);
        }
        let found = list(&rig).await;
        let choice = |nth: usize| found[found.len() - 3 + nth]["choices"][0].clone();
        let calls = choice(0)["message"]["tool_calls"].clone();
        assert_eq!(
            calls,
            json!([{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}},
                {"id": "call_2", "type": "function", "function": {"name": "go", "arguments": "{}"}}])
        );
        assert_eq!(choice(0)["finish_reason"], "tool_calls");
        assert_eq!(choice(1)["message"]["refusal"], "I will not");
        assert_eq!(choice(1)["message"]["content"], Value::Null);
        assert_eq!(
            (&choice(2)["message"]["reasoning_content"], &choice(2)["message"]["content"]),
            (&json!("Hm"), &json!("Yes"))
        );
        assert!(found.last().unwrap()["usage"]["total_tokens"].as_u64().unwrap() > 0);
    }
    let chunk = |index: u32, delta: Value, finish: Value| {
        Step::json(&json!({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}))
    };
    rig.fake.push(Reply::stream([
        chunk(0, json!({"role": "assistant", "content": "a"}), Value::Null),
        chunk(1, json!({"role": "assistant", "content": "b"}), Value::Null),
        chunk(1, json!({"content": "B"}), json!("length")),
        chunk(0, json!({"content": "A"}), json!("stop")),
        Step::Done,
    ]));
    let mut asked = kept(true);
    asked["n"] = json!(2);
    rig.complete(&asked).await;
    let newest = list(&rig).await.pop().unwrap();
    let said: Vec<(&Value, &Value)> = newest["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| (&choice["message"]["content"], &choice["finish_reason"]))
        .collect();
    assert_eq!(said, [(&json!("aA"), &json!("stop")), (&json!("bB"), &json!("length"))]);
    check(Spec::OpenAi, "CreateChatCompletionResponse", &newest);
}

#[tokio::test]
async fn only_openai_itself_is_told_what_is_kept_here() {
    let rig = Rig::new().await;
    let odd = |store: &str, rest: &str| {
        format!("{{ \"store\" :{store},\"messages\":[ ],\"x\":1.50,{rest}\"metadata\": {{\"a\":\"b\"}} }}")
    };
    for (store, up) in [
        ("true", r#"{"messages":[ ],"x":1.50,"model":"m"}"#),
        ("false", r#"{"messages":[ ],"x":1.50,"model":"m","metadata":{"a":"b"}}"#),
        ("null", r#"{"messages":[ ],"x":1.50,"model":"m","metadata":{"a":"b"}}"#),
    ] {
        rig.client.send(rig.completion(odd(store, "\"model\":\"m\","))).await.ok();
        assert_eq!(rig.fake.last().body, up);
    }
    let openai = Rig::with(Setup::default(), |settings| OpenAiSettings { kind: "openai", ..settings }).await;
    let body = odd("true", "\"model\":\"m\",");
    openai.client.send(openai.completion(body.clone())).await.ok();
    assert_eq!(openai.fake.last().body, body);
    assert_eq!(list(&openai).await[0]["metadata"], json!({"a": "b"}));
}
