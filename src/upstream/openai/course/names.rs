//! What every chunk of a streamed answer says of the whole: its id, type, time and model, where a server does not say it.

use serde_json::value::RawValue;

use crate::upstream::openai::calls::Mint;
use crate::upstream::openai::members::Members;

const OBJECT: &str = r#""chat.completion.chunk""#;

/// As they were last said, or else as this server says them.
#[derive(Debug)]
pub struct Names {
    /// As JSON; empty where the server has said none so far.
    id: String,
    created: String,
    model: String,
    mint: Mint,
}

impl Names {
    /// For an answer of `model` at `created`, in seconds, whose server may say otherwise.
    #[must_use]
    pub fn new(model: &str, created: i64, mint: Mint) -> Self {
        let model = serde_json::Value::from(model).to_string();
        Self { id: String::new(), created: created.to_string(), model, mint }
    }

    /// Takes what a chunk says; gives what it should say besides. A server that names nothing at all is left its way.
    pub fn missing(&mut self, chunk: &Members<'_>) -> Vec<(&'static str, String)> {
        let known = ["id", "object", "created", "model"].map(|name| said(chunk, name));
        let [id, _, created, model] = known;
        for (kept, said) in [(&mut self.id, id), (&mut self.created, created), (&mut self.model, model)] {
            if let Some(said) = said.filter(|said| *said != kept.as_str()) {
                said.clone_into(kept);
            }
        }
        if known.iter().all(Option::is_none) { Vec::new() } else { self.all(chunk) }
    }

    /// What a chunk that is changed anyway should say besides.
    pub fn all(&mut self, chunk: &Members<'_>) -> Vec<(&'static str, String)> {
        let mut missing = Vec::new();
        if said(chunk, "id").is_none() {
            missing.push(("id", self.id()));
        }
        if said(chunk, "object") != Some(OBJECT) {
            missing.push(("object", OBJECT.to_owned()));
        }
        for (name, own) in [("created", &self.created), ("model", &self.model)] {
            if said(chunk, name).is_none() {
                missing.push((name, own.clone()));
            }
        }
        missing
    }

    /// A chunk of this server's own.
    pub fn chunk(&mut self, index: u32, delta: &str) -> String {
        self.finishing(index, delta, "null")
    }

    /// The same with a reason to finish, as JSON.
    pub fn finishing(&mut self, index: u32, delta: &str, finish_reason: &str) -> String {
        let (id, created, model) = (self.id(), &self.created, &self.model);
        format!(
            "{{\"id\":{id},\"object\":{OBJECT},\"created\":{created},\"model\":{model},\"choices\":[{{\"index\":{index},\
             \"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish_reason}}}]}}"
        )
    }

    fn id(&mut self) -> String {
        if self.id.is_empty() {
            self.id = format!("\"{}\"", self.mint.completion_id());
        }
        self.id.clone()
    }
}

/// A member's value, if it says anything.
fn said<'a>(chunk: &Members<'a>, name: &str) -> Option<&'a str> {
    chunk.get(name).map(RawValue::get).filter(|value| !matches!(*value, "null" | "\"\""))
}
