//! The response object: what a turn amounts to, with all the keys that SDKs look for.
//!
//! Source: `ResponseResource` of the Open Responses specification, and `Response` of OpenAI's API description.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::chain::backing::StoredOptions;
use crate::domain::event::End;
use crate::domain::ids::TurnId;
use crate::domain::item_json::{COMPLETED, INCOMPLETE, push_output};
use crate::domain::json::{json_of, push_json_string};
use crate::domain::output::{Answer, Output, STEERED};
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnRequest, TurnStatus, Usage};

/// What does not change while a response comes to be.
#[derive(Debug, Clone)]
pub struct Head {
    /// Its id.
    pub id: String,
    /// When it began, in seconds since the Unix epoch.
    pub created_at: i64,
    /// The model as the request names it.
    pub model: String,
    /// What it shows of its request: the fields of a JSON object, without the braces.
    shown: String,
    /// Whether its client comes for it later.
    pub background: bool,
}

/// How far a response has come.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// `queued`, `in_progress`, `completed`, `incomplete`, `failed` or `cancelled`.
    pub status: &'static str,
    /// When it ended, in seconds since the Unix epoch.
    pub completed_at: Option<i64>,
    /// What the model said.
    pub answer: Option<&'a Answer>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub fault: Option<&'a Fault>,
}

impl<'a> State<'a> {
    /// That of a turn that ended like this.
    #[must_use]
    pub fn of(end: &'a End) -> Self {
        Self {
            status: status_of(end.status, end.answer.as_ref()),
            completed_at: (end.at_ms > 0).then(|| end.at_ms.div_euclid(1000)),
            answer: end.answer.as_ref(),
            usage: end.usage,
            fault: end.fault.as_ref(),
        }
    }

    /// One of which nothing has come yet.
    #[must_use]
    pub fn without_output(status: &'static str) -> Self {
        Self { status, completed_at: None, answer: None, usage: None, fault: None }
    }
}

/// What a request of the cookie door would have said here.
fn default_shown(request: &TurnRequest) -> Map<String, Value> {
    let instructions = (!request.instructions.is_empty()).then_some(request.instructions.as_str());
    let shown = json!({
        "instructions": instructions, "max_output_tokens": request.max_tokens, "max_tool_calls": null, "metadata": {},
        "truncation": "auto", "store": true, "background": false, "service_tier": "default", "top_logprobs": 0,
        "tools": [], "tool_choice": "auto", "parallel_tool_calls": true, "text": {"format": {"type": "text"}},
        "reasoning": {"effort": null, "summary": null}, "temperature": request.temperature.unwrap_or(1.0), "top_p": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "safety_identifier": null, "prompt_cache_key": null,
        "previous_response_id": null,
    });
    shown.as_object().cloned().unwrap_or_default()
}

impl Head {
    /// The head of the response that `turn` is. It was created when its id was minted, so that everybody who reads it says
    /// the same; `created_at_ms` is for ids that do not tell.
    #[must_use]
    pub fn new(turn: &TurnId, created_at_ms: i64, request: &TurnRequest) -> Self {
        let shown = match &request.shown {
            Some(shown) => shown.clone(),
            None => json_of(&default_shown(request)),
        };
        let background = StoredOptions::of(request).is_some_and(|options| options.background);
        let fields = shown.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        Self {
            id: turn.response_id(),
            created_at: turn.minted_at_ms().unwrap_or(created_at_ms).div_euclid(1000),
            model: request.model.clone(),
            shown: fields.to_owned(),
            background,
        }
    }

    /// The head of a stored turn.
    #[must_use]
    pub fn of(record: &TurnRecord) -> Self {
        Self::new(&record.id, record.created_at_ms, &record.request)
    }

    /// The whole object.
    #[must_use]
    pub fn object(&self, state: &State<'_>) -> String {
        let model = state.answer.map_or(self.model.as_str(), |answer| answer.model.as_str());
        let outputs = state.answer.map(Answer::outputs).unwrap_or_default();
        let mut out = String::with_capacity(1024 + self.shown.len());
        // Writing to a String cannot fail.
        let _ = write!(out, r#"{{"id":"{}","object":"response","created_at":{}"#, self.id, self.created_at);
        let _ = write!(out, r#","completed_at":{},"status":"{}""#, json_of(&state.completed_at), state.status);
        let _ = write!(out, r#","error":{}"#, json_of(&state.fault.filter(|_| state.status == "failed").map(error_of)));
        let _ = write!(out, r#","incomplete_details":{},"model":"#, json_of(&incomplete(state)));
        push_json_string(&mut out, model);
        out.push_str(r#","output":["#);
        for (place, output) in outputs.iter().enumerate() {
            out.push_str(if place == 0 { "" } else { "," });
            push_output(&mut out, output, status_in(&outputs, place, state.status == "completed"));
        }
        let _ = write!(out, r#"],"usage":{},{}}}"#, json_of(&state.usage.as_ref().map(usage_of)), self.shown);
        out
    }
}

/// A stored turn as a response.
#[must_use]
pub fn of_record(record: &TurnRecord) -> String {
    let head = Head::of(record);
    let status = status_of(record.status, record.answer.as_ref());
    head.object(&State {
        status,
        completed_at: record.ended_at_ms.map(|ms| ms.div_euclid(1000)),
        answer: record.answer.as_ref(),
        usage: record.usage,
        fault: record.fault.as_ref(),
    })
}

/// The status of a turn, as responses have it.
#[must_use]
pub fn status_of(status: TurnStatus, answer: Option<&Answer>) -> &'static str {
    match (status, answer.and_then(|answer| answer.finish_reason.as_deref())) {
        (TurnStatus::Running, _) => "in_progress",
        (TurnStatus::Completed, Some("length" | "content_filter" | STEERED)) => "incomplete",
        (TurnStatus::Completed, _) => "completed",
        (TurnStatus::Cancelled, _) => "cancelled",
        (TurnStatus::Failed | TurnStatus::Interrupted, _) => "failed",
    }
}

fn incomplete(state: &State<'_>) -> Option<Value> {
    let reason = match state.answer.and_then(|answer| answer.finish_reason.as_deref()) {
        Some("length") => "max_output_tokens",
        Some("content_filter") => "content_filter",
        Some(STEERED) => STEERED,
        _ => return None,
    };
    (state.status == "incomplete").then(|| json!({"reason": reason}))
}

/// Source of the codes: `ResponseErrorCode` of OpenAI's API description.
fn error_of(fault: &Fault) -> Value {
    let code = match fault.kind {
        FaultKind::RateLimited | FaultKind::QuotaExhausted => "rate_limit_exceeded",
        FaultKind::ContextTooLong | FaultKind::UpstreamRefused | FaultKind::UnknownModel => "invalid_prompt",
        _ => "server_error",
    };
    json!({"code": code, "message": fault.message})
}

/// Costs as responses have them.
#[must_use]
pub fn usage_of(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens(),
    })
}

/// The status of an output among all of them. Where the answer was cut short it was in the last one, or, since calls grow
/// until the end, in any of those.
#[must_use]
pub fn status_in(outputs: &[Output], place: usize, whole: bool) -> &'static str {
    let may_be_cut = place + 1 == outputs.len() || matches!(outputs.get(place), Some(Output::Call { .. }));
    if may_be_cut && !whole { INCOMPLETE } else { COMPLETED }
}
