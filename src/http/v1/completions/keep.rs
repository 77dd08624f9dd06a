//! `store: true`: the answer is kept with what was asked, on its way to the client and before the client has its end.
//!
//! The client and the store have the same id: the upstream's own, or, where that is none that can tell one answer from
//! another, a fresh one that is put in its place. Nothing else of the bytes is changed.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::conversation::Owner;
use crate::domain::turn::{Fault, FaultKind};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::v1::error::OpenAiError;
use crate::metering::Chunks;
use crate::store::documents::{Document, DocumentKind};
use crate::upstream::openai::calls::Mint;
use crate::upstream::openai::collect::{Collector, Spoiled};
use crate::upstream::openai::members::{Members, given};
use crate::upstream::openai::relay::{data_of, event_end};

/// The most bytes of messages that are kept with an answer.
pub const MOST_MESSAGES: usize = 8 * 1024 * 1024;

/// The most bytes of an answer that is kept.
const MOST_ANSWER: usize = 8 * 1024 * 1024;

/// The least characters of an upstream's id. Shorter ones cannot tell many answers apart: Ollama's end in one of a thousand
/// numbers.
const MIN_ID: usize = 24;

/// The most characters of an upstream's id.
const MAX_ID: usize = 120;

/// What is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The model that was asked.
    pub model: String,
    /// A JSON list of objects, at most [`MOST_MESSAGES`] long.
    pub messages: String,
    /// A JSON object of texts.
    pub metadata: String,
}

/// Keeps one answer.
pub struct Keeper {
    app: Arc<App>,
    owner: Owner,
    order: Order,
}

/// A stored completion, as its document's JSON has it.
#[derive(Deserialize)]
pub struct Stored<'a> {
    /// The completion's object without `metadata`.
    #[serde(borrow)]
    pub completion: &'a RawValue,
    /// An object of texts.
    #[serde(borrow)]
    pub metadata: &'a RawValue,
    /// The list of messages that were asked.
    #[serde(borrow)]
    pub messages: &'a RawValue,
}

impl Stored<'_> {
    /// The document's JSON.
    #[must_use]
    pub fn json(completion: &str, metadata: &str, messages: &str) -> String {
        format!(r#"{{"completion":{completion},"metadata":{metadata},"messages":{messages}}}"#)
    }
}

impl Keeper {
    /// Keeps what is ordered, for this owner.
    #[must_use]
    pub fn new(app: Arc<App>, owner: Owner, order: Order) -> Self {
        Self { app, owner, order }
    }

    /// The id that the answer has here and for its client.
    async fn id_for(&self, upstreams: Option<String>) -> Result<String, OpenAiError> {
        if let Some(id) = upstreams.filter(|id| is_fit(id)) {
            let taken = self.app.store.document(&self.owner, DocumentKind::Completion, &id).await;
            if taken.map_err(|error| not_kept(ApiError::from(error)))?.is_none() {
                return Ok(id);
            }
        }
        Ok(format!("chatcmpl-{:032x}", self.app.ids.public(self.app.clock.now_ms())))
    }

    /// Durable when it answers.
    async fn put(&self, id: &str, completion: &Members<'_>) -> Result<(), OpenAiError> {
        let now_ms = self.app.clock.now_ms();
        let mut own = format!(r#""id":"{id}""#);
        let mut without = vec!["id", "metadata"];
        let is_missing = |name: &str| completion.get(name).is_none_or(|value| value.get() == "null");
        for (name, value) in [
            ("object", r#""chat.completion""#.to_owned()),
            ("created", now_ms.div_euclid(1000).to_string()),
            ("model", serde_json::Value::from(self.order.model.as_str()).to_string()),
        ] {
            if is_missing(name) {
                without.push(name);
                own.push_str(&format!(r#","{name}":{value}"#));
            }
        }
        // These may be missing, and must not be null.
        without.extend(["usage", "system_fingerprint"].into_iter().filter(|name| is_missing(name)));
        let completion = completion.json(&own, &without);
        if completion.len() > MOST_ANSWER {
            return Err(too_large());
        }
        let json = Stored::json(&completion, &self.order.metadata, &self.order.messages);
        let document = Document { id: id.to_owned(), created_at_ms: now_ms, json };
        match self.app.store.put_document(&self.owner, DocumentKind::Completion, document).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(not_kept(ApiError::new(StatusCode::GONE, "session_ended", "The session is over."))),
            Err(error) => Err(not_kept(error.into())),
        }
    }

    /// Keeps an answer that came in one; gives it as the client is to have it.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn plain(&self, body: Bytes) -> Result<Bytes, OpenAiError> {
        let text = std::str::from_utf8(&body).map_err(|_| garbage())?;
        let members: Members<'_> = serde_json::from_str(text).map_err(|_| garbage())?;
        let id = self.id_for(members.text("id")).await?;
        self.put(&id, &members).await?;
        Ok(with_id(text, &id).map_or_else(|| body.clone(), Bytes::from))
    }

    /// The events of an answer that is kept before the end mark goes on. What fails on the way, or is left, is not kept.
    ///
    /// # Errors
    /// When it is clear from the first event that it cannot be kept.
    pub async fn events(self, chunks: Chunks) -> Result<Chunks, OpenAiError> {
        let collector = Collector::new(Mint::new(self.app.ids.clone()));
        let mut keeping = Keeping { keeper: self, chunks, id: None, collector, held: None, is_kept: false };
        let first = keeping.next().await.transpose()?;
        let rest = stream::unfold(Some(keeping), |keeping| async {
            let mut keeping = keeping?;
            match keeping.next().await? {
                Ok(Ok(bytes)) => Some((Ok(bytes), Some(keeping))),
                Ok(Err(fault)) => Some((Err(fault), None)),
                Err(error) => {
                    tracing::warn!(error = error.object().code, "a completion was not stored");
                    Some((Ok(error.event().into()), None))
                }
            }
        });
        Ok(stream::iter(first).chain(rest).boxed())
    }
}

/// A streamed answer on its way.
struct Keeping {
    keeper: Keeper,
    chunks: Chunks,
    /// The answer's id, from its first event on.
    id: Option<String>,
    collector: Collector,
    /// The end mark, and what stands behind it.
    held: Option<Bytes>,
    is_kept: bool,
}

impl Keeping {
    /// What goes to the client next: bytes, or the fault that ends it, as they come; an error where it cannot be kept.
    async fn next(&mut self) -> Option<Result<Result<Bytes, Fault>, OpenAiError>> {
        loop {
            if let Some(held) = self.held.take() {
                return Some(self.keep().await.map(|()| Ok(held)));
            }
            let ready = match self.chunks.next().await {
                Some(Ok(bytes)) => self.read(bytes).await,
                Some(Err(fault)) => return Some(Ok(Err(fault))),
                None if self.is_kept => return None,
                None => Err(garbage()),
            };
            match ready {
                Ok(bytes) if bytes.is_empty() => {}
                ready => return Some(ready.map(Ok)),
            }
        }
    }

    /// Takes whole events; gives what of them may go on at once.
    async fn read(&mut self, bytes: Bytes) -> Result<Bytes, OpenAiError> {
        if self.is_kept {
            return Ok(bytes);
        }
        // What has been looked at and stays as it is, from here on; before it, what was changed.
        let (mut changed, mut from, mut at) = (Vec::new(), 0, 0);
        while at < bytes.len() {
            let end = event_end(bytes.get(at..).unwrap_or_default(), 0).map_or(bytes.len(), |length| at + length);
            let event = bytes.slice(at..end);
            match data_of(&event).as_deref() {
                None => {}
                Some("[DONE]") => {
                    self.held = Some(bytes.slice(at..));
                    break;
                }
                Some(data) => {
                    if let Some(other) = self.chunk(data).await? {
                        changed.extend_from_slice(bytes.get(from..at).unwrap_or_default());
                        // Where JSON has an end of a line, an event's data may have one.
                        let other = other.replace('\n', "\ndata: ");
                        changed.extend_from_slice(format!("data: {other}\n\n").as_bytes());
                        from = end;
                    }
                }
            }
            at = end;
        }
        if changed.is_empty() {
            return Ok(bytes.slice(from..at));
        }
        changed.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        Ok(changed.into())
    }

    /// Takes a chunk's JSON; gives it with another id where it must have one.
    async fn chunk(&mut self, data: &str) -> Result<Option<String>, OpenAiError> {
        let id = match self.id.take() {
            Some(id) => id,
            None => {
                let head: Head<'_> = serde_json::from_str(data).unwrap_or_default();
                let upstreams = head.id.and_then(|id| serde_json::from_str(id.get()).ok());
                self.keeper.id_for(upstreams).await?
            }
        };
        self.collector.chunk(data);
        let other = with_id(data, &id);
        self.id = Some(id);
        Ok(other)
    }

    async fn keep(&mut self) -> Result<(), OpenAiError> {
        let now = self.keeper.app.clock.now_ms().div_euclid(1000);
        let next = Collector::new(Mint::new(self.keeper.app.ids.clone()));
        let collected = std::mem::replace(&mut self.collector, next).completion(&self.keeper.order.model, now);
        let completion = collected.map_err(|spoiled| match spoiled {
            Spoiled::TooLarge => too_large(),
            Spoiled::Garbage => garbage(),
        })?;
        let text = completion.to_string();
        let members: Members<'_> = serde_json::from_str(&text).map_err(|_| garbage())?;
        let id = self.id.take().ok_or_else(garbage)?;
        self.keeper.put(&id, &members).await?;
        self.is_kept = true;
        Ok(())
    }
}

/// Whether an upstream's id can be the answer's here: it fits into a path as it is, and is long enough to be unique.
fn is_fit(id: &str) -> bool {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    (MIN_ID..=MAX_ID).contains(&id.len()) && plain
}

#[derive(Deserialize, Default)]
struct Head<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    id: Option<&'a RawValue>,
}

/// An object's text with this id in place of what it has; `None` where it has this one.
fn with_id(text: &str, id: &str) -> Option<String> {
    let quoted = format!("\"{id}\"");
    let head: Head<'_> = serde_json::from_str(text).unwrap_or_default();
    let Some(old) = head.id else {
        let (before, rest) = text.split_once('{')?;
        let comma = if rest.trim_ascii_start().starts_with('}') { "" } else { "," };
        return Some(format!("{before}{{\"id\":{quoted}{comma}{rest}"));
    };
    if old.get() == quoted {
        return None;
    }
    // The value is a part of the text in memory.
    let at = old.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    Some(format!("{}{quoted}{}", text.get(..at)?, text.get(at + old.get().len()..)?))
}

/// The answer is there, and paid for: asking for it again would cost again, and an SDK would do so by itself.
fn not_kept(error: ApiError) -> OpenAiError {
    OpenAiError::from(error).should_retry(false)
}

fn too_large() -> OpenAiError {
    let text = "The answer is too large to be stored.";
    not_kept(ApiError::new(StatusCode::BAD_GATEWAY, "too_large_to_store", text))
}

fn garbage() -> OpenAiError {
    let fault = Fault::new(FaultKind::UpstreamGarbage, "the model's server sent an answer that cannot be stored");
    OpenAiError::from(fault).should_retry(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "chatcmpl-0123456789abcdef";

    #[test]
    fn an_id_is_put_where_it_belongs() {
        for (text, expected) in [
            (r#"{"id":"x","a":1.50}"#, Some(r#"{"id":"chatcmpl-0123456789abcdef","a":1.50}"#)),
            (
                r#" { "a" : "\"id\":1", "id" : null }"#,
                Some(r#" { "a" : "\"id\":1", "id" : "chatcmpl-0123456789abcdef" }"#),
            ),
            (r#"{"a":{"id":"x"}}"#, Some(r#"{"id":"chatcmpl-0123456789abcdef","a":{"id":"x"}}"#)),
            ("{ }", Some(r#"{"id":"chatcmpl-0123456789abcdef" }"#)),
            (r#"{"id":"chatcmpl-0123456789abcdef"}"#, None),
        ] {
            assert_eq!(with_id(text, ID).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn ids_that_can_tell_answers_apart_fit() {
        assert!(is_fit(ID) && is_fit("gen-1741570283-aB.c:d_0123456789"));
        for wrong in ["", "chatcmpl-123", &"x".repeat(121), &format!("{ID}/x"), &format!("{ID}é"), &format!("{ID} ")] {
            assert!(!is_fit(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_data_of_an_event() {
        assert_eq!(data_of(b"data: {}\n\n").as_deref(), Some("{}"));
        assert_eq!(data_of(b"event: x\nid: 1\ndata:{\ndata:}\r\n\r\n").as_deref(), Some("{\n}"));
        assert_eq!(data_of(b"data: [DONE]\r\r").as_deref(), Some("[DONE]"));
        for none in [&b": ping\n\n"[..], b"data:\n\n", b"\n\n", b""] {
            assert_eq!(data_of(none), None);
        }
    }
}
