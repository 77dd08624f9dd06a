//! Answers as OpenAI and its imitators send them, whole and broken.

use std::ops::ControlFlow;

use proptest::prelude::*;
use serde_json::json;

use super::super::sse::Parser;
use super::*;
use crate::domain::ids::SeededIds;
use crate::domain::turn::{FaultKind, Usage};

fn mint() -> Mint {
    Mint::new(std::sync::Arc::new(SeededIds::new(7)))
}

fn answer() -> Answer {
    Answer::new(mint())
}

type Read = (Vec<Piece>, Answer, Option<FaultKind>);

fn read(stream: &str) -> Read {
    let (mut answer, mut pieces, mut fault) = (answer(), Vec::new(), None);
    let fed = Parser::default().feed(stream.as_bytes(), |event| match answer.event(event, &mut pieces) {
        Ok(()) => ControlFlow::Continue(()),
        Err(found) => {
            fault = Some(found.kind);
            ControlFlow::Break(())
        }
    });
    assert!(fed.is_ok());
    (pieces, answer, fault)
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    format!("data: {}\n\n", json!({"model": "m", "choices": [choice], "usage": null}))
}

fn text(text: &str) -> Piece {
    Delta::text(text).into()
}

#[test]
fn an_ordinary_stream_becomes_pieces() {
    let usage = json!({"model": "m", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}});
    let stream = [
        chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None),
        chunk(&json!({"content": "Hel\"lo"}), None),
        chunk(&json!({"content": " 👌"}), None),
        chunk(&json!({}), Some("stop")),
        format!("data: {usage}\n\ndata: [DONE]\n\n"),
    ];
    let (pieces, answer, fault) = read(&stream.concat());
    let usage = Usage { input_tokens: 5, output_tokens: 2, ..Usage::default() };
    let expected =
        [Piece::Model("m".into()), text("Hel\"lo"), text(" 👌"), Piece::Finish("stop".into()), Piece::Usage(usage)];
    assert_eq!(pieces, expected);
    assert!(answer.is_finished() && answer.is_done() && fault.is_none());
}

#[test]
fn an_answer_is_unfinished_until_it_says_so() {
    let (_, answer, _) = read(&chunk(&json!({"content": "a"}), None));
    assert!(!answer.is_finished());
    let (_, answer, _) = read(&chunk(&json!({"content": "a"}), Some("length")));
    assert!(answer.is_finished() && !answer.is_done());
    let (_, answer, _) = read(&(chunk(&json!({"content": "a"}), None) + "data: [DONE]\n\n"));
    assert!(answer.is_finished() && answer.is_done());
}

#[test]
fn a_refusal_is_said_too() {
    let (pieces, ..) = read(&chunk(&json!({"content": null, "refusal": "No."}), Some("stop")));
    assert_eq!(pieces[1], Delta::refusal("No.").into());
}

#[test]
fn what_is_not_said_is_read_over() {
    let stream = [
        "event: ping\ndata: {\"type\":\"ping\"}\n\n".to_owned(),
        "data:\n\ndata: {}\n\n".to_owned(),
        chunk(&json!({"audio": {"id": "a"}, "tool_calls": [{"index": 0}]}), None),
        r#"data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#.to_owned() + "\n\n",
    ];
    let (pieces, _, fault) = read(&stream.concat());
    assert_eq!((pieces, fault), (vec![Piece::Model("m".into())], None));
}

#[test]
fn thoughts_have_two_names() {
    for key in ["reasoning_content", "reasoning"] {
        let (pieces, ..) = read(&chunk(&json!({key: "hm", "content": "So."}), Some("stop")));
        assert_eq!(pieces[1..3], [Delta::reasoning("hm").into(), text("So.")]);
    }
}

#[test]
fn calls_of_functions_are_put_together_from_their_parts() {
    let call = |index: u32, call_id: &str, name: &str| {
        Piece::from(Delta::Call { index, call_id: call_id.into(), name: name.into(), tool: None })
    };
    let arguments = |index: u32, delta: &str| Piece::from(Delta::Arguments { index, delta: delta.into() });
    let stream = [
        chunk(
            &json!({"tool_calls": [{"index": 0, "id": "call_a", "type": "function",
            "function": {"name": "f", "arguments": ""}}]}),
            None,
        ),
        chunk(&json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\""}}]}), None),
        chunk(&json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ":1}"}}]}), None),
        chunk(&json!({"tool_calls": [{"index": 1, "function": {"name": "g", "arguments": {"y": 2}}}]}), None),
        chunk(&json!({}), Some("tool_calls")),
    ];
    let (pieces, ..) = read(&stream.concat());
    let minted = mint().call_id();
    let wanted = [
        call(0, "call_a", "f"),
        arguments(0, "{\"x\""),
        arguments(0, ":1}"),
        call(1, &minted, "g"),
        arguments(1, r#"{"y":2}"#),
        Piece::Finish("tool_calls".into()),
    ];
    assert_eq!(pieces[1..], wanted);
}

#[test]
fn errors_inside_a_stream_end_it() {
    use FaultKind::*;
    let cases = [
        (r#"data: {"error":{"message":"oops","type":"server_error","param":null,"code":null}}"#, UpstreamUnavailable),
        (r#"data: {"error":{"code":429,"message":"slow"},"choices":[]}"#, RateLimited),
        (r#"data: {"object":"error","message":"too long","type":"BadRequestError","code":400}"#, UpstreamRefused),
        ("event: error\ndata: overloaded", UpstreamUnavailable),
        (r#"data: {"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#, UpstreamUnavailable),
        ("data: not json", UpstreamGarbage),
        ("data: 7", UpstreamGarbage),
        (r#"data: {"choices":"#, UpstreamGarbage),
        ("data: [DONE]", UpstreamGarbage),
    ];
    for (event, expected) in cases {
        let (_, _, fault) = read(&format!("{event}\n\n"));
        assert_eq!(fault, Some(expected), "{event}");
    }
}

fn deltas() -> impl Strategy<Value = Value> {
    let text = prop_oneof![3 => "[a-z 👌]{0,6}", 1 => "[\"\\\\\n\t{}x]{1,4}"];
    prop_oneof![
        6 => text.prop_map(|text| json!({"content": text})),
        1 => text_of("refusal"),
        1 => text_of("reasoning_content"),
        1 => Just(json!({"content": null, "role": "assistant"})),
        1 => Just(json!({})),
    ]
}

fn text_of(key: &'static str) -> impl Strategy<Value = Value> {
    "[a-z]{0,3}".prop_map(move |text| json!({key: text}))
}

proptest! {
    #[test]
    fn the_short_cut_changes_nothing(
        deltas in prop::collection::vec((deltas(), 0u8..3, "[a-z]{0,3}", 0u8..9), 1..30),
    ) {
        let (mut answer, mut pieces, mut expected) = (answer(), Vec::new(), Vec::new());
        for (delta, variant, padding, finish) in deltas {
            let finish = (finish == 0).then_some("stop");
            let mut chunk = json!({"choices": [{"delta": delta, "finish_reason": finish}], "created": variant / 2});
            if variant > 0 {
                chunk["obfuscation"] = json!(padding);
            }
            let data = chunk.to_string();
            answer.event(Event { name: "", data: &data }, &mut pieces).unwrap();
            super::tests::answer().event(Event { name: "", data: &data }, &mut expected).unwrap();
        }
        prop_assert_eq!(pieces, expected);
    }
}

#[test]
fn a_plain_answer_is_read_in_one() {
    let body = json!({
        "id": "x", "object": "chat.completion", "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    });
    let usage = Usage { input_tokens: 5, output_tokens: 1, ..Usage::default() };
    let expected = [Piece::Model("m".into()), text("Hi"), Piece::Finish("stop".into()), Piece::Usage(usage)];
    assert_eq!(whole(body.to_string().as_bytes(), answer()).unwrap(), expected);
}

#[test]
fn plain_answers_that_are_none() {
    use FaultKind::*;
    let cases: [(&[u8], FaultKind); 8] = [
        (b"", UpstreamCut),
        (br#"{"choices":[{"message":{"content":"Hi"#, UpstreamCut),
        (b"<html>", UpstreamGarbage),
        (b"{}", UpstreamGarbage),
        (br#"{"choices":[]}"#, UpstreamGarbage),
        (b"[1]", UpstreamGarbage),
        (br#"{"error":{"message":"x","code":402}}"#, QuotaExhausted),
        (br#"{"detail":"Internal"}"#, UpstreamUnavailable),
    ];
    for (body, expected) in cases {
        let fault = whole(body, answer()).unwrap_err();
        assert_eq!(fault.kind, expected, "{}", String::from_utf8_lossy(body));
    }
    assert_eq!(whole(br#"{"choices":[{"message":{"content":null}}]}"#, answer()).unwrap(), []);
}
