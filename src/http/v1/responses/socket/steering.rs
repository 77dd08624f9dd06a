//! Steering: what the person says while a response is being made ends it, and the next response answers that.
//!
//! Source: `ResponseSteerEvent` and its answers in the types of OpenAI's SDKs. What is accepted and not yet taken up lives with
//! the socket.

use serde_json::{Map, Value, json};

use super::heard::{CREATE, Steer};
use crate::domain::output::{Answer, Output};
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{missing, wrong_type};
use crate::http::v1::items;

/// How much may be waiting to be taken up.
pub(super) const MOST: usize = 8;

/// What is to be answered next.
#[derive(Debug)]
pub(super) struct Accepted {
    id: String,
    steer: Box<Steer>,
    messages: Vec<Value>,
}

/// What is to be answered once the client has sent the outputs of the calls that it waits for.
#[derive(Debug)]
pub(super) struct Pending {
    response: String,
    messages: Vec<Value>,
}

impl Steer {
    /// Whether it is meant for this response.
    pub(super) fn is_for(&self, response: &str) -> bool {
        self.previous_response_id.as_deref() == Some(response)
    }

    /// Takes it under this id.
    ///
    /// # Errors
    /// What is wrong with what it says, and the event itself.
    pub(super) fn accept(self: Box<Self>, id: String) -> Result<Accepted, (Box<Self>, String)> {
        match messages(&self.input) {
            Ok(messages) => Ok(Accepted { id, steer: self, messages }),
            Err(error) => Err((self, error.object().message.clone())),
        }
    }

    /// The event that says why it is not taken.
    pub(super) fn failed(&self, code: &str, message: &str) -> Value {
        let Self { previous_response_id, input, .. } = self;
        json!({
            "type": "response.steer.failed", "sequence_number": 0,
            "steer": {"previous_response_id": previous_response_id, "input": input},
            "error": {"type": "invalid_request_error", "code": code, "message": message},
        })
    }
}

impl Accepted {
    /// The event that says so; `number` is that of the response's last event.
    pub(super) fn told(&self, number: u64) -> Value {
        json!({"type": "response.steer.accepted", "sequence_number": number, "steer": self.named()})
    }

    /// The event that says that it cannot be answered, because the response came to no good end.
    pub(super) fn failed(&self, number: u64) -> Value {
        let mut event = self.steer.failed("response_not_found", "The response that this was to steer has failed.");
        event["steer"]["id"] = self.id.as_str().into();
        event["sequence_number"] = number.into();
        event
    }

    /// The event that says what it waits for.
    pub(super) fn waits(&self, number: u64, answer: &Answer) -> Value {
        let required = answer.output.iter().filter_map(|output| match output {
            Output::Call { call_id, name, tool, .. } => {
                let kind = if output.is_custom() { "custom_tool_call_output" } else { "function_call_output" };
                let name = tool.as_ref().map_or(name, |tool| &tool.name);
                Some(json!({"type": kind, "call_id": call_id, "name": name}))
            }
            _ => None,
        });
        json!({
            "type": "response.steer.pending", "sequence_number": number, "steer": self.named(),
            "reason": "waiting_for_required_input", "required_input": required.collect::<Vec<_>>(),
        })
    }

    fn named(&self) -> Value {
        json!({"id": self.id, "previous_response_id": self.steer.previous_response_id})
    }
}

/// What comes after a steered response.
pub(super) enum Next {
    /// It failed, and nothing does.
    Nothing,
    /// What was accepted waits for the outputs of its calls.
    Waits(Pending),
    /// This request.
    Asks(String),
}

/// What comes after a response that was steered and has ended as its record says, and what its client is told of that.
pub(super) fn after(
    record: Option<TurnRecord>,
    (response, number): (String, u64),
    base: Map<String, Value>,
    steers: Vec<Accepted>,
) -> (Vec<Value>, Next) {
    let ended = record.filter(|record| record.status == TurnStatus::Completed).and_then(|record| record.answer);
    match ended {
        None => (steers.iter().map(|steer| steer.failed(number)).collect(), Next::Nothing),
        Some(answer) if waits(&answer) => {
            let events = steers.iter().map(|steer| steer.waits(number, &answer)).collect();
            (events, Next::Waits(Pending::new(response, steers)))
        }
        Some(_) => (Vec::new(), Next::Asks(successor(base, &response, steers))),
    }
}

/// Whether a response waits for outputs of its calls.
fn waits(answer: &Answer) -> bool {
    !answer.is_cut() && answer.output.iter().any(|output| matches!(output, Output::Call { .. }))
}

/// The request for the response that answers what was accepted: as the steered one was asked for, and going on from it.
fn successor(mut base: Map<String, Value>, response: &str, steers: Vec<Accepted>) -> String {
    base.insert("type".to_owned(), CREATE.into());
    if base.get("conversation").is_none_or(Value::is_null) {
        base.insert("previous_response_id".to_owned(), response.into());
    }
    base.insert("input".to_owned(), steers.into_iter().flat_map(|steer| steer.messages).collect());
    Value::Object(base).to_string()
}

impl Pending {
    /// What was accepted for a response that waits for outputs.
    pub(super) fn new(response: String, steers: Vec<Accepted>) -> Self {
        Self { response, messages: steers.into_iter().flat_map(|steer| steer.messages).collect() }
    }

    /// Whether a request that goes on from this response takes it up.
    pub(super) fn is_for(&self, response: Option<&str>) -> bool {
        response == Some(self.response.as_str())
    }

    /// An input with what was accepted before it.
    pub(super) fn before(self, input: Option<Value>) -> Value {
        let mut messages = self.messages;
        match input {
            Some(Value::Array(items)) => messages.extend(items),
            Some(Value::String(text)) => messages.push(json!({"role": "user", "content": text})),
            Some(other) => messages.push(other),
            None => {}
        }
        messages.into()
    }
}

/// The messages of the person in what a steer says: a text, or messages with the role `user`.
fn messages(input: &Value) -> Result<Vec<Value>, OpenAiError> {
    let messages = match input {
        Value::String(text) if !text.is_empty() => vec![json!({"role": "user", "content": text})],
        Value::Array(list) if !list.is_empty() => list.clone(),
        Value::Null | Value::String(_) | Value::Array(_) => return Err(missing("input")),
        other => return Err(wrong_type("input", "a string or an array", other)),
    };
    for (place, message) in messages.iter().enumerate() {
        if message["role"] != "user" || message.get("type").is_some_and(|kind| kind != "message") {
            let at = format!("input[{place}]");
            let text = format!("Invalid '{at}': only messages of the user steer a response.");
            return Err(OpenAiError::invalid(&at, "invalid_value", text));
        }
    }
    items::read(messages.clone().into(), "input")?;
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ItemId;

    fn accepted(input: Value) -> Accepted {
        let steer = Steer { previous_response_id: Some("resp_1".into()), input, stream_id: None };
        Box::new(steer).accept("steer_1".into()).unwrap()
    }

    #[test]
    fn what_waits_for_the_output_of_a_call_comes_before_it() {
        let id = ItemId::parse("fc_1").unwrap();
        let call = Output::Call {
            id: id.clone(),
            index: 0,
            call_id: "a".into(),
            name: "f".into(),
            arguments: "{}".into(),
            tool: None,
        };
        let text = String::new();
        let answer = Answer {
            id,
            text,
            model: "m".into(),
            finish_reason: Some("tool_calls".into()),
            output: vec![call],
            provider: Default::default(),
        };
        assert!(waits(&answer) && !waits(&Answer { finish_reason: Some("steered".into()), ..answer.clone() }));
        let steer = accepted(json!("Make it small."));
        let event = steer.waits(7, &answer);
        assert_eq!(event["required_input"], json!([{"type": "function_call_output", "call_id": "a", "name": "f"}]));
        assert_eq!((&event["reason"], &event["sequence_number"]), (&json!("waiting_for_required_input"), &json!(7)));
        let pending = Pending::new("resp_1".into(), vec![steer]);
        assert!(pending.is_for(Some("resp_1")) && !pending.is_for(Some("resp_2")) && !pending.is_for(None));
        let input = pending.before(Some(json!([{"type": "function_call_output", "call_id": "a", "output": "x"}])));
        assert_eq!((&input[0]["content"], &input[1]["call_id"]), (&json!("Make it small."), &json!("a")));
    }
}
