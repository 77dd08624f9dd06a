//! What an upstream's error means, said honestly and safely.
//!
//! The sentences are this server's own. OpenAI's text for a wrong key quotes the key, and others quote the prompt, so an
//! upstream's own words are passed on only for a request that it refused, and only after a look at what is in them.

use std::borrow::Cow;
use std::collections::HashSet;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::told::{self, Told};
use crate::domain::dialogue::PromptMessage;
use crate::domain::turn::{Fault, FaultKind};

/// The most characters of an upstream's own words that are passed on.
const MAX_QUOTE_CHARS: usize = 300;

/// As many bytes in common with a message of the prompt make a quote of it.
const ECHO_BYTES: usize = 16;

/// An error as the upstream told it, in whichever of the usual shapes.
#[derive(Default)]
pub struct UpstreamError {
    code: String,
    kind: String,
    param: String,
    message: String,
    /// The status inside an error that came with status 200.
    status: Option<u16>,
    tokens: Option<(u64, u64)>,
}

impl UpstreamError {
    /// Reads an error's body.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        Self::of(told::of_body(body))
    }

    /// Reads an error's JSON.
    #[cfg(test)]
    fn from_json(value: &Value) -> Self {
        Self::of(told::of_json(value))
    }

    fn of(told: Told) -> Self {
        let Told { code, kind, param, message, status, tokens } = told;
        Self { code, kind, param, message, status: status.and_then(|status| u16::try_from(status).ok()), tokens }
    }

    /// The code, where it is a plain word and so safe to log.
    #[must_use]
    pub fn plain_code(&self) -> Option<&str> {
        [&self.code, &self.kind].into_iter().map(String::as_str).find(|word| is_plain(word))
    }

    /// The parameter that it is about, where that is a plain path such as `messages[0].content` and no text of the prompt.
    #[must_use]
    pub fn plain_param(&self, prompt: Prompt<'_>) -> Option<&str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.[]".contains(&byte);
        let is_plain = (1..=64).contains(&self.param.len()) && self.param.bytes().all(plain);
        (is_plain && !prompt.is_quoted_in(&self.param)).then_some(self.param.as_str())
    }

    /// The status inside the error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status.filter(|status| (400..600).contains(status))
    }

    /// The status that an error in an answer would have had; OpenAI says `server_error` there, and nothing else.
    fn likely_status(&self) -> u16 {
        if self.is_quota() || self.is(&["rate_limit_exceeded", "requests", "tokens"]) {
            429
        } else if self.is_too_long() || self.is(&["invalid_request_error", "BadRequestError"]) {
            400
        } else {
            500
        }
    }

    fn is(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.code == *word || self.kind == *word)
    }

    fn says(&self, phrases: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        phrases.iter().any(|phrase| message.contains(phrase))
    }

    fn is_quota(&self) -> bool {
        self.is(&[
            "insufficient_quota",
            "billing_hard_limit_reached",
            "billing_not_active",
            "insufficient_balance",
            "insufficient_credits",
            "account_deactivated",
        ])
    }

    fn is_too_long(&self) -> bool {
        self.is(&["context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"])
            || self.says(&["maximum context length", "context window", "available context size"])
    }

    fn is_unknown_model(&self, status: u16) -> bool {
        // A 404 that does not speak of a model is a wrong address.
        self.is(&["model_not_found"])
            || (status == 404 && (self.param == "model" || self.says(&["model"])) && !self.says(&["invalid url"]))
    }
}

/// The kind of failure that `status` and what was told with it amount to.
#[must_use]
pub fn kind(status: u16, told: &UpstreamError) -> FaultKind {
    match status {
        500.. => match status {
            504 | 524 => FaultKind::UpstreamTimeout,
            _ => FaultKind::UpstreamUnavailable,
        },
        _ if told.is_quota() => FaultKind::QuotaExhausted,
        400 | 413 | 422 if told.is_too_long() => FaultKind::ContextTooLong,
        400..=404 if told.is_unknown_model(status) => FaultKind::UnknownModel,
        401 | 403 => FaultKind::UpstreamRefusedKey,
        402 => FaultKind::QuotaExhausted,
        429 => FaultKind::RateLimited,
        408 => FaultKind::UpstreamTimeout,
        300..400 | 404 | 405 => FaultKind::UpstreamMisaddressed,
        _ => FaultKind::UpstreamRefused,
    }
}

/// What must not be passed on in an upstream's own words.
#[derive(Clone, Copy)]
pub struct Private<'a> {
    /// This server's key.
    pub key: Option<&'a SecretString>,
    /// The prompt.
    pub prompt: Prompt<'a>,
}

/// Where the prompt's texts are, for when they are needed: when a request fails.
#[derive(Clone, Copy)]
pub enum Prompt<'a> {
    /// In messages of our own.
    Messages(&'a [PromptMessage]),
    /// In the `messages` of a request's JSON.
    Body(&'a [u8]),
    /// It is not known: nothing is quoted.
    Unknown,
}

impl Prompt<'_> {
    fn is_quoted_in(self, text: &str) -> bool {
        match self {
            Self::Unknown => true,
            Self::Messages(messages) => echoes(text, messages.iter().map(PromptMessage::text)),
            Self::Body(body) => {
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let mut texts = Vec::new();
                said(&body["messages"], &mut texts);
                echoes(text, texts.into_iter().map(Cow::Borrowed))
            }
        }
    }
}

/// The texts in a message, without the words that the protocol puts there.
fn said<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    const PROTOCOL: [&str; 6] = ["role", "type", "id", "tool_call_id", "name", "detail"];
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(parts) => parts.iter().for_each(|part| said(part, texts)),
        Value::Object(parts) => {
            let parts = parts.iter().filter(|(key, _)| !PROTOCOL.contains(&key.as_str()));
            parts.for_each(|(_, part)| said(part, texts));
        }
        _ => {}
    }
}

/// The fault that `status` and what was told with it amount to.
#[must_use]
pub fn fault(status: u16, told: &UpstreamError, private: Private<'_>) -> Fault {
    let kind = kind(status, told);
    let mut message = sentence(kind, status, told);
    if kind == FaultKind::UpstreamRefused
        && let Some(quote) = quote(&told.message, private)
    {
        message.push_str(": ");
        message.push_str(&quote);
    }
    Fault::new(kind, message)
}

/// The fault for an error that came inside an answer.
#[must_use]
pub fn fault_in_answer(told: &UpstreamError) -> Fault {
    let status = told.status().unwrap_or_else(|| told.likely_status());
    match kind(status, told) {
        kind @ FaultKind::UpstreamUnavailable => {
            Fault::new(kind, "the model's server failed in the middle of its answer")
        }
        kind => Fault::new(kind, sentence(kind, status, told)),
    }
}

fn sentence(kind: FaultKind, status: u16, told: &UpstreamError) -> String {
    match kind {
        FaultKind::UpstreamRefusedKey => format!("the model's server refused this server's API key ({status})"),
        FaultKind::QuotaExhausted => "the account behind this server's API key has no credit left".to_owned(),
        FaultKind::RateLimited => "the model's server is taking no more requests for the moment".to_owned(),
        FaultKind::ContextTooLong => too_long(told),
        FaultKind::UnknownModel => "the model's server does not have this model".to_owned(),
        FaultKind::UpstreamTimeout => format!("the model's server did not answer in time ({status})"),
        FaultKind::UpstreamUnavailable => format!("the model's server is failing ({status})"),
        _ => refused(status),
    }
}

fn too_long(told: &UpstreamError) -> String {
    match told.tokens {
        Some((prompt, context)) => {
            format!("the conversation has {prompt} tokens and the model takes {context}")
        }
        None => "the conversation is longer than the model takes".to_owned(),
    }
}

fn refused(status: u16) -> String {
    match status {
        300..400 => format!("the model's server redirects elsewhere ({status}); its address here has to be corrected"),
        404 => "the model's server has no chat completions at its address here (404)".to_owned(),
        _ => format!("the model's server refused the request ({status})"),
    }
}

/// The upstream's words with keys taken out, or `None` where they quote the prompt.
fn quote(words: &str, private: Private<'_>) -> Option<String> {
    let one_line: Vec<&str> = words.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let mut text = one_line.join(" ").trim().to_owned();
    if let Some(key) = private.key.map(ExposeSecret::expose_secret).filter(|key| !key.is_empty()) {
        text = text.replace(key, "[key]");
    }
    let text = without_keys(&text);
    let text = match text.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    (!text.is_empty() && !private.prompt.is_quoted_in(&text)).then_some(text)
}

/// What keys of model servers begin with.
const KEYS: [&str; 7] = ["sk-", "AIza", "gsk_", "hf_", "xai-", "pplx-", "nvapi-"];

/// Takes out whatever looks like a key: `sk-...`, also masked, and what follows `Bearer`. Addresses with credentials or a
/// query in them are taken out, too.
fn without_keys(text: &str) -> String {
    let mut after_bearer = false;
    let words = text.split(' ').map(|word| {
        let is_key = KEYS.iter().any(|start| word.contains(start)) || after_bearer;
        let is_private = word.contains("://") && word.contains(['@', '?']);
        after_bearer = word.trim_end_matches(':').eq_ignore_ascii_case("bearer");
        match (is_key, is_private) {
            (true, _) => "[key]",
            (false, true) => "[address]",
            (false, false) => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether `text` has a stretch of [`ECHO_BYTES`] bytes in common with a message.
fn echoes<'a>(text: &str, mut prompt: impl Iterator<Item = Cow<'a, str>>) -> bool {
    let stretches: HashSet<&[u8]> = text.as_bytes().windows(ECHO_BYTES).collect();
    let quoted = |message: Cow<'_, str>| {
        let whole = message.trim();
        let short = (4..ECHO_BYTES).contains(&whole.len()) && text.contains(whole);
        short || message.as_bytes().windows(ECHO_BYTES).any(|stretch| stretches.contains(stretch))
    };
    prompt.any(quoted)
}

fn is_plain(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=64).contains(&word.len()) && word.bytes().all(plain)
}

#[cfg(test)]
mod tests;
