//! "An upstream 401 is answered with the API key in the text, and as 500", "a 429 costs the user 10 s and then a 500",
//! "any model name goes to the bill".

use std::time::Instant;

use fake_openai::Reply;
use openai_backend::domain::model::OPENAI_CHAT_MODELS;
use serde_json::json;

use super::{BOTH, FAR_LESS_THAN_BEFORE, Kept, Rig};
use crate::support::server::Setup;

const KEY: &str = "sk-canary-0123456789abcdefghij";

#[tokio::test]
async fn an_upstream_401_is_a_502_without_the_key() {
    for kept in BOTH {
        let rig = Rig::with(kept, &[("OPENAI_API_KEY", KEY)]).await;
        for reply in [Reply::invalid_api_key_leaking(), Reply::invalid_api_key()] {
            rig.fake.push_all([reply.clone(), reply]);
            let browser = rig.server.client();
            let answer = browser.say("Hi").await;
            assert_eq!(answer.failed(502), "upstream_refused_key", "{kept:?}");
            let streamed = browser.post("/chat", &json!({"prompt": "Hi", "stream": true})).await;
            assert_eq!(
                streamed.failed(502),
                "upstream_refused_key",
                "{kept:?}: before the first byte, so with its status"
            );
            let turns = browser.get("/chat/turns").await;
            let all = format!("{answer:?}{streamed:?}{turns:?}");
            assert!(!all.contains("sk-") && !all.contains("canary"), "{all}");
            assert_eq!(turns.ok()[0]["status"], "failed", "{kept:?}");
        }
        assert_eq!(rig.fake.last().key(), Some(KEY));
        assert_eq!(rig.fake.calls(), 4, "a refused key is not tried again");
    }
}

#[tokio::test]
async fn a_429_costs_no_ten_seconds_and_stays_a_429() {
    let rig = Rig::new().await;
    let asked = Instant::now();
    rig.fake.push(Reply::rate_limited_for(30));
    let answer = rig.server.client().say("Hi").await;
    assert_eq!(answer.failed(429), "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("30"));
    assert_eq!(rig.fake.calls(), 1, "it is the client's to wait so long");
    rig.fake.push_all((0..4).map(|_| Reply::rate_limited()));
    assert_eq!(rig.server.client().say("Hi").await.failed(429), "rate_limited");
    rig.fake.push(Reply::insufficient_quota());
    let calls = rig.fake.calls();
    assert_eq!(rig.server.client().say("Hi").await.failed(429), "quota_exhausted");
    assert_eq!(rig.fake.calls(), calls + 1, "no retry brings money");
    assert!(asked.elapsed() < 2 * FAR_LESS_THAN_BEFORE, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn no_other_model_goes_to_the_bill() {
    let rig = Rig::with(Kept::Sqlite, &[("ALLOWED_MODELS", "gpt-3.5-turbo,gpt-4o*")]).await;
    let browser = rig.server.client();
    for model in ["gpt-4", "gpt-5-pro", "text-embedding-3-small", "", "gpt-3.5-turbo ", "GPT-4O"] {
        let answer = browser.post("/chat", &json!({"prompt": "Hi", "model": model})).await;
        assert_eq!(answer.failed(400), "unknown_model", "{model:?}");
        let body = answer.json();
        assert!(body["details"].as_str().unwrap().contains("gpt-3.5-turbo, gpt-4o*"), "{body}");
    }
    assert_eq!((rig.fake.calls(), browser.cookie()), (0, None), "nothing spent, nothing stored");
    for model in ["gpt-3.5-turbo", "gpt-4o-mini"] {
        browser.post("/chat", &json!({"prompt": "Hi", "model": model})).await.ok();
        assert_eq!(rig.fake.last().model(), model);
    }
}

#[tokio::test]
async fn towards_openai_only_its_chat_models_are_allowed_by_default() {
    let server = Setup::default().set("OPENAI_API_KEY", KEY).start().await;
    let browser = server.client();
    for model in ["dall-e-3", "text-embedding-3-small", "whisper-1", "davinci-002", "llama-3"] {
        let answer = browser.post("/chat", &json!({"prompt": "Hi", "model": model})).await;
        assert_eq!(answer.failed(400), "unknown_model", "{model}");
        let details = answer.json()["details"].as_str().unwrap().to_owned();
        assert!(OPENAI_CHAT_MODELS.iter().all(|allowed| details.contains(allowed)), "{details}");
    }
    for model in ["gpt-3.5-turbo", "gpt-4.1-mini", "o3", "gpt-5", "ft:gpt-4o-mini:acme::id"] {
        browser.post("/chat", &json!({"prompt": "Hi", "model": model})).await.ok();
    }
}
