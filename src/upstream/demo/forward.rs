//! The demo as SDKs see it: chat completions and a list of one model.

use std::borrow::Cow;

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DEMO_MODEL, Demo, answered};
use crate::domain::clock::{Clock as _, SystemClock};
use crate::domain::dialogue::PromptMessage;
use crate::domain::ids::{Ids as _, SystemIds};
use crate::domain::item::Role;
use crate::domain::turn::{Fault, FaultKind, Usage};
use crate::upstream::Call;
use crate::upstream::forward::{Ask, Completed, Rejected};
use crate::upstream::openai::wire::Text;

/// The answer to `GET /models`.
pub(super) const MODELS: &str =
    r#"{"object":"list","data":[{"id":"demo","object":"model","created":0,"owned_by":"openai-backend"}]}"#;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Text<'a>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

impl Demo {
    pub(super) async fn completed(&self, ask: &Ask) -> Result<Completed, Rejected> {
        let request: Request<'_> = serde_json::from_slice(&ask.body).map_err(|_| no_messages())?;
        if request.messages.is_empty() {
            return Err(no_messages());
        }
        let call = Call {
            model: DEMO_MODEL.to_owned(),
            messages: request.messages.iter().map(prompt_message).collect(),
            temperature: None,
            max_tokens: None,
            stream: ask.stream,
            options: None,
        };
        let (answer, usage) = answered(call).await;
        let usage = usage_json(&usage);
        let now_ms = SystemClock.now_ms();
        let id = format!("chatcmpl-{:032x}", SystemIds.public(now_ms));
        let envelope = json!({"id": id, "created": now_ms / 1000, "model": DEMO_MODEL});
        if ask.stream {
            let wants_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
            return Ok(self.streamed(envelope, &answer, wants_usage.then_some(usage)));
        }
        let message = json!({"role": "assistant", "content": answer, "refusal": null, "annotations": []});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
        let object =
            with(envelope, [("object", json!("chat.completion")), ("choices", json!([choice])), ("usage", usage)]);
        Ok(Completed::Plain(object.to_string().into()))
    }

    fn streamed(&self, envelope: Value, answer: &str, usage: Option<Value>) -> Completed {
        let envelope = with(envelope, [("object", json!("chat.completion.chunk"))]);
        let chunk = |choices: Value, usage: Option<&Value>| {
            let usage = usage.map(|usage| ("usage", usage.clone()));
            let chunk = with(envelope.clone(), [("choices", choices)].into_iter().chain(usage));
            Bytes::from(format!("data: {chunk}\n\n"))
        };
        let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        let first = chunk(choice(json!({"role": "assistant", "content": "", "refusal": null}), Value::Null), None);
        let words: Vec<Bytes> = answer
            .split_inclusive(' ')
            .map(|word| chunk(choice(json!({"content": word}), Value::Null), None))
            .collect();
        let finish = chunk(choice(json!({}), json!("stop")), None);
        let figures = usage.map(|usage| chunk(json!([]), Some(&usage)));
        let done = Bytes::from_static(b"data: [DONE]\n\n");
        let delay = self.word_delay;
        let spoken = stream::iter(words).then(move |word| async move {
            tokio::time::sleep(delay).await;
            Ok(word)
        });
        let closing = [Some(finish), figures, Some(done)].into_iter().flatten().map(Ok);
        Completed::Events(stream::iter([Ok(first)]).chain(spoken).chain(stream::iter(closing)).boxed())
    }
}

fn prompt_message(message: &Message<'_>) -> PromptMessage {
    let role = match message.role.as_ref() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::System,
    };
    PromptMessage::new(role, message.content.0.as_ref())
}

fn no_messages() -> Rejected {
    let fault = Fault::new(FaultKind::UpstreamRefused, "`messages` must be a list of messages with a role and content");
    Rejected { status: Some(400), param: Some("messages".into()), ..Rejected::from(fault) }
}

fn usage_json(usage: &Usage) -> Value {
    let (prompt, completion) = (usage.input_tokens, usage.output_tokens);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

/// `object` with these keys.
fn with<'a>(mut object: Value, keys: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.extend(keys.into_iter().map(|(key, value)| (key.to_owned(), value)));
    }
    object
}
