//! Families of model servers as they really speak: a scripted model for each, in one table.
//!
//! Each says the same in its own words, and is as strict as the real one. The prompt says what happens: `answer`, `calls` (two
//! at once), `loop` (three rounds of one call each), `think`, `cut`, `fail`, `picture`.

mod rules;
mod words;

use serde_json::{Value, json};

use self::rules::Rule;
use crate::record::RecordedRequest;
use crate::reply::Reply;

/// A family of model servers.
#[derive(Debug)]
pub struct Dialect {
    /// What it is called.
    pub name: &'static str,
    /// Whether it shows what its model thinks.
    pub thinks: bool,
    /// Whether it refuses a round of calls that comes back without what it said besides.
    pub needs_back: bool,
    thoughts: Thoughts,
    calls: Calls,
    call_id: fn(usize) -> String,
    figures: Figures,
    /// Its words for an end, a cut, and calls.
    finish: [&'static str; 3],
    /// What it says of a failure in the middle of a stream.
    failure: fn() -> Value,
    /// Events before the first chunk, and comments between.
    chatter: Chatter,
    rules: &'static [Rule],
}

/// Where thoughts stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thoughts {
    None,
    ReasoningContent,
    Reasoning,
    /// `reasoning`, and `reasoning_details` beside it.
    Details,
    Parts,
    Tags,
}

/// How calls are streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// A head, then arguments in pieces, by index.
    Pieces,
    /// Each whole, in one list.
    Listed,
    /// Each whole in a chunk of its own, the index 0 on all.
    Index0,
    /// As `Index0`, with a signature on the first call of a round.
    Signed,
    /// Each whole in a chunk of its own, without an index.
    NoIndex,
}

/// Where the usage stands in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figures {
    /// In a chunk of its own.
    Last,
    /// In the chunk that finishes.
    WithFinish,
    /// In the choice that finishes.
    InChoice,
    /// In every chunk.
    Everywhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chatter {
    None,
    /// Azure's results of its filter.
    Filter,
    /// OpenRouter's comments.
    Comments,
}

fn numbered(prefix: &str, n: usize) -> String {
    format!("{prefix}{n:0>9}")
}

fn openai_failure() -> Value {
    json!({"error": {"message": "The server had an error.", "type": "server_error", "param": null, "code": null}})
}

fn coded_failure() -> Value {
    json!({"error": {"message": "Internal error.", "code": 500, "status": "INTERNAL"}})
}

fn bare_failure() -> Value {
    json!({"object": "error", "message": "Internal error.", "type": "InternalServerError", "param": null, "code": 500})
}

fn openrouter_failure() -> Value {
    json!({"id": "gen-1", "object": "chat.completion.chunk", "error": {"code": 502, "message": "Provider disconnected"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]})
}

fn text_failure() -> Value {
    json!({"error": "an error was encountered while running the model"})
}

const OPENAI: Dialect = Dialect {
    name: "OpenAI",
    thinks: false,
    needs_back: false,
    thoughts: Thoughts::None,
    calls: Calls::Pieces,
    call_id: |n| numbered("call_fake", n),
    figures: Figures::Last,
    finish: ["stop", "length", "tool_calls"],
    failure: openai_failure,
    chatter: Chatter::None,
    rules: &[rules::arguments_are_json, rules::outputs_follow_calls],
};

/// Every family, in one table.
pub const DIALECTS: &[Dialect] = &[
    OPENAI,
    Dialect { name: "Azure", chatter: Chatter::Filter, ..OPENAI },
    Dialect {
        name: "DeepSeek",
        needs_back: true,
        thinks: true,
        thoughts: Thoughts::ReasoningContent,
        call_id: |n| numbered("call_00_", n),
        figures: Figures::WithFinish,
        rules: &[
            rules::arguments_are_json,
            rules::outputs_follow_calls,
            rules::no_developer,
            rules::thoughts_come_back,
        ],
        ..OPENAI
    },
    Dialect {
        name: "Gemini",
        needs_back: true,
        calls: Calls::Signed,
        call_id: |n| numbered("function-call-", n),
        figures: Figures::Everywhere,
        failure: coded_failure,
        rules: &[rules::arguments_are_json, rules::outputs_follow_calls, rules::signatures_come_back],
        ..OPENAI
    },
    Dialect {
        name: "Mistral",
        thinks: true,
        thoughts: Thoughts::Parts,
        calls: Calls::Listed,
        call_id: |n| format!("{n:0>9}"),
        figures: Figures::WithFinish,
        finish: ["stop", "model_length", "tool_calls"],
        failure: bare_failure,
        rules: &[
            rules::arguments_are_json,
            rules::outputs_follow_calls,
            rules::no_developer,
            rules::one_system,
            rules::ids_of_nine,
        ],
        ..OPENAI
    },
    Dialect {
        name: "Qwen on vLLM",
        thinks: true,
        thoughts: Thoughts::Reasoning,
        call_id: |n| numbered("chatcmpl-tool-", n),
        failure: bare_failure,
        rules: &[rules::arguments_are_json, rules::outputs_follow_calls, rules::no_developer, rules::one_system],
        ..OPENAI
    },
    Dialect {
        name: "llama.cpp",
        thinks: true,
        thoughts: Thoughts::Tags,
        calls: Calls::NoIndex,
        call_id: |_| String::new(),
        failure: coded_failure,
        rules: &[rules::arguments_are_json, rules::one_system],
        ..OPENAI
    },
    Dialect {
        name: "Ollama",
        thinks: true,
        thoughts: Thoughts::Reasoning,
        calls: Calls::Index0,
        call_id: |n| format!("call_{n:0>8}"),
        failure: text_failure,
        rules: &[rules::arguments_are_json],
        ..OPENAI
    },
    Dialect {
        name: "OpenRouter",
        thinks: true,
        thoughts: Thoughts::Details,
        call_id: |n| numbered("toolu_", n),
        failure: openrouter_failure,
        chatter: Chatter::Comments,
        rules: &[rules::arguments_are_json, rules::outputs_follow_calls],
        ..OPENAI
    },
    Dialect {
        name: "Kimi",
        needs_back: true,
        thinks: true,
        thoughts: Thoughts::ReasoningContent,
        call_id: |n| format!("functions.step:{n}"),
        figures: Figures::InChoice,
        rules: &[
            rules::arguments_are_json,
            rules::outputs_follow_calls,
            rules::no_developer,
            rules::thoughts_come_back,
        ],
        ..OPENAI
    },
];

/// What the model says, in no server's words.
#[derive(Debug, Default)]
struct Said {
    thoughts: &'static str,
    text: String,
    /// Name and arguments.
    calls: Vec<(&'static str, String)>,
    is_cut: bool,
    /// The round of its conversation, so that ids of calls differ.
    round: usize,
}

impl Dialect {
    /// A responder for [`FakeOpenAi::set_responder`](crate::FakeOpenAi::set_responder).
    pub fn responder(&'static self) -> impl FnMut(&RecordedRequest) -> Reply + Send {
        move |request| self.answer(request)
    }

    fn answer(&self, request: &RecordedRequest) -> Reply {
        if let Some(refusal) = self.rules.iter().find_map(|rule| rule(request.messages())) {
            return Reply::json(400, &refusal);
        }
        let prompt = request.last_prompt();
        let messages = request.messages();
        let asked = messages.iter().rposition(|message| message["role"] == "user").unwrap_or(0);
        let outputs = messages.iter().skip(asked).filter(|message| message["role"] == "tool");
        let outputs: Vec<&str> = outputs.filter_map(|message| message["content"].as_str()).collect();
        let round = messages.iter().filter(|message| message["role"] == "assistant").count();
        let thoughts = if self.thinks { "Let me see." } else { "" };
        let said = |text: &str| Said { text: text.to_owned(), round, ..Said::default() };
        let call =
            |calls: &[(&'static str, String)]| Said { calls: calls.to_vec(), thoughts, round, ..Said::default() };
        match prompt.split_whitespace().next().unwrap_or_default() {
            "calls" if outputs.is_empty() => {
                let rome = ("get_weather", r#"{"city":"Rome"}"#.to_owned());
                self.say(request, &call(&[rome, ("get_time", r#"{"zone":"CET"}"#.to_owned())]))
            }
            "loop" if outputs.len() < 3 => {
                let arguments = json!({"n": outputs.len() + 1}).to_string();
                self.say(request, &call(&[("step", arguments)]))
            }
            "calls" | "loop" => self.say(request, &said(&format!("Heard {}.", outputs.join(", ")))),
            "think" => self.say(request, &Said { thoughts, ..said("Thought of it.") }),
            "cut" => self.say(request, &Said { is_cut: true, ..said("This is cut in the") }),
            "fail" => self.fail(request),
            "picture" => {
                let parts = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
                let pictures = parts.filter(|part| part["type"] == "image_url").count();
                self.say(request, &said(&format!("I see {pictures} picture.")))
            }
            _ => self.say(request, &said("The answer, in some words.")),
        }
    }
}
