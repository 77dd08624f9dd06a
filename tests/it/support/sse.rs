//! Reads an event stream as a browser would, event by event.

use std::collections::VecDeque;

use reqwest::Response;
use serde_json::Value;

use super::SOON;

/// One event as it was dispatched, or a comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub name: String,
    pub data: Value,
}

pub struct EventStream {
    response: Response,
    text: Vec<u8>,
    ready: VecDeque<Event>,
    /// Everything that came, as it came.
    pub raw: String,
    pub comments: Vec<String>,
}

impl EventStream {
    pub fn new(response: Response) -> Self {
        Self { response, text: Vec::new(), ready: VecDeque::new(), raw: String::new(), comments: Vec::new() }
    }

    pub fn headers(&self) -> &reqwest::header::HeaderMap {
        self.response.headers()
    }

    /// The next event; `None` at the end of the stream. A stream that is cut counts as ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let chunk = tokio::time::timeout(SOON, self.response.chunk()).await.expect("the stream goes on");
            self.text.extend_from_slice(&chunk.ok().flatten()?);
            while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let block = String::from_utf8(block).expect("whole characters");
                self.raw.push_str(&block);
                self.take(&block);
            }
        }
    }

    fn take(&mut self, block: &str) {
        let (mut id, mut name, mut data) = (None, String::new(), Vec::new());
        for line in block.lines().filter(|line| !line.is_empty()) {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.parse().expect("a number")),
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data.push(value.to_owned()),
                Some(("", comment)) => self.comments.push(comment.to_owned()),
                Some(("retry", _)) => {}
                _ => panic!("an unexpected line: {line:?}"),
            }
        }
        if !data.is_empty() {
            let data = serde_json::from_str(&data.join("\n")).expect("JSON data");
            self.ready.push_back(Event { id, name, data });
        }
    }

    /// All events until the end.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The next event, which must have this name.
    #[track_caller]
    pub fn expect(&mut self, name: &'static str) -> impl Future<Output = Event> {
        let caller = std::panic::Location::caller();
        async move {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before `{name}`, at {caller}"));
            assert_eq!(event.name, name, "at {caller}: {event:?}");
            event
        }
    }
}

/// The text of all deltas.
pub fn text_of(events: &[Event]) -> String {
    events.iter().filter(|event| event.name == "delta").map(|event| event.data["content"].as_str().unwrap()).collect()
}
