//! Instructions on every way to a model: one system message at the front, but for OpenAI, which gets them as they are.

use openai_backend::upstream::openai::settings::OpenAiSettings;
use serde_json::{Value, json};

use super::Rig;
use super::sdk::Sdk;
use crate::support::server::Setup;

/// A server over a model's server of this kind.
async fn rig(kind: &'static str) -> Rig {
    let setup = Setup::default().set("SYSTEM_PROMPT", "Be a sailor.");
    Rig::with(setup, |settings| OpenAiSettings { kind, ..settings }).await
}

/// The roles of the newest call, and the texts of its instructions.
fn sent(rig: &Rig) -> (Vec<String>, Vec<String>) {
    let said = rig.fake.last().conversation();
    let instructs = |role: &str| matches!(role, "system" | "developer");
    let texts = said.iter().filter(|(role, _)| instructs(role)).map(|(_, text)| text.clone()).collect();
    (said.into_iter().map(|(role, _)| role).collect(), texts)
}

fn message(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

#[tokio::test]
async fn responses_chains_and_compaction_lead_with_one_system_message() {
    let rig = rig("compatible").await;
    let sdk = Sdk::new(&rig.server.url);
    let parts = json!({"role": "developer", "content": [{"type": "input_text", "text": "B1"}, {"type": "input_text", "text": "B2"}]});
    let first = sdk
        .respond(
            json!({"model": "m", "instructions": "A", "input": [parts, message("user", "Hi"), message("system", "C")]}),
        )
        .await;
    assert_eq!(sent(&rig), (vec!["system".into(), "user".into()], vec!["A\n\nB1B2\n\nC".into()]));
    let next = json!({"model": "m", "previous_response_id": first["id"],
        "input": [message("developer", "D"), message("user", "And?")]});
    sdk.respond(next.clone()).await;
    let roles = ["system", "user", "assistant", "user"].map(String::from).to_vec();
    assert_eq!(sent(&rig), (roles.clone(), vec!["B1B2\n\nC\n\nD".into()]));
    let stateless = json!({"model": "m", "store": false, "stream": true, "input": [message("developer", "D"), message("user", "Hi")]});
    sdk.stream(stateless).await;
    assert_eq!(sent(&rig), (vec!["system".into(), "user".into()], vec!["D".into()]));
    let history = json!([message("user", "Hi"), message("developer", "D"), message("assistant", "Ho")]);
    sdk.post("/v1/responses/compact", &json!({"model": "m", "instructions": "A", "input": history})).await.ok();
    let (roles, texts) = sent(&rig);
    assert_eq!((roles[0].as_str(), texts.len()), ("system", 1));
    assert!(texts[0].starts_with("A\n\n"), "{texts:?}");
}

#[tokio::test]
async fn conversations_and_the_cookie_door_lead_with_one_system_message() {
    let rig = rig("compatible").await;
    let sdk = Sdk::new(&rig.server.url);
    let conversation = sdk.conversation(json!([message("user", "Hi"), message("developer", "D")])).await;
    sdk.respond(json!({"model": "m", "conversation": conversation, "input": "And?"})).await;
    assert_eq!(sent(&rig), (["system", "user", "user"].map(String::from).to_vec(), vec!["D".into()]));
    let page = rig.server.client();
    page.say("Hi").await.ok();
    let main = page.get("/v1/conversations").await.ok()["data"][0]["id"].clone();
    let path = format!("/v1/conversations/{}/items", main.as_str().unwrap());
    page.post(&path, &json!({"items": [message("developer", "D"), message("system", "E")]})).await.ok();
    page.say("And?").await.ok();
    let roles = ["system", "user", "assistant", "user"].map(String::from).to_vec();
    assert_eq!(sent(&rig), (roles, vec!["Be a sailor.\n\nD\n\nE".into()]));
}

#[tokio::test]
async fn chat_completions_lead_with_one_system_message() {
    let rig = rig("compatible").await;
    let messages = json!([message("developer", "A"), message("user", "Hi"), message("system", "B")]);
    for stream in [false, true] {
        let body = json!({"model": "m", "stream": stream, "messages": messages});
        rig.client.send(rig.completion(body.to_string())).await;
        assert_eq!(rig.fake.last().json["messages"], json!([message("system", "A\n\nB"), message("user", "Hi")]));
    }
    let kept = json!({"model": "m", "store": true, "messages": messages});
    let kept = rig.complete(&kept).await.ok();
    let path = format!("/v1/chat/completions/{}/messages", kept["id"].as_str().unwrap());
    // What is kept is what was asked, not how the model was told.
    assert_eq!(rig.get(&path).await.ok()["data"][0]["role"], "developer");
}

#[tokio::test]
async fn openai_gets_instructions_as_they_are() {
    let rig = rig("openai").await;
    let asked = json!({"model": "m", "instructions": "A", "input": [message("developer", "B"), message("user", "Hi"), message("system", "C")]});
    Sdk::new(&rig.server.url).respond(asked).await;
    let roles = ["system", "developer", "user", "system"].map(String::from).to_vec();
    assert_eq!(sent(&rig), (roles, ["A", "B", "C"].map(String::from).to_vec()));
    let body =
        json!({"model": "m", "messages": [message("developer", "A"), message("user", "Hi"), message("system", "B")]})
            .to_string();
    rig.client.send(rig.completion(body.clone())).await.ok();
    assert_eq!(rig.fake.last().body, body);
}
