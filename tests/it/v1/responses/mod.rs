//! `/v1/responses` through the front door: what comes of a request, and in which events.

mod basics;
mod chains;
mod chats;
mod client_tools;
mod compacting;
mod deleting;
mod events;
mod input;
mod leaving;
mod orphans;
mod own_words;
mod parameters;
pub mod referee;
mod refused;
mod resending;
mod resuming;
mod retries;
mod socket_events;
mod sockets;
mod state;
mod steering;
mod takeover;
mod too_long;
mod tools;

use fake_openai::Reply;
use serde_json::{Value, json};

use super::sdk::Sdk;
use super::{Rig, failed};
use crate::support::client::Answer;
use crate::support::server::Setup;

impl Rig {
    fn sdk(&self) -> Sdk {
        Sdk::new(&self.server.url)
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.sdk().post(path, body).await
    }

    async fn respond(&self, body: Value) -> Value {
        self.sdk().respond(body).await
    }

    async fn stream(&self, body: Value) -> Vec<Value> {
        self.sdk().stream(body).await
    }

    /// The messages of the newest call, each as its role and text.
    fn told(&self) -> Vec<(String, String)> {
        self.fake.last().conversation()
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// All text of a response.
fn text(response: &Value) -> String {
    let parts = response["output"].as_array().unwrap().iter().flat_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn id(response: &Value) -> &str {
    response["id"].as_str().unwrap()
}

/// A request that says this.
fn ask(input: &str) -> Value {
    json!({"model": "m", "input": input})
}

/// A request that goes on from there.
fn after(response: &Value, input: &str) -> Value {
    json!({"model": "m", "input": input, "previous_response_id": response["id"]})
}

/// A function that can be offered.
fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": false}})
}

fn pairs(messages: &[(&str, &str)]) -> Vec<(String, String)> {
    messages.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}
