//! Every kind of answer as events and as a whole: they are the same, and say what really happened.

use fake_openai::{Chunking, Gate, Step, Usage};

use super::*;
use crate::support::client::Client;
use crate::support::{SOON, eventually};

/// Answers, and the types of the outputs that come of them.
fn answers() -> Vec<(Reply, &'static [&'static str])> {
    let usage = Usage { prompt: Some(9), completion: Some(7), cached: 4, reasoning: 3 };
    vec![
        (Reply::text("Plain words, é and 👌, \"quoted\"\nand broken."), &["message"]),
        (Reply::pieces(["a", "b", "c"]).flush_each(), &["message"]),
        (Reply::refusal("I will not."), &["message"]),
        (Reply::text("Well. ").then_refusal("I will not."), &["message"]),
        (Reply::reasoning("Let me think.").then_text("Done."), &["reasoning", "message"]),
        (Reply::reasoning("Let me think."), &["reasoning"]),
        (Reply::reasoning("Hm.").then_refusal("No."), &["reasoning", "message"]),
        (Reply::tool_call("a", "f", "{\"city\":\"Paris\"}"), &["function_call"]),
        (Reply::tool_call("a", "f", ""), &["function_call"]),
        (
            Reply::text("See:").then_tool_call("a", "f", "{}").then_tool_call("b", "g", "{}"),
            &["message", "function_call", "function_call"],
        ),
        (Reply::tool_call("a", "f", "{}").then_text("Then this."), &["function_call", "message"]),
        (
            Reply::text("One.").then_tool_call("a", "f", "{}").then_text("Two."),
            &["message", "function_call", "message"],
        ),
        (Reply::empty(), &["message"]),
        (Reply::empty().without_usage(), &["message"]),
        (Reply::text("usage").usage_details(usage), &["message"]),
        (Reply::text("Without figures.").without_usage(), &["message"]),
        (Reply::text("chars é").chunked(Chunking::Characters).split_every(1), &["message"]),
    ]
}

/// Without what differs from run to run.
fn content(response: &Value) -> Value {
    let mut content = response.clone();
    for own in ["id", "created_at", "completed_at", "usage", "background"] {
        content[own] = Value::Null;
    }
    for item in content["output"].as_array_mut().unwrap() {
        item["id"] = Value::Null;
    }
    content
}

#[tokio::test]
async fn streamed_plain_and_in_the_background_an_answer_is_the_same() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    let tools = json!([function("f"), function("g")]);
    for (reply, kinds) in answers() {
        rig.fake.push_all([reply.clone(), reply.clone(), reply.clone()]);
        let body = json!({"model": "m", "input": "Hi", "tools": tools});
        let events = rig.stream(body.clone()).await;
        let streamed = events.last().unwrap()["response"].clone();
        let types: Vec<&str> =
            streamed["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!((types.as_slice(), &streamed["status"]), (kinds, &json!("completed")), "{reply:?}");
        assert_eq!(sdk.response(id(&streamed)).await, streamed);
        let again = sdk.resume(id(&streamed), None).await.rest().await;
        assert_eq!(again, events, "read again, the events are the same");
        let mut background = body.clone();
        background["background"] = true.into();
        let queued = sdk.respond(background).await;
        assert_eq!((&queued["status"], &queued["output"]), (&json!("queued"), &json!([])));
        let path = format!("/v1/responses/{}", id(&queued));
        eventually("it is made", async || rig.get(&path).await.ok()["status"] == "completed").await;
        assert_eq!(content(&sdk.response(id(&queued)).await), content(&streamed));
        referee::judge(&sdk.resume(id(&queued), None).await.rest().await);
        // A message after a call is told before it where the answer comes as a whole.
        let plain = sdk.respond(body).await;
        if kinds
            .iter()
            .position(|kind| *kind == "message")
            .is_none_or(|place| place == 0 || kinds[place - 1] == "reasoning")
            && kinds.iter().filter(|kind| **kind == "message").count() < 2
        {
            assert_eq!(content(&plain), content(&streamed));
        }
        assert_eq!(sdk.response(id(&plain)).await, plain);
    }
}

#[tokio::test]
async fn what_it_cost_is_told_with_its_details() {
    let rig = Rig::new().await;
    let usage = Usage { prompt: Some(9), completion: Some(7), cached: 4, reasoning: 3 };
    rig.fake.push(Reply::text("x").usage_details(usage));
    let response = rig.respond(ask("Hi")).await;
    let wanted = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 16});
    assert_eq!(response["usage"], wanted);
}

#[tokio::test]
async fn what_is_cut_by_the_model_is_incomplete_and_says_why() {
    let rig = Rig::new().await;
    for (reason, told) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        for reply in [Reply::text("Half a"), Reply::reasoning("Still thinking"), Reply::empty()] {
            rig.fake.push_all([reply.clone().finish_reason(reason), reply.finish_reason(reason)]);
            let events = rig.stream(ask("Hi")).await;
            let last = events.last().unwrap();
            assert_eq!(last["type"], "response.incomplete");
            let plain = rig.respond(ask("Hi")).await;
            for response in [&last["response"], &plain] {
                assert_eq!((&response["status"], &response["error"]), (&json!("incomplete"), &Value::Null));
                assert_eq!(response["incomplete_details"], json!({"reason": told}));
                assert_eq!(rig.sdk().response(id(response)).await, *response);
                if let Some(item) = response["output"].as_array().unwrap().iter().find(|item| item["type"] == "message")
                {
                    assert_eq!(item["status"], "incomplete");
                }
            }
        }
    }
}

/// Before anything is said a failure has its own status, also for a stream.
#[tokio::test]
async fn a_failure_before_the_first_word_has_its_status() {
    let rig = Rig::new().await;
    type Case = (fn() -> Reply, u16, &'static str, Option<&'static str>);
    let cases: [Case; 8] = [
        (Reply::invalid_api_key, 502, "upstream_refused_key", Some("false")),
        (|| Reply::rate_limited_for(1), 429, "rate_limit_exceeded", None),
        (Reply::insufficient_quota, 429, "insufficient_quota", Some("false")),
        (Reply::model_not_found, 404, "model_not_found", None),
        (Reply::context_length_exceeded, 400, "context_length_exceeded", None),
        (Reply::server_error, 502, "upstream_unavailable", None),
        (|| Reply::raw(200, "text/html", "<html>canary</html>"), 502, "upstream_garbage", None),
        (|| Reply::unsupported_parameter("temperature"), 400, "unsupported_parameter", None),
    ];
    for (reply, status, code, retry) in cases {
        for stream in [false, true] {
            rig.fake.push(reply());
            let answer = rig.post("/v1/responses", &json!({"model": "m", "input": "canary", "stream": stream})).await;
            let error = failed(&answer, status);
            assert_eq!(error["code"], code, "{error}");
            assert_eq!(answer.header("x-should-retry"), retry, "{error}");
        }
    }
    rig.fake.push(Reply::rate_limited_for(1));
    let answer = rig.post("/v1/responses", &ask("Hi")).await;
    assert!(answer.header("retry-after").is_some() && answer.header("retry-after-ms").is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_failure_in_the_middle_is_the_end_of_the_stream_and_is_stored() {
    let rig = Rig::new().await;
    let ends: [fn(Reply) -> Reply; 5] = [
        |reply| reply.then(Step::Reset),
        |reply| reply.then(Step::End),
        |reply| reply.then_error("canary: the model crashed"),
        |reply| reply.then(Step::Data("{not json".into())),
        |reply| reply.then(Step::FinInsideEvent),
    ];
    for end in ends {
        for begun in [Reply::text("Half an").chunked(Chunking::Whole), Reply::reasoning("Hm").chunked(Chunking::Whole)]
        {
            rig.fake.push(end(begun.then(Step::Flush)));
            let events = rig.stream(ask("Hi")).await;
            let last = events.last().unwrap();
            let response = &last["response"];
            assert_eq!((&last["type"], &response["status"]), (&json!("response.failed"), &json!("failed")));
            assert_eq!(response["error"]["code"], "server_error");
            assert!(!response.to_string().contains("canary"), "{response}");
            assert_eq!(response["output"].as_array().unwrap().len(), 1, "what was shown is kept");
            assert_eq!(rig.sdk().response(id(response)).await, *response);
            let again = rig.sdk().resume(id(response), None).await.rest().await;
            assert_eq!(again, events);
        }
    }
}

/// What was said before is stored, so that asking again by itself would say it twice.
#[tokio::test]
async fn a_plain_failure_after_something_was_said_is_not_to_be_sent_again() {
    let rig = Rig::new().await;
    // Not every server heeds what form was asked for.
    rig.fake.push(Reply::text("Half an").then(Step::Flush).then(Step::Reset).streamed());
    let answer = rig.post("/v1/responses", &ask("Hi")).await;
    let error = failed(&answer, 502);
    assert_eq!(error["code"], "upstream_cut");
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}

#[tokio::test]
async fn a_cancel_keeps_what_was_shown_and_every_reader_hears_of_it() {
    let rig = Rig::new().await;
    let (sdk, gate) = (rig.sdk(), Gate::new());
    for background in [false, true] {
        rig.fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
        let mut live = sdk.open(json!({"model": "m", "input": "Hi", "background": background})).await;
        let id = live.id().await;
        live.until("response.output_text.delta").await;
        let mut beside = sdk.resume(&id, live.last()).await;
        let running = sdk.response(&id).await;
        assert_eq!((&running["status"], &running["completed_at"]), (&json!("in_progress"), &Value::Null));
        let cancelled = sdk.cancel(&id).await;
        assert_eq!((&cancelled["status"], text(&cancelled).as_str()), (&json!("cancelled"), "Half"));
        let rest = live.rest().await;
        assert_eq!(rest.last().unwrap()["response"], cancelled);
        assert_eq!(beside.rest().await, rest);
        referee::judge(&sdk.resume(&id, None).await.rest().await);
        assert_eq!(sdk.response(&id).await, cancelled);
        // Once more changes nothing, nor does it on what is whole.
        assert_eq!(sdk.cancel(&id).await, cancelled);
        rig.fake.wait_for_abort(SOON).await;
    }
    let whole = sdk.respond(ask("Hi")).await;
    assert_eq!(sdk.cancel(super::id(&whole)).await, whole);
    // With whatever body, or none.
    let path = format!("/v1/responses/{}/cancel", super::id(&whole));
    for body in ["", "{}"] {
        let request = sdk.request(reqwest::Method::POST, &path).header("content-type", "application/json").body(body);
        assert_eq!(sdk.send(request).await.ok(), whole);
    }
    assert_eq!(sdk.send(sdk.request(reqwest::Method::POST, &path)).await.ok(), whole);
}

#[tokio::test]
async fn a_plain_request_hears_that_its_conversation_is_gone() {
    let rig = Rig::new().await;
    let (sdk, gate) = (rig.sdk(), Gate::new());
    rig.fake.push(Reply::text("Too late").wait_first(&gate));
    let conversation = sdk.conversation(json!([])).await;
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation});
    let waiting = sdk.post("/v1/responses", &body);
    let deleting = async {
        rig.fake.wait_for_calls(1, SOON).await;
        sdk.delete(&format!("/v1/conversations/{conversation}")).await.ok();
    };
    let (answer, ()) = tokio::join!(waiting, deleting);
    assert_eq!(failed(&answer, 410)["code"], "conversation_gone");
    rig.fake.wait_for_abort(SOON).await;
}

#[tokio::test]
async fn all_readers_get_the_same_bytes() {
    let rig = Rig::new().await;
    let (sdk, gate) = (rig.sdk(), Gate::new());
    let reply = Reply::reasoning("Let me think.").then_text("Some words.").then_tool_call("a", "f", "{\"x\":1}");
    rig.fake.push(reply.gate_each(&gate));
    gate.pass(1);
    let mut live = sdk.open(json!({"model": "m", "input": "Hi", "tools": [function("f")]})).await;
    let id = live.id().await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(sdk.resume(&id, None).await);
        gate.pass(1);
    }
    gate.open();
    live.rest().await;
    readers.push(sdk.resume(&id, None).await);
    for reader in &mut readers {
        reader.rest().await;
        assert_eq!(reader.frames(), live.frames());
    }
}

#[tokio::test]
async fn a_client_that_never_had_a_key_reads_nothing() {
    let rig = Rig::new().await;
    let response = rig.respond(ask("canary")).await;
    let path = format!("/v1/responses/{}", id(&response));
    let stranger = Client::new(&rig.server.url);
    failed(&stranger.get(&path).await, 401);
    let other = Sdk::other(&rig.server.url);
    for path in [path.clone(), format!("{path}?stream=true"), format!("{path}/input_items")] {
        assert_eq!(failed(&other.get(&path).await, 404)["code"], "response_not_found");
    }
    assert_eq!(failed(&other.delete(&path).await, 404)["code"], "response_not_found");
    assert_eq!(failed(&other.post(&format!("{path}/cancel"), &json!({})).await, 404)["code"], "response_not_found");
    assert_eq!(rig.sdk().response(id(&response)).await, response);
}
