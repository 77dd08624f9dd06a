//! Tests of the mending: what is missing comes back, and what is whole is left alone.

use serde_json::{Value, json};

use super::*;
use crate::domain::turn::FaultKind;

fn mended(text: &str) -> String {
    String::from_utf8(plain(text.to_owned().into()).unwrap().to_vec()).unwrap()
}

#[test]
fn a_whole_answer_is_left_alone() {
    let whole = r#"{ "id":"x" , "choices":[{"index":0,"message":{"role":"assistant","content":"\u00e9 \"refusal\"","refusal":null},"logprobs":null,"finish_reason":"stop"}],"new":{"b":1.50,"a":[ ]}}"#;
    assert_eq!(mended(whole), whole);
}

#[test]
fn missing_keys_are_put_in_and_nothing_else_changes() {
    let bare = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}, {"logprobs":null,"message":{ }}, {}],"n":1.0}"#;
    let expected = r#"{"choices":[{"logprobs":null,"message":{"refusal":null,"content":"a"},"finish_reason":"stop"}, {"logprobs":null,"message":{"refusal":null }}, {"logprobs":null}],"n":1.0}"#;
    assert_eq!(mended(bare), expected);
    serde_json::from_str::<Value>(expected).unwrap();
}

#[test]
fn what_is_no_answer_is_a_fault() {
    for (text, kind) in [
        ("", FaultKind::UpstreamCut),
        (r#"{"choices":[{"mess"#, FaultKind::UpstreamCut),
        ("nonsense", FaultKind::UpstreamGarbage),
        ("{}", FaultKind::UpstreamGarbage),
        (r#"{"choices":[]}"#, FaultKind::UpstreamGarbage),
        (r#"{"choices":[1]}"#, FaultKind::UpstreamGarbage),
        (r#"{"error":{"message":"x","code":429}}"#, FaultKind::RateLimited),
        (r#"{"object":"error","message":"x","code":400}"#, FaultKind::UpstreamRefused),
    ] {
        assert_eq!(plain(text.to_owned().into()).unwrap_err().kind, kind, "{text}");
    }
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    json!({"id": "c1", "created": 7, "model": "m", "choices": [choice]}).to_string()
}

#[test]
fn a_first_chunk_without_a_role_gets_one_before_it() {
    let mut course = Course::new(1);
    let first = course.event("", chunk(&json!({"content": "\u{1f44c}"}), None).as_bytes()).unwrap().unwrap();
    let data: Value = serde_json::from_str(first.strip_prefix("data: ").unwrap().trim_end()).unwrap();
    assert_eq!(data["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!((&data["id"], &data["created"], &data["model"]), (&json!("c1"), &json!(7), &json!("m")));
    assert_eq!(course.event("", chunk(&json!({"content": "x"}), None).as_bytes()), Ok(None));
    let mut course = Course::new(1);
    assert_eq!(course.event("", chunk(&json!({"role": "assistant"}), None).as_bytes()), Ok(None));
}

#[test]
fn the_end_is_seen_in_the_key_and_not_in_the_text() {
    let mut course = Course::new(1);
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
    let mut course = Course::new(2);
    let event = |index: u32, delta: Value, finish: Option<&str>| {
        json!({"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}).to_string()
    };
    let first = course.event("", event(1, json!({"content": "x"}), None).as_bytes()).unwrap().unwrap();
    assert!(first.contains(r#""index":1"#), "{first}");
    course.event("", event(0, json!({"role": "assistant"}), None).as_bytes()).unwrap();
    course.event("", event(1, json!({}), Some("stop")).as_bytes()).unwrap();
    assert!(!course.is_finished() && !course.may_end());
    course.event("", event(0, json!({}), Some("length")).as_bytes()).unwrap();
    assert!(course.is_finished() && course.may_end());
}

#[test]
fn errors_in_the_middle_are_faults_whatever_came_before() {
    let begun = || {
        let mut course = Course::new(1);
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
    assert!(Course::new(1).event("", b"[DONE]").is_err());
}
