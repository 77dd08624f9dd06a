//! One answer, however its chunks are ordered, cut and counted, is the same to all who read it: the fold of a turn, an SDK behind
//! the door that passes streams on, and the collector of stored completions.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::calls::Mint;
use super::calls::tests::{Habit, Meant, habit, meant, parts_of};
use crate::domain::delta::Delta;
use crate::domain::ids::SeededIds;
use crate::domain::reply::Piece;
use crate::upstream::openai::answer::Answer;
use crate::upstream::openai::collect::Collector;
use crate::upstream::openai::course::{Course, Names};
use crate::upstream::openai::pieces::PieceReading;
use crate::upstream::openai::relay::{Relay, data_of, event_end};
use crate::upstream::openai::streamed::Reading;

/// What an answer comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whole {
    text: String,
    thoughts: String,
    calls: Vec<String>,
}

fn mint() -> Mint {
    Mint::new(Arc::new(SeededIds::new(7)))
}

fn folded(chunks: &[Bytes]) -> Whole {
    let mut reading = PieceReading::new(Answer::new(mint()));
    let mut whole = Whole::default();
    for chunk in chunks {
        assert!(reading.read(chunk.clone()).1.is_ok());
    }
    assert!(reading.last().1.is_ok() && reading.may_end());
    reading.end();
    for piece in reading.take().unwrap_or_default() {
        match piece {
            Piece::Delta(Delta::Text { delta }) => whole.text += &delta,
            Piece::Delta(Delta::Reasoning { delta }) => whole.thoughts += &delta,
            Piece::Delta(Delta::Call { index, name, .. }) => {
                assert_eq!(index as usize, whole.calls.len());
                whole.calls.push(name + " ");
            }
            Piece::Delta(Delta::Arguments { index, delta }) => whole.calls[index as usize] += &delta,
            _ => {}
        }
    }
    whole
}

/// The data of the events that are passed on.
fn relayed(chunks: &[Bytes]) -> Vec<String> {
    let mut relay = Relay::new(Course::new(1, Names::new("m", 7, mint()), mint()));
    for chunk in chunks {
        assert!(relay.read(chunk.clone()).1.is_ok());
    }
    assert!(relay.last().1.is_ok() && relay.may_end());
    relay.end();
    let mut bytes = Vec::new();
    while let Some(event) = relay.take() {
        bytes.extend_from_slice(&event);
    }
    let (mut data, mut rest) = (Vec::new(), &bytes[..]);
    while !rest.is_empty() {
        let (event, after) = rest.split_at(event_end(rest, 0).expect("whole events"));
        data.extend(data_of(event));
        rest = after;
    }
    assert_eq!(data.pop().as_deref(), Some("[DONE]"));
    data
}

fn said(message: &Value, whole: &mut Whole) {
    whole.text += message["content"].as_str().unwrap_or_default();
    whole.thoughts += message["reasoning_content"].as_str().unwrap_or_default();
}

/// As an SDK adds it up: by the index, and texts to texts.
fn added_up(data: &[String]) -> Whole {
    let mut whole = Whole::default();
    for data in data {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        said(delta, &mut whole);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().expect("an index")).unwrap();
            let arguments = call["function"]["arguments"].as_str().expect("arguments as text");
            if let Some(name) = call["function"]["name"].as_str().filter(|name| !name.is_empty()) {
                assert!(index == whole.calls.len() && call["id"].is_string() && call["type"] == "function", "{data}");
                whole.calls.push(format!("{name} "));
            }
            whole.calls[index] += arguments;
        }
    }
    whole
}

fn collected(data: &[String]) -> Whole {
    let mut collector = Collector::new(mint());
    data.iter().for_each(|data| collector.chunk(data));
    let completion = collector.completion("m", 7).unwrap();
    let message = &completion["choices"][0]["message"];
    let mut whole = Whole::default();
    said(message, &mut whole);
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        whole.calls.push(format!("{} {}", function["name"].as_str().unwrap(), function["arguments"].as_str().unwrap()));
    }
    whole
}

/// The deltas with which a server of this habit sends calls.
fn call_deltas(meant: &[Meant], habit: &Habit) -> Vec<Value> {
    let parts = meant.iter().enumerate().flat_map(|(at, call)| parts_of(habit, at, call));
    let entries = parts.map(|(index, id, name, arguments)| {
        let mut entry = json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
        let call = entry.as_object_mut().unwrap();
        call.retain(|_, value| !value.is_null() && *value != "");
        entry
    });
    let entries: Vec<Value> = entries.collect();
    match habit.in_one_list && habit.index == 0 {
        true => vec![json!({"tool_calls": entries})],
        false => entries.into_iter().map(|entry| json!({"tool_calls": [entry]})).collect(),
    }
}

proptest! {
    #[test]
    fn all_consumers_come_to_the_same(
        texts in prop::collection::vec("[a-z 👌\"\\\\\n]{1,5}", 0..4),
        thoughts in prop::collection::vec("[a-zé]{1,4}", 0..3),
        calls in prop_oneof![1 => Just(Vec::new()), 4 => meant()],
        habit in habit(),
        named in any::<bool>(),
        has_role in any::<bool>(),
        finish in prop_oneof![Just(json!("tool_calls")), Just(json!("stop")), Just(json!("STOP")), Just(json!(""))],
        sizes in prop::collection::vec(1usize..200, 1..8),
        end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    ) {
        let mut deltas: Vec<Value> = thoughts.iter().map(|text| json!({"reasoning_content": text})).collect();
        deltas.extend(texts.iter().map(|text| json!({"content": text})));
        deltas.extend(call_deltas(&calls, &habit));
        if has_role {
            deltas.insert(0, json!({"role": "assistant", "content": null}));
        }
        let mut stream = String::new();
        let last = (json!({}), finish);
        for (delta, finish) in deltas.into_iter().map(|delta| (delta, Value::Null)).chain([last]) {
            let mut chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
            if named {
                chunk["id"] = json!("chatcmpl-1");
                chunk["object"] = json!("chat.completion.chunk");
            }
            stream += &format!("data: {chunk}{end}{end}");
        }
        stream += &format!("data: [DONE]{end}{end}");
        let (mut chunks, mut rest) = (Vec::new(), stream.as_bytes());
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            chunks.push(Bytes::copy_from_slice(chunk));
            rest = after;
        }
        let expected = Whole {
            text: texts.concat(),
            thoughts: thoughts.concat(),
            calls: calls.iter().map(|call| format!("{} {}", call.name, call.arguments)).collect(),
        };
        let data = relayed(&chunks);
        prop_assert_eq!(&folded(&chunks), &expected);
        prop_assert_eq!(&added_up(&data), &expected);
        prop_assert_eq!(&collected(&data), &expected);
    }
}
