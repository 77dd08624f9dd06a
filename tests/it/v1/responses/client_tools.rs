//! Tools that Chat Completions have no word for: offered to the model as functions, and called in the client's words.

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

fn tools() -> Value {
    let grammar = json!({"type": "grammar", "syntax": "lark", "definition": "start: /.+/"});
    json!([
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": grammar},
        {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [function("get"), {"type": "custom", "name": "note"}]},
        function("get"),
    ])
}

/// The functions that the newest call offered, by name.
fn offered(fake: &fake_openai::FakeOpenAi) -> Vec<Value> {
    let tools = fake.last().json["tools"].as_array().cloned().unwrap_or_default();
    tools.into_iter().map(|tool| tool["function"].clone()).collect()
}

fn call(kind: &str, name: &str, namespace: Option<&str>, (given, value): (&str, &str)) -> Value {
    let mut call = json!({"type": kind, "status": "completed", "call_id": "a", "name": name, given: value});
    if let Some(namespace) = namespace {
        call["namespace"] = namespace.into();
    }
    call
}

/// A response; the specification of Open Responses knows functions only, so it is not held against that.
async fn made(sdk: &Sdk, body: Value) -> Value {
    sdk.post("/v1/responses", &body).await.ok()
}

async fn streamed(sdk: &Sdk, body: Value) -> Vec<Value> {
    let answer = sdk.post("/v1/responses", &body).await;
    let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

const PATCH: &str = "*** Begin Patch\n\"x\"";

/// What the model calls, with what arguments, and the call that the client sees.
fn cases() -> Vec<(&'static str, String, Value)> {
    let input = json!({"input": PATCH}).to_string();
    vec![
        ("apply_patch", input.clone(), call("custom_tool_call", "apply_patch", None, ("input", PATCH))),
        ("apply_patch", PATCH.to_owned(), call("custom_tool_call", "apply_patch", None, ("input", PATCH))),
        ("crm__get", "{\"id\": 1}".to_owned(), call("function_call", "get", Some("crm"), ("arguments", "{\"id\": 1}"))),
        ("crm__note", input, call("custom_tool_call", "note", Some("crm"), ("input", PATCH))),
        ("get", "{}".to_owned(), call("function_call", "get", None, ("arguments", "{}"))),
    ]
}

async fn each_is_called_in_the_clients_words(ground: Ground) {
    let fake = fake_openai::FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (one, other) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    for (function, arguments, wanted) in cases() {
        fake.push_all([0, 1].map(|_| Reply::tool_call("a", function, arguments.as_str())));
        let plain = made(&one, json!({"model": "m", "input": "Do it.", "tools": tools()})).await;
        let events = streamed(&one, json!({"model": "m", "input": "Do it.", "tools": tools(), "stream": true})).await;
        let streamed = events.last().unwrap()["response"].clone();
        for response in [&plain, &streamed] {
            let mut item = response["output"][0].clone();
            item.as_object_mut().unwrap().remove("id");
            assert_eq!(item, wanted);
            assert_eq!(response["tools"].as_array().unwrap().len(), 3);
        }
        let done = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
        assert_eq!(done["item"], streamed["output"][0]);
        let told = events.iter().find(|event| event["type"] == "response.custom_tool_call_input.done");
        assert_eq!(told.map(|event| event["input"].clone()), wanted.get("input").cloned());
        let read = other.get(&format!("/v1/responses/{}", plain["id"].as_str().unwrap())).await.ok();
        assert_eq!(read["output"], plain["output"], "a restart or another server changes nothing");
        goes_on(&fake, &other, &plain, (function, &wanted)).await;
    }
}

/// The output of a call finds it in the next prompt, whether the server has the history or the client sends it.
async fn goes_on(fake: &fake_openai::FakeOpenAi, sdk: &Sdk, plain: &Value, (function, wanted): (&str, &Value)) {
    let kind = format!("{}_output", wanted["type"].as_str().unwrap());
    let output = json!({"type": kind, "call_id": "a", "output": "Done."});
    for body in [
        json!({"model": "m", "input": [output], "previous_response_id": plain["id"], "tools": tools()}),
        json!({"model": "m", "input": [{"role": "user", "content": "Do it."}, plain["output"][0], output], "store": false}),
    ] {
        made(sdk, body).await;
        let last = fake.last();
        let messages = last.messages();
        let call = &messages[1]["tool_calls"][0];
        assert_eq!((&call["id"], &call["function"]["name"]), (&json!("a"), &json!(function)));
        let arguments = call["function"]["arguments"].as_str().unwrap();
        match wanted["input"].is_string() {
            true => assert!(arguments.contains("*** Begin Patch"), "{arguments}"),
            false => assert_eq!(arguments, wanted["arguments"]),
        }
        assert_eq!((&messages[2]["tool_call_id"], &messages[2]["content"]), (&json!("a"), &json!("Done.")));
    }
}

on_every_store! {
    each_is_called_in_the_clients_words,
}

#[tokio::test]
async fn each_is_offered_as_a_function_that_model_servers_take() {
    let rig = Rig::new().await;
    made(&rig.sdk(), json!({"model": "m", "input": "Hi", "tools": tools()})).await;
    let functions = offered(&rig.fake);
    let names: Vec<&str> = functions.iter().map(|function| function["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["apply_patch", "crm__get", "crm__note", "get"]);
    assert_eq!(functions[0]["parameters"]["required"], json!(["input"]));
    let told = functions[0]["description"].as_str().unwrap();
    assert!(told.starts_with("Edits files.") && told.contains("start: /.+/"), "{told}");
    for (choice, sent, offers) in [
        (
            json!({"type": "custom", "name": "apply_patch"}),
            json!({"type": "function", "function": {"name": "apply_patch"}}),
            4,
        ),
        (
            json!({"type": "function", "name": "get", "namespace": "crm"}),
            json!({"type": "function", "function": {"name": "crm__get"}}),
            4,
        ),
        (
            json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "namespace", "name": "crm"}]}),
            json!("required"),
            2,
        ),
        (
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "apply_patch"}]}),
            json!("auto"),
            1,
        ),
    ] {
        let body = json!({"model": "m", "input": "Hi", "tools": tools(), "tool_choice": choice});
        let response = made(&rig.sdk(), body).await;
        assert_eq!((&rig.fake.last().json["tool_choice"], offered(&rig.fake).len()), (&sent, offers), "{choice}");
        assert_eq!(response["tool_choice"], choice);
    }
}
