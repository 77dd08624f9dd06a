//! A response's body as the bytes that were meant: decoded where it came encoded, and judged by what it begins with, whatever
//! its label says.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::future::poll_fn;
use hyper::body::Body as _;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::faults::{cut, garbage};
use super::inflate::{Coding, Decoder};
use crate::domain::turn::Fault;

/// The most bytes that are looked at to see what a body is.
const MOST_LOOKED_AT: usize = 64 * 1024;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Server-sent events.
    Events,
    /// One JSON value.
    Json,
    /// Neither.
    Else,
}

/// The body of a response.
#[derive(Debug)]
pub struct AnswerBody {
    body: reqwest::Body,
    label: Label,
    coding: Coding,
    state: State,
    /// What was looked at, and is yet to be read.
    looked_at: VecDeque<Bytes>,
}

#[derive(Debug)]
enum State {
    /// Too little has come to see whether it is encoded.
    Beginning(BytesMut),
    Plain,
    Encoded(Box<Decoder>, Bytes),
}

/// What a response's header says of its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    Events,
    Html,
    /// Another type, or none.
    Else,
}

impl AnswerBody {
    /// The body of `response`.
    #[must_use]
    pub fn new(response: Response) -> Self {
        let (label, coding) = (label(response.headers()), coding(response.headers()));
        let state = State::Beginning(BytesMut::new());
        Self { body: response.into(), label, coding, state, looked_at: VecDeque::new() }
    }

    /// The next bytes; `None` at the end.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        match self.looked_at.pop_front() {
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None => self.poll_decoded(cx),
        }
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            if let State::Encoded(decoder, encoded) = &mut self.state {
                match decoder.next(encoded) {
                    Ok(None) => {}
                    decoded => return Poll::Ready(decoded.transpose()),
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Poll::Ready(Some(Err(cut()))),
                None => return Poll::Ready(self.rest().map(Ok)),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            match &mut self.state {
                State::Plain => return Poll::Ready(Some(Ok(bytes))),
                State::Encoded(_, encoded) => *encoded = bytes,
                State::Beginning(held) => {
                    let bytes = if held.is_empty() {
                        bytes
                    } else {
                        held.extend_from_slice(&bytes);
                        held.split().freeze()
                    };
                    match self.coding.decoder(&bytes) {
                        Err(fault) => return Poll::Ready(Some(Err(fault))),
                        Ok(_) if bytes.len() < 2 => self.state = State::Beginning(BytesMut::from(&bytes[..])),
                        Ok(None) => {
                            self.state = State::Plain;
                            return Poll::Ready(Some(Ok(bytes)));
                        }
                        Ok(Some(decoder)) => self.state = State::Encoded(Box::new(decoder), bytes),
                    }
                }
            }
        }
    }

    /// What is left at the body's end: a single byte is not encoded.
    fn rest(&mut self) -> Option<Bytes> {
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Beginning(held) if !held.is_empty() => Some(held.freeze()),
            _ => None,
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// Looks at what the body begins with; all of it can still be read. An empty body is of the kind that was asked for.
    ///
    /// # Errors
    /// `late` where nothing has come by the deadline; when the body breaks off, or cannot be decoded.
    pub async fn kind(
        &mut self,
        asked_stream: bool,
        deadline: Instant,
        late: fn() -> Fault,
    ) -> Result<BodyKind, Fault> {
        let mut begun = BytesMut::new();
        let kind = loop {
            match timeout_at(deadline, poll_fn(|cx| self.poll_decoded(cx))).await {
                Err(_late) => return Err(late()),
                Ok(Some(bytes)) => {
                    let bytes = bytes?;
                    begun.extend_from_slice(bytes.get(..MOST_LOOKED_AT.min(bytes.len())).unwrap_or_default());
                    self.looked_at.push_back(bytes);
                }
                Ok(None) if begun.trim_ascii().is_empty() => {
                    break if asked_stream { BodyKind::Events } else { BodyKind::Json };
                }
                Ok(None) => break kind_of(&begun, self.label, true).unwrap_or(BodyKind::Else),
            }
            if let Some(kind) = kind_of(&begun, self.label, begun.len() >= MOST_LOOKED_AT) {
                break kind;
            }
        };
        Ok(kind)
    }

    /// All of the body.
    ///
    /// # Errors
    /// When it does not end by itself in time, has more than `most` bytes, or cannot be decoded.
    pub async fn whole(mut self, most: usize, deadline: Instant, late: fn() -> Fault) -> Result<Bytes, Fault> {
        let read = async {
            let (mut first, mut all) = (Bytes::new(), BytesMut::new());
            while let Some(bytes) = self.next().await {
                let bytes = bytes?;
                if first.len() + all.len() + bytes.len() > most {
                    return Err(garbage("more than any answer has"));
                }
                // Most bodies come in one piece, which is not copied.
                if first.is_empty() && all.is_empty() {
                    first = bytes;
                } else {
                    all.extend_from_slice(&std::mem::take(&mut first));
                    all.extend_from_slice(&bytes);
                }
            }
            Ok(if all.is_empty() { first } else { all.freeze() })
        };
        timeout_at(deadline, read).await.unwrap_or_else(|_late| Err(late()))
    }
}

fn label(headers: &HeaderMap) -> Label {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/event-stream" => Label::Events,
        "text/html" | "application/xhtml+xml" => Label::Html,
        _ => Label::Else,
    }
}

fn coding(headers: &HeaderMap) -> Coding {
    let value = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Coding::named(value)
}

/// What a body is that begins with these bytes; `None` where more of them are needed.
fn kind_of(begun: &[u8], label: Label, is_all: bool) -> Option<BodyKind> {
    const FIELDS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
    let text = begun.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begun).trim_ascii_start();
    let is_begun = |field: &&[u8]| text.starts_with(field);
    match text.first() {
        _ if label == Label::Html => Some(BodyKind::Else),
        None => is_all.then_some(BodyKind::Else),
        Some(b'{' | b'[') => Some(BodyKind::Json),
        Some(_) if label == Label::Events || FIELDS.iter().any(is_begun) => Some(BodyKind::Events),
        Some(_) if !is_all && FIELDS.iter().any(|field| field.starts_with(text)) => None,
        Some(_) if begun.starts_with(b"\xef") && begun.len() < 3 && !is_all => None,
        Some(_) => Some(BodyKind::Else),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_it_begins_with() {
        for (text, kind) in [
            ("data: x\n", BodyKind::Events),
            ("\n\n: ping\n", BodyKind::Events),
            ("\u{feff}event:x", BodyKind::Events),
            ("id: 7\n", BodyKind::Events),
            (" {\"a\"", BodyKind::Json),
            ("[]", BodyKind::Json),
            ("<html>", BodyKind::Else),
            ("data is missing", BodyKind::Else),
        ] {
            assert_eq!(kind_of(text.as_bytes(), Label::Else, true), Some(kind), "{text}");
            let sooner = (0..text.len()).find_map(|length| kind_of(&text.as_bytes()[..length], Label::Else, false));
            assert!(sooner.is_none_or(|sooner| sooner == kind), "{text}: {sooner:?}");
            assert_eq!(kind_of(text.as_bytes(), Label::Html, true), Some(BodyKind::Else));
        }
        assert_eq!(kind_of(b"da", Label::Else, false), None);
        assert_eq!(kind_of(b"da", Label::Events, false), Some(BodyKind::Events));
    }
}
