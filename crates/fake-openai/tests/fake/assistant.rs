//! The assistant: every rule of it, and that what it says shows what went up.

use fake_openai::{FakeOpenAi, assistant};
use serde_json::{Value, json};

use crate::client::{Client, prompt, soon};

async fn start() -> (FakeOpenAi, Client) {
    let fake = FakeOpenAi::start().await;
    fake.set_responder(assistant());
    let client = Client::connect(&fake).await;
    (fake, client)
}

async fn message(client: &mut Client, body: Value) -> Value {
    let answer = client.ask(&body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["choices"][0]["message"].clone()
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

#[tokio::test]
async fn it_says_what_it_was_shown() {
    let (_fake, mut client) = start().await;
    let image = json!({"type": "image_url", "image_url": {"url": "data:,"}});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    for (messages, said) in [
        (json!([user("Hi")]), r#"Answer 1 to "Hi"."#),
        (json!([{"role": "developer", "content": "Be kind."}, user("Hi")]), r#"Answer 1 to "Hi". Told "Be kind."."#),
        (
            json!([user("A"), {"role": "assistant", "content": "x"}, user("B"), user("C")]),
            r#"Answer 2 to "C", after "A", "B"."#,
        ),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "Look"}, image]}]),
            r#"Answer 1 to "Look". With 1 image."#,
        ),
        (
            json!([
                user("A"),
                {"role": "assistant", "content": null, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "5"},
                {"role": "assistant", "content": "Five."},
                user("B")
            ]),
            r#"Answer 2 to "B", after "A". Tools said "5"."#,
        ),
    ] {
        assert_eq!(message(&mut client, json!({"model": "m", "messages": messages})).await["content"], said);
    }
    let thinks = json!({"model": "m", "reasoning_effort": "low", "messages": [user("Hi")]});
    let answer = client.ask(&thinks).await.json();
    assert_eq!(answer["choices"][0]["message"]["reasoning_content"], "Let me think.");
    assert_eq!(answer["choices"][0]["message"]["content"], r#"Answer 1 to "Hi"."#);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
}

#[tokio::test]
async fn it_calls_the_tools_that_are_wanted_and_answers_from_their_outputs() {
    let (_fake, mut client) = start().await;
    let tool = |name: &str| {
        let city = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        json!({"type": "function", "function": {"name": name, "parameters": city}})
    };
    let ask = |text: &str, choice: Value| {
        let tools = [tool("get_weather"), tool("get_time")];
        json!({"model": "m", "messages": [user(text)], "tools": tools, "tool_choice": choice})
    };
    let demanded = json!({"type": "function", "function": {"name": "get_time"}});
    for (text, choice, called) in [
        ("Use get_time and get_weather.", json!("auto"), &["get_weather", "get_time"][..]),
        ("Use get_time.", Value::Null, &["get_time"]),
        ("Hi", json!("required"), &["get_weather"]),
        ("Hi", demanded, &["get_time"]),
        ("Hi", json!("auto"), &[]),
        ("Use get_time.", json!("none"), &[]),
    ] {
        let message = message(&mut client, ask(text, choice)).await;
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        let names: Vec<&Value> = calls.iter().map(|call| &call["function"]["name"]).collect();
        assert_eq!(names, called, "{text}");
        assert!(calls.iter().all(|call| call["function"]["arguments"] == r#"{"city":"city"}"#), "{calls:?}");
        assert_eq!(message["content"].is_null(), !called.is_empty(), "{message}");
    }
    let outputs = |texts: &[&str]| {
        let outputs = texts.iter().map(|text| json!({"role": "tool", "tool_call_id": "c", "content": text}));
        let messages: Vec<Value> = [user("!tool")].into_iter().chain(outputs).collect();
        json!({"model": "m", "messages": messages, "tools": [tool("get_weather")]})
    };
    assert_eq!(message(&mut client, outputs(&["5"])).await["content"], "The tool said: 5.");
    assert_eq!(message(&mut client, outputs(&["5", "6"])).await["content"], "The tools said: 5; 6.");
}

#[tokio::test]
async fn it_fills_in_a_schema() {
    let (_fake, mut client) = start().await;
    let schema = json!({
        "type": "object",
        "$defs": {"Self": {"type": "object", "properties": {"more": {"$ref": "#/$defs/Self"}}}},
        "properties": {
            "name": {"type": "string"}, "age": {"type": ["integer", "null"]}, "alive": {"type": "boolean"},
            "kind": {"enum": ["cat", "dog"]}, "legs": {"const": 4}, "names": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "null"}, {"type": "string"}]}, "deep": {"$ref": "#/$defs/Self"}
        }
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "pet", "schema": schema}});
    let ask = json!({"model": "m", "messages": [user("Hi")], "response_format": format});
    let text = message(&mut client, ask).await["content"].as_str().unwrap().to_owned();
    let mut pet: Value = serde_json::from_str(&text).unwrap();
    assert!(pet["deep"]["more"]["more"].is_object(), "{pet}");
    pet["deep"] = Value::Null;
    assert_eq!(
        pet,
        json!({"name": "name", "age": 7, "alive": true, "kind": "cat", "legs": 4, "names": ["names"], "either": null,
               "deep": null})
    );
    let object = json!({"model": "m", "messages": [user("Hi")], "response_format": {"type": "json_object"}});
    assert_eq!(message(&mut client, object).await["content"], r#"{"prompt":"Hi"}"#);
}

#[tokio::test]
async fn it_waits_for_another_call_and_fails_once() {
    let (fake, mut client) = start().await;
    let mut other = Client::connect(&fake).await;
    let wait = prompt("!wait here", false);
    let waiting = client.ask(&wait);
    let opening = async {
        fake.wait_for_calls(1, crate::client::SOON).await;
        message(&mut other, prompt("!open here", false)).await
    };
    let (waited, opened) = soon(async { tokio::join!(waiting, opening) }).await;
    assert_eq!(opened["content"], "Opened here.");
    let content = &waited.json()["choices"][0]["message"]["content"];
    assert_eq!(content, "These words come before the gate. These come after it.");

    assert_eq!(client.ask(&prompt("!once me 503", false)).await.status, 503);
    assert_eq!(message(&mut client, prompt("!once me 503", false)).await["content"], "Well, me.");
    assert_eq!(message(&mut client, prompt("!echo magic", false)).await["content"], "magic");
}
