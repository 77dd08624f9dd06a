//! Chains of responses: they go on, branch, and are forgotten, also when others go on from the same one.

use std::collections::BTreeSet;

use fake_openai::{FakeOpenAi, Gate};
use futures::future::join_all;

use super::*;
use crate::on_every_store;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::v1::sdk::over;

/// Says back what it was told last.
fn echoing(fake: &FakeOpenAi) {
    fake.set_responder(|request| Reply::text(format!("re {}", request.last_prompt())));
}

fn told(fake: &FakeOpenAi) -> Vec<String> {
    fake.last().conversation().into_iter().map(|(_, text)| text).collect()
}

async fn fifty_links_are_one_history(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    echoing(&fake);
    let pair = ground.two(|| over(&fake)).await;
    let sdks = [Sdk::new(&pair.one.url), Sdk::new(&pair.other().url)];
    let mut last = sdks[0].respond(ask("0")).await;
    let mut links = vec![last.clone()];
    for n in 1..50 {
        last = sdks[n % 2].respond(after(&last, &n.to_string())).await;
        assert_eq!(last["previous_response_id"], links[n - 1]["id"]);
        links.push(last.clone());
    }
    let all: Vec<String> = (0..50).flat_map(|n| [n.to_string(), format!("re {n}")]).collect();
    assert_eq!(told(&fake), all[..99]);
    // From the middle, twice, and then the end goes on as if nothing had been.
    let middle = sdks[0].respond(after(&links[20], "aside")).await;
    let mut branch = all[..42].to_vec();
    branch.push("aside".into());
    assert_eq!(told(&fake), branch);
    sdks[1].respond(after(&middle, "more")).await;
    branch.extend(["re aside".into(), "more".into()]);
    assert_eq!(told(&fake), branch);
    sdks[1].respond(after(&last, "50")).await;
    assert_eq!(told(&fake)[..100], all[..100]);
    assert_eq!(told(&fake).len(), 101);
    // A response's own input is what was new in it.
    let own = sdks[0].input_items(id(&links[30])).await;
    assert_eq!((own.len(), &own[0]["content"][0]["text"]), (1, &json!("30")));
    assert_eq!(sdks[0].get("/v1/conversations").await.ok()["data"], json!([]), "a chain is no listed conversation");
}

/// None of them waits, and none hears of the others.
async fn many_go_on_from_the_same_one_at_once(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let sdks = [Sdk::new(&pair.one.url), Sdk::new(&pair.other().url)];
    let first = sdks[0].respond(ask("one")).await;
    let gate = Gate::new();
    fake.push_all((0..6).map(|n| Reply::text(format!("answer {n}")).wait_first(&gate)));
    let asking = (0..6).map(|n| sdks[n % 2].respond(after(&first, &format!("branch {n}"))));
    let opening = async {
        let calls = fake.wait_for_calls(7, crate::support::SOON).await;
        gate.open();
        calls
    };
    let (branches, calls) = tokio::join!(join_all(asking), opening);
    let prompts: BTreeSet<String> = calls[1..].iter().map(|call| call.last_prompt()).collect();
    assert_eq!(prompts.len(), 6);
    for call in &calls[1..] {
        assert_eq!(call.conversation()[..2], pairs(&[("user", "one"), ("assistant", "Hello from the fake.")]));
        assert_eq!(call.messages().len(), 3);
    }
    for branch in &branches {
        let answer = text(branch);
        sdks[0].respond(after(branch, "go on")).await;
        let told = told(&fake);
        assert_eq!((told.len(), told[3].as_str()), (5, answer.as_str()));
    }
}

/// The one before has just told its end, and the next one is asked for in the same moment.
async fn a_client_that_is_told_the_end_can_go_on_at_once(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([])).await;
    for n in 0..60 {
        let mut live = sdk.open(json!({"model": "m", "input": n.to_string(), "conversation": conversation})).await;
        // Not even the end of the body is waited for.
        live.until("response.completed").await;
    }
    assert_eq!(sdk.page_of(&conversation, "limit=100").await["data"].as_array().unwrap().len(), 100);
}

async fn what_cannot_be_gone_on_from_says_why(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut live = sdk.open(ask("Hi")).await;
    let running = json!({"id": live.id().await});
    live.until("response.output_text.delta").await;
    for sdk in [&sdk, &elsewhere] {
        let answer = sdk.post("/v1/responses", &after(&running, "too early")).await;
        let error = failed(&answer, 409);
        assert_eq!((&error["code"], answer.header("x-should-retry")), (&json!("conversation_locked"), Some("true")));
        assert!(answer.header("retry-after").is_some());
    }
    gate.open();
    live.rest().await;
    elsewhere.respond(after(&running, "now")).await;
    assert_eq!(told(&fake), ["Hi", "Half and half", "now"]);
    // Of another owner's, of one that was not stored, of one that is gone, and of one that never was, the same is said.
    let gone = sdk.respond(ask("gone")).await;
    sdk.delete(&format!("/v1/responses/{}", id(&gone))).await.ok();
    let unstored = sdk.respond(json!({"model": "m", "input": "x", "store": false})).await;
    let theirs = Sdk::other(&pair.one.url).respond(ask("theirs")).await;
    let calls = fake.calls();
    let mut said = BTreeSet::new();
    for previous in [&gone, &unstored, &theirs, &json!({"id": "resp_0"}), &json!({"id": "conv_1"})] {
        for sdk in [&sdk, &elsewhere] {
            for more in [json!({}), json!({"store": false}), json!({"stream": true})] {
                let mut body = after(previous, "x");
                body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                said.insert(failed(&sdk.post("/v1/responses", &body).await, 400).to_string());
            }
        }
    }
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said.first().unwrap().contains("previous_response_not_found"));
    assert_eq!(fake.calls(), calls);
}

/// Unless it may leave out what is old, a history that does not fit is an error, and nothing is spent on it.
async fn a_history_that_does_not_fit_is_refused_or_cut(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let long = |n: usize| json!({"model": "gpt-4", "input": format!("{n} {}", "word ".repeat(1_500)), "max_output_tokens": 16});
    let mut last = json!({"id": null});
    for n in 0..5 {
        let mut body = long(n);
        body["previous_response_id"] = last["id"].clone();
        last = sdk.respond(body).await;
    }
    let calls = fake.calls();
    let mut body = long(5);
    body["previous_response_id"] = last["id"].clone();
    for stream in [false, true] {
        body["stream"] = stream.into();
        for truncation in [Value::Null, json!("disabled")] {
            body["truncation"] = truncation;
            let error = failed(&sdk.post("/v1/responses", &body).await, 400);
            assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("input")));
        }
    }
    assert_eq!(fake.calls(), calls);
    body["truncation"] = "auto".into();
    body["stream"] = false.into();
    sdk.respond(body).await;
    let told = told(&fake);
    assert!((3..11).contains(&told.len()), "{}", told.len());
    assert!(told.last().unwrap().starts_with("5 ") && told.iter().all(|text| !text.starts_with("0 ")));
}

/// Failed and cancelled ones end where they ended.
async fn one_that_was_cut_short_can_be_gone_on_from(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let first = sdk.respond(ask("one")).await;
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate));
    let mut live = sdk.open(after(&first, "two")).await;
    let second = live.id().await;
    live.until("response.output_text.delta").await;
    let cancelled = sdk.cancel(&second).await;
    sdk.respond(after(&cancelled, "three")).await;
    assert_eq!(told(&fake), ["one", "Hello from the fake.", "two", "Half", "three"]);
    fake.push(Reply::text("Broken").then(fake_openai::Step::Flush).then(fake_openai::Step::Reset));
    let failed = sdk.stream(after(&cancelled, "four")).await.pop().unwrap()["response"].clone();
    sdk.respond(after(&failed, "five")).await;
    assert_eq!(told(&fake), ["one", "Hello from the fake.", "two", "Half", "four", "Broken", "five"]);
    // What failed without a word has left nothing to go on from but what was there before.
    fake.push(Reply::server_error());
    let queued = sdk
        .respond(json!({"model": "m", "input": "six", "previous_response_id": first["id"], "background": true}))
        .await;
    let events = sdk.resume(id(&queued), None).await.rest().await;
    referee::judge(&events);
    let empty = &events.last().unwrap()["response"];
    assert_eq!((&empty["status"], &empty["output"]), (&json!("failed"), &json!([])));
    assert_eq!(sdk.response(id(empty)).await, *empty);
    sdk.respond(after(empty, "seven")).await;
    assert_eq!(told(&fake), ["one", "Hello from the fake.", "seven"]);
}

/// What is said after a response in a conversation is not said in that conversation.
async fn going_on_from_a_conversations_response_leaves_the_conversation_alone(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let conversation = sdk.conversation(json!([{"role": "user", "content": "Remember 7."}])).await;
    let inside = sdk.respond(json!({"model": "m", "input": "one", "conversation": conversation})).await;
    sdk.respond(json!({"model": "m", "input": "later", "conversation": conversation})).await;
    let kept = sdk.items(&conversation).await;
    let outside = sdk.respond(after(&inside, "two")).await;
    assert_eq!(told(&fake), ["Remember 7.", "one", "Hello from the fake.", "two"]);
    assert_eq!((&outside["conversation"], &outside["previous_response_id"]), (&Value::Null, &inside["id"]));
    sdk.respond(after(&outside, "three")).await;
    assert_eq!(told(&fake).len(), 6);
    assert_eq!(sdk.items(&conversation).await, kept);
    assert_eq!(sdk.get("/v1/conversations").await.ok()["data"].as_array().unwrap().len(), 1);
    // The copy outlives what it was copied from.
    sdk.delete(&format!("/v1/conversations/{conversation}")).await.ok();
    sdk.respond(after(&outside, "four")).await;
    assert_eq!(told(&fake)[..4], ["Remember 7.", "one", "Hello from the fake.", "two"]);
    let error = failed(&sdk.post("/v1/responses", &after(&inside, "five")).await, 400);
    assert_eq!(error["code"], "previous_response_not_found", "it went with its conversation");
}

async fn a_link_that_is_deleted_takes_no_other_with_it(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    echoing(&fake);
    let pair = ground.two(|| over(&fake)).await;
    let (sdk, elsewhere) = (Sdk::new(&pair.one.url), Sdk::new(&pair.other().url));
    let one = sdk.respond(ask("1")).await;
    let two = sdk.respond(after(&one, "2")).await;
    let three = sdk.respond(after(&two, "3")).await;
    let gone = elsewhere.delete(&format!("/v1/responses/{}", id(&two))).await.ok();
    assert_eq!(gone, json!({"id": two["id"], "object": "response", "deleted": true}));
    for sdk in [&sdk, &elsewhere] {
        let path = format!("/v1/responses/{}", id(&two));
        for path in [path.clone(), format!("{path}?stream=true"), format!("{path}/input_items")] {
            assert_eq!(failed(&sdk.get(&path).await, 404)["code"], "response_not_found");
        }
        assert_eq!(failed(&sdk.delete(&path).await, 404)["code"], "response_not_found");
        assert_eq!(failed(&sdk.post(&format!("{path}/cancel"), &json!({})).await, 404)["code"], "response_not_found");
        assert_eq!(sdk.response(id(&three)).await, three);
    }
    elsewhere.respond(after(&three, "4")).await;
    assert_eq!(told(&fake), ["1", "re 1", "2", "re 2", "3", "re 3", "4"]);
    elsewhere.respond(after(&one, "5")).await;
    assert_eq!(told(&fake), ["1", "re 1", "5"]);
}

/// What the store has: the keys of Redis, how many rows each table of SQLite has. Memory cannot be looked into.
pub async fn remains(ground: &Ground) -> BTreeSet<String> {
    match ground {
        Ground::Memory(_) => BTreeSet::new(),
        Ground::Sqlite(folder) => {
            let db = rusqlite::Connection::open(folder.path().join("openai-backend.db")).unwrap();
            let count = |table: &&str| {
                let count = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
                format!("{} {table}", count.unwrap())
            };
            ["conversations", "items", "turns", "leases", "events", "idempotency_keys"].iter().map(count).collect()
        }
        Ground::Redis(server, prefix) => {
            let mut admin = server.admin().await;
            ::redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut admin).await.unwrap()
        }
    }
}

/// Not even of what was copied for a branch, or for a request that came twice.
async fn when_all_links_are_deleted_nothing_is_left(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    let server = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&server.url);
    let before = remains(&ground).await;
    let conversation = sdk.conversation(json!([])).await;
    let inside = sdk.respond(json!({"model": "m", "input": "zero", "conversation": conversation})).await;
    let one = sdk.respond(ask("one")).await;
    let mut all = vec![inside.clone(), one.clone()];
    for previous in [&inside, &one, &one, &one] {
        let next = sdk.respond(after(previous, "two")).await;
        all.push(sdk.respond(after(&next, "three")).await);
        all.push(next);
    }
    let resent = async |body: &Value| {
        let request = sdk.posting("/v1/responses", body).header("idempotency-key", "key-1");
        sdk.send(request).await
    };
    // The second of these finds the first one's, and has copied a history for nothing.
    let body = after(&inside, "again");
    let first = resent(&body).await.ok();
    assert_eq!(resent(&body).await.ok(), first);
    assert_eq!(failed(&resent(&after(&inside, "another")).await, 422)["code"], "idempotency_key_reused");
    all.push(first);
    // So has one that turns out to be too long.
    let mut long = after(&inside, &"word ".repeat(9_000));
    long["model"] = "gpt-4".into();
    failed(&sdk.post("/v1/responses", &long).await, 400);
    for response in &all {
        sdk.delete(&format!("/v1/responses/{}", id(response))).await.ok();
    }
    sdk.delete(&format!("/v1/conversations/{conversation}")).await.ok();
    eventually("nothing is left", async || remains(&ground).await == before).await;
}

/// What was said after a response is no part of what a branch goes on from, though items before that are gone.
async fn a_branch_shows_its_own_past(ground: Ground) {
    let fake = FakeOpenAi::start().await;
    echoing(&fake);
    let instance = ground.start(over(&fake)).await;
    let sdk = Sdk::new(&instance.url);
    let conversation = sdk.conversation(json!([])).await;
    let inside = |input: &str| json!({"model": "m", "input": input, "conversation": conversation});
    let first = sdk.respond(inside("one")).await;
    let output = format!("/v1/conversations/{conversation}/items/{}", first["output"][0]["id"].as_str().unwrap());
    sdk.delete(&output).await.ok();
    sdk.respond(inside("two")).await;
    assert_eq!(told(&fake), ["one", "two"]);
    let branch = sdk.respond(after(&first, "aside")).await;
    assert_eq!(told(&fake), ["one", "aside"]);
    sdk.respond(after(&branch, "more")).await;
    assert_eq!(told(&fake), ["one", "aside", "re aside", "more"]);
}

on_every_store! {
    a_branch_shows_its_own_past,
    fifty_links_are_one_history,
    many_go_on_from_the_same_one_at_once,
    a_client_that_is_told_the_end_can_go_on_at_once,
    what_cannot_be_gone_on_from_says_why,
    a_history_that_does_not_fit_is_refused_or_cut,
    one_that_was_cut_short_can_be_gone_on_from,
    going_on_from_a_conversations_response_leaves_the_conversation_alone,
    a_link_that_is_deleted_takes_no_other_with_it,
    when_all_links_are_deleted_nothing_is_left,
}
