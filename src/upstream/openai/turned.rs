//! An answer in the form that was asked for, where the server gave it in the other one: a plain one as events, events as one.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::{Map, Value, json};

use super::calls::Mint;
use super::collect::{Collector, Spoiled};
use super::course::Course;
use super::faults::garbage;
use super::relay::{Relay, data_of, event_end};
use super::streamed::Reading as _;
use crate::domain::turn::Fault;

/// The events of a whole answer, mended as any others by `course`.
///
/// # Errors
/// When it is no answer.
pub(super) fn streamed(whole: &[u8], course: Course) -> Result<impl Iterator<Item = Bytes> + use<>, Fault> {
    let no_answer = || garbage("an answer that is no chat completion");
    let mut whole: Map<String, Value> = serde_json::from_slice(whole).map_err(|_| no_answer())?;
    let (choices, usage) = (whole.remove("choices"), whole.remove("usage"));
    let Some(Value::Array(choices)) = choices else { return Err(no_answer()) };
    let (mut said, mut finished) = (Vec::new(), Vec::new());
    for (place, choice) in choices.into_iter().enumerate() {
        let Value::Object(mut choice) = choice else { return Err(no_answer()) };
        let index = choice.get("index").filter(|index| index.is_u64()).cloned().unwrap_or_else(|| json!(place));
        let (message, reason) = (choice.remove("message").unwrap_or_else(|| json!({})), choice.remove("finish_reason"));
        let reason = reason.filter(|reason| !reason.is_null()).unwrap_or_else(|| json!("stop"));
        choice.insert("index".to_owned(), index.clone());
        choice.insert("delta".to_owned(), delta_of(message));
        choice.insert("finish_reason".to_owned(), Value::Null);
        said.push(Value::Object(choice));
        finished.push(json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason}));
    }
    whole.insert("object".to_owned(), json!("chat.completion.chunk"));
    let chunk = |choices: Vec<Value>, usage: Option<&Value>| {
        let mut chunk = whole.clone();
        chunk.insert("choices".to_owned(), Value::Array(choices));
        chunk.extend(usage.map(|usage| ("usage".to_owned(), usage.clone())));
        format!("data: {}\n\n", Value::Object(chunk))
    };
    let mut text = chunk(said, None) + &chunk(finished, None);
    if let Some(usage) = usage.filter(Value::is_object) {
        text += &chunk(Vec::new(), Some(&usage));
    }
    let mut relay = Relay::new(course);
    relay.read((text + "data: [DONE]\n\n").into()).1?;
    Ok(std::iter::from_fn(move || relay.take()))
}

/// A message as the one delta that says it.
fn delta_of(message: Value) -> Value {
    let Value::Object(mut delta) = message else { return json!({}) };
    delta.entry("role").or_insert_with(|| json!("assistant"));
    if let Some(Value::Array(calls)) = delta.get_mut("tool_calls") {
        for (place, call) in calls.iter_mut().enumerate() {
            if let Value::Object(call) = call {
                call.insert("index".to_owned(), json!(place));
            }
        }
    }
    Value::Object(delta)
}

/// The whole answer that a stream comes to.
///
/// # Errors
/// When the stream fails, or is too large to be held.
pub(super) async fn whole(
    mut events: impl Stream<Item = Result<Bytes, Fault>> + Unpin,
    model: &str,
    mint: Mint,
) -> Result<Bytes, Fault> {
    let mut collector = Collector::new(mint.clone());
    let (mut id, mut created) = (None, 0);
    while let Some(bytes) = events.next().await {
        let bytes = bytes?;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let end = event_end(rest, 0).unwrap_or(rest.len());
            if let Some(data) = data_of(rest.get(..end).unwrap_or_default()).filter(|data| data != "[DONE]") {
                if id.is_none() {
                    let chunk: Value = serde_json::from_str(&data).unwrap_or_default();
                    id = chunk["id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
                    created = chunk["created"].as_i64().unwrap_or_default();
                }
                collector.chunk(&data);
            }
            at += end;
        }
    }
    let mut whole = collector.completion(model, created).map_err(|spoiled| match spoiled {
        Spoiled::TooLarge => garbage("more than any answer has"),
        Spoiled::Garbage => garbage("an answer with nothing in it"),
    })?;
    whole["id"] = json!(id.unwrap_or_else(|| mint.completion_id()));
    Ok(whole.to_string().into())
}
