//! Tests of the mending of streams: what is missing comes, and what is whole is left alone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::domain::ids::SeededIds;

fn of(choices: u32) -> Course {
    let mint = Mint::new(Arc::new(SeededIds::new(7)));
    Course::new(choices, Names::new("asked-for", 5, mint.clone()), mint)
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    json!({"id": "c1", "created": 7, "model": "m", "object": "chat.completion.chunk", "choices": [choice]}).to_string()
}

#[test]
fn a_first_chunk_without_a_role_gets_one_before_it() {
    let mut course = of(1);
    let first = course.event("", chunk(&json!({"content": "\u{1f44c}"}), None).as_bytes()).unwrap().before;
    let data: Value = serde_json::from_str(&first[0]).unwrap();
    assert_eq!(data["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!((&data["id"], &data["created"], &data["model"]), (&json!("c1"), &json!(7), &json!("m")));
    assert_eq!(course.event("", chunk(&json!({"content": "x"}), None).as_bytes()), Ok(Onward::default()));
    let mut course = of(1);
    assert_eq!(course.event("", chunk(&json!({"role": "assistant"}), None).as_bytes()), Ok(Onward::default()));
}

#[test]
fn the_end_is_seen_in_the_key_and_not_in_the_text() {
    let mut course = of(1);
    let said = |course: &mut Course, data: &str| course.event("", data.as_bytes()).unwrap();
    said(&mut course, &chunk(&json!({"role": "assistant"}), None));
    assert!(!course.may_end() && !course.is_finished());
    said(&mut course, &chunk(&json!({"content": r#""finish_reason":"stop" "error": [DONE]"#}), None));
    assert!(!course.may_end() && !course.is_finished());
    said(&mut course, r#"{"choices": [{"index": 0, "delta": {}, "finish_reason" : "stop"}]}"#);
    assert!(course.may_end() && course.is_finished() && !course.is_done());
    said(&mut course, r#"{"choices":[],"usage":{"prompt_tokens":1}}"#);
    said(&mut course, "[DONE]");
    assert!(course.is_done());
}

#[test]
fn each_choice_begins_and_ends() {
    let mut course = of(2);
    let event = |index: u32, delta: Value, finish: Option<&str>| {
        json!({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}).to_string()
    };
    let first = course.event("", event(1, json!({"content": "x"}), None).as_bytes()).unwrap().before;
    assert!(first[0].contains(r#""index":1"#), "{first:?}");
    course.event("", event(0, json!({"role": "assistant"}), None).as_bytes()).unwrap();
    course.event("", event(1, json!({}), Some("stop")).as_bytes()).unwrap();
    assert!(!course.is_finished() && !course.may_end());
    course.event("", event(0, json!({}), Some("length")).as_bytes()).unwrap();
    assert!(course.is_finished() && course.may_end());
}

#[test]
fn errors_in_the_middle_are_faults_whatever_came_before() {
    let begun = || {
        let mut course = of(1);
        course.event("", chunk(&json!({"role": "assistant"}), None).as_bytes()).unwrap();
        course
    };
    for (name, data) in [
        ("", r#"{"error":{"message":"x","type":"server_error"}}"#),
        ("error", "anything"),
        ("", "{not json"),
        ("", r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#),
        ("", r#"{"choices":[],"error":"x"}"#),
    ] {
        assert!(begun().event(name, data.as_bytes()).is_err(), "{data}");
    }
    assert!(of(1).event("", b"[DONE]").is_err());
}
