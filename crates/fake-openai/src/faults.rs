//! Replies by name: the magic prompts and the `--fault` flag of the binary.

use std::time::Duration;

use crate::completion::Chunking;
use crate::record::RecordedRequest;
use crate::reply::Reply;
use crate::steps::{LineEnd, Step};

/// A reply with a name.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its name, as after `--fault` and, with an exclamation mark, in a prompt.
    pub name: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
    make: fn() -> Reply,
}

impl Fault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAULTS.iter().find(|fault| fault.name == name)
    }

    /// Its reply.
    pub fn reply(&self) -> Reply {
        (self.make)()
    }
}

/// The reply that the last user message asks for, when it is `!name` and there is a fault of that name.
/// `!echo TEXT` answers the text.
pub fn magic(request: &RecordedRequest) -> Option<Reply> {
    let prompt = request.last_prompt();
    let command = prompt.trim().strip_prefix('!')?;
    if let Some(text) = command.strip_prefix("echo ") {
        return Some(Reply::text(text));
    }
    Fault::named(command).map(Fault::reply)
}

const fn fault(name: &'static str, help: &'static str, make: fn() -> Reply) -> Fault {
    Fault { name, help, make }
}

fn words() -> Reply {
    Reply::text("These are some words that come before the fault.")
}

/// A step in the middle of a stream, after what came before it is on the wire.
fn middle(step: Step) -> Reply {
    words().then(Step::Flush).then(step).then_text(" And these come after it.")
}

/// All faults.
pub const FAULTS: &[Fault] = &[
    fault("400", "400 context_length_exceeded", Reply::context_length_exceeded),
    fault("400-llama", "400 exceed_context_size_error, as llama.cpp has it", Reply::llama_context_exceeded),
    fault("401", "401 invalid_api_key, the key masked", Reply::invalid_api_key),
    fault("401-leak", "401 with the whole key in its message", Reply::invalid_api_key_leaking),
    fault("404", "404 model_not_found", Reply::model_not_found),
    fault("429", "429 rate_limit_exceeded, Retry-After 1 s", || Reply::rate_limited_for(1)),
    fault("429-ms", "the same, retry-after-ms 250", || Reply::rate_limited_for_ms(Duration::from_millis(250))),
    fault("quota", "429 insufficient_quota", Reply::insufficient_quota),
    fault("500", "500 server_error", Reply::server_error),
    fault("502", "502, a proxy's HTML page", Reply::bad_gateway),
    fault("503", "503 overloaded", Reply::overloaded),
    fault("503-llama", "503 loading, with llama.cpp's integer code", Reply::llama_loading),
    fault("html", "200 with an HTML page", || Reply::raw(200, "text/html", "<html>Please log in</html>")),
    fault("plain", "a JSON object, also for a stream request", || words().plain()),
    fault("garbage", "no HTTP at all", || Reply::garbage(&b"\x16\x03\x01 nonsense\r\n\r\n"[..])),
    fault("noanswer", "the connection is closed before any byte", Reply::no_answer),
    fault("hang", "no byte of an answer ever comes", Reply::hang),
    fault("hang-headers", "status and headers, then nothing", Reply::hang_after_headers),
    fault("hang-middle", "some words, then nothing", || middle(Step::Hang)),
    fault("cut", "some words and half an event, then the end", || middle(Step::FinInsideEvent)),
    fault("cut-chunk", "the same inside an HTTP chunk", || middle(Step::FinInsideChunk)),
    fault("fin", "some words, then the connection is closed", || middle(Step::Fin)),
    fault("reset", "some words, then the connection is reset", || middle(Step::Reset)),
    fault("end", "some words, then a clean end without finish or [DONE]", || middle(Step::End)),
    fault("nodone", "everything but [DONE]", || words().without_done()),
    fault("norole", "llama.cpp's missing first chunk", || Reply::text("👌 ok").without_role()),
    fault("nousage", "no usage, even when asked for", || words().without_usage()),
    fault("nofinish", "no finish_reason", || words().without_finish_reason()),
    fault("error", "some words, then an error object in the stream", || words().then_error("The model crashed")),
    fault("garbage-middle", "some words, then bytes outside of the framing", || {
        middle(Step::Garbage("\u{1}garbage\r\n".into()))
    }),
    fault("badjson", "some words, then an event that is not JSON", || middle(Step::Data("{not json".into()))),
    fault("huge", "some words, then a line of 100 MB", || middle(Step::HugeLine(100_000_000))),
    fault("split", "every byte in a chunk and a write of its own", || Reply::text("é 👌 ok").split_every(1)),
    fault("chars", "a character a chunk, with CRLF line ends", || {
        words().chunked(Chunking::Characters).line_end(LineEnd::CrLf)
    }),
    fault("ping", "some words, comments, then more words", || {
        middle(Step::Comment("ping".into())).then(Step::Comment("ping".into()))
    }),
    fault("slow", "half a second before each word", || words().delay_each(Duration::from_millis(500))),
    fault("late", "five seconds before the answer", || words().before(Step::Sleep(Duration::from_secs(5)))),
    fault("empty", "an answer that says nothing", Reply::empty),
    fault("length", "finish_reason length", || words().finish_reason("length")),
    fault("filter", "finish_reason content_filter", || words().finish_reason("content_filter")),
    fault("refusal", "a refusal", || Reply::refusal("I cannot help with that.")),
    fault("reasoning", "reasoning_content, then text", || Reply::reasoning("Let me think.").then_text("Done.")),
    fault("tool", "a call of get_weather", || {
        Reply::tool_call("call_fake1", "get_weather", r#"{"city":"Paris","unit":"celsius"}"#)
    }),
];
