//! What `POST /chat` takes, and what must be true of it before anything is asked.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Error, IntoDeserializer as _};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::access::session::Session;
use crate::config::ChatConfig;
use crate::domain::clock::Clock;
use crate::domain::ids::{ConversationId, Ids, ItemId, TurnId};
use crate::domain::item::{Item, user_message};
use crate::domain::model;
use crate::domain::turn::TurnRequest;
use crate::http::error::ApiError;
use crate::http::sse;
use crate::metering::{NotAllowed, Permit, Route, Wish};
use crate::store::{IdempotencyKey, KeyRole};
use crate::turn::OnBusy;

/// How long an idempotency key counts: a day.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long a turn is asked again only once.
pub(super) const RETRY_KEY_MS: i64 = IDEMPOTENCY_MS;

/// The word that opens another conversation in the session.
const NEW: &str = "new";

/// What to say, and how it should be answered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"prompt": "Hello, what is your name?"}))]
pub struct ChatRequest {
    /// What to say. Up to `MAX_PROMPT_CHARS` characters (100,000), not empty.
    #[schema(min_length = 1, max_length = 100_000, nullable = false)]
    pub(super) prompt: Option<String>,
    /// In place of a prompt: the id of a turn that ended without a word of an answer, to ask the same again. The new question
    /// takes the place of the old one, and what is not said anew is as it was. A request that comes twice joins its turn.
    #[schema(pattern = "^turn_[0-9A-Za-z_-]{1,64}$")]
    pub(super) retry: Option<String>,
    /// One of the allowed models; the setting `DEFAULT_MODEL` (gpt-3.5-turbo) otherwise.
    #[schema(min_length = 1, max_length = 200, example = "gpt-3.5-turbo")]
    pub(super) model: Option<String>,
    /// Instructions that stand before the conversation, for this turn.
    #[schema(max_length = 100_000, example = "You are a helpful AI assistant.")]
    pub(super) system_prompt: Option<String>,
    /// Whether to answer with Server-Sent Events.
    #[schema(default = false)]
    stream: Option<bool>,
    /// 0 to 2; the setting `TEMPERATURE` (0.95) otherwise. Left out towards models that take none.
    #[schema(minimum = 0, maximum = 2, default = 0.95)]
    pub(super) temperature: Option<f64>,
    /// The most tokens the answer may have; the setting `MAX_TOKENS` (1000) otherwise.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, default = 1000)]
    pub(super) max_tokens: Option<u32>,
    /// A conversation of this session, or `new` to open another one; the session's main conversation otherwise.
    #[schema(pattern = "^(new|conv_[0-9A-Za-z_-]{1,64})$", example = "conv_0199f3a65a6e7c1b8d2f4a6b8c0d2e4f")]
    pub(super) conversation_id: Option<String>,
    /// What to do where an earlier turn of the conversation is running.
    #[serde(default, deserialize_with = "choice")]
    on_busy: Option<OnBusyField>,
    /// What becomes of the turn when its client leaves before the end.
    #[serde(default, deserialize_with = "choice")]
    on_disconnect: Option<OnDisconnect>,
}

/// One of a few words. Read as a text first: to the parser, a choice that is no text at all is no JSON either.
fn choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(word) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    T::deserialize(word.into_deserializer()).map(Some)
}

/// A whole number; in JSON, 1.0 is one.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
    let fits = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within its range")]
    let whole = fits.then_some(number as u32);
    whole.map(Some).ok_or_else(|| Error::custom("a number without a fraction from 0 to 4294967295 was expected"))
}

/// What to do where an earlier turn of the conversation is running.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "queue")]
pub enum OnBusyField {
    /// Wait in line; a 409 where the line or the wait is too long.
    #[default]
    Queue,
    /// A 409 at once.
    Reject,
    /// Cancel the running turn and take its place.
    Interrupt,
}

/// What becomes of a turn when its client leaves before the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(default = "continue")]
pub enum OnDisconnect {
    /// It goes on, and its answer is stored.
    #[default]
    Continue,
    /// It is cancelled.
    Cancel,
}

/// A request that is fit to be asked.
#[derive(Debug, Clone)]
pub struct Wanted {
    prompt: String,
    prompt_tokens: u32,
    permit: Permit,
    system_prompt: String,
    temperature: Option<f64>,
    streamed: bool,
    conversation: WantedConversation,
    on_busy: OnBusy,
    on_disconnect: OnDisconnect,
    idempotency: Option<IdempotencyKey>,
}

#[derive(Debug, Clone)]
enum WantedConversation {
    Main,
    New,
    Existing(ConversationId),
}

impl ChatRequest {
    /// Whether the answer should be a stream: by the body, or where it says nothing, by `Accept`.
    #[must_use]
    pub fn wants_stream(&self, headers: &HeaderMap) -> bool {
        self.stream.unwrap_or_else(|| sse::are_accepted(headers))
    }

    /// How many bytes of text take as long to count as what is counted of it.
    #[must_use]
    pub fn text_bytes(&self, permit: &Permit) -> usize {
        match model::profile(permit.model()).encoding.is_loaded() {
            true => self.prompt.as_ref().map_or(0, String::len),
            false => usize::MAX,
        }
    }

    /// What of it may cost something.
    #[must_use]
    pub fn wish(&self) -> Wish<'_> {
        let max_tokens = self.max_tokens.map(u64::from);
        Wish { model: self.model.as_deref(), max_tokens, ..Wish::of(Route::Chat) }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// A 400 that names the field and its limits.
    pub fn validate(
        self,
        permit: Permit,
        chat: &ChatConfig,
        streamed: bool,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Wanted, ApiError> {
        let prompt = self.prompt.ok_or_else(|| ApiError::invalid("`prompt` is missing."))?;
        check_length("prompt", &prompt, 1, chat.max_prompt_chars)?;
        // The operator's own may be as long as they like.
        self.system_prompt.iter().try_for_each(|text| check_length("systemPrompt", text, 0, chat.max_prompt_chars))?;
        let system_prompt = self.system_prompt.unwrap_or_else(|| chat.default_system_prompt.clone());
        let temperature = self.temperature.unwrap_or(chat.temperature);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(ApiError::invalid("`temperature` goes from 0 to 2."));
        }
        if self.max_tokens == Some(0) {
            return Err(NotAllowed::Tokens { most: chat.visitor_tokens_limit() }.into());
        }
        let conversation = match self.conversation_id.as_deref() {
            None => WantedConversation::Main,
            Some(NEW) => WantedConversation::New,
            Some(id) => WantedConversation::Existing(conversation_id(id)?),
        };
        let profile = model::profile(permit.model());
        Ok(Wanted {
            prompt_tokens: profile.encoding.count_message(&prompt),
            prompt,
            permit,
            system_prompt,
            temperature: profile.temperature.then_some(temperature),
            streamed,
            conversation,
            on_busy: match self.on_busy.unwrap_or_default() {
                OnBusyField::Queue => OnBusy::Queue,
                OnBusyField::Reject => OnBusy::Reject,
                OnBusyField::Interrupt => OnBusy::Interrupt,
            },
            on_disconnect: self.on_disconnect.unwrap_or_default(),
            idempotency,
        })
    }
}

/// Reads a conversation's id.
///
/// # Errors
/// A 400 where it has not the form of one.
pub fn conversation_id(text: &str) -> Result<ConversationId, ApiError> {
    ConversationId::parse(text).ok_or_else(|| ApiError::invalid("`conversationId` is not the id of a conversation."))
}

/// Reads `Idempotency-Key`: 1 to 255 visible ASCII characters. `body` tells a repeated request from another one.
///
/// # Errors
/// A 400 where the key has not that form.
pub fn idempotency_key(headers: &HeaderMap, body: &[u8]) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key =
        key.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()));
    let key = key.ok_or_else(|| ApiError::invalid("`Idempotency-Key` is 1 to 255 visible ASCII characters."))?;
    let fingerprint = URL_SAFE_NO_PAD.encode(Sha256::digest(body));
    Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint, keep_ms: IDEMPOTENCY_MS, role: KeyRole::Join }))
}

fn check_length(field: &str, text: &str, least: usize, most: usize) -> Result<(), ApiError> {
    // Bytes bound characters from above, so that most texts need no counting.
    let chars = if text.len() <= most { text.len() } else { text.chars().count() };
    if chars < least {
        return Err(ApiError::invalid(format!("`{field}` is empty.")));
    }
    if chars > most {
        let error =
            ApiError::new(axum::http::StatusCode::BAD_REQUEST, "prompt_too_long", format!("`{field}` is too long."));
        return Err(error.details(format!("It has {chars} characters; at most {most} are allowed.")));
    }
    Ok(())
}

impl Wanted {
    /// What to do where the conversation is busy.
    #[must_use]
    pub fn on_busy(&self) -> OnBusy {
        self.on_busy
    }

    /// Whether the turn ends when its client leaves.
    #[must_use]
    pub fn cancels_on_disconnect(&self) -> bool {
        self.on_disconnect == OnDisconnect::Cancel
    }

    /// The permission to ask it.
    #[must_use]
    pub fn permit(&self) -> Permit {
        self.permit.clone()
    }

    /// The client's idempotency key.
    #[must_use]
    pub fn idempotency(&self) -> Option<IdempotencyKey> {
        self.idempotency.clone()
    }

    /// Whether the conversation must exist already.
    #[must_use]
    pub fn names_existing_conversation(&self) -> bool {
        matches!(self.conversation, WantedConversation::Existing(_))
    }

    /// The conversation that this request belongs to.
    #[must_use]
    pub fn conversation(&self, session: &Session, fresh: impl FnOnce() -> ConversationId) -> ConversationId {
        match &self.conversation {
            WantedConversation::Main => session.key().main_conversation(),
            WantedConversation::New => fresh(),
            WantedConversation::Existing(id) => id.clone(),
        }
    }

    /// The request as a turn keeps it.
    #[must_use]
    pub fn turn_request(&self, turn: &TurnId, ids: &dyn Ids, clock: &dyn Clock) -> TurnRequest {
        let id = ItemId::fresh(ids, clock);
        let message = Item {
            json: user_message(&id, &self.prompt),
            id,
            turn: Some(turn.clone()),
            tokens: self.prompt_tokens,
            encoding: model::profile(self.permit.model()).encoding,
        };
        TurnRequest {
            model: self.permit.model().to_owned(),
            instructions: self.system_prompt.clone(),
            input: vec![message],
            answer_id: ItemId::fresh(ids, clock),
            temperature: self.temperature,
            max_tokens: self.permit.answer_tokens(),
            stream: self.streamed,
            options: None,
            shown: None,
            whole_history: false,
            tools: Default::default(),
            aim: Default::default(),
        }
    }
}
