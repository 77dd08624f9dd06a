//! The SDK door: keys, chat completions passed through, models, bytes, errors.

mod apart;
mod authority;
mod bytes;
mod calls;
mod canaries;
mod completions;
mod conversations;
mod dialects;
mod ended;
mod errors;
mod finishing;
mod instructions;
mod keys;
mod models;
mod passing;
mod responses;
pub mod sdk;
mod slow_work;
mod stored;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use fake_openai::FakeOpenAi;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SystemIds;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::schema::{Spec, check};
use crate::support::server::{Setup, TestServer};

/// The client's key, another client's, and the server's.
const KEY: &str = "canary-client-key-0123456789";
const OTHER_KEY: &str = "canary-other-key-0123456789";
const SERVERS_KEY: &str = "canary-server-key-0123456789";

struct Rig {
    fake: FakeOpenAi,
    server: TestServer,
    client: Client,
}

impl Rig {
    async fn new() -> Self {
        Self::with(Setup::default(), |settings| settings).await
    }

    async fn with(setup: Setup, change: impl FnOnce(OpenAiSettings) -> OpenAiSettings) -> Self {
        let fake = FakeOpenAi::start().await;
        fake.require_key(SERVERS_KEY);
        let base_url = fake.base_url();
        let settings = OpenAiSettings::new(base_url.parse().unwrap(), Some(SERVERS_KEY.into()), "compatible");
        let settings = OpenAiSettings { max_retries: 0, ..settings };
        let upstream = OpenAi::new(change(settings), Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let setup = setup.set("API_KEYS", &format!("web:{KEY},other:{OTHER_KEY}")).set("OPENAI_BASE_URL", &base_url);
        let server = setup.upstream(Arc::new(upstream)).start().await;
        let client = server.client();
        Self { fake, server, client }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, path).bearer_auth(KEY)
    }

    fn completion(&self, body: impl Into<String>) -> RequestBuilder {
        let request = self.request(Method::POST, "/v1/chat/completions");
        request.header("content-type", "application/json").body(body.into())
    }

    async fn complete(&self, body: &Value) -> Answer {
        self.client.send(self.completion(body.to_string())).await
    }

    async fn response_to(&self, body: &Value) -> Answer {
        let request = self.request(Method::POST, "/v1/responses").header("content-type", "application/json");
        self.client.send(request.body(body.to_string())).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.client.send(self.request(Method::GET, path)).await
    }
}

/// Deadlines that a test can wait for.
fn hasty(settings: OpenAiSettings) -> OpenAiSettings {
    let short = Duration::from_millis(150);
    OpenAiSettings {
        first_byte_timeout: short,
        idle_timeout: short,
        plain_timeout: short,
        finish_grace: short,
        ..settings
    }
}

fn ask(stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "canary prompt: lighthouses"}], "stream": stream})
}

/// Checks the status, and that the failure has OpenAI's shape; gives the error object.
#[track_caller]
fn failed(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer:?}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    let body = answer.json();
    assert_shape(&body);
    body["error"].clone()
}

#[track_caller]
fn assert_shape(body: &Value) {
    check(Spec::OpenAi, "ErrorResponse", body);
    let error = body["error"].as_object().unwrap_or_else(|| panic!("no error object: {body}"));
    let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["code", "message", "param", "type"], "{body}");
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    assert!(error["message"].is_string() && error["type"].is_string(), "{body}");
    for key in ["param", "code"] {
        assert!(error[key].is_string() || error[key].is_null(), "{body}");
    }
    assert!(!body.to_string().contains("canary"), "{body}");
}

/// The data of each event.
fn data(text: &str) -> Vec<&str> {
    text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect()
}
