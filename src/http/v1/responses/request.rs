//! What `POST /v1/responses` takes. Every parameter that would change the answer is honoured, or refused by its name; what
//! this server does not know is read over.

use serde_json::{Map, Value};

use super::chain_error::{no_conversation, no_previous};
use super::tools::Options;
use crate::chain::start::Continues;
use crate::domain::conversation::Owner;
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::tools::ClientTools;
use crate::domain::turn::Aim;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing, unsupported, wrong_type, wrong_value};
use crate::http::v1::items::{self, InputItem};
use crate::metering::{Metering, Permit, Route, Wish};

/// A request that is fit to be asked.
#[derive(Debug)]
pub struct Wanted {
    /// The permission to ask it: which model, and how many tokens at most.
    pub permit: Permit,
    /// The system prompt; empty for none.
    pub instructions: String,
    /// The new items.
    pub input: Vec<InputItem>,
    /// What else the upstream is asked for, as fields of Chat Completions.
    pub options: Map<String, Value>,
    /// What the response shows of the request.
    pub shown: Map<String, Value>,
    /// What it goes on from.
    pub continues: Continues,
    /// Whether the response is to be had later.
    pub store: bool,
    /// Whether the client comes for it later.
    pub background: bool,
    /// Whether it is answered with events.
    pub stream: bool,
    /// The tools that the client knows by other names than the model.
    pub tools: ClientTools,
    /// Whether a history that does not fit is an error.
    pub whole_history: bool,
    /// What it is to come to.
    pub aim: Aim,
}

impl Wanted {
    /// Whether anything of it outlives its client: what is said in a conversation is kept there, whatever becomes of the
    /// response.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.store || matches!(self.continues, Continues::Conversation(_))
    }

    /// Reads a request.
    ///
    /// # Errors
    /// What is wrong, with the parameter's name.
    pub fn read(body: &[u8], metering: &Metering, owner: &Owner) -> Result<Self, OpenAiError> {
        Self::of(Fields::read(body)?, metering, owner)
    }

    /// The same out of what a request's own envelope leaves.
    ///
    /// # Errors
    /// What is wrong, with the parameter's name.
    pub fn of(mut fields: Fields, metering: &Metering, owner: &Owner) -> Result<Self, OpenAiError> {
        let Basis { model, instructions, continues, input, compacts } = Basis::take(&mut fields)?;
        let max_tokens = fields.whole("max_output_tokens", 1, u32::MAX)?;
        let wish =
            Wish { model: model.as_deref(), max_tokens: max_tokens.map(u64::from), ..Wish::of(Route::Responses) };
        let permit = metering.permit(owner, &wish)?;
        // There would be nothing to answer.
        if input.is_empty() && continues == Continues::Nothing {
            return Err(missing("input"));
        }
        let (store, background) = (fields.flag("store")?.unwrap_or(true), fields.flag("background")?.unwrap_or(false));
        if background && !store {
            let message = "A background response has to be stored: 'store' may not be false.";
            return Err(OpenAiError::invalid("store", "invalid_value", message));
        }
        let stream = fields.flag("stream")?.unwrap_or(false);
        let managed = context_management(&mut fields)?;
        let aim = match (fields.flag("generate")?, compacts) {
            (Some(false), _) => Aim::Prepare,
            (_, true) => Aim::Compact,
            _ => managed,
        };
        let mut options = Options::default();
        options.tools(&mut fields)?;
        options.text(&mut fields)?;
        options.reasoning(&mut fields)?;
        options.number(&mut fields, "temperature", (0.0, 2.0), 1.0)?;
        options.number(&mut fields, "top_p", (0.0, 1.0), 1.0)?;
        options.number(&mut fields, "presence_penalty", (-2.0, 2.0), 0.0)?;
        options.number(&mut fields, "frequency_penalty", (-2.0, 2.0), 0.0)?;
        options.short_text(&mut fields, "safety_identifier", 128)?;
        options.short_text(&mut fields, "prompt_cache_key", 64)?;
        options.user(&mut fields)?;
        let Options { sent, mut shown, tools } = options;
        let truncation = truncation(&mut fields)?;
        let mut show = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        show("instructions", instructions.clone().into());
        show("max_output_tokens", permit.answer_tokens().into());
        show("max_tool_calls", fields.at_least("max_tool_calls", 1)?.into());
        show("metadata", fields.metadata()?.unwrap_or_default().into());
        show("truncation", truncation.into());
        show("store", store.into());
        show("background", background.into());
        // There is one tier here, whichever was wished for.
        fields.text("service_tier")?;
        show("service_tier", "default".into());
        show("top_logprobs", 0.into());
        refuse_logprobs(&mut fields)?;
        refuse_prompt(&mut fields)?;
        stream_options(&mut fields)?;
        Ok(Self {
            permit,
            instructions: instructions.unwrap_or_default(),
            input,
            options: sent,
            shown,
            continues,
            store,
            background,
            stream,
            whole_history: truncation == "disabled",
            tools,
            aim,
        })
    }
}

/// What a response, a count of its tokens and a compaction have in common.
#[derive(Debug)]
pub struct Basis {
    /// The model that is named, where one is.
    pub model: Option<String>,
    /// The system prompt.
    pub instructions: Option<String>,
    /// What it goes on from.
    pub continues: Continues,
    /// The new items.
    pub input: Vec<InputItem>,
    /// Whether the history is to be compacted in place of an answer: the input ends with a trigger.
    pub compacts: bool,
}

impl Basis {
    /// Takes `model`, `instructions`, `previous_response_id` or `conversation`, and `input`.
    ///
    /// # Errors
    /// What is wrong, with the parameter's name.
    pub fn take(fields: &mut Fields) -> Result<Self, OpenAiError> {
        let model = fields.required_text("model")?;
        Self::of(Some(model), fields)
    }

    /// The same where the default model stands in for a missing one: nothing is asked of it.
    ///
    /// # Errors
    /// What is wrong, with the parameter's name.
    pub fn take_or_default(fields: &mut Fields) -> Result<Self, OpenAiError> {
        let model = fields.text("model")?;
        Self::of(model, fields)
    }

    fn of(model: Option<String>, fields: &mut Fields) -> Result<Self, OpenAiError> {
        let mut input = fields.take("input");
        let compacts = input.as_mut().map(take_trigger).transpose()?.unwrap_or_default();
        Ok(Self {
            model,
            instructions: fields.text("instructions")?,
            continues: continues(fields)?,
            input: input.map(|input| items::read(input, "input")).transpose()?.unwrap_or_default(),
            compacts,
        })
    }
}

/// Takes a `compaction_trigger` off the end of the input; it says what is to be done, and is no part of what was said.
///
/// # Errors
/// When one stands anywhere else.
fn take_trigger(input: &mut Value) -> Result<bool, OpenAiError> {
    let Value::Array(list) = input else { return Ok(false) };
    let is_trigger = |item: &Value| item["type"] == "compaction_trigger";
    let triggers = list.pop_if(|last| is_trigger(last)).is_some();
    match list.iter().position(is_trigger) {
        None => Ok(triggers),
        Some(place) => {
            let at = format!("input[{place}]");
            let message = format!("Invalid '{at}': a compaction_trigger has to be the last item of the input.");
            Err(OpenAiError::invalid(&at, "invalid_value", message))
        }
    }
}

/// Takes `context_management`: how long the prompt may become before it is compacted. Ways of managing it that are newer
/// than this server are read over.
///
/// # Errors
/// What is wrong.
fn context_management(fields: &mut Fields) -> Result<Aim, OpenAiError> {
    let mut aim = Aim::Answer;
    for (place, entry) in fields.list("context_management")?.unwrap_or_default().into_iter().enumerate() {
        let mut entry = Fields::of(entry, &format!("context_management[{place}]"))?;
        if entry.text("type")?.as_deref() == Some("compaction") {
            aim = Aim::AnswerCompacted { threshold: entry.whole("compact_threshold", 1, u32::MAX)? };
        }
    }
    Ok(aim)
}

/// Takes `previous_response_id` or `conversation`.
///
/// # Errors
/// When there are both, or one that is no id.
fn continues(fields: &mut Fields) -> Result<Continues, OpenAiError> {
    let previous = fields.text("previous_response_id")?;
    let conversation = match fields.take("conversation") {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(object @ Value::Object(_)) => {
            Some(Fields::of(object, "conversation")?.text("id")?.ok_or_else(|| missing("conversation.id"))?)
        }
        Some(other) => return Err(wrong_type("conversation", "a string or an object", &other)),
    };
    match (previous, conversation) {
        (Some(_), Some(_)) => {
            let message = "'previous_response_id' and 'conversation' cannot be used together.";
            Err(OpenAiError::invalid("previous_response_id", "mutually_exclusive_parameters", message))
        }
        (Some(id), None) => Ok(Continues::Response(TurnId::of_response(&id).ok_or_else(no_previous)?)),
        (None, Some(id)) => Ok(Continues::Conversation(ConversationId::parse(&id).ok_or_else(no_conversation)?)),
        (None, None) => Ok(Continues::Nothing),
    }
}

/// Takes `truncation`.
///
/// # Errors
/// When it is neither `auto` nor `disabled`.
pub fn truncation(fields: &mut Fields) -> Result<&'static str, OpenAiError> {
    match fields.text("truncation")?.as_deref() {
        None | Some("disabled") => Ok("disabled"),
        Some("auto") => Ok("auto"),
        Some(_) => Err(wrong_value("truncation", &["auto", "disabled"])),
    }
}

fn refuse_logprobs(fields: &mut Fields) -> Result<(), OpenAiError> {
    const NO_LOGPROBS: &str = "This server has no log probabilities in responses; /v1/chat/completions passes them on.";
    if fields.whole("top_logprobs", 0, 20)?.is_some_and(|most| most > 0) {
        return Err(unsupported("top_logprobs", NO_LOGPROBS));
    }
    for include in fields.list("include")?.unwrap_or_default() {
        match include.as_str() {
            Some("message.output_text.logprobs") => return Err(unsupported("include", NO_LOGPROBS)),
            // Of tools that this server does not have, or what it shows anyway.
            Some(_) => {}
            None => return Err(wrong_type("include", "an array of strings", &include)),
        }
    }
    Ok(())
}

/// A prompt that OpenAI keeps is not to be had here, and without it the answer would be another one.
fn refuse_prompt(fields: &mut Fields) -> Result<(), OpenAiError> {
    match fields.take("prompt") {
        None => Ok(()),
        Some(_) => {
            Err(unsupported("prompt", "This server keeps no prompts: send the text as 'instructions' or 'input'."))
        }
    }
}

/// Obfuscation hides the lengths of the deltas from eavesdroppers who see only encrypted traffic. It may be left out, as
/// here.
fn stream_options(fields: &mut Fields) -> Result<(), OpenAiError> {
    let Some(options) = fields.take("stream_options") else { return Ok(()) };
    let mut options = Fields::of(options, "stream_options")?;
    options.flag("include_obfuscation")?;
    options.flag("include_usage").map(|_| ())
}
