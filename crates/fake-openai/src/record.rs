//! What was asked: every request as it came, how its answer ended, and waiting for either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

/// The path of the calls that [`FakeOpenAi::calls`](crate::FakeOpenAi::calls) counts.
pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A request as it came.
#[derive(Debug)]
pub struct RecordedRequest {
    /// Counts all requests of this server, from 0.
    pub index: usize,
    /// Which connection it came on, counted from 0: equal numbers mean a reused connection.
    pub connection: u64,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without the question mark, empty when there is none.
    pub query: String,
    /// The headers in the order sent, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body as sent.
    pub body: Bytes,
    /// The body as JSON, `Null` when it is not JSON.
    pub json: Value,
    /// When all of it had arrived.
    pub arrived: Instant,
    pub(crate) http11: bool,
}

impl RecordedRequest {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The key after `Authorization: Bearer`, or of `api-key`.
    pub fn key(&self) -> Option<&str> {
        let bearer = self.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| self.header("api-key"))
    }

    /// Whether this is a chat completion call.
    pub fn is_chat(&self) -> bool {
        self.method == "POST" && self.path == CHAT
    }

    /// The body's `model`, empty when there is none.
    pub fn model(&self) -> &str {
        self.json["model"].as_str().unwrap_or_default()
    }

    /// The body's `messages`.
    pub fn messages(&self) -> &[Value] {
        self.json["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The text of each message with its role, parts joined: what most tests want to compare.
    pub fn conversation(&self) -> Vec<(String, String)> {
        let pair = |message: &Value| {
            let role = message["role"].as_str().unwrap_or_default();
            (role.to_owned(), content_text(&message["content"]))
        };
        self.messages().iter().map(pair).collect()
    }

    /// The text of the last message of the user, empty when there is none.
    pub fn last_prompt(&self) -> String {
        let mut newest_first = self.messages().iter().rev();
        let user = newest_first.find(|message| message["role"] == "user");
        user.map(|message| content_text(&message["content"])).unwrap_or_default()
    }

    /// Whether the body asks for a stream.
    pub fn wants_stream(&self) -> bool {
        self.json["stream"] == true
    }

    /// Whether the body asks for the usage chunk of a stream.
    pub fn wants_stream_usage(&self) -> bool {
        self.json["stream_options"]["include_usage"] == true
    }
}

/// A message's content: a string, or the text of its parts.
fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// How the answer to a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is being sent, or waits at a gate, or hangs.
    Running,
    /// All of it was sent.
    Finished,
    /// The script (or the end of the server) closed the connection before the answer's end.
    Cut,
    /// The client closed the connection before the answer's end.
    Aborted,
}

/// The numbers and records that tests look at.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) requests: Vec<Arc<RecordedRequest>>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) total: usize,
    pub(crate) calls: usize,
    pub(crate) in_flight: usize,
    pub(crate) peak_in_flight: usize,
    pub(crate) open_connections: usize,
    pub(crate) accepted: u64,
    pub(crate) stale_closes: usize,
}

impl Book {
    fn began(&mut self) {
        self.in_flight += 1;
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
    }

    pub(crate) fn aborted(&self) -> Vec<Arc<RecordedRequest>> {
        let pairs = self.requests.iter().zip(&self.outcomes);
        pairs.filter(|(_, outcome)| **outcome == Outcome::Aborted).map(|(request, _)| request.clone()).collect()
    }

    pub(crate) fn chats(&self) -> Vec<Arc<RecordedRequest>> {
        self.requests.iter().filter(|request| request.is_chat()).cloned().collect()
    }
}

/// The book, and notice of every change to it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) book: watch::Sender<Book>,
}

impl Ledger {
    /// Counts a request without keeping it, as in benchmarks.
    pub(crate) fn count(self: &Arc<Self>) -> Running {
        self.book.send_modify(|book| {
            book.total += 1;
            book.calls += 1;
            book.began();
        });
        Running::new(self, None)
    }

    /// Keeps a request; `make` is told its index.
    pub(crate) fn record(
        self: &Arc<Self>,
        make: impl FnOnce(usize) -> RecordedRequest,
    ) -> (Arc<RecordedRequest>, Running) {
        let mut made = None;
        self.book.send_modify(|book| {
            let index = book.requests.len();
            let request = Arc::new(make(index));
            book.total += 1;
            book.calls += usize::from(request.is_chat());
            book.requests.push(request.clone());
            book.outcomes.push(Outcome::Running);
            book.began();
            made = Some((request, index));
        });
        let (request, index) = made.expect("send_modify runs its closure");
        (request, Running::new(self, Some(index)))
    }

    /// Waits until `seen` holds, for at most `timeout`; then whether it did.
    pub(crate) async fn wait_for(&self, timeout: Duration, seen: impl FnMut(&Book) -> bool) -> bool {
        let mut changes = self.book.subscribe();
        let waited = tokio::time::timeout(timeout, changes.wait_for(seen)).await;
        waited.is_ok()
    }
}

/// A request being answered. Dropped without an outcome, its answer was cut by the end of the server.
pub(crate) struct Running {
    ledger: Arc<Ledger>,
    index: Option<usize>,
    outcome: Outcome,
}

impl Running {
    fn new(ledger: &Arc<Ledger>, index: Option<usize>) -> Self {
        Self { ledger: ledger.clone(), index, outcome: Outcome::Cut }
    }

    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ledger.book.send_modify(|book| {
            let slot = self.index.and_then(|index| book.outcomes.get_mut(index));
            if let Some(slot) = slot {
                *slot = self.outcome;
            }
            book.in_flight -= 1;
        });
    }
}
