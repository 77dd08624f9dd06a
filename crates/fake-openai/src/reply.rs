//! `Reply`: what the fake answers, built up in a chain and rendered when the request is known.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::completion::{Chunking, Completion, Mode, Part, ToolCall, Usage};
use crate::gate::Gate;
use crate::record::RecordedRequest;
use crate::steps::{LineEnd, Step};

/// An answer. Errors have their constructors in the same type: [`Reply::rate_limited`] and others.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content_type: Option<String>,
    /// Before the status line; bytes in here are no HTTP.
    pub(crate) before: Vec<Step>,
    pub(crate) body: Body,
    pub(crate) close: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// Streamed or plain, as the request asks.
    Completion(Box<Completion>),
    /// A stream of exactly these steps.
    Steps(Vec<Step>),
    /// These bytes, with their length.
    Fixed(Bytes),
    /// JSON that depends on the request.
    Json(fn(&RecordedRequest) -> Value),
}

impl Reply {
    pub(crate) fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), content_type: None, before: Vec::new(), body, close: false }
    }

    fn completion(parts: Vec<Part>) -> Self {
        Self::new(200, Body::Completion(Box::new(Completion::new(parts))))
    }

    /// An answer of the assistant, plain or streamed as the request asks.
    pub fn text(text: impl Into<String>) -> Self {
        Self::completion(vec![Part::Text(text.into())])
    }

    /// An answer that says nothing.
    pub fn empty() -> Self {
        Self::completion(Vec::new())
    }

    /// An answer streamed in exactly these pieces.
    pub fn pieces<S: Into<String>>(pieces: impl IntoIterator<Item = S>) -> Self {
        Self::completion(pieces.into_iter().map(|piece| Part::Piece(piece.into())).collect())
    }

    /// An answer of so many one-word tokens.
    pub fn tokens(count: usize) -> Self {
        Self::pieces((0..count).map(|n| format!("{}word{n}", if n == 0 { "" } else { " " })))
    }

    /// A call of a tool, with arguments that are JSON as text; the finish reason is `tool_calls`.
    pub fn tool_call(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::empty().then_tool_call(id, name, arguments)
    }

    /// A refusal.
    pub fn refusal(text: impl Into<String>) -> Self {
        Self::completion(vec![Part::Refusal(text.into())])
    }

    /// An answer that begins with reasoning (`reasoning_content`); go on with [`Reply::then_text`].
    pub fn reasoning(text: impl Into<String>) -> Self {
        Self::completion(vec![Part::Reasoning(text.into())])
    }

    /// An event stream of exactly these steps, whatever the request asks.
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::new(200, Body::Steps(steps.into_iter().collect()))
    }

    /// Any status, type and body.
    pub fn raw(status: u16, content_type: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(status, Body::Fixed(body.into())).content_type(content_type)
    }

    /// Any status with a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, Body::Fixed(body.to_string().into()))
    }

    /// No answer: the connection is held until the client gives up.
    pub fn hang() -> Self {
        Self::text("never").before(Step::Hang)
    }

    /// Status and headers, then nothing more.
    pub fn hang_after_headers() -> Self {
        Self::stream([Step::Hang])
    }

    /// The connection is closed before any byte of an answer, as with a stale pooled connection.
    pub fn no_answer() -> Self {
        Self::text("never").before(Step::Fin)
    }

    /// The connection is reset before any byte of an answer.
    pub fn reset() -> Self {
        Self::text("never").before(Step::Reset)
    }

    /// Bytes that are no HTTP, then the end of the connection.
    pub fn garbage(bytes: impl Into<Bytes>) -> Self {
        Self::text("never").before(Step::Garbage(bytes.into())).before(Step::Fin)
    }
}

/// What comes next in the answer.
impl Reply {
    /// Any step after what there is so far.
    ///
    /// In an answer that is not streamed, waits come before the status line, an end cuts the body in its middle, and
    /// the rest has no meaning. An error or raw body takes its steps before the status line.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        match &mut self.body {
            Body::Completion(completion) => completion.parts.push(Part::Step(step)),
            Body::Steps(steps) => steps.push(step),
            Body::Fixed(_) | Body::Json(_) => self.before.push(step),
        }
        self
    }

    /// Waits for the gate.
    #[must_use]
    pub fn then_wait(self, gate: &Gate) -> Self {
        self.then(Step::Wait(gate.clone()))
    }

    /// Waits this long.
    #[must_use]
    pub fn then_sleep(self, time: Duration) -> Self {
        self.then(Step::Sleep(time))
    }

    /// An event whose data is this JSON.
    #[must_use]
    pub fn then_json(self, value: &Value) -> Self {
        self.then(Step::json(value))
    }

    /// OpenAI's error object inside the stream, then the stream's end: no finish, no `[DONE]`.
    #[must_use]
    pub fn then_error(self, message: &str) -> Self {
        self.then(Step::error(message)).then(Step::End)
    }

    /// More text.
    #[must_use]
    pub fn then_text(self, text: impl Into<String>) -> Self {
        self.part(Part::Text(text.into()))
    }

    /// A refusal.
    #[must_use]
    pub fn then_refusal(self, text: impl Into<String>) -> Self {
        self.part(Part::Refusal(text.into()))
    }

    /// A call of a tool.
    #[must_use]
    pub fn then_tool_call(self, id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        self.part(Part::Tool(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }))
    }

    fn part(self, part: Part) -> Self {
        self.shape(|completion| completion.parts.push(part))
    }
}

/// How it is said. On an answer that is no completion these change nothing.
impl Reply {
    /// How text is cut to chunks.
    #[must_use]
    pub fn chunked(self, chunking: Chunking) -> Self {
        self.shape(|completion| completion.chunking = chunking)
    }

    /// Each chunk of content waits at this gate, see [`Gate::pass`]; an answer that is not streamed waits once.
    #[must_use]
    pub fn gate_each(self, gate: &Gate) -> Self {
        self.shape(|completion| completion.before_each = Some(Step::Wait(gate.clone())))
    }

    /// A pause before each chunk of content; once before an answer that is not streamed.
    #[must_use]
    pub fn delay_each(self, time: Duration) -> Self {
        let step = (!time.is_zero()).then_some(Step::Sleep(time));
        self.shape(|completion| completion.before_each = step)
    }

    /// Each chunk of content in a write of its own, as servers that make them one by one send them.
    #[must_use]
    pub fn flush_each(self) -> Self {
        self.shape(|completion| completion.before_each = Some(Step::Flush))
    }

    /// `stop`, `length`, `content_filter`, `tool_calls`, or anything else.
    #[must_use]
    pub fn finish_reason(self, reason: impl Into<String>) -> Self {
        self.shape(|completion| completion.finish_reason = Some(reason.into()))
    }

    /// The model to name instead of the request's.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        self.shape(|completion| completion.model = Some(model.into()))
    }

    /// `prompt_tokens` and `completion_tokens`.
    #[must_use]
    pub fn usage(self, prompt: u64, completion: u64) -> Self {
        self.shape(|c| {
            c.usage.prompt = Some(prompt);
            c.usage.completion = Some(completion);
        })
    }

    /// The whole usage, with its details.
    #[must_use]
    pub fn usage_details(self, usage: Usage) -> Self {
        self.shape(|completion| completion.usage = usage)
    }

    /// Streamed, whatever the request asks.
    #[must_use]
    pub fn streamed(self) -> Self {
        self.shape(|completion| completion.mode = Mode::Streamed)
    }

    /// One JSON object, whatever the request asks.
    #[must_use]
    pub fn plain(self) -> Self {
        self.shape(|completion| completion.mode = Mode::Plain)
    }

    /// The line ends of the stream.
    #[must_use]
    pub fn line_end(self, line_end: LineEnd) -> Self {
        self.shape(|completion| completion.line_end = line_end)
    }

    /// The body in HTTP chunks and writes of this many bytes: 1 tears every character and every line end.
    #[must_use]
    pub fn split_every(self, bytes: usize) -> Self {
        self.shape(|completion| completion.split = Some(bytes))
    }

    /// A byte order mark before the stream.
    #[must_use]
    pub fn bom(self) -> Self {
        self.shape(|completion| completion.bom = true)
    }

    /// No length and no chunks: the stream ends when the connection does.
    #[must_use]
    pub fn until_close(self) -> Self {
        self.shape(|completion| completion.until_close = true)
    }

    /// llama.cpp's flaw: the first chunk, the one with the role, never comes.
    #[must_use]
    pub fn without_role(self) -> Self {
        self.shape(|completion| completion.no_role = true)
    }

    /// No usage, even when asked for.
    #[must_use]
    pub fn without_usage(self) -> Self {
        self.shape(|completion| completion.no_usage = true)
    }

    /// No chunk with a finish reason; `null` in a plain answer.
    #[must_use]
    pub fn without_finish_reason(self) -> Self {
        self.shape(|completion| completion.no_finish_reason = true)
    }

    /// No `data: [DONE]`.
    #[must_use]
    pub fn without_done(self) -> Self {
        self.shape(|completion| completion.no_done = true)
    }

    fn shape(mut self, change: impl FnOnce(&mut Completion)) -> Self {
        if let Body::Completion(completion) = &mut self.body {
            change(completion);
        }
        self
    }
}

/// What surrounds the body.
impl Reply {
    /// A step before the status line; several happen in order.
    #[must_use]
    pub fn before(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }

    /// Waits for the gate before the status line.
    #[must_use]
    pub fn wait_first(self, gate: &Gate) -> Self {
        self.before(Step::Wait(gate.clone()))
    }

    /// Another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Another content type, right or wrong.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Announces `Connection: close`, and closes after this answer.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }
}
