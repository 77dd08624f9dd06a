//! Calls as compatible servers send them: both doors, plain and streamed, and what is stored give the same ones.

use fake_openai::{Reply, Step};
use serde_json::{Value, json};

use super::{Rig, ask, data};
use crate::support::schema::{Spec, check};

fn chunk(delta: Value, finish: Option<&str>) -> Step {
    Step::json(&json!({
        "id": "chatcmpl-0123456789abcdef0123", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }))
}

/// A stream of these deltas, which ends with calls.
fn stream(deltas: &[Value]) -> Reply {
    let ends = [chunk(json!({}), Some("tool_calls")), Step::Done];
    let role = chunk(json!({"role": "assistant", "content": null}), None);
    Reply::stream([role].into_iter().chain(deltas.iter().map(|delta| chunk(delta.clone(), None))).chain(ends))
}

fn call(index: Option<u32>, id: &str, name: &str, arguments: impl Into<Value>) -> Value {
    let mut call = json!({"function": {"arguments": arguments.into()}});
    if let Some(index) = index {
        call["index"] = json!(index);
    }
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    if !name.is_empty() {
        call["function"]["name"] = json!(name);
    }
    call
}

fn calls(calls: &[Value]) -> Value {
    json!({"tool_calls": calls})
}

/// Name and arguments of each call, and their ids.
type Called = (Vec<(String, String)>, Vec<String>);

/// As an SDK adds chunks up: by the index alone, and texts to texts.
fn added_up(text: &str) -> Called {
    let (mut called, mut ids) = (Vec::new(), Vec::new());
    for data in data(text).into_iter().filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        check(Spec::OpenAi, "CreateChatCompletionStreamResponse", &chunk);
        for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
            let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
            if index == called.len() {
                assert_eq!(call["type"], "function", "{text}");
                called.push((String::new(), String::new()));
                ids.push(String::new());
            }
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            called[index].0 += &text(&call["function"]["name"]);
            called[index].1 += call["function"]["arguments"].as_str().expect("arguments are a text");
            ids[index] += &text(&call["id"]);
        }
    }
    (called, ids)
}

fn of_message(message: &Value) -> Called {
    let list = message["tool_calls"].as_array().unwrap_or_else(|| panic!("calls: {message}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    assert!(list.iter().all(|call| call["type"] == "function"), "{message}");
    let called = list.iter().map(|call| (text(&call["function"]["name"]), text(&call["function"]["arguments"])));
    (called.collect(), list.iter().map(|call| text(&call["id"])).collect())
}

fn of_response(response: &Value) -> Called {
    let list = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let list: Vec<&Value> = list.collect();
    let called = list.iter().map(|call| (text(&call["name"]), text(&call["arguments"]))).collect();
    (called, list.iter().map(|call| text(&call["call_id"])).collect())
}

/// The response of the last event.
fn ended(text: &str) -> Value {
    let last =
        text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or_else(|| panic!("events: {text}"));
    serde_json::from_str::<Value>(last).unwrap()["response"].clone()
}

/// What every reader of this answer is told of its calls; ids that the server made may differ from reader to reader.
async fn everywhere(rig: &Rig, reply: &Reply) -> Vec<Called> {
    let mut heard = Vec::new();
    for store in [false, true] {
        let mut body = ask(true);
        body["store"] = json!(store);
        rig.fake.push(reply.clone());
        let text = rig.complete(&body).await.text;
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        heard.push(added_up(&text));
        if store {
            let first: Value = serde_json::from_str(data(&text)[0]).unwrap();
            let path = format!("/v1/chat/completions/{}", first["id"].as_str().unwrap());
            let kept = rig.get(&path).await.ok();
            let kept = of_message(&kept["choices"][0]["message"]);
            assert_eq!(&kept, heard.last().unwrap(), "what is stored is what was said");
            heard.push(kept);
        }
    }
    for stream in [true, false] {
        rig.fake.push(reply.clone());
        let body = json!({"model": "m", "input": "Hi", "stream": stream});
        let answer = rig.response_to(&body).await;
        let response = match stream {
            true => ended(&answer.text),
            false => answer.ok(),
        };
        assert_eq!(response["status"], "completed", "{response}");
        heard.push(of_response(&response));
    }
    heard
}

#[tokio::test]
async fn every_way_to_send_two_calls_is_the_same_two_calls_everywhere() {
    let rig = Rig::new().await;
    let (rome, cet) = (r#"{"city":"Rome"}"#, r#"{"zone":"CET"}"#);
    let two = |first: [Value; 2]| first.map(|call| calls(&[call])).to_vec();
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("no index", two([call(None, "a", "f", rome), call(None, "b", "g", cet)])),
        ("index 0 on all", two([call(Some(0), "a", "f", rome), call(Some(0), "b", "g", cet)])),
        ("no ids", two([call(Some(0), "", "f", rome), call(Some(1), "", "g", cet)])),
        ("neither", two([call(None, "", "f", rome), call(None, "", "g", cet)])),
        ("one id twice", two([call(Some(0), "a", "f", rome), call(Some(1), "a", "g", cet)])),
        ("all in one", vec![calls(&[call(None, "a", "f", rome), call(None, "b", "g", cet)])]),
        (
            "objects",
            two([call(Some(0), "a", "f", json!({"city": "Rome"})), call(Some(1), "b", "g", json!({"zone": "CET"}))]),
        ),
        (
            "an id and a name in every part",
            vec![
                calls(&[call(Some(0), "a", "f", r#"{"city""#)]),
                calls(&[call(Some(0), "a", "f", r#":"Rome"}"#)]),
                calls(&[call(Some(1), "b", "g", cet)]),
            ],
        ),
        (
            "head and tail under different indexes",
            vec![
                calls(&[call(Some(0), "a", "f", "")]),
                calls(&[call(Some(1), "", "", rome)]),
                calls(&[call(Some(2), "b", "g", "")]),
                calls(&[call(Some(3), "", "", cet)]),
            ],
        ),
        (
            "a name after its arguments",
            vec![
                calls(&[call(Some(0), "", "", r#"{"city":"Ro"#)]),
                calls(&[call(Some(0), "", "", r#"me"}"#)]),
                calls(&[call(Some(0), "a", "f", "")]),
                calls(&[call(Some(1), "b", "", cet)]),
                calls(&[call(Some(1), "b", "g", Value::Null)]),
            ],
        ),
    ];
    for (what, deltas) in cases {
        for (called, ids) in everywhere(&rig, &stream(&deltas)).await {
            let expected = [("f", rome), ("g", cet)].map(|(name, arguments)| (name.to_owned(), arguments.to_owned()));
            assert_eq!(called, expected, "{what}");
            assert!(ids[0] != ids[1] && !ids.contains(&String::new()), "{what}: {ids:?}");
        }
    }
}

#[tokio::test]
async fn no_arguments_are_an_empty_object_everywhere() {
    let rig = Rig::new().await;
    let nothing = [json!(""), Value::Null, json!({}), json!([])];
    for arguments in &nothing {
        let delta = calls(&[call(Some(0), "a", "ping", arguments.clone())]);
        let finishing = Reply::stream([chunk(delta.clone(), Some("tool_calls")), Step::Done]);
        let unfinished = Reply::stream([chunk(delta.clone(), None), Step::Done]);
        for reply in [stream(&[delta]), finishing, unfinished] {
            for heard in everywhere(&rig, &reply).await {
                assert_eq!(heard, (vec![("ping".to_owned(), "{}".to_owned())], vec!["a".to_owned()]), "{reply:?}");
            }
        }
    }
    // What an SDK sends back without arguments goes up with an object, too.
    let items = json!([{"role": "user", "content": "Hi"},
        {"type": "function_call", "call_id": "a", "name": "ping", "arguments": ""},
        {"type": "function_call_output", "call_id": "a", "output": "pong"}]);
    let body = json!({"model": "m", "input": items});
    rig.response_to(&body).await.ok();
    let messages = rig.fake.last().json["messages"].clone();
    assert_eq!(messages[1]["tool_calls"][0]["function"]["arguments"], "{}", "{messages}");
}

#[tokio::test]
async fn plain_calls_have_ids_kinds_and_arguments_as_text() {
    let rig = Rig::new().await;
    for arguments in [json!({"city": "Rome"}), json!(r#"{"city":"Rome"}"#)] {
        let list =
            json!([{"function": {"name": "f", "arguments": arguments}}, {"id": "", "function": {"name": "ping"}}]);
        let message = json!({"role": "assistant", "content": null, "tool_calls": list});
        let whole = json!({"id": "chatcmpl-0123456789abcdef0123", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
        rig.fake.push_all([Reply::json(200, &whole), Reply::json(200, &whole)]);
        let answer = rig.complete(&ask(false)).await.ok();
        check(Spec::OpenAi, "CreateChatCompletionResponse", &answer);
        let body = json!({"model": "m", "input": "Hi"});
        let response = rig.response_to(&body).await.ok();
        for (called, ids) in [of_message(&answer["choices"][0]["message"]), of_response(&response)] {
            assert_eq!(
                called,
                [("f", r#"{"city":"Rome"}"#), ("ping", "{}")].map(|(a, b)| (a.to_owned(), b.to_owned()))
            );
            assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("call_")), "{ids:?}");
        }
    }
}

#[tokio::test]
async fn the_older_field_is_a_call_for_all_but_clients_that_know_nothing_else() {
    let rig = Rig::new().await;
    let deltas = [
        json!({"function_call": {"name": "f", "arguments": "{\"a\""}}),
        json!({"function_call": {"arguments": ":1}"}}),
    ];
    for (called, ids) in everywhere(&rig, &stream(&deltas)).await {
        assert_eq!((called, ids.len()), (vec![("f".to_owned(), r#"{"a":1}"#.to_owned())], 1));
    }
    let mut body = ask(true);
    body["functions"] = json!([{"name": "f", "parameters": {"type": "object"}}]);
    rig.fake.push(stream(&deltas));
    let text = rig.complete(&body).await.text;
    assert!(text.contains("function_call") && !text.contains(r#""tool_calls":["#), "{text}");
}

#[tokio::test]
async fn ids_that_this_server_makes_are_unique_in_a_conversation() {
    let rig = Rig::new().await;
    let (mut seen, mut previous) = (Vec::new(), Value::Null);
    for turn in 0..3 {
        rig.fake.push(stream(&[calls(&[call(Some(0), "", &format!("step{turn}"), "{}")])]));
        let mut body = json!({"model": "m", "input": "Go on", "stream": true, "previous_response_id": previous});
        if let Some(id) = seen.last() {
            body["input"] = json!([{"type": "function_call_output", "call_id": id, "output": "done"}]);
        }
        let answer = rig.response_to(&body).await;
        let response = ended(&answer.text);
        previous = response["id"].clone();
        seen.extend(of_response(&response).1);
    }
    let distinct: std::collections::HashSet<&String> = seen.iter().collect();
    assert_eq!(distinct.len(), 3, "{seen:?}");
}
