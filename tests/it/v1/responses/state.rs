//! Counting, cutting down and deleting what was said.

use super::*;
use crate::support::schema::{Spec, check};

async fn tokens(rig: &Rig, body: Value) -> u64 {
    let count = rig.post("/v1/responses/input_tokens", &body).await.ok();
    check(Spec::OpenAi, "TokenCountsResource", &count);
    count["input_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn input_tokens_count_all_that_would_be_sent() {
    let rig = Rig::new().await;
    let short = tokens(&rig, ask("Hi")).await;
    let long = tokens(&rig, ask(&"word ".repeat(100))).await;
    assert!(short < 20 && (100..130).contains(&long), "{short} {long}");
    let mut more = ask("Hi");
    more["instructions"] = "word ".repeat(50).into();
    let instructed = tokens(&rig, more.clone()).await;
    assert!(instructed >= short + 50, "{instructed}");
    more["tools"] = json!([function("f")]);
    assert!(tokens(&rig, more.clone()).await > instructed);
    more["text"] = json!({"format": {"type": "json_object"}});
    more["reasoning"] = json!({"effort": "low"});
    for (key, value) in
        [("tool_choice", json!("auto")), ("truncation", json!("auto")), ("parallel_tool_calls", json!(true))]
    {
        more[key] = value;
    }
    tokens(&rig, more).await;
    let image =
        json!([{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]);
    assert!(tokens(&rig, json!({"model": "m", "input": image})).await > 100);
    // What it goes on from counts, too.
    let response = rig.respond(ask(&"word ".repeat(100))).await;
    assert!(tokens(&rig, after(&response, "Hi")).await > long);
    let conversation = rig.sdk().conversation(json!([{"role": "user", "content": "word ".repeat(100)}])).await;
    let within = json!({"model": "m", "input": "Hi", "conversation": conversation});
    assert!(tokens(&rig, within).await > long);
    let said = &rig.sdk().input_items(id(&response)).await[0]["id"];
    let referred = json!({"model": "m", "input": [{"type": "item_reference", "id": said}]});
    assert_eq!(tokens(&rig, referred.clone()).await, long, "a reference counts as what it stands for");
    let again = json!({"model": "m", "input": referred["input"], "previous_response_id": response["id"]});
    let alone = json!({"model": "m", "previous_response_id": response["id"]});
    assert_eq!(tokens(&rig, again).await, tokens(&rig, alone).await, "what is there already is not counted twice");
    assert_eq!(rig.fake.calls(), 1, "counting asks no model");
}

#[tokio::test]
async fn what_cannot_be_counted_or_cut_down_says_why() {
    let rig = Rig::new().await;
    let theirs = Sdk::other(&rig.server.url).respond(ask("theirs")).await;
    let conversation = Sdk::other(&rig.server.url).conversation(json!([])).await;
    for path in ["/v1/responses/input_tokens", "/v1/responses/compact"] {
        for (wrong, status, param) in [
            (json!({"model": 7}), 400, "model"),
            (json!({"input": 7}), 400, "input"),
            (json!({"input": ["canary"]}), 400, "input[0]"),
            (json!({"previous_response_id": theirs["id"]}), 400, "previous_response_id"),
            (json!({"previous_response_id": "resp_0"}), 400, "previous_response_id"),
            (json!({"previous_response_id": "resp_0", "conversation": "conv_0"}), 400, "previous_response_id"),
            (json!({"input": [{"type": "item_reference", "id": theirs["output"][0]["id"]}]}), 404, "input[0].id"),
        ] {
            let mut body = ask("canary words");
            body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            let error = failed(&rig.post(path, &body).await, status);
            assert_eq!(error["param"], param, "{path}: {wrong}");
        }
    }
    let body = json!({"model": "m", "input": "x", "conversation": conversation});
    assert_eq!(failed(&rig.post("/v1/responses/input_tokens", &body).await, 404)["code"], "conversation_not_found");
    assert_eq!(failed(&rig.post("/v1/responses/compact", &json!({"model": "m"})).await, 400)["param"], "input");
    assert_eq!(rig.fake.calls(), 1);
}

#[tokio::test]
async fn what_was_cut_down_goes_on_as_if_it_were_whole() {
    let rig = Rig::new().await;
    let first = rig.respond(ask("My name is Ada.")).await;
    rig.fake.push(Reply::tool_call("a", "f", "{}"));
    let second = rig.respond(after(&first, "Call it.")).await;
    rig.fake.push(Reply::text("Her name is Ada.").usage(40, 5));
    let input = json!([{"type": "function_call_output", "call_id": "a", "output": "42"}, {"role": "user", "content": "And then?"}]);
    let body = json!({"model": "m", "previous_response_id": second["id"], "input": input, "instructions": "Be brief."});
    let compacted = rig.post("/v1/responses/compact", &body).await.ok();
    check(Spec::OpenAi, "CompactResource", &compacted);
    check(Spec::OpenResponses, "CompactResource", &compacted);
    assert_eq!((&compacted["usage"]["input_tokens"], &compacted["usage"]["output_tokens"]), (&json!(40), &json!(5)));
    let asked = rig.fake.last().conversation();
    assert_eq!(asked[..2], pairs(&[("system", "Be brief."), ("user", "My name is Ada.")]));
    assert!(asked.iter().any(|(role, text)| role == "tool" && text == "42"), "{asked:?}");
    let output = compacted["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "message", "message", "compaction"]);
    assert!(!output[3].to_string().contains("Ada"), "it is not for the client to read");
    // Sent back, with what comes next.
    let mut input = output.clone();
    input.push(json!({"role": "user", "content": "What is my name?"}));
    let third = rig.respond(json!({"model": "m", "input": input})).await;
    let told = rig.told();
    assert!(told.iter().any(|(role, text)| role == "system" && text.contains("Her name is Ada.")), "{told:?}");
    assert_eq!(told.iter().filter(|(role, _)| role == "user").count(), 4);
    assert_eq!(told.last().unwrap().1, "What is my name?");
    rig.respond(after(&third, "Still?")).await;
    assert!(rig.told().iter().any(|(_, text)| text.contains("Her name is Ada.")));
    // Twice over.
    rig.fake.push(Reply::text("Still Ada."));
    let body = json!({"model": "m", "previous_response_id": third["id"]});
    let again = rig.post("/v1/responses/compact", &body).await.ok();
    check(Spec::OpenAi, "CompactResource", &again);
    assert!(rig.told().iter().any(|(_, text)| text.contains("Her name is Ada.")));
    // Another server's compaction says nothing here, and breaks nothing.
    let foreign = json!([{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA not ours"}, {"role": "user", "content": "Hi"}]);
    rig.respond(json!({"model": "m", "input": foreign})).await;
    assert_eq!(rig.told(), pairs(&[("user", "Hi")]));
}

#[tokio::test]
async fn a_compaction_that_fails_says_so() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::server_error());
    failed(&rig.post("/v1/responses/compact", &ask("canary")).await, 502);
    rig.fake.push(Reply::rate_limited_for(1));
    failed(&rig.post("/v1/responses/compact", &ask("canary")).await, 429);
    let said = &rig.respond(ask("Refer to me.")).await;
    let item = &rig.sdk().input_items(id(said)).await[0]["id"];
    let body = json!({"model": "m", "input": [{"type": "item_reference", "id": item}]});
    rig.post("/v1/responses/compact", &body).await.ok();
    assert_eq!(rig.told()[0].1, "Refer to me.");
}

#[tokio::test]
async fn a_response_is_deleted_while_it_runs() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    let gate = fake_openai::Gate::new();
    rig.fake.push(Reply::text("Half").then_wait(&gate));
    let mut live = sdk.open(ask("Hi")).await;
    let id = live.id().await;
    live.until("response.output_text.delta").await;
    let gone = sdk.delete(&format!("/v1/responses/{id}")).await.ok();
    assert_eq!(gone, json!({"id": id, "object": "response", "deleted": true}));
    rig.fake.wait_for_abort(crate::support::SOON).await;
    let last = live.rest().await.pop().unwrap();
    assert_eq!(last["response"]["status"], "cancelled");
    assert_eq!(failed(&sdk.get(&format!("/v1/responses/{id}")).await, 404)["code"], "response_not_found");
}
