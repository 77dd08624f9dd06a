//! From chunks, as several servers send them, to the completion that they amount to.

use super::*;
use crate::domain::ids::SeededIds;

fn collected(chunks: &[Value]) -> Result<Value, Spoiled> {
    let mut collector = Collector::new(Mint::new(std::sync::Arc::new(SeededIds::new(7))));
    chunks.iter().for_each(|chunk| collector.chunk(&chunk.to_string()));
    collector.completion("asked-for", 7)
}

fn delta(delta: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}

#[test]
fn text_usage_and_names() {
    let head = |choices: Value| json!({"id": "x", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": choices, "usage": null});
    let whole = collected(&[
        head(
            json!([{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": null}, "finish_reason": null}]),
        ),
        head(json!([{"index": 0, "delta": {"content": "Hello"}, "finish_reason": null}])),
        head(json!([{"index": 0, "delta": {"role": "assistant", "content": " there"}, "logprobs": null}])),
        head(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])),
        json!({"choices": [], "usage": {"total_tokens": 3}, "system_fingerprint": "fp", "service_tier": "default"}),
    ]);
    let message = json!({"role": "assistant", "content": "Hello there", "refusal": null});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(
        whole.unwrap(),
        json!({"object": "chat.completion", "created": 5, "model": "m", "choices": [choice],
            "usage": {"total_tokens": 3}, "system_fingerprint": "fp", "service_tier": "default"})
    );
}

#[test]
fn what_a_server_does_not_say_is_put_in() {
    let whole = collected(&[delta(json!({"content": "x"}))]).unwrap();
    assert_eq!((&whole["model"], &whole["created"]), (&json!("asked-for"), &json!(7)));
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");
    assert!(whole.get("usage").is_none(), "a null is no usage: {whole}");
}

#[test]
fn calls_in_pieces() {
    let whole = collected(&[
        delta(json!({"role": "assistant", "content": null, "tool_calls": [
            {"index": 1, "id": "b", "type": "function", "function": {"name": "two", "arguments": ""}}]})),
        delta(json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "one"}}]})),
        delta(json!({"tool_calls": [{"index": 1, "function": {"arguments": "{\"x\""}}]})),
        // Some say it all again.
        delta(json!({"tool_calls": [{"index": 1, "id": "b", "type": "function",
            "function": {"name": "two", "arguments": ":1}"}}]})),
        json!({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "tool_calls"}]}),
    ]);
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let whole = whole.unwrap();
    let message = &whole["choices"][0]["message"];
    assert_eq!(message["tool_calls"], json!([call("a", "one", "{}"), call("b", "two", "{\"x\":1}")]));
    assert_eq!((&message["content"], &message["refusal"]), (&Value::Null, &Value::Null));
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn calls_that_come_whole_and_without_index_or_id() {
    let call = |name: &str| json!({"function": {"name": name, "arguments": "{}"}});
    let whole =
        collected(&[delta(json!({"tool_calls": [call("one")]})), delta(json!({"tool_calls": [call("two")]}))]).unwrap();
    let calls = &whole["choices"][0]["message"]["tool_calls"];
    assert_eq!((&calls[0]["function"]["name"], &calls[1]["function"]["name"]), (&json!("one"), &json!("two")));
    let ids = [&calls[0]["id"], &calls[1]["id"]].map(|id| id.as_str().unwrap());
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("call_") && id.len() == 29), "{ids:?}");
    assert_eq!(calls[1]["type"], "function");
}

#[test]
fn refusals_thoughts_logprobs_and_several_choices() {
    let whole = collected(&[
        json!({"choices": [
            {"index": 1, "delta": {"role": "assistant", "content": "", "refusal": "I "}},
            {"index": 0, "delta": {"role": "assistant", "reasoning_content": "Hm"},
             "logprobs": {"content": [{"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": []}]}}]}),
        json!({"choices": [{"index": 0, "delta": {"reasoning_content": "m", "content": "a"},
            "logprobs": {"content": [{"token": "b", "logprob": -1.5, "bytes": null, "top_logprobs": []}]}}]}),
        json!({"choices": [{"index": 1, "delta": {"refusal": "will not"}, "finish_reason": "stop"}]}),
        json!({"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "length", "stop_reason": 7}]}),
    ])
    .unwrap();
    let [first, second] = [&whole["choices"][0], &whole["choices"][1]];
    assert_eq!(
        first["message"],
        json!({"role": "assistant", "content": "ab", "reasoning_content": "Hmm", "refusal": null})
    );
    assert_eq!((&first["finish_reason"], &first["stop_reason"]), (&json!("length"), &json!(7)));
    let tokens: Vec<&Value> =
        first["logprobs"]["content"].as_array().unwrap().iter().map(|part| &part["token"]).collect();
    assert_eq!((tokens, &first["logprobs"]["refusal"]), (vec![&json!("a"), &json!("b")], &Value::Null));
    assert_eq!(second["message"], json!({"role": "assistant", "content": null, "refusal": "I will not"}));
    assert_eq!((&second["index"], &second["logprobs"]), (&json!(1), &Value::Null));
}

#[test]
fn the_older_function_call() {
    let whole = collected(&[
        delta(json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": ""}})),
        delta(json!({"function_call": {"arguments": "{}"}})),
    ]);
    assert_eq!(whole.unwrap()["choices"][0]["message"]["function_call"], json!({"name": "f", "arguments": "{}"}));
}

#[test]
fn what_is_no_answer_or_too_much_of_one() {
    assert_eq!(collected(&[]), Err(Spoiled::Garbage));
    assert_eq!(collected(&[json!({"choices": []})]), Err(Spoiled::Garbage));
    for wrong in [json!([]), json!({"choices": [1]}), json!("x")] {
        assert_eq!(collected(&[delta(json!({"content": "x"})), wrong, delta(json!({}))]), Err(Spoiled::Garbage));
    }
    let much = delta(json!({"content": "x".repeat(MOST / 4)}));
    assert!(collected(&vec![much.clone(); 3]).is_ok());
    assert_eq!(collected(&vec![much; 5]), Err(Spoiled::TooLarge));
    let token = json!({"token": "", "logprob": -0.5, "bytes": null, "top_logprobs": []});
    let tokens = json!({"choices": [{"index": 0, "delta": {}, "logprobs": {"content": vec![token; 1_000]}}]});
    assert_eq!(collected(&vec![tokens; MOST / 65_536]), Err(Spoiled::TooLarge));
}
