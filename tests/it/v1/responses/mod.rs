//! `/v1/responses` through the front door: what comes of a request, and in which events.

mod basics;
mod sockets;

use fake_openai::Reply;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Rig, failed};
use crate::support::client::Answer;
use crate::support::schema;
use crate::support::server::Setup;

impl Rig {
    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.client.send(request.body(body.to_string())).await
    }

    /// A response that is to be made, checked against the specification.
    async fn respond(&self, body: Value) -> Value {
        let response = self.post("/v1/responses", &body).await.ok();
        schema::check_response(&response);
        response
    }

    /// All events of a streamed response, each checked against the specification.
    async fn stream(&self, mut body: Value) -> Vec<Value> {
        body["stream"] = true.into();
        events(&self.post("/v1/responses", &body).await)
    }
}

/// The events of a whole stream: named as their type says, numbered without gaps, valid.
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    let frames = answer.text.split("\n\n").filter(|frame| !frame.is_empty() && !frame.starts_with(':'));
    let events: Vec<Value> = frames
        .map(|frame| {
            let (name, data) = frame.split_once("\ndata: ").unwrap_or_else(|| panic!("no data in {frame:?}"));
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(name.strip_prefix("event: "), event["type"].as_str(), "{frame}");
            schema::check_event(&event);
            event
        })
        .collect();
    for pair in events.windows(2) {
        assert_eq!(pair[1]["sequence_number"].as_u64(), pair[0]["sequence_number"].as_u64().map(|n| n + 1));
    }
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// All text of a response.
fn text(response: &Value) -> String {
    let parts = response["output"].as_array().unwrap().iter().flat_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}
