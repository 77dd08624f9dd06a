//! Which reply a request gets: the key, the path, the queue, the responder, the default.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::answers;
use crate::errors;
use crate::record::RecordedRequest;
use crate::reply::{Body, Reply};

pub(crate) type Responder = Box<dyn FnMut(&RecordedRequest) -> Reply + Send>;

/// What the test has set.
pub(crate) struct Script {
    pub(crate) queue: VecDeque<Reply>,
    pub(crate) responder: Option<Responder>,
    pub(crate) default: Reply,
    pub(crate) paths: HashMap<String, Reply>,
    pub(crate) required_key: Option<String>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            responder: None,
            default: Reply::text("Hello from the fake."),
            paths: HashMap::new(),
            required_key: None,
        }
    }
}

impl Script {
    pub(crate) fn reply_to(&mut self, request: &RecordedRequest) -> Reply {
        let key = self.required_key.as_deref();
        if let Some(error) = key.and_then(|key| errors::key_error(request, key)) {
            return error;
        }
        if let Some(reply) = self.paths.get(&request.path) {
            return reply.clone();
        }
        if request.is_chat() {
            return self.chat(request);
        }
        route(request)
    }

    fn chat(&mut self, request: &RecordedRequest) -> Reply {
        if let Some(reply) = self.queue.pop_front() {
            return reply;
        }
        match &mut self.responder {
            Some(responder) => responder(request),
            None => self.default.clone(),
        }
    }
}

/// The routes other than chat completions.
fn route(request: &RecordedRequest) -> Reply {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/v1/models") => Reply::json(200, &answers::models()),
        ("POST", "/v1/embeddings") => Reply::new(200, Body::Json(answers::embeddings)),
        ("GET", path) => match path.strip_prefix("/v1/models/") {
            Some(id) => model(id),
            None => Reply::unknown_path(),
        },
        _ => Reply::unknown_path(),
    }
}

fn model(id: &str) -> Reply {
    match answers::model(id) {
        Some(model) => Reply::json(200, &model),
        None => Reply::error(404, &errors::unknown_model(id)),
    }
}

/// When connections end between requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAlive {
    /// Close a connection that has been idle this long.
    pub close_idle_after: Option<Duration>,
    /// Close after so many requests, right after the last answer and without announcing it.
    pub close_after_requests: Option<usize>,
    /// After so many requests hold the connection, and close it when the next request has come, before any byte of
    /// an answer: the pooled connection that had gone stale. That request is not recorded.
    pub stale_after_requests: Option<usize>,
}
