//! What a model's server gets back of its model's own words: thoughts, signatures, members that only it reads.

use fake_openai::{FakeOpenAi, Step};
use openai_backend::upstream::openai::settings::OpenAiSettings;

use super::*;
use crate::on_every_store;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

/// The model's message with a call, as a family of servers says it, and what it wants back of it.
struct Dialect {
    name: &'static str,
    /// The members of the message beside its role and call.
    message: Value,
    /// The members of the call beside its id, type and function.
    call: Value,
    /// The same in pieces.
    pieces: Vec<Value>,
}

fn dialects() -> Vec<Dialect> {
    let text = |text: &str| json!([{"type": "reasoning.text", "index": 0, "format": "f", "text": text}]);
    let signed =
        json!([{"type": "reasoning.text", "index": 0, "format": "f", "text": "Let me look.", "signature": "s"}]);
    let signature = json!({"extra_content": {"google": {"thought_signature": "sig=="}}});
    vec![
        Dialect {
            name: "DeepSeek",
            message: json!({"content": null, "reasoning_content": "Let me look."}),
            call: json!({}),
            pieces: vec![
                json!({"role": "assistant", "content": null, "reasoning_content": "Let me"}),
                json!({"content": null, "reasoning_content": " look."}),
            ],
        },
        Dialect {
            name: "DeepSeek without a thought",
            message: json!({"content": null, "reasoning_content": ""}),
            call: json!({}),
            pieces: vec![json!({"role": "assistant", "content": null, "reasoning_content": ""})],
        },
        Dialect {
            name: "OpenRouter",
            message: json!({"content": "Well.", "reasoning": "Let me look.", "reasoning_details": signed}),
            call: json!({}),
            pieces: vec![
                json!({"role": "assistant", "content": "", "reasoning": "Let me", "reasoning_details": text("Let me")}),
                json!({"reasoning": " look.", "reasoning_details": text(" look.")}),
                json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "format": "f", "signature": "s"}]}),
                json!({"content": "Well."}),
            ],
        },
        Dialect {
            name: "Gemini",
            message: json!({"content": null}),
            call: signature,
            pieces: vec![json!({"role": "assistant"})],
        },
        Dialect {
            name: "a server that is not known",
            message: json!({"content": "Well.", "state": {"token": "t", "n": 1.5}}),
            call: json!({"seal": ["a"]}),
            pieces: vec![
                json!({"role": "assistant", "content": "Well.", "state": {"token": "t"}}),
                json!({"state": {"n": 1.5}}),
            ],
        },
    ]
}

impl Dialect {
    fn whole_call(&self) -> Value {
        let mut call = json!({"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
        call.as_object_mut().unwrap().extend(self.call.as_object().unwrap().clone());
        call
    }

    /// The message that goes back.
    fn wanted(&self) -> Value {
        let mut message = self.message.clone();
        message["role"] = "assistant".into();
        message["tool_calls"] = json!([self.whole_call()]);
        message
    }

    fn reply(&self, stream: bool) -> Reply {
        if !stream {
            let choice = json!({"index": 0, "message": self.wanted(), "finish_reason": "tool_calls"});
            return Reply::json(
                200,
                &json!({"id": "c", "object": "chat.completion", "model": "up", "choices": [choice]}),
            );
        }
        let chunk = |delta: &Value, finish: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
            Step::json(&json!({"id": "c", "object": "chat.completion.chunk", "model": "up", "choices": [choice]}))
        };
        let mut call = self.whole_call();
        call["index"] = 0.into();
        let pieces = self.pieces.iter().map(|piece| chunk(piece, Value::Null));
        let ends =
            [chunk(&json!({"tool_calls": [call]}), Value::Null), chunk(&json!({}), "tool_calls".into()), Step::Done];
        Reply::stream(pieces.chain(ends))
    }
}

fn calling(input: &str) -> Value {
    json!({"model": "m", "input": input, "tools": [function("f")]})
}

fn output() -> Value {
    json!({"type": "function_call_output", "call_id": "call_a", "output": "sunny"})
}

/// The model's messages in the newest call.
fn own(fake: &FakeOpenAi) -> Vec<Value> {
    fake.last().messages().iter().filter(|message| message["role"] == "assistant").cloned().collect()
}

async fn asked(sdk: &Sdk, body: &Value, stream: bool) -> Value {
    if !stream {
        return sdk.respond(body.clone()).await;
    }
    let events = sdk.stream(body.clone()).await;
    events.last().unwrap()["response"].clone()
}

/// What was shown of it is the same as before.
#[track_caller]
fn assert_not_shown(shown: &Value, name: &str) {
    let text = shown.to_string();
    for private in ["provider", "thought_signature", "reasoning_details", "\"seal\"", "\"token\""] {
        assert!(!text.contains(private), "{name}: {private} in {text}");
    }
}

async fn a_chain_gives_it_back_after_a_restart_too(ground: Ground) {
    for dialect in dialects() {
        for stream in [false, true] {
            let fake = FakeOpenAi::start().await;
            let setup = || over(&fake).set("SYSTEM_PROMPT", "");
            let instance = ground.start(setup()).await;
            let sdk = Sdk::new(&instance.url);
            fake.push(dialect.reply(stream));
            let first = asked(&sdk, &calling("hi"), stream).await;
            assert_not_shown(&first, dialect.name);
            assert_not_shown(&sdk.get(&format!("/v1/responses/{}", id(&first))).await.ok(), dialect.name);
            let mut next = json!({"model": "m", "previous_response_id": first["id"], "input": [output()]});
            let second = asked(&sdk, &next, stream).await;
            assert_eq!(own(&fake), [dialect.wanted()], "{}", dialect.name);
            drop(instance);
            let instance = ground.start(setup()).await;
            let sdk = sdk.at(&instance.url);
            // A branch, and the rest of the chain: what came in this round stays needed after it.
            asked(&sdk, &next, stream).await;
            assert_eq!(own(&fake), [dialect.wanted()], "{}", dialect.name);
            next = json!({"model": "m", "previous_response_id": second["id"], "input": "And?"});
            asked(&sdk, &next, stream).await;
            assert_eq!(own(&fake)[0], dialect.wanted(), "{}", dialect.name);
            // Another model has no use for it.
            next["model"] = "other".into();
            asked(&sdk, &next, stream).await;
            assert_eq!(own(&fake)[0].as_object().unwrap().len(), 3, "{}: {}", dialect.name, own(&fake)[0]);
        }
    }
}

async fn a_conversation_gives_it_back_and_shows_nothing_of_it(ground: Ground) {
    for dialect in dialects() {
        let fake = FakeOpenAi::start().await;
        let instance = ground.start(over(&fake)).await;
        let sdk = Sdk::new(&instance.url);
        let conversation = sdk.conversation(json!([])).await;
        fake.push(dialect.reply(true));
        let inside = |input: Value| json!({"model": "m", "conversation": conversation, "input": input});
        let first = sdk.respond(inside(json!("hi"))).await;
        for item in sdk.items(&conversation).await {
            assert_not_shown(&item, dialect.name);
            let path = format!("/v1/conversations/{conversation}/items/{}", item["id"].as_str().unwrap());
            assert_eq!(sdk.get(&path).await.ok(), item);
        }
        sdk.respond(inside(json!([output()]))).await;
        assert_eq!(own(&fake), [dialect.wanted()], "{}", dialect.name);
        // Its items are known by their ids elsewhere, too.
        let references =
            first["output"].as_array().unwrap().iter().map(|item| json!({"type": "item_reference", "id": item["id"]}));
        let input: Vec<Value> = references.chain([output()]).collect();
        sdk.respond(json!({"model": "m", "input": input})).await;
        assert_eq!(own(&fake), [dialect.wanted()], "{}", dialect.name);
    }
}

on_every_store! {
    a_chain_gives_it_back_after_a_restart_too,
    a_conversation_gives_it_back_and_shows_nothing_of_it,
}

#[tokio::test]
async fn thoughts_in_a_clients_own_history_go_back_to_their_model() {
    let rig = Rig::new().await;
    for (name, dialect) in dialects().into_iter().take(3).map(|dialect| (dialect.name, dialect)) {
        rig.fake.push(dialect.reply(true));
        let unkept = |model: &str, input: &[Value]| json!({"model": model, "store": false, "input": input});
        let user = json!({"role": "user", "content": "hi"});
        let first = rig.respond(unkept("m", std::slice::from_ref(&user))).await;
        let said = first["output"].as_array().unwrap().clone();
        let history = [vec![user.clone()], said.clone(), vec![output()]].concat();
        rig.respond(unkept("m", &history)).await;
        let thoughts = |message: &Value| ["reasoning_content", "reasoning"].map(|member| message[member].clone());
        let wanted = if name.ends_with("thought") { json!({}) } else { dialect.wanted() };
        assert_eq!(thoughts(&own(&rig.fake)[0]), thoughts(&wanted), "{name}");
        rig.respond(unkept("other", &history)).await;
        assert_eq!(thoughts(&own(&rig.fake)[0]), [Value::Null, Value::Null], "{name}");
        // Some clients take the ids out.
        let without_ids = history.iter().cloned().map(|mut item| {
            item.as_object_mut().unwrap().remove("id");
            item
        });
        rig.respond(unkept("m", &without_ids.collect::<Vec<_>>())).await;
        assert_eq!(own(&rig.fake)[0]["reasoning_content"].is_string(), !name.ends_with("thought"), "{name}");
    }
}

#[tokio::test]
async fn thoughts_without_a_call_stay_here() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::reasoning("Hm.").then_text("Yes."));
    let first = rig.respond(ask("hi")).await;
    rig.respond(after(&first, "And?")).await;
    assert_eq!(own(&rig.fake), [json!({"role": "assistant", "content": "Yes."})]);
}

#[tokio::test]
async fn openai_gets_nothing_back() {
    for dialect in dialects() {
        let rig = Rig::with(Setup::default(), |settings| OpenAiSettings { kind: "openai", ..settings }).await;
        rig.fake.push(dialect.reply(false));
        let first = rig.respond(calling("hi")).await;
        rig.respond(json!({"model": "m", "previous_response_id": first["id"], "input": [output()]})).await;
        assert_eq!(own(&rig.fake)[0].as_object().unwrap().len(), 3, "{}", dialect.name);
    }
}
