//! What was asked is there from the moment at which its turn is stored, on both doors and every server, and stays where no
//! answer comes.

use fake_openai::Gate;
use openai_backend::domain::turn::FaultKind;
use reqwest::Method;
use serde_json::{Value, json};

use super::{known, over, spawned};
use crate::on_every_store;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::instance::Ground;
use crate::support::script::{Act, Script, prompt_of, say, wait};

/// `(content, status)` of the newest message, as the history shows it without being asked for details.
async fn newest(client: &Client) -> (String, Value) {
    let messages = client.get("/chat").await.ok();
    let newest = messages.as_array().unwrap().last().cloned().unwrap_or_default();
    (newest["content"].as_str().unwrap_or_default().to_owned(), newest["status"].clone())
}

/// The items of the session's main conversation, newest first, as the SDK door lists them.
async fn items(client: &Client) -> (String, Vec<Value>) {
    let turns = client.get("/chat/turns").await.ok();
    let path = format!("/v1/conversations/{}/items", turns[0]["conversationId"].as_str().unwrap());
    let list = client.get(&path).await.ok();
    (path, list["data"].as_array().unwrap().clone())
}

async fn are_there_while_their_turn_runs(ground: Ground) {
    let gate = Gate::new();
    let script = Script::new({
        let gate = gate.clone();
        move |_, prompt| if prompt == "hello" { vec![say("Hello.")] } else { vec![wait(&gate), say("Because.")] }
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let asking = spawned(client.json("/chat", &json!({"prompt": "Why?"})));
    script.called(2).await;
    drop(asking);
    for client in [&client, &elsewhere] {
        assert_eq!(newest(client).await, ("Why?".into(), json!("running")));
        let turn = client.get("/chat/turns?limit=1").await.ok()[0].clone();
        assert_eq!((&turn["prompt"], &turn["status"]), (&json!("Why?"), &json!("running")));
        let details = client.get("/chat?details=true&limit=1").await;
        assert_eq!(details.header("link"), Some("</chat?limit=1&before=3&details=true>; rel=\"next\""));
        let message = details.ok()[0].clone();
        assert_eq!((&message["turn"], &message["seq"]), (&turn["turn"], &json!(3)));
        let (path, listed) = items(client).await;
        assert_eq!((&listed[0]["status"], listed.len()), (&json!("in_progress"), 3));
        let item = format!("{path}/{}", listed[0]["id"].as_str().unwrap());
        assert_eq!(client.get(&item).await.ok(), listed[0]);
        let refused = client.delete(&item).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (409, &json!("conversation_locked")));
    }
    gate.open();
    eventually("it is answered", async || client.history().await.len() == 4).await;
    let messages = client.get("/chat?details=true").await.ok();
    assert!(messages.as_array().unwrap().iter().all(|message| message["status"] == "completed"), "{messages}");
    assert_eq!(client.get("/chat").await.ok()[2], json!({"role": "user", "content": "Why?"}));
    assert!(items(&elsewhere).await.1.iter().all(|item| item["status"] == "completed"));
}

async fn stay_where_no_answer_comes_and_reach_no_model(ground: Ground) {
    let never = Gate::new();
    let script = Script::new(move |_, prompt| match prompt {
        "fails" => vec![Act::Fail(FaultKind::UpstreamUnavailable)],
        "hangs" => vec![wait(&never), say("For no reader.")],
        _ => vec![say("Hello.")],
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    client.say("fails").await.failed(502);
    assert_eq!(newest(&client).await, ("fails".into(), json!("failed")));
    let asking = spawned(client.json("/chat", &json!({"prompt": "hangs"})));
    script.called(3).await;
    let turn = client.get("/chat/turns?limit=1").await.ok()[0]["turn"].as_str().unwrap().to_owned();
    super::cancel(&client, &turn).await;
    drop(asking);
    assert_eq!(newest(&client).await, ("hangs".into(), json!("cancelled")));
    client.say("and now?").await.ok();
    let texts: Vec<String> = client.history().await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["hello", "Hello.", "fails", "hangs", "and now?", "Hello."]);
    let call = script.calls().pop().unwrap();
    assert_eq!(prompt_of(&call), "and now?");
    let sent: Vec<_> = call.messages.iter().map(|message| message.text().into_owned()).collect();
    assert_eq!(sent[1..], ["hello", "Hello.", "and now?"]);
    // They can be removed like others, and cost no later one its place.
    let (path, listed) = items(&client).await;
    let statuses: Vec<&Value> = listed.iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, ["completed", "completed", "incomplete", "incomplete", "completed", "completed"]);
    client.delete(&format!("{path}/{}", listed[3]["id"].as_str().unwrap())).await.ok();
    assert_eq!(client.history().await.len(), 5);
    let before = client.send(client.request(Method::GET, "/chat?before=5&details=true")).await.ok();
    assert_eq!(before.as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 4]);
}

async fn outlive_their_server(ground: Ground) {
    let never = Gate::new();
    let script = Script::new(move |_, prompt| match prompt {
        "hello" => vec![say("Hello.")],
        _ => vec![wait(&never), say("For no reader.")],
    });
    let setup = || over(&script).set("ON_CRASH", "interrupt").set("SHUTDOWN_GRACE", "200ms");
    let server = ground.start(setup()).await;
    let client = known(&server.url).await;
    let asking = spawned(client.json("/chat", &json!({"prompt": "Why?"})));
    script.called(2).await;
    drop(asking);
    server.stop().await;
    let server = ground.start(setup()).await;
    let client = client.at(&server.url);
    eventually("it is interrupted", async || newest(&client).await == ("Why?".into(), json!("interrupted"))).await;
    assert_eq!(client.history().await.len(), 3);
}

/// The turn that was asked this.
async fn turn_of(client: &Client, prompt: &str) -> String {
    let turns = client.get("/chat/turns").await.ok();
    let asked = turns.as_array().unwrap().iter().find(|turn| turn["prompt"] == prompt);
    asked.expect("the turn")["turn"].as_str().unwrap().to_owned()
}

async fn are_asked_again(ground: Ground) {
    let gate = Gate::new();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let script = Script::new({
        let gate = gate.clone();
        move |_, prompt| match prompt {
            "Why?" if calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2 => {
                vec![Act::Fail(FaultKind::UpstreamUnavailable)]
            }
            "Why?" => vec![wait(&gate), say("Because.")],
            _ => vec![say("Hello.")],
        }
    });
    let pair = ground.two(|| over(&script)).await;
    let client = known(&pair.one.url).await;
    let elsewhere = client.at(&pair.other().url);
    let first = json!({"prompt": "Why?", "systemPrompt": "Be brief.", "maxTokens": 7, "temperature": 0.5});
    client.post("/chat", &first).await.failed(502);
    client.say("hello").await.ok();
    let failed = turn_of(&client, "Why?").await;
    // It fails again: the newer question stands in the place of the older one.
    client.post("/chat", &json!({"retry": failed})).await.failed(502);
    let texts = async || client.history().await.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    assert_eq!(texts().await, ["hello", "Hello.", "hello", "Hello.", "Why?"]);
    // Asked for a second time, the same turn answers the same.
    elsewhere.post("/chat", &json!({"retry": failed})).await.failed(502);
    assert_eq!(script.calls_for("Why?"), 2);
    let newer = turn_of(&client, "Why?").await;
    assert_ne!(failed, newer);
    let other = client.post("/chat", &json!({"retry": failed, "model": "gpt-4o", "conversationId": "new"})).await;
    assert_eq!(other.failed(400), "invalid_request");
    let body = json!({"retry": newer});
    let asking = spawned(client.json("/chat", &body));
    script.called(5).await;
    let running = turn_of(&client, "Why?").await;
    assert_eq!(elsewhere.post("/chat", &json!({"retry": running})).await.failed(409), "turn_running");
    assert_eq!(newest(&elsewhere).await, ("Why?".into(), json!("running")));
    eventually("the older question is gone", async || texts().await.len() == 5).await;
    let joining = spawned(elsewhere.json("/chat", &body));
    gate.open();
    for mut answers in [asking, joining] {
        let answer = answers.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!((&answer["content"], &answer["turn"]), (&json!("Because."), &json!(running)));
    }
    assert_eq!(texts().await, ["hello", "Hello.", "hello", "Hello.", "Why?", "Because."]);
    let call = script.calls().pop().unwrap();
    assert_eq!((script.calls_for("Why?"), call.max_tokens, call.temperature), (3, Some(7), Some(0.5)));
    assert_eq!(call.messages[0].text(), "Be brief.");
    for turn in [running, turn_of(&client, "hello").await] {
        assert_eq!(client.post("/chat", &json!({"retry": turn})).await.failed(409), "turn_not_retriable");
    }
}

async fn are_asked_again_by_their_owner_alone(ground: Ground) {
    let script = Script::new(|_, prompt| match prompt {
        "hello" => vec![say("Hello.")],
        _ => vec![Act::Fail(FaultKind::UpstreamUnavailable)],
    });
    let server = ground.start(over(&script)).await;
    let client = known(&server.url).await;
    client.say("mine").await.failed(502);
    let turn = turn_of(&client, "mine").await;
    for stranger in [Client::new(&server.url), known(&server.url).await] {
        assert_eq!(stranger.post("/chat", &json!({"retry": turn})).await.failed(404), "not_found");
        assert_eq!(stranger.post("/chat", &json!({"retry": "turn_0"})).await.failed(404), "not_found");
    }
    for body in [json!({"retry": "x y"}), json!({"retry": turn, "prompt": "x"}), json!({})] {
        assert_eq!(client.post("/chat", &body).await.failed(400), "invalid_request");
    }
    assert_eq!(script.calls_for("mine"), 1);
    // With a key of its own it is another request, and asks again.
    let keyed = |key: &str| client.json("/chat", &json!({"retry": turn})).header("idempotency-key", key);
    client.send(keyed("key-1")).await.failed(502);
    client.send(keyed("key-1")).await.failed(502);
    assert_eq!(script.calls_for("mine"), 2);
    assert_eq!(client.send(keyed("key-2")).await.failed(409), "turn_not_retriable");
}

on_every_store! {
    are_asked_again,
    are_asked_again_by_their_owner_alone,
    are_there_while_their_turn_runs,
    stay_where_no_answer_comes_and_reach_no_model,
    outlive_their_server,
}
