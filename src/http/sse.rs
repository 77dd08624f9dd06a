//! A turn's events as Server-Sent Events: framing, keep-alive comments, and the headers that keep proxies from buffering.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio::time::{Instant, Sleep, sleep_until};

/// A comment goes out when nothing else has for this long, so that proxies and clients see that the stream lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a stream's next bytes come from.
pub trait Source: Send + 'static {
    /// The next bytes, and whether they are the last.
    fn next(&mut self) -> impl Future<Output = (String, bool)> + Send;
}

/// The answer that streams `first`, then `source`, where there is one.
pub fn respond(first: String, source: Option<impl Source>) -> Response {
    let opening = Some(format!(": stream\n\n{first}"));
    let events = stream::unfold((opening, source), |(opening, source)| async {
        if let Some(opening) = opening {
            return Some((ok(opening), (None, source)));
        }
        let mut source = source?;
        let (bytes, is_last) = source.next().await;
        Some((ok(bytes), (None, (!is_last).then_some(source))))
    });
    answer(Commented::new(Box::pin(events)))
}

/// Whether a request asks for events by its `Accept`, as an `EventSource` does.
#[must_use]
pub fn are_accepted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut kinds = lines.flat_map(|line| line.split(','));
    kinds.any(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

/// An answer of events.
pub fn answer(body: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// A stream of whole events, with a comment wherever nothing else has come for [`KEEP_ALIVE`].
pub struct Commented<S> {
    events: S,
    /// When the last bytes went out.
    quiet_since: Instant,
    /// Rings when a comment is due, or before: setting it anew for each event would cost more than sending the event.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Commented<S> {
    /// What `events` gives, with comments.
    #[must_use]
    pub fn new(events: S) -> Self {
        let quiet_since = Instant::now();
        Self { events, quiet_since, alarm: Box::pin(sleep_until(quiet_since + KEEP_ALIVE)) }
    }
}

impl<S: Stream<Item = Result<Bytes, Infallible>> + Unpin> Stream for Commented<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Poll::Ready(event) = Pin::new(&mut this.events).poll_next(cx) {
            this.quiet_since = Instant::now();
            return Poll::Ready(event);
        }
        while this.alarm.as_mut().poll(cx).is_ready() {
            let (due, now) = (this.quiet_since + KEEP_ALIVE, Instant::now());
            if now >= due {
                this.quiet_since = now;
                this.alarm.as_mut().reset(now + KEEP_ALIVE);
                return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT.as_bytes()))));
            }
            this.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}

const COMMENT: &str = ": keep-alive\n\n";

fn ok(text: String) -> Result<Bytes, Infallible> {
    Ok(Bytes::from(text))
}

/// Events in the form of their transport.
pub trait Frames: Default + Send {
    /// Adds an event of this name; `json` is its whole object, without line breaks. `id` is where a reader reads on after it.
    fn add(&mut self, id: Option<u64>, name: &str, json: &str);

    /// Says how long a reader that comes back should wait, in milliseconds, where the transport can say it.
    fn retry_after(&mut self, ms: u64);
}

/// Server-Sent Events.
impl Frames for String {
    fn add(&mut self, id: Option<u64>, name: &str, json: &str) {
        if let Some(id) = id {
            // Writing to a String cannot fail.
            let _ = writeln!(self, "id: {id}");
        }
        self.reserve(name.len() + json.len() + 18);
        for piece in ["event: ", name, "\ndata: ", json, "\n\n"] {
            self.push_str(piece);
        }
    }

    fn retry_after(&mut self, ms: u64) {
        let _ = writeln!(self, "retry: {ms}");
    }
}

/// Messages of a WebSocket: the objects alone.
impl Frames for Vec<String> {
    fn add(&mut self, _: Option<u64>, _: &str, json: &str) {
        self.push(json.to_owned());
    }

    fn retry_after(&mut self, _: u64) {}
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_has_comments_and_what_comes_puts_them_off() {
        let events = stream::iter([10, 14, 50]).then(|pause| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            ok(format!("data: {pause}\n\n"))
        });
        let (mut events, begun) = (Commented::new(Box::pin(events)), Instant::now());
        let mut seen = Vec::new();
        while let Some(Ok(bytes)) = events.next().await {
            seen.push((begun.elapsed().as_secs(), String::from_utf8(bytes.to_vec()).unwrap()));
        }
        let seen: Vec<_> = seen.iter().map(|(at, text)| (*at, text.trim())).collect();
        let comment = COMMENT.trim();
        let quiet = [(39, comment), (54, comment), (69, comment)];
        assert_eq!(seen, [&[(10, "data: 10"), (24, "data: 14")][..], &quiet, &[(74, "data: 50")]].concat());
    }
}
