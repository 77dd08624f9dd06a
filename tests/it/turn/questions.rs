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

on_every_store! {
    are_there_while_their_turn_runs,
    stay_where_no_answer_comes_and_reach_no_model,
    outlive_their_server,
}
