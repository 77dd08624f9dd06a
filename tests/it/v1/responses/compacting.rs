//! A conversation that outgrows its model goes on: what was said is summed up within the turn that would not fit.

use std::time::Duration;

use fake_openai::{Chunking, FakeOpenAi, Gate, RecordedRequest};

use super::*;
use crate::on_every_store;
use crate::support::SOON;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

/// A response; the specification of Open Responses knows no compaction in an output, so it is not held against that.
async fn made(sdk: &Sdk, body: &Value) -> Value {
    sdk.post("/v1/responses", body).await.ok()
}

async fn streamed(sdk: &Sdk, mut body: Value) -> Vec<Value> {
    body["stream"] = true.into();
    let answer = sdk.post("/v1/responses", &body).await;
    let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn is_summary(asked: &RecordedRequest) -> bool {
    asked.last_prompt().starts_with("Summarise the conversation")
}

fn size(asked: &RecordedRequest) -> usize {
    asked.conversation().iter().map(|(_, text)| text.len()).sum()
}

/// A model that takes so many characters, and sums up what it is asked to.
fn that_takes(fake: &FakeOpenAi, most: usize) {
    let mut summaries = 0;
    fake.set_responder(move |asked| match (size(asked) > most, is_summary(asked)) {
        (true, _) => Reply::context_length_exceeded(),
        (false, true) => {
            summaries += 1;
            Reply::text(format!("Summary number {summaries}.")).usage(100, 10)
        }
        (false, false) => Reply::text("Noted.").usage(20, 2),
    });
}

fn kinds(response: &Value) -> Vec<&str> {
    response["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect()
}

/// The names of the items that the store lists for a conversation, page by page.
async fn all_items(sdk: &Sdk, conversation: &str) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/conversations/{conversation}/items?order=asc&limit=100{after}");
        let page = sdk.get(&path).await.ok();
        items.extend(page["data"].as_array().unwrap().iter().cloned());
        if page["has_more"] != true {
            return items;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
}

/// Each digit and each space is a token.
fn long(turn: usize, tokens: usize) -> String {
    format!("Turn {turn}: {}", "7 ".repeat(tokens / 2))
}

async fn a_conversation_of_a_million_tokens_goes_on(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    that_takes(&fake, 32_768);
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    let mut compactions = 0;
    for turn in 0..100 {
        let asked = long(turn, 10_000);
        let body = json!({"model": "gpt-4-32k", "input": asked, "conversation": conversation,
            "context_management": [{"type": "compaction", "compact_threshold": 200_000}]});
        let response = made(&sdk, &body).await;
        assert_eq!((&response["status"], text(&response).as_str()), (&json!("completed"), "Noted."), "turn {turn}");
        let told = fake.last().conversation();
        assert_eq!(told.last().unwrap(), &("user".to_owned(), asked), "what is asked is said word for word");
        if kinds(&response) == ["compaction", "message"] {
            compactions += 1;
            assert!(told[0].1.ends_with(&format!("Summary number {compactions}.")), "{}", told[0].1.len());
        }
    }
    assert!((30..=60).contains(&compactions), "{compactions}");
    assert!(fake.chat_requests().iter().all(|asked| size(asked) <= 32_768), "nothing was too much for the model");
    let items = all_items(&sdk, &conversation).await;
    assert_eq!(items.len(), 200 + compactions);
    assert!((0..100).all(|turn| items.iter().any(|item| crate::v1::sdk::said_in(item) == long(turn, 10_000))));
}

async fn a_chain_goes_on_from_its_compaction(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    that_takes(&fake, 10_000);
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, other) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let first = made(&sdk, &json!({"model": "m", "input": "My name is Ann.", "instructions": "Be kind."})).await;
    let second = made(&sdk, &after(&first, &long(2, 100))).await;
    let mut third = after(&second, "What is my name?");
    third["context_management"] = json!([{"type": "compaction", "compact_threshold": 100}]);
    let events = streamed(&sdk, third).await;
    assert_eq!(
        types(&events)[..6],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.compaction.compacting",
            "response.output_item.done",
            "response.output_item.added",
        ]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let third = events.last().unwrap()["response"].clone();
    assert_eq!(kinds(&third), ["compaction", "message"]);
    assert_eq!((&events[3]["item_id"], &events[3]["output_index"]), (&third["output"][0]["id"], &json!(0)));
    assert_eq!(events[4]["item"], third["output"][0]);
    // What it cost to sum up is the turn's.
    assert_eq!((&third["usage"]["input_tokens"], &third["usage"]["output_tokens"]), (&json!(120), &json!(12)));
    let requests = fake.chat_requests();
    assert!(requests[2].conversation().iter().any(|(_, text)| text == "My name is Ann."), "it is summed up");
    let asked = requests[3].conversation();
    assert!(asked[0].0 == "system" && asked[0].1.ends_with("Summary number 1."), "{asked:?}");
    assert_eq!(asked.last().unwrap().1, "What is my name?");
    // Any server knows it, and so does every later turn, whether it asks for that or not.
    assert_eq!(other.get(&format!("/v1/responses/{}", id(&third))).await.ok(), third);
    made(&other, &after(&third, "Thanks.")).await;
    let told = fake.last().conversation();
    assert!(told[0].1.ends_with("Summary number 1."), "{told:?}");
    assert_eq!(
        told[told.len() - 3..].iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["What is my name?", "Noted.", "Thanks."]
    );
    assert!(!told.iter().any(|(_, text)| *text == long(2, 100)));
    // A branch from before it has all that was said.
    made(&other, &after(&second, "Again?")).await;
    assert_eq!(fake.last().conversation().len(), 5);
}

async fn a_trigger_compacts_and_answers_nothing(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    that_takes(&fake, 10_000);
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let trigger = json!({"type": "compaction_trigger"});
    let first = made(&sdk, &json!({"model": "m", "input": "My name is Ann."})).await;
    let body = json!({"model": "m", "input": [trigger], "previous_response_id": first["id"]});
    let compacted = made(&sdk, &body).await;
    assert_eq!((kinds(&compacted), &compacted["status"]), (vec!["compaction"], &json!("completed")));
    assert_eq!(compacted["usage"]["total_tokens"], 110);
    made(&sdk, &after(&compacted, "And now?")).await;
    let told = fake.last().conversation();
    assert!(told[0].1.ends_with("Summary number 1.") && told.last().unwrap().1 == "And now?", "{told:?}");
    // A client that keeps its own history sends the item back.
    let history = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, trigger]);
    let events = streamed(&sdk, json!({"model": "m", "input": history, "store": false})).await;
    let item = events.last().unwrap()["response"]["output"][0].clone();
    let next = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, item,
        {"role": "user", "content": "Go on."}]);
    made(&sdk, &json!({"model": "m", "input": next, "store": false})).await;
    let told = fake.last().conversation();
    assert!(told[0].1.ends_with("Summary number 2."), "{told:?}");
    let said: Vec<&str> = told[1..].iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(said, ["Hi", "Go on."], "what stood before the item is in it");
    let misplaced = json!({"model": "m", "input": [trigger, {"role": "user", "content": "Hi"}]});
    assert_eq!(failed(&sdk.post("/v1/responses", &misplaced).await, 400)["param"], "input[0]");
}

async fn a_crash_in_the_middle_of_it_loses_nothing(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let hurried = || over(&fake).pace(|pace| pace.lease = Duration::from_millis(900));
    let one = ground.start(hurried()).await;
    let sdk = Sdk::new(&one.url);
    let conversation = sdk.conversation(json!([{"role": "user", "content": long(1, 400)}])).await;
    let never = Gate::new();
    fake.push(Reply::text("Sum").chunked(Chunking::Whole).then_wait(&never));
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation, "background": true,
        "context_management": [{"type": "compaction", "compact_threshold": 100}]});
    let running = made(&sdk, &body).await;
    fake.wait_for_calls(1, SOON).await;
    that_takes(&fake, 10_000);
    one.crash().await;
    let other = ground.start(hurried()).await;
    let sdk = sdk.at(&other.url);
    let path = format!("/v1/responses/{}", id(&running));
    crate::support::eventually("it is made", async || sdk.get(&path).await.ok()["status"] == "completed").await;
    assert_eq!(kinds(&sdk.get(&path).await.ok()), ["compaction", "message"]);
    let listed: Vec<Value> = all_items(&sdk, &conversation).await.iter().map(|item| item["type"].clone()).collect();
    assert_eq!(listed, ["message", "message", "compaction", "message"]);
}

on_every_store! {
    a_conversation_of_a_million_tokens_goes_on,
    a_chain_goes_on_from_its_compaction,
    a_trigger_compacts_and_answers_nothing,
    a_crash_in_the_middle_of_it_loses_nothing,
}

/// Nobody has said how much this model takes; its server does when it is too much.
#[tokio::test]
async fn a_model_of_unknown_size_is_asked_again_with_less() {
    let rig = Rig::new().await;
    that_takes(&rig.fake, 3_000);
    let mut last = made(&rig.sdk(), &ask(&long(0, 1_000))).await;
    for turn in 1..12 {
        let mut body = after(&last, &long(turn, 1_000));
        body["context_management"] = json!([{"type": "compaction"}]);
        last = made(&rig.sdk(), &body).await;
        assert_eq!(last["status"], "completed", "turn {turn}");
    }
    // Even where all of it came at once.
    let items: Vec<Value> = (0..20).map(|n| json!({"role": "user", "content": long(n, 1_000)})).collect();
    let body = json!({"model": "m", "input": items, "context_management": [{"type": "compaction"}]});
    assert_eq!(made(&rig.sdk(), &body).await["status"], "completed");
}

#[tokio::test]
async fn a_loop_of_calls_is_compacted_without_its_last_round() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    let managed = json!([{"type": "compaction", "compact_threshold": 300}]);
    let tools = json!([function("f")]);
    rig.fake.push(Reply::tool_call("call_0", "f", "{}"));
    let body = json!({"model": "m", "input": "Look it up.", "tools": tools, "context_management": managed});
    let mut last = made(&sdk, &body).await;
    let mut compactions = 0;
    for round in 1..8 {
        rig.fake.set_responder(move |asked| match is_summary(asked) {
            true => Reply::text("They are looking it up."),
            false => Reply::tool_call(format!("call_{round}"), "f", "{}"),
        });
        let output = json!({"type": "function_call_output", "call_id": format!("call_{}", round - 1),
            "output": long(round, 100)});
        let body = json!({"model": "m", "input": [output], "previous_response_id": last["id"], "tools": tools,
            "context_management": managed});
        last = made(&sdk, &body).await;
        assert_eq!(last["status"], "completed", "{last}");
        compactions += usize::from(kinds(&last)[0] == "compaction");
        let messages = rig.fake.last().json["messages"].as_array().unwrap().clone();
        let [.., call, answer] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(call["tool_calls"][0]["id"], format!("call_{}", round - 1), "{messages:?}");
        assert_eq!(answer["content"], long(round, 100));
    }
    assert!((1..7).contains(&compactions), "{compactions}");
}

#[tokio::test]
async fn where_there_is_no_summary_the_turn_fails_and_the_history_stays() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    let conversation = sdk.conversation(json!([{"role": "user", "content": long(1, 400)}])).await;
    let body = json!({"model": "m", "input": "Hi", "conversation": conversation,
        "context_management": [{"type": "compaction", "compact_threshold": 100}]});
    for wrong in [Reply::server_error(), Reply::text("")] {
        rig.fake.push(wrong);
        failed(&sdk.post("/v1/responses", &body).await, 502);
    }
    that_takes(&rig.fake, 10_000);
    assert_eq!(kinds(&made(&sdk, &body).await), ["compaction", "message"]);
    let listed = all_items(&sdk, &conversation).await;
    assert_eq!(listed.iter().filter(|item| item["type"] == "compaction").count(), 1);
}
