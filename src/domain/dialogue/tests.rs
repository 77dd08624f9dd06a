//! What a history becomes in a prompt.

use serde_json::json;

use super::*;
use crate::domain::ids::ItemId;
use crate::domain::item::{assistant_message, user_message};
use crate::domain::item_json::{Members, push_output};
use crate::domain::output::Output;
use crate::domain::tokens::Encoding;

fn item(json: String) -> Item {
    Item { id: ItemId::parse("msg_1").unwrap(), turn: None, json, tokens: 1, encoding: Encoding::O200k }
}

fn said(json: &str) -> Item {
    item(user_message(&ItemId::parse("msg_1").unwrap(), json))
}

fn asked(call_id: &str) -> Item {
    item(Members::call(call_id, "f", "{}").with_id(&ItemId::parse("fc_1").unwrap()))
}

fn output(call_id: &str, text: &str) -> Item {
    item(json!({"type": "function_call_output", "call_id": call_id, "output": text}).to_string())
}

/// Role, text, and the ids of calls.
fn outline(items: &[Item]) -> Vec<String> {
    let shown = messages(items.iter().map(|item| (item, true)));
    let line = |message: &PromptMessage| match message {
        PromptMessage::Text { role, text } => format!("{}: {text}", role.as_str()),
        PromptMessage::Parts { .. } | PromptMessage::Own { .. } => panic!("{message:?}"),
        PromptMessage::Calls { text, calls } => {
            let content = if text.is_empty() { Value::Null } else { text.as_str().into() };
            let ids: Vec<&str> = calls.iter().map(|call| call.call_id.as_str()).collect();
            format!("assistant: {content} {}", json!(ids))
        }
        PromptMessage::Output { call_id, text } => format!("tool: {} {}", json!(text), json!([call_id])),
    };
    shown.iter().map(line).collect()
}

#[test]
fn calls_that_stand_together_are_one_message_and_their_outputs_follow() {
    let text = item(assistant_message(&ItemId::parse("msg_2").unwrap(), "Let me see.", "", true));
    let mut thought = String::new();
    push_output(&mut thought, &Output::Reasoning { id: ItemId::parse("rs_1").unwrap(), text: "hm".into() }, "");
    let thought = item(thought);
    let items =
        [said("hi"), thought.clone(), text, asked("a"), thought, asked("b"), output("b", "2"), output("a", "1")];
    let wanted = ["user: hi", r#"assistant: "Let me see." ["a","b"]"#, r#"tool: "1" ["a"]"#, r#"tool: "2" ["b"]"#];
    assert_eq!(outline(&items), wanted);
}

#[test]
fn an_unanswered_call_gets_a_stand_in_and_bricks_nothing() {
    let items = [said("hi"), asked("a"), said("never mind"), output("a", "late")];
    let wanted = ["user: hi", r#"assistant: null ["a"]"#, r#"tool: "late" ["a"]"#, "user: never mind"];
    assert_eq!(outline(&items), wanted);
    assert_eq!(outline(&items[..3])[2], r#"tool: "(no output)" ["a"]"#);
}

#[test]
fn an_output_without_its_call_is_said_where_it_is_new_and_dropped_where_it_is_old() {
    let items = [output("gone", "42"), said("hi")];
    assert_eq!(outline(&items), ["user: Output of the function call gone:\n42", "user: hi"]);
    let old = messages(items.iter().map(|item| (item, false)));
    assert_eq!(old, [PromptMessage::new(Role::User, "hi")]);
}

#[test]
fn images_go_along_and_their_text_is_known() {
    let image = json!({"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
    ]});
    let message = messages([(&item(image.to_string()), true)].into_iter()).remove(0);
    assert_eq!(message.text(), "What is this?");
    let picture = Part::Image { url: "data:image/png;base64,AA".into(), detail: Some("low".into()) };
    let parts = vec![Part::Text("What is this?".into()), picture];
    assert_eq!(message, PromptMessage::Parts { role: Role::User, parts });
}

/// With a comparison of every output with every call, twice as many would take four times as long.
#[test]
fn many_calls_take_no_longer_each_than_few() {
    let items = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("call_with_a_rather_long_id_{n:08}")).collect();
        let calls: Vec<Item> = ids.iter().map(|id| asked(id)).collect();
        calls.into_iter().chain(ids.iter().map(|id| output(id, "1"))).collect::<Vec<_>>()
    };
    let least = |items: &[Item]| {
        let timed = |_| {
            let since = std::time::Instant::now();
            assert_eq!(messages(items.iter().map(|item| (item, true))).len(), items.len() / 2 + 1);
            since.elapsed()
        };
        (0..5).map(timed).min().unwrap()
    };
    let (few, many) = (least(&items(500)), least(&items(16_000)));
    assert!(many < few * 32 * 6, "{few:?} for 500, {many:?} for 16,000");
}

#[test]
fn a_summary_comes_back() {
    let compaction = json!({"type": "compaction", "encrypted_content": sealed("They spoke of lighthouses.")});
    let messages = messages([(&item(compaction.to_string()), false)].into_iter());
    assert!(messages[0].text().ends_with("so far:\nThey spoke of lighthouses."));
    assert_eq!(summary_of("not ours!"), None);
}
