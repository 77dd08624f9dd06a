//! From a reply and its request to the bytes: status line, headers, framing, body.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answers::Answer;
use crate::completion::{Completion, Mode, Part, ToolCall};
use crate::plan::{Framing, Plan, Writer};
use crate::record::RecordedRequest;
use crate::reply::{Body, Reply};
use crate::steps::{LineEnd, Step};

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

/// Compiles a reply. `close` says that the connection ends after it, and the client is told so.
pub(crate) fn plan(reply: &Reply, request: &RecordedRequest, close: bool) -> Plan {
    let mut render = Render { reply, request, close: close || reply.close, writer: Writer::new() };
    let goes_on = reply.before.iter().all(|step| render.writer.step(step));
    if goes_on {
        render.body();
    }
    let close = render.close;
    render.writer.finish(close)
}

/// What a body of no particular delimitation needs to know.
enum Length {
    Known(usize),
    Chunked,
    UntilClose,
}

struct Render<'a> {
    reply: &'a Reply,
    request: &'a RecordedRequest,
    close: bool,
    writer: Writer,
}

impl Render<'_> {
    fn body(&mut self) {
        match &self.reply.body {
            Body::Fixed(bytes) => self.fixed(bytes),
            Body::Json(make) => self.fixed(make(self.request).to_string().as_bytes()),
            Body::Steps(steps) => {
                self.begin_stream(false, None, LineEnd::Lf);
                let goes_on = steps.iter().all(|step| self.writer.step(step));
                if goes_on || matches!(steps.last(), Some(Step::End)) {
                    self.writer.end_body();
                }
            }
            Body::Completion(completion) => match completion.mode {
                Mode::Streamed => self.stream(completion),
                Mode::AsAsked if self.request.wants_stream() => self.stream(completion),
                Mode::AsAsked | Mode::Plain => self.object(completion),
            },
        }
    }

    fn fixed(&mut self, body: &[u8]) {
        self.head(JSON, &Length::Known(body.len()));
        self.writer.raw(body);
    }

    /// A plain answer: its waits come first, and an end among its steps cuts it in the middle.
    fn object(&mut self, completion: &Completion) {
        let body = Answer::new(completion, self.request).object();
        let steps = completion.parts.iter().filter_map(|part| match part {
            Part::Step(step) => Some(step),
            _ => None,
        });
        let mut cut = None;
        for step in steps.chain(&completion.before_each) {
            match step {
                Step::Wait(_) | Step::Sleep(_) => _ = self.writer.step(step),
                Step::End => break,
                step if step.ends() => {
                    cut = Some(step);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = cut else {
            return self.fixed(body.as_bytes());
        };
        self.head(JSON, &Length::Known(body.len()));
        self.writer.raw(&body.as_bytes()[..body.len() / 2]);
        match end {
            Step::Reset | Step::Hang => self.writer.step(end),
            _ => self.writer.step(&Step::Fin),
        };
    }

    fn stream(&mut self, completion: &Completion) {
        self.begin_stream(completion.until_close, completion.split, completion.line_end);
        let mut stream =
            Stream { answer: Answer::new(completion, self.request), completion, writer: &mut self.writer, tools: 0 };
        if stream.all() {
            self.writer.end_body();
        }
    }

    fn begin_stream(&mut self, until_close: bool, split: Option<usize>, line_end: LineEnd) {
        // HTTP/1.0 knows no chunks.
        let until_close = until_close || !self.request.http11;
        self.close |= until_close;
        let (length, framing) = match until_close {
            true => (Length::UntilClose, Framing::Plain),
            false => (Length::Chunked, Framing::Chunked),
        };
        self.head(EVENT_STREAM, &length);
        self.writer.begin_body(framing, split, line_end);
    }

    fn head(&mut self, content_type: &str, length: &Length) {
        let reply = self.reply;
        let (status, reason) = (reply.status, reason(reply.status));
        let content_type = reply.content_type.as_deref().unwrap_or(content_type);
        let id = self.request.index;
        let mut head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nx-request-id: req_fake{id}\r\n\
             openai-processing-ms: 1\r\n"
        );
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match length {
            Length::Known(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Length::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Length::UntilClose => {}
        }
        if self.close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        self.writer.raw(head.as_bytes());
    }
}

/// A completion as the chunks of a stream.
struct Stream<'a> {
    answer: Answer<'a>,
    completion: &'a Completion,
    writer: &'a mut Writer,
    tools: usize,
}

impl Stream<'_> {
    /// Writes all of it; false when nothing, not even the end of the body, may follow.
    fn all(&mut self) -> bool {
        let completion = self.completion;
        if completion.bom {
            self.writer.body("\u{feff}".as_bytes());
        }
        if !completion.no_role {
            self.chunk(r#"{"role":"assistant","content":"","refusal":null}"#, None);
        }
        for part in &completion.parts {
            if !self.part(part) {
                return matches!(part, Part::Step(Step::End));
            }
        }
        if !completion.no_finish_reason {
            self.chunk("{}", Some(completion.finish_reason()));
        }
        if let Some(usage) = self.answer.usage_chunk() {
            self.writer.event(None, &usage);
        }
        if !completion.no_done {
            self.writer.event(None, "[DONE]");
        }
        true
    }

    /// Writes a part; false when nothing can follow it.
    fn part(&mut self, part: &Part) -> bool {
        match part {
            Part::Step(step) => return self.writer.step(step),
            Part::Text(text) => self.pieces("content", text),
            Part::Reasoning(text) => self.pieces("reasoning_content", text),
            Part::Refusal(text) => self.pieces("refusal", text),
            Part::Piece(text) => self.delta(&delta("content", text)),
            Part::Tool(tool) => self.tool(tool),
        }
        true
    }

    fn pieces(&mut self, key: &str, text: &str) {
        for piece in self.completion.chunking.cut(text) {
            self.delta(&delta(key, piece));
        }
    }

    fn tool(&mut self, tool: &ToolCall) {
        let index = self.tools;
        self.tools += 1;
        let function = json!({"name": tool.name, "arguments": ""});
        let first = json!({"index": index, "id": tool.id, "type": "function", "function": function});
        self.delta(&json!({"tool_calls": [first]}).to_string());
        for fragment in tool.fragments() {
            let more = json!({"index": index, "function": {"arguments": fragment}});
            self.delta(&json!({"tool_calls": [more]}).to_string());
        }
    }

    /// A chunk of content, after what each chunk waits for.
    fn delta(&mut self, delta: &str) {
        if let Some(step) = &self.completion.before_each {
            self.writer.step(step);
        }
        self.chunk(delta, None);
    }

    fn chunk(&mut self, delta: &str, finish_reason: Option<&str>) {
        let chunk = self.answer.chunk(delta, finish_reason);
        self.writer.event(None, &chunk);
    }
}

fn delta(key: &str, text: &str) -> String {
    format!(r#"{{"{key}":{}}}"#, Value::from(text))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

/// A whole response for what is no request at all.
pub(crate) fn bad_request(body: &str) -> Bytes {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    Bytes::from(head + body)
}
