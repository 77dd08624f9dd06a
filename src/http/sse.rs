//! A turn's events as Server-Sent Events: framing, keep-alive comments, and the headers that keep proxies from buffering.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;

/// A comment goes out when nothing else has for this long, so that proxies and clients see that the stream lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where a stream's next bytes come from.
pub trait Source: Send + 'static {
    /// The next bytes, and whether they are the last; may be dropped at any point and called again.
    fn next(&mut self) -> impl Future<Output = (String, bool)> + Send;
}

/// The answer that streams `first`, then `source`, where there is one.
pub fn respond(first: String, source: Option<impl Source>) -> Response {
    let opening = Some(format!(": stream\n\n{first}"));
    let body = stream::unfold((opening, source), |(opening, source)| async {
        if let Some(opening) = opening {
            return Some((ok(opening), (None, source)));
        }
        let mut source = source?;
        match tokio::time::timeout(KEEP_ALIVE, source.next()).await {
            Err(_) => Some((ok(": keep-alive\n\n".to_owned()), (None, Some(source)))),
            Ok((bytes, false)) => Some((ok(bytes), (None, Some(source)))),
            Ok((bytes, true)) => Some((ok(bytes), (None, None))),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

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
