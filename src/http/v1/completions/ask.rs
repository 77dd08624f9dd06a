//! What is asked of `POST /v1/chat/completions`, as far as this server has a say in it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::keep::{MOST_MESSAGES, Order};
use super::members::{Members, given};
use crate::domain::json::json_of;
use crate::http::app::App;
use crate::http::body;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing};
use crate::metering::Ask;

/// What is looked at of a request. The rest is the model's business, and goes on byte for byte.
#[derive(Deserialize)]
struct Sketch<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    n: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    store: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    messages: Option<&'a RawValue>,
}

/// Holds a request to the rules of this server; gives what goes up, and what is to be kept of it.
///
/// # Errors
/// What is wrong with it.
pub fn ask(body: Bytes, app: &App) -> Result<(Ask, Option<Order>), OpenAiError> {
    let rules = &app.chat;
    let sketch: Sketch<'_> = serde_json::from_slice(&body).map_err(|error| body::explain(&error))?;
    for (name, value) in [("max_tokens", sketch.max_tokens), ("max_completion_tokens", sketch.max_completion_tokens)] {
        let most = u64::from(rules.max_tokens_limit);
        if number(name, value)?.is_some_and(|tokens| tokens > most) {
            let message = format!("{name} may be {most} at most.");
            return Err(OpenAiError::invalid(name, "integer_above_max_value", message));
        }
    }
    let stream = flag("stream", sketch.stream)?.unwrap_or(false);
    let choices = number("n", sketch.n)?.map_or(1, |n| u32::try_from(n).unwrap_or(u32::MAX));
    let named = match sketch.model.map(|model| serde_json::from_str::<String>(model.get())) {
        None => None,
        Some(Ok(model)) if rules.allowed_models.allows(&model) => Some(model),
        Some(Ok(_)) => return Err(OpenAiError::no_model()),
        Some(Err(_)) => return Err(OpenAiError::invalid("model", "invalid_type", "model must be a name.")),
    };
    let order = match flag("store", sketch.store)? {
        Some(true) => Some(order(&sketch, named.as_ref().unwrap_or(&rules.default_model))?),
        _ => None,
    };
    let mut up = match sketch.store {
        Some(_) if app.metering.upstream().kind != "openai" => {
            without(&body, if order.is_some() { &OURS } else { &OURS[..1] })?
        }
        _ => body.clone(),
    };
    if named.is_none() {
        up = with_model(&up, &rules.default_model);
    }
    Ok((Ask { body: up, stream, choices }, order))
}

/// What is not sent to a server that is not OpenAI, as far as this one sees to it: most overlook what they do not know, but
/// Google's and Mistral's refuse both (`Unknown name "store"`, `extra_forbidden`), also where `store` is false. OpenAI itself
/// gets them, and keeps a copy of its own, as whoever asks it to store something expects.
const OURS: [&str; 2] = ["store", "metadata"];

/// A request without these members; the values of the others stay as they are.
fn without(body: &Bytes, names: &[&str]) -> Result<Bytes, OpenAiError> {
    let members: Members<'_> = serde_json::from_slice(body).map_err(|error| body::explain(&error))?;
    Ok(members.json("", names).into())
}

/// What is to be kept, held to what can be.
fn order(sketch: &Sketch<'_>, model: &str) -> Result<Order, OpenAiError> {
    let messages = sketch.messages.ok_or_else(|| missing("messages"))?.get();
    let listed: Option<Vec<&RawValue>> = serde_json::from_str(messages).ok();
    if !listed.is_some_and(|listed| listed.iter().all(|message| message.get().starts_with('{'))) {
        return Err(OpenAiError::invalid("messages", "invalid_type", "messages must be a list of objects."));
    }
    if messages.len() > MOST_MESSAGES {
        let message = format!("Messages of more than {MOST_MESSAGES} bytes cannot be stored. Send them without store.");
        return Err(OpenAiError::invalid("messages", "too_large_to_store", message));
    }
    let metadata = sketch.metadata.map(RawValue::get).unwrap_or("{}");
    Ok(Order { model: model.to_owned(), messages: messages.to_owned(), metadata: metadata_of(metadata)? })
}

/// Metadata, from a JSON value that may be null, as an object's text.
///
/// # Errors
/// When it is something else than OpenAI takes.
pub fn metadata_of(value: &str) -> Result<String, OpenAiError> {
    let value: Value = serde_json::from_str(value).map_err(|error| body::explain(&error))?;
    let metadata = Fields::of(json!({"metadata": value}), "")?.metadata()?;
    Ok(json_of(&metadata.unwrap_or_default()))
}

fn flag(name: &str, value: Option<&RawValue>) -> Result<Option<bool>, OpenAiError> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(OpenAiError::invalid(name, "invalid_type", format!("{name} must be true or false."))),
    }
}

fn number(name: &str, value: Option<&RawValue>) -> Result<Option<u64>, OpenAiError> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            OpenAiError::invalid(
                name,
                "invalid_type",
                format!("{name} must be a number, without a fraction and not below 0."),
            )
        }),
    }
}

/// The request with this model in front of what else it says.
fn with_model(body: &Bytes, model: &str) -> Bytes {
    let start = body.iter().position(|byte| *byte == b'{').map_or(0, |at| at + 1);
    let rest = body.get(start..).unwrap_or_default();
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    let model = format!("{{\"model\":{}{comma}", serde_json::Value::from(model));
    [model.as_bytes(), rest].concat().into()
}
