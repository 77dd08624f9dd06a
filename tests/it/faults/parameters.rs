//! What goes to the model beside the words: defaults, and what each family of models takes.

use serde_json::{Value, json};

use super::{Kept, Rig};

async fn sent(rig: &Rig, body: Value) -> Value {
    rig.server.client().post("/chat", &body).await.ok();
    rig.fake.last().json.clone()
}

#[tokio::test]
async fn the_defaults_are_those_of_the_node_service() {
    let rig = Rig::new().await;
    let body = sent(&rig, json!({"prompt": "Hi"})).await;
    assert_eq!(body["model"], "gpt-3.5-turbo");
    assert_eq!(body["temperature"], 0.95);
    assert_eq!(body["max_tokens"], 1000);
    assert_eq!(body.get("max_completion_tokens"), None, "{body}");
    let system = json!({"role": "system", "content": "You are a helpful AI assistant."});
    assert_eq!(body["messages"], json!([system, {"role": "user", "content": "Hi"}]));
}

#[tokio::test]
async fn a_request_and_the_settings_may_say_otherwise() {
    let settings = [("TEMPERATURE", "0.5"), ("MAX_TOKENS", "77"), ("SYSTEM_PROMPT", "Be brief.")];
    let rig = Rig::with(Kept::Sqlite, &settings).await;
    let body = sent(&rig, json!({"prompt": "Hi"})).await;
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.5), &json!(77)), "{body}");
    assert_eq!(body["messages"][0]["content"], "Be brief.");
    let asked = json!({"prompt": "Hi", "temperature": 0, "maxTokens": 5, "systemPrompt": "Shout.", "model": "gpt-4o"});
    let body = sent(&rig, asked).await;
    assert_eq!((&body["temperature"], &body["max_tokens"]), (&json!(0.0), &json!(5)), "{body}");
    assert_eq!((&body["model"], &body["messages"][0]["content"]), (&json!("gpt-4o"), &json!("Shout.")));
}

#[tokio::test]
async fn reasoning_models_get_max_completion_tokens_and_no_temperature() {
    let rig = Rig::new().await;
    for model in ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini"] {
        let body = sent(&rig, json!({"prompt": "Hi", "model": model, "maxTokens": 300})).await;
        assert_eq!(body["max_completion_tokens"], 300, "{body}");
        assert!(body.get("max_tokens").is_none() && body.get("temperature").is_none(), "{body}");
    }
    for model in ["gpt-3.5-turbo", "gpt-4o-mini", "smollm2", "anything/else:7b"] {
        let body = sent(&rig, json!({"prompt": "Hi", "model": model})).await;
        assert!(body["max_tokens"] == 1000 && body["temperature"] == 0.95, "{body}");
        assert_eq!(body.get("max_completion_tokens"), None, "{body}");
    }
}

#[tokio::test]
async fn a_stream_asks_for_its_usage() {
    let rig = Rig::new().await;
    let browser = rig.server.client();
    rig.fake.push(fake_openai::Reply::text("Hello").usage(21, 7));
    let events = browser.stream(&json!({"prompt": "Hi"})).await.rest().await;
    assert!(rig.fake.last().wants_stream() && rig.fake.last().wants_stream_usage());
    let usage = &events.last().unwrap().data["usage"];
    assert_eq!((&usage["inputTokens"], &usage["outputTokens"]), (&json!(21), &json!(7)), "{usage}");
    browser.say("Hi").await.ok();
    assert!(!rig.fake.last().wants_stream());
}
