//! Why a model stopped, in OpenAI's words for it: each family of servers has its own.

/// What a server's word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// One of OpenAI's words.
    Word(&'static str),
    /// The provider gave up.
    Failed,
    /// A word that this server does not know.
    Unknown,
}

/// The end of an answer.
pub const STOP: &str = "stop";

/// The end of an answer that asks for calls.
pub const TOOL_CALLS: &str = "tool_calls";

/// Reads a `finish_reason`; `None` while the model has not finished.
#[must_use]
pub fn finish(said: &str) -> Option<Finish> {
    const WORDS: [(&str, &[&str]); 5] = [
        (
            STOP,
            &[
                "stop",
                "eos",
                "eos_token",
                "end_turn",
                "end",
                "stop_sequence",
                "stop_token",
                "complete",
                "completed",
                "done",
                "finished",
                "finish",
                "success",
                "pause_turn",
            ],
        ),
        // What was cut is not what was meant: the model, or its server, had more to say.
        (
            "length",
            &[
                "length",
                "max_tokens",
                "model_length",
                "max_output_tokens",
                "max_completion_tokens",
                "max_length",
                "token_limit",
                "context_length",
                "context_length_exceeded",
                "model_context_window_exceeded",
                "limit",
                "incomplete",
                "insufficient_system_resource",
                "abort",
                "aborted",
                "cancelled",
                "canceled",
                "interrupted",
                "timeout",
            ],
        ),
        (TOOL_CALLS, &["tool_calls", "tool_call", "tool_use", "tools"]),
        ("function_call", &["function_call"]),
        (
            "content_filter",
            &[
                "content_filter",
                "content_filtered",
                "safety",
                "recitation",
                "blocklist",
                "prohibited_content",
                "spii",
                "refusal",
                "sensitive",
                "image_safety",
                "guardrail_intervened",
                "moderation",
                "blocked",
            ],
        ),
    ];
    let word = said.trim();
    if word.is_empty() {
        return None;
    }
    // Libraries of the servers' own languages put the name of the type before the word.
    let word = word.rsplit('.').next().unwrap_or(word).to_ascii_lowercase().replace('-', "_");
    let word = word.strip_prefix("finish_reason_").unwrap_or(&word);
    let known = WORDS.iter().find(|(_, words)| words.contains(&word)).map(|(own, _)| Finish::Word(own));
    Some(match word {
        "null" | "none" | "unspecified" => return None,
        "error" | "network_error" | "failed" => Finish::Failed,
        _ => known.unwrap_or(Finish::Unknown),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_words() {
        for (said, own) in [
            ("stop", "stop"),
            ("STOP", "stop"),
            ("eos", "stop"),
            ("end_turn", "stop"),
            ("MAX_TOKENS", "length"),
            ("max_tokens", "length"),
            ("model_length", "length"),
            ("insufficient_system_resource", "length"),
            ("FinishReason.MAX_TOKENS", "length"),
            ("FINISH_REASON_SAFETY", "content_filter"),
            ("SAFETY", "content_filter"),
            ("content_filter", "content_filter"),
            ("tool_use", "tool_calls"),
            ("function_call", "function_call"),
        ] {
            assert_eq!(finish(said), Some(Finish::Word(own)), "{said}");
        }
        assert_eq!((finish("error"), finish("tuesday")), (Some(Finish::Failed), Some(Finish::Unknown)));
        for none in ["", " ", "null", "FINISH_REASON_UNSPECIFIED"] {
            assert_eq!(finish(none), None, "{none}");
        }
    }
}
