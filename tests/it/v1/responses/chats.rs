//! Responses in conversations: exactly what was said is added, one at a time, and both doors see the same.

use fake_openai::{FakeOpenAi, Gate, Step};

use super::*;
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::instance::Ground;
use crate::support::{SOON, eventually};
use crate::v1::sdk::{over, said_in};

fn within(conversation: &str, input: &str) -> Value {
    json!({"model": "m", "input": input, "conversation": conversation})
}

async fn a_conversation_gains_exactly_input_and_output(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let conversation = sdk.conversation(json!([{"role": "user", "content": "Remember 7."}])).await;
    fake.push(Reply::reasoning("Hm.").then_text("Seven."));
    let by_object =
        json!({"model": "m", "input": "Which?", "conversation": {"id": conversation}, "instructions": "Be brief."});
    let first = sdk.respond(by_object).await;
    assert_eq!(first["conversation"], json!({"id": conversation}));
    assert_eq!(
        fake.last().conversation(),
        pairs(&[("system", "Be brief."), ("user", "Remember 7."), ("user", "Which?")])
    );
    let items = elsewhere.items(&conversation).await;
    let said: Vec<String> = items.iter().map(said_in).collect();
    assert_eq!(said, ["Remember 7.", "Which?", "", "Seven."]);
    assert_eq!(items[2..], first["output"].as_array().unwrap()[..], "they are the very items of the response");
    assert_eq!(items[1..2], sdk.input_items(id(&first)).await[..]);
    // Instructions are of one response only.
    fake.push(Reply::pieces(["As ", "before."]));
    let events = elsewhere.stream(within(&conversation, "Again?")).await;
    assert_eq!(fake.last().messages().len(), 4);
    let second = &events.last().unwrap()["response"];
    assert_eq!(sdk.items(&conversation).await[5..], second["output"].as_array().unwrap()[..]);
    // Nothing new to say is something to answer, too.
    sdk.respond(json!({"model": "m", "conversation": conversation})).await;
    assert_eq!(sdk.items(&conversation).await.len(), 7);
}

async fn two_at_once_are_one_too_many(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let conversation = sdk.conversation(json!([])).await;
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut live = sdk.open(within(&conversation, "one")).await;
    live.until("response.output_text.delta").await;
    for sdk in [&sdk, &elsewhere] {
        for body in [
            within(&conversation, "canary"),
            json!({"model": "m", "input": "canary", "conversation": conversation, "store": false}),
            json!({"model": "m", "input": "canary", "conversation": conversation, "stream": true}),
            json!({"model": "m", "input": "canary", "conversation": conversation, "background": true}),
        ] {
            let answer = sdk.post("/v1/responses", &body).await;
            let error = failed(&answer, 409);
            assert_eq!(error["code"], "conversation_locked");
            assert_eq!(answer.header("x-should-retry"), Some("true"));
            assert!(answer.header("retry-after").is_some());
        }
        let items = json!({"items": [{"role": "user", "content": "canary"}]});
        let answer = sdk.post(&format!("/v1/conversations/{conversation}/items"), &items).await;
        assert_eq!(failed(&answer, 409)["code"], "conversation_locked");
        assert_eq!(answer.header("x-should-retry"), Some("true"));
    }
    assert_eq!(fake.calls(), 1);
    assert_eq!(sdk.said(&conversation).await, ["one"], "it gains nothing else before the end");
    gate.open();
    live.rest().await;
    elsewhere.respond(within(&conversation, "two")).await;
    assert_eq!(sdk.said(&conversation).await, ["one", "Half and half", "two", "Hello from the fake."]);
}

async fn a_failure_adds_what_was_said_and_what_was_asked(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    for (round, stream) in [false, true].into_iter().enumerate() {
        fake.push(Reply::server_error());
        let mut body = within(&conversation, "one");
        body["stream"] = stream.into();
        failed(&sdk.post("/v1/responses", &body).await, 502);
        let items = sdk.items(&conversation).await;
        assert_eq!((items.len(), &items[round]["status"]), (round + 1, &json!("incomplete")));
    }
    fake.push(Reply::text("Half").then(Step::Flush).then(Step::Reset));
    sdk.stream(within(&conversation, "one")).await;
    let items = sdk.items(&conversation).await;
    assert_eq!((items.len(), &items[2]["status"], &items[3]["status"]), (4, &json!("completed"), &json!("incomplete")));
    // Nor is what the limit cut called whole in one place and not in the other.
    fake.push(Reply::text("Too lo").finish_reason("length"));
    let cut = sdk.respond(within(&conversation, "more")).await;
    assert_eq!(sdk.items(&conversation).await[5..], cut["output"].as_array().unwrap()[..]);
    let gate = Gate::new();
    fake.push(Reply::text("Stop").then_wait(&gate));
    let mut live = sdk.open(within(&conversation, "two")).await;
    let id = live.id().await;
    live.until("response.output_text.delta").await;
    sdk.cancel(&id).await;
    assert_eq!(sdk.said(&conversation).await, ["one", "one", "one", "Half", "more", "Too lo", "two", "Stop"]);
    sdk.respond(within(&conversation, "three")).await;
    assert_eq!(fake.last().messages().len(), 7);
}

async fn what_is_not_stored_is_said_all_the_same(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    let mut body = within(&conversation, "one");
    body["store"] = false.into();
    let response = sdk.respond(body.clone()).await;
    assert_eq!(response["store"], false);
    let path = format!("/v1/responses/{}", id(&response));
    for path in [path.clone(), format!("{path}?stream=true"), format!("{path}/input_items")] {
        assert_eq!(failed(&sdk.get(&path).await, 404)["code"], "response_not_found");
    }
    assert_eq!(failed(&sdk.delete(&path).await, 404)["code"], "response_not_found");
    let error = failed(&sdk.post("/v1/responses", &after(&response, "x")).await, 400);
    assert_eq!(error["code"], "previous_response_not_found");
    assert_eq!(sdk.said(&conversation).await, ["one", "Hello from the fake."]);
    // Its client leaves, and it ends; what was said stays.
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate));
    body["input"] = "two".into();
    let mut live = sdk.open(body).await;
    live.until("response.output_text.delta").await;
    drop(live);
    fake.wait_for_abort(SOON).await;
    eventually("it has ended", async || sdk.said(&conversation).await.len() == 4).await;
    assert_eq!(sdk.said(&conversation).await[2..], ["two", "Half"]);
}

async fn a_deleted_conversation_stops_what_runs_in_it(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    for (round, deleting) in [&sdk, &elsewhere].into_iter().enumerate() {
        let conversation = sdk.conversation(json!([])).await;
        let gate = Gate::new();
        fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
        let mut live = sdk.open(within(&conversation, "one")).await;
        let id = live.id().await;
        live.until("response.output_text.delta").await;
        deleting.delete(&format!("/v1/conversations/{conversation}")).await.ok();
        fake.wait_for_aborts(round + 1, SOON).await;
        let last = live.rest().await.pop().unwrap();
        assert_ne!(last["type"], "response.completed");
        for sdk in [&sdk, &elsewhere] {
            assert_eq!(failed(&sdk.get(&format!("/v1/responses/{id}")).await, 404)["code"], "response_not_found");
            let path = format!("/v1/conversations/{conversation}");
            assert_eq!(failed(&sdk.get(&path).await, 404)["code"], "conversation_not_found");
            let error = failed(&sdk.post("/v1/responses", &within(&conversation, "x")).await, 404);
            assert_eq!((&error["code"], &error["param"]), (&json!("conversation_not_found"), &json!("conversation")));
        }
    }
}

async fn strangers_conversations_are_unknown(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let (sdk, other) = (Sdk::new(&server.url), Sdk::other(&server.url));
    let conversation = sdk.conversation(json!([])).await;
    let known = failed(&other.post("/v1/responses", &within(&conversation, "x")).await, 404);
    for unknown in ["conv_0", "conv_", "no id"] {
        for more in [json!({}), json!({"store": false}), json!({"stream": true})] {
            let mut body = within(unknown, "x");
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            assert_eq!(failed(&other.post("/v1/responses", &body).await, 404), known);
        }
    }
    assert_eq!(fake.calls(), 0);
}

/// A session of /chat is one owner at both doors.
async fn a_conversation_changes_doors(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let browser = Client::new(&pair.one.url);
    fake.push(Reply::text("Here."));
    let chat = browser.say("Where?").await.ok();
    let conversation = chat["conversationId"].as_str().unwrap();
    let page = Sdk::page(&browser).at(&pair.other().url);
    assert_eq!(page.said(conversation).await, ["Where?", "Here."]);
    fake.push(Reply::reasoning("Hm.").then_text("See:").then_tool_call("a", "f", "{}"));
    let tools = json!([function("f")]);
    let mut body = within(conversation, "And now?");
    body["tools"] = tools;
    let called = page.respond(body).await;
    assert_eq!(fake.last().conversation()[..2], pairs(&[("user", "Where?"), ("assistant", "Here.")]));
    let input = json!([{"type": "function_call_output", "call_id": "a", "output": "42"}]);
    fake.push(Reply::text("Forty-two."));
    page.respond(json!({"model": "m", "input": input, "conversation": conversation})).await;
    let history = browser.history().await;
    let wanted = [
        ("user", "Where?"),
        ("assistant", "Here."),
        ("user", "And now?"),
        ("assistant", "See:"),
        ("assistant", "Forty-two."),
    ];
    assert_eq!(history, pairs(&wanted));
    // And back: the model is told all of it.
    browser.at(&pair.other().url).say("Thanks.").await.ok();
    let told = fake.last().conversation();
    assert_eq!(told.len(), 8, "the system prompt, five messages, the output, and the last: {told:?}");
    assert_eq!(fake.last().messages()[4]["tool_calls"][0]["id"], "a");
    assert_eq!(page.said(conversation).await.pop().unwrap(), "Hello from the fake.");
    let listed = page.get("/v1/conversations").await.ok();
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["id"]), (1, &json!(conversation)));
    // A chain is no conversation at either door.
    page.respond(after(&called, "aside")).await;
    assert_eq!(page.get("/v1/conversations").await.ok()["data"].as_array().unwrap().len(), 1);
    assert_eq!(browser.history().await.len(), 7);
    // A turn of /chat is a response, too.
    let turn = chat["turn"].as_str().unwrap().replace("turn_", "resp_");
    assert_eq!(text(&page.response(&turn).await), "Here.");
    page.respond(after(&json!({"id": turn}), "again")).await;
    assert_eq!(fake.last().conversation(), pairs(&[("user", "Where?"), ("assistant", "Here."), ("user", "again")]));
    // No other owner sees any of it.
    let stranger = Sdk::new(&pair.one.url);
    assert_eq!(
        failed(&stranger.get(&format!("/v1/conversations/{conversation}")).await, 404)["code"],
        "conversation_not_found"
    );
    assert_eq!(failed(&stranger.get(&format!("/v1/responses/{turn}")).await, 404)["code"], "response_not_found");
}

/// What one door runs, the other waits for, or is told to come back.
async fn the_doors_keep_out_of_each_others_way(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let browser = Client::new(&server.url);
    let chat = browser.say("Hello").await.ok();
    let conversation = chat["conversationId"].as_str().unwrap();
    let page = Sdk::page(&browser);
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut stream = browser.stream(&json!({"prompt": "one"})).await;
    stream.expect("started").await;
    stream.expect("delta").await;
    let answer = page.post("/v1/responses", &within(conversation, "two")).await;
    assert_eq!(failed(&answer, 409)["code"], "conversation_locked");
    gate.open();
    stream.rest().await;
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut live = page.open(within(conversation, "two")).await;
    live.until("response.output_text.delta").await;
    let (chatted, ()) = tokio::join!(browser.say("three"), async {
        let busy = browser.post("/chat", &json!({"prompt": "no", "onBusy": "reject"})).await;
        assert_eq!(busy.failed(409), "conversation_busy");
        gate.open();
        live.rest().await;
    });
    chatted.ok();
    let said = page.said(conversation).await;
    assert_eq!(said[2..6], ["one", "Half and half", "two", "Half and half"]);
    assert_eq!(said[6], "three");
}

on_every_store! {
    a_conversation_gains_exactly_input_and_output,
    two_at_once_are_one_too_many,
    a_failure_adds_what_was_said_and_what_was_asked,
    what_is_not_stored_is_said_all_the_same,
    a_deleted_conversation_stops_what_runs_in_it,
    strangers_conversations_are_unknown,
    a_conversation_changes_doors,
    the_doors_keep_out_of_each_others_way,
}
