//! The tool loop: calls and their outputs stay together whatever comes between them, and none of them bricks anything.

use super::*;
use crate::support::instance::Ground;
use crate::v1::sdk::{over, said_in};

fn output(call_id: &str, output: &str) -> Value {
    json!({"type": "function_call_output", "call_id": call_id, "output": output})
}

/// The newest call's messages, each as its role, its text and the ids of calls.
fn outline(fake: &fake_openai::FakeOpenAi) -> Vec<String> {
    let line = |message: &Value| {
        let calls = message["tool_calls"].as_array().into_iter().flatten().map(|call| call["id"].as_str().unwrap());
        let ids: Vec<&str> = calls.chain(message["tool_call_id"].as_str()).collect();
        format!("{} {} {}", message["role"].as_str().unwrap(), message["content"], ids.join(" ")).trim_end().to_owned()
    };
    fake.last().messages().iter().map(line).collect()
}

async fn a_loop_goes_on_from_the_response_or_in_the_conversation(ground: Ground) {
    let fake = fake_openai::FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (one, other) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let tools = json!([function("f"), function("g")]);
    for in_conversation in [false, true] {
        fake.push(
            Reply::reasoning("Hm.")
                .then_text("Let me see.")
                .then_tool_call("a", "f", "{}")
                .then_tool_call("b", "g", "[]"),
        );
        let mut body = json!({"model": "m", "input": "What now?", "tools": tools});
        let conversation = one.conversation(json!([])).await;
        if in_conversation {
            body["conversation"] = json!({"id": conversation});
        }
        let first = one.respond(body).await;
        let kinds: Vec<&str> =
            first["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
        // The outputs come in whatever order they were ready in.
        let mut body = json!({"model": "m", "input": [output("b", "bb"), output("a", "aa")], "tools": tools});
        match in_conversation {
            true => body["conversation"] = conversation.clone().into(),
            false => body["previous_response_id"] = first["id"].clone(),
        }
        let second = other.respond(body).await;
        let wanted = ["user \"What now?\"", "assistant \"Let me see.\" a b", "tool \"aa\" a", "tool \"bb\" b"];
        assert_eq!(outline(&fake), wanted);
        let mut third = json!({"model": "m", "input": "Thanks."});
        match in_conversation {
            true => third["conversation"] = conversation.clone().into(),
            false => third["previous_response_id"] = second["id"].clone(),
        }
        one.respond(third).await;
        assert_eq!(outline(&fake)[..4], wanted);
        assert_eq!(outline(&fake)[4..], ["assistant \"Hello from the fake.\"", "user \"Thanks.\""]);
        let kept: Vec<String> =
            other.items(&conversation).await.iter().map(|item| item["type"].as_str().unwrap().to_owned()).collect();
        let all = [
            "message",
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
            "message",
            "message",
            "message",
        ];
        assert_eq!(kept, if in_conversation { &all[..] } else { &[] });
    }
}

async fn an_unanswered_call_bricks_nothing(ground: Ground) {
    let fake = fake_openai::FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    fake.push(Reply::tool_call("a", "f", "{}"));
    let tools = json!([function("f")]);
    sdk.respond(json!({"model": "m", "input": "Call it.", "conversation": conversation, "tools": tools})).await;
    let last = sdk.respond(json!({"model": "m", "input": "Never mind.", "conversation": conversation})).await;
    let wanted = ["user \"Call it.\"", "assistant null a", "tool \"(no output)\" a", "user \"Never mind.\""];
    assert_eq!(outline(&fake), wanted);
    // It comes late.
    sdk.respond(json!({"model": "m", "input": [output("a", "late")], "conversation": conversation})).await;
    assert_eq!(outline(&fake)[2], "tool \"late\" a");
    assert_eq!(outline(&fake).len(), 5);
    sdk.respond(after(&last, "And now?")).await;
    assert_eq!(outline(&fake)[..4], wanted);
    // Its item is removed, and the output is left behind by itself.
    let items = sdk.items(&conversation).await;
    let call = items.iter().find(|item| item["type"] == "function_call").unwrap();
    sdk.delete(&format!("/v1/conversations/{conversation}/items/{}", call["id"].as_str().unwrap())).await.ok();
    sdk.respond(json!({"model": "m", "input": "Still there?", "conversation": conversation})).await;
    let roles: Vec<String> = fake.last().conversation().into_iter().map(|(role, _)| role).collect();
    assert_eq!(roles, ["user", "user", "assistant", "assistant", "user"]);
}

on_every_store! {
    a_loop_goes_on_from_the_response_or_in_the_conversation,
    an_unanswered_call_bricks_nothing,
}

use crate::on_every_store;

/// Some servers count their calls anew in every answer.
#[tokio::test]
async fn calls_of_one_name_in_two_rounds_keep_their_own_outputs() {
    let rig = Rig::new().await;
    let tools = json!([function("f")]);
    let mut last = rig.respond(ask("Count.")).await;
    for round in ["first", "second"] {
        rig.fake.push(Reply::tool_call("call_0", "f", "{}"));
        let asked = json!({"model": "m", "input": round, "tools": tools, "previous_response_id": last["id"]});
        let called = rig.respond(asked).await;
        let input = json!([output("call_0", &format!("{round} output"))]);
        last = rig.respond(json!({"model": "m", "input": input, "previous_response_id": called["id"]})).await;
    }
    let outputs: Vec<String> = outline(&rig.fake).into_iter().filter(|line| line.starts_with("tool")).collect();
    assert_eq!(outputs, ["tool \"first output\" call_0", "tool \"second output\" call_0"]);
    // The third has no output yet, and takes none of the others'.
    rig.fake.push(Reply::tool_call("call_0", "f", "{}"));
    let called = rig.respond(after(&last, "third")).await;
    rig.respond(after(&called, "Never mind.")).await;
    let outputs: Vec<String> = outline(&rig.fake).into_iter().filter(|line| line.starts_with("tool")).collect();
    assert_eq!(outputs[2], "tool \"(no output)\" call_0");
}

#[tokio::test]
async fn a_server_that_gives_calls_no_id_is_lived_with() {
    let rig = Rig::new().await;
    let calls = json!([{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
        {"type": "function", "function": {"name": "f", "arguments": "{\"x\":2}"}}]);
    let answer = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": calls}}]});
    rig.fake.push(Reply::json(200, &answer));
    let first = rig.respond(json!({"model": "m", "input": "Call.", "tools": [function("f")]})).await;
    let [one, two] = [&first["output"][0], &first["output"][1]];
    assert_ne!(one["call_id"], two["call_id"]);
    assert_eq!((&one["arguments"], &two["arguments"]), (&json!("{\"x\":1}"), &json!("{\"x\":2}")));
    let outputs = [one, two].map(|call| output(call["call_id"].as_str().unwrap(), call["arguments"].as_str().unwrap()));
    rig.respond(json!({"model": "m", "input": outputs, "previous_response_id": first["id"]})).await;
    let told = rig.told();
    assert_eq!((told[2].1.as_str(), told[3].1.as_str()), ("{\"x\":1}", "{\"x\":2}"));
}

/// The window keeps the newest that fits, and a pair is whole or gone; what was just sent is always said.
#[tokio::test]
async fn whatever_the_window_cuts_no_pair_is_torn() {
    let setup = crate::support::server::Setup::default().set("HISTORY_MAX_TOKENS", "700");
    let rig = Rig::with(setup, |settings| settings).await;
    let mut last = rig.respond(ask("Begin.")).await;
    for round in 0..12 {
        let long = format!("round {round} {}", "word ".repeat(60));
        rig.fake.push(Reply::tool_call(format!("call_{round}"), "f", "{}"));
        let mut body = after(&last, &long);
        body["truncation"] = "auto".into();
        let called = rig.respond(body).await;
        let input = json!([output(&format!("call_{round}"), &long)]);
        let body = json!({"model": "m", "input": input, "previous_response_id": called["id"], "truncation": "auto"});
        last = rig.respond(body).await;
        let lines = outline(&rig.fake);
        let mut calls: Vec<&str> = Vec::new();
        for line in &lines {
            let id = line.rsplit(' ').next().unwrap();
            match line.starts_with("tool") {
                true => assert_eq!(calls.pop(), Some(id), "{lines:?}"),
                false if line.starts_with("assistant null") => calls.push(id),
                false => assert!(calls.is_empty(), "{lines:?}"),
            }
        }
        assert!(lines.iter().any(|line| line.contains(&format!("round {round}"))), "{lines:?}");
    }
    assert!(outline(&rig.fake).len() < 20, "the window did cut");
}

#[tokio::test]
async fn an_output_whose_call_is_not_there_is_said_all_the_same() {
    let setup = crate::support::server::Setup::default().set("HISTORY_MAX_TOKENS", "300");
    let rig = Rig::with(setup, |settings| settings).await;
    rig.fake.push(Reply::tool_call("a", "f", format!("{{\"x\":\"{}\"}}", "word ".repeat(400))));
    let called = rig.respond(ask("Call.")).await;
    // The call takes so much that the window leaves it behind.
    let body =
        json!({"model": "m", "input": [output("a", "42")], "previous_response_id": called["id"], "truncation": "auto"});
    let second = rig.respond(body).await;
    let told = rig.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == "user" && told[0].1.contains("42") && told[0].1.contains('a'), "{told:?}");
    let kept = rig.sdk().input_items(id(&second)).await;
    assert_eq!((&kept[0]["type"], &kept[0]["output"]), (&json!("function_call_output"), &json!("42")));
    // Without any history at all.
    rig.respond(json!({"model": "m", "input": [output("b", "43")]})).await;
    assert!(rig.told()[0].1.contains("43"), "{:?}", rig.told());
}

/// A function may give an image, which Chat Completions take from the user only.
#[tokio::test]
async fn images_that_a_function_gave_are_shown_to_the_model() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::tool_call("a", "f", "{}").then_tool_call("b", "f", "{}"));
    let called = rig.respond(json!({"model": "m", "input": "Look.", "tools": [function("f")]})).await;
    let parts = json!([{"type": "input_text", "text": "Seen:"}, {"type": "input_image", "image_url": "data:image/png;base64,AA"}]);
    let input = json!([{"type": "function_call_output", "call_id": "a", "output": parts}, output("b", "done")]);
    rig.respond(json!({"model": "m", "input": input, "previous_response_id": called["id"]})).await;
    let messages = rig.fake.last().json["messages"].clone();
    let roles: Vec<&str> =
        messages.as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"], "the outputs follow their calls at once");
    assert_eq!(messages[2]["content"], "Seen:");
    let shown = messages[4]["content"].as_array().unwrap();
    assert!(shown.iter().any(|part| part["image_url"]["url"] == "data:image/png;base64,AA"), "{messages}");
    assert!(shown[0]["text"].as_str().unwrap().contains('a'), "{messages}");
}

/// Whether a call was whole is unknown, so clients are not to answer it.
#[tokio::test]
async fn a_call_that_was_cut_is_not_answered() {
    let rig = Rig::new().await;
    let cut = Reply::text("Let me see.").then_tool_call("a", "f", "{\"x\":12345678}").then(fake_openai::Step::Flush);
    rig.fake
        .push(cut.then_tool_call("b", "f", "{\"y\":").then(fake_openai::Step::Flush).then(fake_openai::Step::Reset));
    let events = rig.stream(json!({"model": "m", "input": "Call.", "tools": [function("f")]})).await;
    let failed = &events.last().unwrap()["response"];
    assert_eq!(failed["status"], "failed");
    for call in failed["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call") {
        assert_eq!(call["status"], "incomplete", "{failed}");
    }
    rig.respond(after(failed, "Go on.")).await;
    assert_eq!(outline(&rig.fake), ["user \"Call.\"", "assistant \"Let me see.\"", "user \"Go on.\""]);
    assert_eq!(said_in(&failed["output"][0]), "Let me see.");
}

/// Half of a JSON in the history is something that servers choke on for good.
#[tokio::test]
async fn a_call_that_the_limit_cut_bricks_nothing() {
    let rig = Rig::new().await;
    for stream in [false, true] {
        let conversation = rig.sdk().conversation(json!([])).await;
        rig.fake.push(Reply::text("See:").then_tool_call("a", "f", "{\"x\":\"12").finish_reason("length"));
        let body = json!({"model": "m", "input": "Call.", "tools": [function("f")], "conversation": conversation});
        let cut = match stream {
            true => rig.stream(body).await.pop().unwrap()["response"].clone(),
            false => rig.respond(body).await,
        };
        assert_eq!((&cut["status"], &cut["output"][1]["status"]), (&json!("incomplete"), &json!("incomplete")));
        rig.respond(json!({"model": "m", "input": "Go on.", "conversation": conversation})).await;
        assert_eq!(outline(&rig.fake), ["user \"Call.\"", "assistant \"See:\"", "user \"Go on.\""]);
        // An answer to it is taken all the same.
        rig.respond(json!({"model": "m", "input": [output("a", "42")], "previous_response_id": cut["id"]})).await;
        assert!(rig.told().last().unwrap().1.contains("42"), "{:?}", rig.told());
    }
}
