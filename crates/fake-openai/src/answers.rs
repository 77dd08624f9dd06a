//! The JSON of completions, chunks, models and embeddings, in OpenAI's shape and order of keys.

use serde_json::{Value, json};

use crate::completion::{Completion, Part, ToolCall};
use crate::record::RecordedRequest;

/// When everything was created: fixed, so that answers can be compared.
pub(crate) const CREATED: u64 = 1_764_000_000;

/// A completion and the request that it answers.
pub(crate) struct Answer<'a> {
    id: String,
    model: String,
    prompt_tokens: u64,
    stream_usage: bool,
    completion: &'a Completion,
}

impl<'a> Answer<'a> {
    pub(crate) fn new(completion: &'a Completion, request: &RecordedRequest) -> Self {
        let words = |(_, text): (String, String)| text.split_whitespace().count() as u64;
        Self {
            id: format!("chatcmpl-fake{}", request.index),
            model: completion.model.clone().unwrap_or_else(|| request.model().to_owned()),
            prompt_tokens: request.conversation().into_iter().map(words).sum::<u64>().max(1),
            stream_usage: request.wants_stream_usage() && !completion.no_usage,
            completion,
        }
    }

    /// One chunk of a stream; `delta` is JSON.
    pub(crate) fn chunk(&self, delta: &str, finish_reason: Option<&str>) -> String {
        let finish = json!(finish_reason);
        let choice = format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#);
        let usage = if self.stream_usage { r#","usage":null"# } else { "" };
        self.envelope("chat.completion.chunk", &choice, usage)
    }

    /// The chunk that ends a stream whose usage was asked for: no choices, only the numbers.
    pub(crate) fn usage_chunk(&self) -> Option<String> {
        let usage = || format!(r#","usage":{}"#, self.usage());
        self.stream_usage.then(|| self.envelope("chat.completion.chunk", "", &usage()))
    }

    /// The answer as one object.
    pub(crate) fn object(&self) -> String {
        let finish = match self.completion.no_finish_reason {
            true => Value::Null,
            false => json!(self.completion.finish_reason()),
        };
        let message = self.message();
        let choice = format!(r#"{{"index":0,"message":{message},"logprobs":null,"finish_reason":{finish}}}"#);
        let usage = match self.completion.no_usage {
            true => String::new(),
            false => format!(r#","usage":{}"#, self.usage()),
        };
        self.envelope("chat.completion", &choice, &usage)
    }

    fn envelope(&self, object: &str, choice: &str, usage: &str) -> String {
        let (id, model) = (&self.id, json!(self.model));
        format!(
            r#"{{"id":"{id}","object":"{object}","created":{CREATED},"model":{model},"service_tier":"default","system_fingerprint":"fp_fake","choices":[{choice}]{usage}}}"#
        )
    }

    fn usage(&self) -> String {
        let usage = &self.completion.usage;
        let prompt = usage.prompt.unwrap_or(self.prompt_tokens);
        let completion = usage.completion.unwrap_or_else(|| self.completion.tokens());
        let (total, cached, reasoning) = (prompt + completion, usage.cached, usage.reasoning);
        format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}"#
        )
    }

    fn message(&self) -> Value {
        let mut message = json!({"role": "assistant", "content": null, "refusal": null, "annotations": []});
        let mut tools = Vec::new();
        for part in &self.completion.parts {
            match part {
                Part::Text(text) | Part::Piece(text) => append(&mut message["content"], text),
                Part::Reasoning(text) => append(&mut message["reasoning_content"], text),
                Part::Refusal(text) => append(&mut message["refusal"], text),
                Part::Tool(tool) => tools.push(tool_json(tool)),
                Part::Step(_) => {}
            }
        }
        if !tools.is_empty() {
            message["tool_calls"] = Value::Array(tools);
        } else if message["refusal"].is_null() && message["content"].is_null() {
            message["content"] = json!("");
        }
        message
    }
}

fn append(value: &mut Value, text: &str) {
    let so_far = value.as_str().unwrap_or_default();
    *value = json!(format!("{so_far}{text}"));
}

fn tool_json(tool: &ToolCall) -> Value {
    json!({"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}})
}

/// The models that the fake lists.
const MODELS: [&str; 3] = ["gpt-5-mini", "gpt-4o-mini", "text-embedding-3-small"];

fn model_json(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": CREATED, "owned_by": "system"})
}

/// `GET /v1/models`.
pub(crate) fn models() -> Value {
    let data: Vec<_> = MODELS.into_iter().map(model_json).collect();
    json!({"object": "list", "data": data})
}

/// `GET /v1/models/{id}`, for the models listed.
pub(crate) fn model(id: &str) -> Option<Value> {
    MODELS.contains(&id).then(|| model_json(id))
}

/// `POST /v1/embeddings`: the same vector for each input, as numbers or in base64.
pub(crate) fn embeddings(request: &RecordedRequest) -> Value {
    let body = &request.json;
    let size = body["dimensions"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(8).min(4096);
    let vector: Vec<f32> = (0..size).map(|n| 1.0 / (n as f32 + 2.0)).collect();
    let embedding = match body["encoding_format"].as_str() {
        Some("base64") => json!(base64(&vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())),
        _ => json!(vector),
    };
    // A list of numbers is one input, given as tokens.
    let count = match body["input"].as_array() {
        Some(inputs) if inputs.first().is_some_and(|first| !first.is_number()) => inputs.len(),
        _ => 1,
    };
    let data: Vec<_> =
        (0..count).map(|index| json!({"object": "embedding", "index": index, "embedding": embedding})).collect();
    let usage = json!({"prompt_tokens": count, "total_tokens": count});
    json!({"object": "list", "data": data, "model": request.model(), "usage": usage})
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, n| bits << 8 | u32::from(*three.get(n).unwrap_or(&0)));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= three.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(
            ["", "f", "fo", "foo", "foob"].map(|s| base64(s.as_bytes())),
            ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
        );
    }
}
