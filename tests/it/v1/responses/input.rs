//! Input in all shapes that clients send, and references to what was said before.

use super::*;
use crate::support::schema::{Spec, check};

fn image(detail: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": detail}})
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

/// What is sent, and the messages that come of it.
fn shapes() -> Vec<(Value, Value)> {
    let user = |text: &str| json!({"role": "user", "content": text});
    let assistant = |text: &str| json!({"role": "assistant", "content": text});
    let said = |content: Value| json!([user("Hi"), {"role": "assistant", "content": content}, user("Go on")]);
    let answered = json!([user("Hi"), assistant("Yes."), user("Go on")]);
    let echoed =
        json!([{"type": "output_text", "text": "Yes.", "annotations": [{"type": "url_citation"}], "logprobs": []}]);
    let called = json!([user("Hi"), {"role": "assistant", "content": null, "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "42"}]);
    let calling = |call: Value, output: Value| json!([user("Hi"), call, output]);
    vec![
        (json!("Hi"), json!([user("Hi")])),
        (json!([user("Hi")]), json!([user("Hi")])),
        (json!([{"type": "message", "role": "user", "content": "Hi"}]), json!([user("Hi")])),
        (json!([{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]), json!([user("Hi")])),
        (
            json!([{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "And kind."}, user("Hi")]),
            json!([{"role": "system", "content": "Be brief.\n\nAnd kind."}, user("Hi")]),
        ),
        (said(json!("Yes.")), answered.clone()),
        (said(json!([{"type": "output_text", "text": "Yes."}])), answered.clone()),
        (
            json!([user("Hi"), {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": echoed, "phase": null}, user("Go on")]),
            answered,
        ),
        (said(json!([{"type": "refusal", "refusal": "No."}])), json!([user("Hi"), assistant("No."), user("Go on")])),
        (
            json!([{"role": "user", "content": [{"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]),
            json!([{"role": "user", "content": [{"type": "text", "text": "What?"}, image("auto")]}]),
        ),
        (
            json!([{"role": "user", "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}]}]),
            json!([{"role": "user", "content": [image("low")]}]),
        ),
        (
            json!([{"role": "user", "content": [{"type": "input_file", "file_data": "data:x;base64,AA", "filename": "a.pdf"}]}]),
            json!([{"role": "user", "content": [
                {"type": "file", "file": {"file_data": "data:x;base64,AA", "filename": "a.pdf"}}]}]),
        ),
        (
            calling(
                json!({"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "a", "name": "f", "arguments": "{}"}),
                json!({"type": "function_call_output", "id": "fco_1", "status": "completed", "call_id": "a", "output": "42"}),
            ),
            called.clone(),
        ),
        (
            calling(
                json!({"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}),
                json!({"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "42"}]}),
            ),
            called,
        ),
        (
            json!([user("Hi"), {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}]),
            json!([user("Hi")]),
        ),
    ]
}

#[tokio::test]
async fn all_shapes_reach_the_model_and_are_listed() {
    let rig = Rig::new().await;
    for (input, messages) in shapes() {
        let given = if input.is_string() { 1 } else { input.as_array().unwrap().len() };
        let response = rig.respond(json!({"model": "m", "input": input})).await;
        assert_eq!(rig.fake.last().json["messages"], messages, "{input}");
        let listed = rig.sdk().input_items(id(&response)).await;
        assert_eq!(listed.len(), given, "{input}");
        // What was listed can be sent again, and says the same.
        rig.respond(json!({"model": "m", "input": listed})).await;
        assert_eq!(rig.fake.last().json["messages"], messages, "{input}");
    }
}

#[tokio::test]
async fn input_items_come_in_pages() {
    let rig = Rig::new().await;
    let input: Vec<Value> = (0..5).map(|n| json!({"role": "user", "content": n.to_string()})).collect();
    let response = rig.respond(json!({"model": "m", "input": input})).await;
    let path = format!("/v1/responses/{}/input_items", id(&response));
    let page = async |query: &str| {
        let list = rig.get(&format!("{path}?{query}")).await.ok();
        check(Spec::OpenAi, "ResponseItemList", &list);
        let said: Vec<String> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["content"][0]["text"].as_str().unwrap().into())
            .collect();
        (said.concat(), list["has_more"] == true, list["last_id"].as_str().unwrap().to_owned())
    };
    assert_eq!(page("").await.0, "43210");
    let (first, more, last) = page("limit=2&order=asc").await;
    assert_eq!((first.as_str(), more), ("01", true));
    let (second, more, last) = page(&format!("limit=2&order=asc&after={last}")).await;
    assert_eq!((second.as_str(), more), ("23", true));
    assert_eq!(page(&format!("after={last}&limit=2&order=asc")).await.0, "4");
    let include = "include%5B%5D=message.input_image.image_url";
    let (rest, more, _) = page(&format!("order=desc&after={last}&{include}")).await;
    assert_eq!((rest.as_str(), more), ("210", false));
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=msg_1", "after"),
    ] {
        assert_eq!(failed(&rig.get(&format!("{path}?{query}")).await, 400)["param"], param);
    }
    assert_eq!(failed(&rig.get("/v1/responses/resp_1/input_items").await, 404)["code"], "response_not_found");
}

fn reference(item: &Value) -> Value {
    json!({"type": "item_reference", "id": item})
}

#[tokio::test]
async fn references_stand_for_what_was_said() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::tool_call("a", "f", "{\"x\":1}"));
    let first = rig.respond(json!({"model": "m", "input": "What is x?", "tools": [function("f")]})).await;
    let (asked, called) = (rig.sdk().input_items(id(&first)).await[0]["id"].clone(), first["output"][0]["id"].clone());
    let output = json!({"type": "function_call_output", "call_id": "a", "output": "42"});
    let wanted = json!([
        {"role": "user", "content": "What is x?"},
        {"role": "assistant", "content": null,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "42"},
    ]);
    // By themselves, and as the AI SDK sends them: what it said in full, what it was told by reference.
    for input in [
        json!([reference(&asked), reference(&called), output]),
        json!([{"role": "user", "content": "What is x?"}, {"id": called}, output]),
        json!([{"role": "user", "content": [{"type": "input_text", "text": "What is x?"}]}, reference(&called), output]),
    ] {
        rig.respond(json!({"model": "m", "input": input})).await;
        assert_eq!(rig.fake.last().json["messages"], wanted, "{input}");
        // Nor is it different where nothing is to be stored.
        rig.respond(json!({"model": "m", "input": input, "store": false})).await;
        assert_eq!(rig.fake.last().json["messages"], wanted, "{input}");
    }
    // What the history has is not said twice.
    let input = json!([reference(&asked), reference(&called), output]);
    let more = rig.respond(json!({"model": "m", "input": input, "previous_response_id": first["id"]})).await;
    assert_eq!(rig.fake.last().json["messages"], wanted);
    assert_eq!(rig.sdk().input_items(id(&more)).await.len(), 1);
    // Nor is what is referred to twice.
    let twice = json!([reference(&asked), reference(&asked), {"role": "user", "content": "Well?"}]);
    let response = rig.respond(json!({"model": "m", "input": twice})).await;
    assert_eq!(rig.told(), pairs(&[("user", "What is x?"), ("user", "Well?")]));
    assert_eq!(rig.sdk().input_items(id(&response)).await.len(), 2);
    rig.respond(after(&response, "And?")).await;
    assert_eq!(rig.told().len(), 4);
}

#[tokio::test]
async fn references_to_unknown_items_are_not_found() {
    let rig = Rig::new().await;
    let theirs = Sdk::other(&rig.server.url).respond(ask("canary: theirs")).await;
    let unstored = rig.respond(json!({"model": "m", "input": "canary", "store": false})).await;
    let gone = rig.respond(ask("canary: gone")).await;
    rig.sdk().delete(&format!("/v1/responses/{}", id(&gone))).await.ok();
    let mine = rig.respond(ask("mine")).await;
    let calls = rig.fake.calls();
    let digits = id(&mine).strip_prefix("resp_").unwrap();
    let unknown: Vec<Value> =
        [&theirs, &unstored, &gone].iter().map(|other| other["output"][0]["id"].clone()).collect();
    let made_up = [json!("msg_1"), json!("no id"), json!(format!("fc_{digits}_1")), json!(format!("msg_{digits}_in7"))];
    for item in unknown.iter().chain(&made_up) {
        for more in [json!({}), json!({"previous_response_id": mine["id"]}), json!({"store": false})] {
            let mut body = json!({"model": "m", "input": [{"role": "user", "content": "canary"}, reference(item)]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let error = failed(&rig.post("/v1/responses", &body).await, 404);
            assert_eq!(error["code"], "item_not_found", "{item} {more}");
            assert!(error["param"].as_str().unwrap().starts_with("input[1]"), "{error}");
        }
    }
    assert_eq!(rig.fake.calls(), calls);
}

/// Both go on from the first; what one of them said is new to the other.
#[tokio::test]
async fn a_reference_to_another_branch_is_said() {
    let rig = Rig::new().await;
    let first = rig.respond(ask("one")).await;
    rig.fake.push(Reply::text("Two it is."));
    let second = rig.respond(after(&first, "two")).await;
    let input = json!([reference(&second["output"][0]["id"]), {"role": "user", "content": "three"}]);
    rig.respond(json!({"model": "m", "input": input, "previous_response_id": first["id"]})).await;
    let told = [("user", "one"), ("assistant", "Hello from the fake."), ("assistant", "Two it is."), ("user", "three")];
    assert_eq!(rig.told(), pairs(&told));
}

/// Without any state, as LangChain, the AI SDK and Agents do it by themselves.
#[tokio::test]
async fn a_whole_history_sent_again_is_what_it_was() {
    let rig = Rig::new().await;
    rig.fake.push(
        Reply::reasoning("Hm.").then_text("Let me see.").then_tool_call("a", "f", "{}").then_tool_call("b", "g", "{}"),
    );
    let mut history = vec![json!({"role": "user", "content": "What now?"})];
    let tools = json!([function("f"), function("g")]);
    let first = rig.respond(json!({"model": "m", "input": history, "tools": tools, "store": false})).await;
    history.extend(first["output"].as_array().unwrap().clone());
    for call_id in ["a", "b"] {
        history.push(json!({"type": "function_call_output", "call_id": call_id, "output": call_id.repeat(2)}));
    }
    let second = rig.respond(json!({"model": "m", "input": history, "tools": tools, "store": false})).await;
    let calls = json!([call("a"), {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}]);
    let wanted = json!([
        {"role": "user", "content": "What now?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls, "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "a", "content": "aa"},
        {"role": "tool", "tool_call_id": "b", "content": "bb"},
    ]);
    assert_eq!(rig.fake.last().json["messages"], wanted);
    history.extend(second["output"].as_array().unwrap().clone());
    history.push(json!({"role": "user", "content": "Thanks."}));
    rig.respond(json!({"model": "m", "input": history, "tools": tools})).await;
    let told = rig.fake.last().json["messages"].as_array().unwrap().clone();
    assert_eq!(told[..4], wanted.as_array().unwrap()[..]);
    assert_eq!(told.len(), 6);
}
