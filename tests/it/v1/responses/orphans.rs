//! Outputs without a call and calls without an output: refused where the call would have to be there, left out where a
//! client sends its whole history.

use super::sockets::socket_to;
use super::*;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

fn output(call_id: &str) -> Value {
    json!({"type": "function_call_output", "call_id": call_id, "output": "42"})
}

fn call(call_id: &str) -> Value {
    json!({"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"})
}

async fn an_output_of_a_call_that_was_not_made_is_refused(ground: Ground) {
    let fake = fake_openai::FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    fake.push(Reply::tool_call("a", "f", "{}"));
    let first = sdk.respond(ask("Call.")).await;
    let conversation = sdk.conversation(json!([call("c"), {"role": "user", "content": "Hi"}])).await;
    let on = [json!({"previous_response_id": first["id"]}), json!({"conversation": conversation})];
    for (on, known) in on.iter().zip(["a", "c"]) {
        for (output, of) in [
            (output("b"), "function call"),
            (json!({"type": "custom_tool_call_output", "call_id": "d", "output": "x"}), "custom tool call"),
        ] {
            let unknown = output["call_id"].as_str().unwrap().to_owned();
            let mut body = json!({"model": "m", "input": [output]});
            body.as_object_mut().unwrap().extend(on.as_object().unwrap().clone());
            let error = failed(&sdk.post("/v1/responses", &body).await, 400);
            assert_eq!(error["message"], format!("No tool call found for {of} output with call_id {unknown}."));
            assert_eq!((&error["param"], &error["code"]), (&json!("input"), &Value::Null));
            // A call that comes along is as good as one that was there.
            body["input"] = json!([call(&unknown), output, self::output(known)]);
            assert_eq!(sdk.respond(body).await["status"], "completed");
        }
    }
    // A call that lies further back, beyond what is looked through at once.
    let mut many = vec![call("old")];
    many.extend((0..250).map(|n| json!({"role": "user", "content": n.to_string()})));
    let long = sdk.conversation(json!(many[..20])).await;
    for part in many[20..].chunks(20) {
        sdk.post(&format!("/v1/conversations/{long}/items"), &json!({"items": part})).await.ok();
    }
    sdk.respond(json!({"model": "m", "input": [output("old")], "conversation": long})).await;
    let body = json!({"model": "m", "input": [output("none")], "conversation": long});
    failed(&sdk.post("/v1/responses", &body).await, 400);
    assert!(!sdk.items(&long).await.iter().any(|item| item["call_id"] == "none"), "nothing of it is stored");
    // A branch has what went before it.
    sdk.respond(json!({"model": "m", "input": [output("a")], "previous_response_id": first["id"]})).await;
}

on_every_store! {
    an_output_of_a_call_that_was_not_made_is_refused,
}

use crate::on_every_store;

#[tokio::test]
async fn on_a_socket_the_response_before_it_goes_along() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    rig.fake.push(Reply::tool_call("a", "f", "{}"));
    let first = socket.respond(json!({"model": "m", "input": "Call.", "store": false})).await;
    let mut body = json!({"model": "m", "input": [output("b")], "store": false, "previous_response_id": first["id"]});
    let refused = socket.refused(body.clone()).await;
    assert_eq!(refused["error"]["message"], "No tool call found for function call output with call_id b.");
    assert_eq!((&refused["status"], &refused["error"]["param"]), (&json!(400), &json!("input")));
    body["input"] = json!([output("a")]);
    assert_eq!(socket.refused(body).await["error"]["code"], "previous_response_not_found");
}

#[tokio::test]
async fn a_history_that_comes_whole_may_have_orphans_which_are_in_no_prompt() {
    let rig = Rig::new().await;
    let mut socket = socket_to(&rig).await;
    let history = json!([{"role": "user", "content": "One"}, output("gone"), call("lost"),
        {"role": "assistant", "content": "Two"}, call("a"), output("a"), call("open"), {"role": "user", "content": "Three"}]);
    let body = json!({"model": "m", "input": history, "store": false});
    rig.respond(body.clone()).await;
    socket.respond(body).await;
    for asked in rig.fake.chat_requests() {
        let roles: Vec<&str> = asked.messages().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "user"], "{}", asked.json);
        assert_eq!(asked.json["messages"][1]["tool_calls"].as_array().unwrap().len(), 1);
    }
    let kept = rig.respond(json!({"model": "m", "input": history})).await;
    assert_eq!(rig.sdk().input_items(id(&kept)).await.len(), 8, "what is in no prompt is kept and listed");
}
