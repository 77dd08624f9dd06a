//! What is sent for which model, and the oddities that are read.

use serde_json::{Value, json};

use super::*;
use crate::domain::dialogue::{FunctionCall, Part, PromptMessage};
use crate::domain::item::Role;
use crate::domain::turn::Usage;
use crate::upstream::Call;

fn call(model: &str) -> Call {
    let message = |role, text: &str| PromptMessage::new(role, text);
    Call {
        model: model.to_owned(),
        messages: vec![message(Role::System, "Be \"kind\"."), message(Role::User, "Hi 👌\n{x}")],
        temperature: Some(0.95),
        max_tokens: Some(1000),
        stream: false,
        options: None,
    }
}

fn sent(call: &Call) -> Value {
    serde_json::from_slice(&request(call, &Takes::default()).unwrap()).unwrap()
}

fn usage(json: &str) -> Option<Usage> {
    let completion: Completion = serde_json::from_str(json).unwrap();
    completion.usage.and_then(|usage| usage.counts())
}

#[test]
fn a_chat_model_is_asked_in_its_words() {
    let expected = json!({
        "model": "gpt-3.5-turbo",
        "messages": [{"role": "system", "content": "Be \"kind\"."}, {"role": "user", "content": "Hi 👌\n{x}"}],
        "temperature": 0.95,
        "max_tokens": 1000,
        "stream": false,
    });
    assert_eq!(sent(&call("gpt-3.5-turbo")), expected);
}

#[test]
fn a_reasoning_model_gets_no_temperature_and_the_newer_limit() {
    let body = sent(&call("o3-mini"));
    assert_eq!(body["max_completion_tokens"], 1000);
    assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none());
}

#[test]
fn a_stream_asks_for_its_usage() {
    let body = sent(&Call { stream: true, ..call("gpt-4o") });
    assert_eq!((&body["stream"], &body["stream_options"]), (&json!(true), &json!({"include_usage": true})));
}

#[test]
fn calls_outputs_images_and_files_are_said_as_chat_completions_take_them() {
    let text = |text: &str| Part::Text(text.to_owned());
    let image =
        |detail: Option<&str>| Part::Image { url: "data:image/png;base64,AA".into(), detail: detail.map(Into::into) };
    let file = Part::File { file_id: None, file_data: Some("data:,x".into()), filename: Some("\"x\".txt".into()) };
    let ask = |id: &str| FunctionCall { call_id: id.into(), name: "f".into(), arguments: r#"{"a": "\n"}"#.into() };
    let messages = vec![
        PromptMessage::Parts {
            role: Role::User,
            parts: vec![text("Is it \"this\"?"), image(Some("low")), image(None), file],
        },
        PromptMessage::Calls { text: String::new(), calls: vec![ask("a"), ask("b\"")] },
        PromptMessage::Output { call_id: "a".into(), text: "line\nline".into() },
        PromptMessage::Calls { text: "Hm.".into(), calls: vec![ask("c")] },
    ];
    let asked =
        |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": r#"{"a": "\n"}"#}});
    let expected = json!([
        {"role": "user", "content": [
            {"type": "text", "text": "Is it \"this\"?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
            {"type": "file", "file": {"file_data": "data:,x", "filename": "\"x\".txt"}},
        ]},
        {"role": "assistant", "content": null, "tool_calls": [asked("a"), asked("b\"")]},
        {"role": "tool", "tool_call_id": "a", "content": "line\nline"},
        {"role": "assistant", "content": "Hm.", "tool_calls": [asked("c")]},
    ]);
    assert_eq!(sent(&Call { messages, ..call("gpt-4o") })["messages"], expected);
}

#[test]
fn texts_are_borrowed_where_they_can_be() {
    let read: Completion = serde_json::from_str(r#"{"choices":[{"delta":{"content":"plain"}}]}"#).unwrap();
    let said = read.choices.unwrap().0.unwrap().delta.unwrap();
    assert!(matches!(said.content.text, Cow::Borrowed("plain")));
}

#[test]
fn missing_null_and_foreign_values_count_as_absent() {
    for json in [
        r"{}",
        r#"{"choices":null,"usage":null,"model":null,"error":null}"#,
        r#"{"choices":[],"model":7,"id":{"a":[1,{}]},"usage":{}}"#,
        r#"{"choices":[{}]}"#,
        r#"{"choices":[{"delta":null,"message":null,"finish_reason":null,"index":0.0}]}"#,
        r#"{"choices":[{"delta":{"content":null,"refusal":null,"role":null},"finish_reason":false}]}"#,
        r#"{"choices":[{"delta":{"content":[]},"logprobs":{"content":[]}},{"delta":{"content":"another"}}]}"#,
    ] {
        let read: Completion = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let choice = read.choices.and_then(|list| list.0).unwrap_or_default();
        assert_eq!(choice.finish_reason.0, "", "{json}");
        assert_eq!(choice.delta.unwrap_or_default().content.text, "", "{json}");
        assert!(read.usage.and_then(|usage| usage.counts()).is_none() && read.error.is_none(), "{json}");
    }
}

#[test]
fn content_may_come_in_parts() {
    let json = r#"{"choices":[{"delta":{"content":[{"type":"text","text":"a\n"},{"type":"x"},"b"]}}]}"#;
    let read: Completion = serde_json::from_str(json).unwrap();
    assert_eq!(read.choices.unwrap().0.unwrap().delta.unwrap().content.text, "a\nb");
}

#[test]
fn counts_may_be_floats_negative_or_null() {
    let expected = Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() };
    for json in [
        r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#,
        r#"{"usage":{"prompt_tokens":7.0,"completion_tokens":3.2,"prompt_tokens_details":null}}"#,
        r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"completion_tokens_details":{"reasoning_tokens":null}}}"#,
        r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":-1}}}"#,
    ] {
        assert_eq!(usage(json), Some(expected), "{json}");
    }
    let json = r#"{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5},
        "completion_tokens_details":{"reasoning_tokens":2}}}"#;
    assert_eq!(usage(json), Some(Usage { cached_tokens: 5, reasoning_tokens: 2, ..expected }));
    assert_eq!(usage(r#"{"usage":{"prompt_tokens":null}}"#), None);
}

#[test]
fn only_objects_are_answers() {
    for json in ["5", "\"text\"", "{", ""] {
        assert!(serde_json::from_str::<Completion>(json).is_err(), "{json}");
    }
}
