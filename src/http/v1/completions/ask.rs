//! What is asked of `POST /v1/chat/completions`, as far as this server has a say in it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::keep::{MOST_MESSAGES, Order};
use crate::domain::conversation::Owner;
use crate::domain::json::json_of;
use crate::domain::model;
use crate::http::app::App;
use crate::http::body;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing};
use crate::metering::{Ask, Permit, Route, Wish};
use crate::upstream::openai::members::{Members, given};

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

/// A request that may be passed on.
pub struct Asked {
    /// What goes up.
    pub ask: Ask,
    /// The permission to send it.
    pub permit: Permit,
    /// What is to be kept of it.
    pub order: Option<Order>,
}

/// Holds a request to the rules of this server.
///
/// # Errors
/// What is wrong with it.
pub fn ask(body: Bytes, app: &App, owner: &Owner) -> Result<Asked, OpenAiError> {
    let sketch: Sketch<'_> = serde_json::from_slice(&body).map_err(|error| body::explain(&error))?;
    let older = number(OLDER_CAP, sketch.max_tokens)?;
    let newer = number(NEWER_CAP, sketch.max_completion_tokens)?;
    let stream = flag("stream", sketch.stream)?.unwrap_or(false);
    let choices = number("n", sketch.n)?.unwrap_or(1);
    if choices == 0 {
        return Err(OpenAiError::invalid("n", "integer_below_min_value", "n must be 1 or more."));
    }
    let named = model(sketch.model)?;
    let wish = Wish { route: Route::Completions, model: Some(&named), max_tokens: newer.max(older), choices };
    let permit = app.metering.permit(owner, &wish)?;
    let order = match flag("store", sketch.store)? {
        Some(true) => Some(order(&sketch, named)?),
        _ => None,
    };
    let ours = match sketch.store {
        Some(_) if app.metering.upstream().kind != "openai" => {
            if order.is_some() {
                &OURS
            } else {
                &OURS[..1]
            }
        }
        _ => &[],
    };
    let up = match permit.vets_fields() {
        true => vetted(&body, &permit, ours)?,
        false => without(&body, &lowered(&permit, older, newer), ours)?,
    };
    let choices = u32::try_from(choices).unwrap_or(u32::MAX);
    let model = permit.model().to_owned();
    Ok(Asked { ask: Ask { body: up, model, stream, choices }, permit, order })
}

/// The two names of the most tokens that an answer may have, and what each family of models knows.
const OLDER_CAP: &str = "max_tokens";
const NEWER_CAP: &str = "max_completion_tokens";

/// A request of which each member is allowed by itself, with its cap under the name that its model knows: another one may
/// be overlooked there.
fn vetted(body: &Bytes, permit: &Permit, ours: &[&str]) -> Result<Bytes, OpenAiError> {
    let members: Members<'_> = serde_json::from_slice(body).map_err(|error| body::explain(&error))?;
    for (name, value) in members.iter() {
        permit.allow_field(name, value.get())?;
    }
    let cap = if model::profile(permit.model()).max_completion_tokens { NEWER_CAP } else { OLDER_CAP };
    let most = permit.answer_tokens().map(|most| format!(",\"{cap}\":{most}")).unwrap_or_default();
    let first = format!("\"model\":{}{most}", Value::from(permit.model()));
    Ok(members.json(&first, &[&["model", OLDER_CAP, NEWER_CAP], ours].concat()).into())
}

/// What is not sent to a server that is not OpenAI, as far as this one sees to it: most overlook what they do not know, but
/// Google's and Mistral's refuse both (`Unknown name "store"`, `extra_forbidden`), also where `store` is false. OpenAI itself
/// gets them, and keeps a copy of its own, as a client that asks it to store something expects.
const OURS: [&str; 2] = ["store", "metadata"];

/// The caps that are above what the permit allows, each with the number in force.
fn lowered(permit: &Permit, older: Option<u64>, newer: Option<u64>) -> Vec<(&'static str, u32)> {
    let Some(most) = permit.answer_tokens() else { return Vec::new() };
    let caps = [(OLDER_CAP, older), (NEWER_CAP, newer)].into_iter();
    caps.filter(|(_, cap)| cap.is_some_and(|cap| cap > u64::from(most))).map(|(name, _)| (name, most)).collect()
}

/// A request with these caps, and without these members; the values of the others stay as they are.
fn without(body: &Bytes, caps: &[(&str, u32)], names: &[&str]) -> Result<Bytes, OpenAiError> {
    if names.is_empty() && caps.is_empty() {
        return Ok(body.clone());
    }
    let members: Members<'_> = serde_json::from_slice(body).map_err(|error| body::explain(&error))?;
    let first: Vec<String> = caps.iter().map(|(name, most)| format!("\"{name}\":{most}")).collect();
    let left_out: Vec<&str> = caps.iter().map(|(name, _)| *name).chain(names.iter().copied()).collect();
    Ok(members.json(&first.join(","), &left_out).into())
}

fn model(value: Option<&RawValue>) -> Result<String, OpenAiError> {
    let model = value.ok_or_else(|| missing("model"))?;
    serde_json::from_str(model.get())
        .map_err(|_| OpenAiError::invalid("model", "invalid_type", "model must be a name."))
}

/// What is to be kept, held to what can be.
fn order(sketch: &Sketch<'_>, model: String) -> Result<Order, OpenAiError> {
    let messages = sketch.messages.ok_or_else(|| missing("messages"))?.get();
    let listed: Option<Vec<&RawValue>> = serde_json::from_str(messages).ok();
    if !listed.is_some_and(|listed| listed.iter().all(|message| message.get().starts_with('{'))) {
        return Err(OpenAiError::invalid("messages", "invalid_type", "messages must be a list of objects."));
    }
    if messages.len() > MOST_MESSAGES {
        let message = format!("Messages of more than {MOST_MESSAGES} bytes cannot be stored. Send them without store.");
        return Err(OpenAiError::invalid("messages", "too_large_to_store", message));
    }
    let metadata = metadata_of(sketch.metadata.map_or("null", RawValue::get))?;
    Ok(Order { model, messages: messages.to_owned(), metadata })
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
        Some(text) => {
            if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                let message = format!("{name} must be a number, without a fraction and not below 0.");
                return Err(OpenAiError::invalid(name, "invalid_type", message));
            }
            // Those beyond 64 bits are all alike.
            Ok(Some(text.parse().unwrap_or(u64::MAX)))
        }
    }
}
