//! What the server must know of a model to call it: one small table, and safe defaults for names that are not in it.
//!
//! Source: OpenAI's model pages (context windows) and API reference (which parameters a family takes).

use super::tokens::Encoding;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Prompt and answer together, in tokens.
    pub context_tokens: u32,
    /// Its tokenizer.
    pub encoding: Encoding,
    /// It wants `max_completion_tokens` where older ones want `max_tokens`.
    pub max_completion_tokens: bool,
    /// It accepts a `temperature`; reasoning models answer 400 to one.
    pub temperature: bool,
    /// Whether the tokenizer is a guess, so that a margin is kept.
    pub estimated: bool,
}

const fn chat(context_tokens: u32, encoding: Encoding) -> Profile {
    Profile { context_tokens, encoding, max_completion_tokens: false, temperature: true, estimated: false }
}

const fn reasoning(context_tokens: u32) -> Profile {
    let encoding = Encoding::O200k;
    Profile { context_tokens, encoding, max_completion_tokens: true, temperature: false, estimated: false }
}

/// What is assumed of a model that is not in the table: the smallest context in common use.
const UNKNOWN: Profile = Profile {
    context_tokens: 8_192,
    encoding: Encoding::O200k,
    max_completion_tokens: false,
    temperature: true,
    estimated: true,
};

/// By prefix; the longest one that fits decides.
const TABLE: &[(&str, Profile)] = &[
    ("gpt-3.5-turbo", chat(16_385, Encoding::Cl100k)),
    ("gpt-3.5-turbo-0613", chat(4_096, Encoding::Cl100k)),
    ("gpt-3.5-turbo-instruct", chat(4_096, Encoding::Cl100k)),
    ("gpt-4", chat(8_192, Encoding::Cl100k)),
    ("gpt-4-32k", chat(32_768, Encoding::Cl100k)),
    ("gpt-4-turbo", chat(128_000, Encoding::Cl100k)),
    ("gpt-4-1106", chat(128_000, Encoding::Cl100k)),
    ("gpt-4-0125", chat(128_000, Encoding::Cl100k)),
    ("gpt-4o", chat(128_000, Encoding::O200k)),
    ("chatgpt-4o", chat(128_000, Encoding::O200k)),
    ("gpt-4.1", chat(1_047_576, Encoding::O200k)),
    ("gpt-4.5", chat(128_000, Encoding::O200k)),
    ("gpt-5", reasoning(400_000)),
    ("gpt-5-chat", Profile { max_completion_tokens: true, ..chat(128_000, Encoding::O200k) }),
    ("gpt-oss", chat(131_072, Encoding::O200k)),
    ("o1", reasoning(200_000)),
    ("o1-mini", reasoning(128_000)),
    ("o1-preview", reasoning(128_000)),
    ("o3", reasoning(200_000)),
    ("o4", reasoning(200_000)),
    ("demo", chat(16_385, Encoding::Cl100k)),
];

/// What `ALLOWED_MODELS` is towards OpenAI where it is not set.
pub const OPENAI_CHAT_MODELS: &[&str] =
    &["gpt-3.5-turbo*", "gpt-4*", "gpt-5*", "chatgpt-*", "o1*", "o3*", "o4*", "ft:gpt-*", "ft:o*"];

/// Parts of the names of models that make images, sound or vectors, or that search: they cost by other measures than the
/// tokens of an answer.
const NOT_FOR_TEXT: &[&str] = &[
    "audio",
    "dall-e",
    "embed",
    "image",
    "moderation",
    "realtime",
    "search",
    "sora",
    "speech",
    "transcribe",
    "tts",
    "veo-",
    "video",
    "whisper",
];

/// Whether a model answers text with text, as far as its name tells.
#[must_use]
pub fn is_for_text(model: &str) -> bool {
    let name = model.to_ascii_lowercase();
    !NOT_FOR_TEXT.iter().any(|part| name.contains(part))
}

/// The profile of `model`. A fine-tune (`ft:gpt-4o:org::id`) is its base model; a vendor's prefix (`openai/gpt-4o`) is
/// looked through.
#[must_use]
pub fn profile(model: &str) -> Profile {
    let base = model.strip_prefix("ft:").unwrap_or(model);
    let base = base.rsplit('/').next().unwrap_or(base);
    TABLE
        .iter()
        .filter(|(prefix, _)| is_family(base, prefix))
        .max_by_key(|(prefix, _)| prefix.len())
        .map_or(UNKNOWN, |(_, profile)| *profile)
}

/// `gpt-4` covers `gpt-4` and `gpt-4-0613`, but neither `gpt-4o` nor `gpt-4.1`.
fn is_family(model: &str, prefix: &str) -> bool {
    model.strip_prefix(prefix).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(['-', ':', '@']) || (prefix == "gpt-5" && rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_family_wins() {
        assert_eq!(profile("gpt-4").context_tokens, 8_192);
        assert_eq!(profile("gpt-4-0613").context_tokens, 8_192);
        assert_eq!(profile("gpt-4-turbo-2024-04-09").context_tokens, 128_000);
        assert_eq!(profile("gpt-4o-mini").encoding, Encoding::O200k);
        assert_eq!(profile("gpt-4.1-nano").context_tokens, 1_047_576);
        assert_eq!(profile("ft:gpt-3.5-turbo:acme::id").encoding, Encoding::Cl100k);
        assert_eq!(profile("openai/gpt-4o").context_tokens, 128_000);
    }

    #[test]
    fn reasoning_models_take_no_temperature() {
        for name in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.2"] {
            assert!(!profile(name).temperature && profile(name).max_completion_tokens, "{name}");
        }
        assert!(profile("gpt-5-chat-latest").temperature);
        assert!(profile("gpt-3.5-turbo").temperature && !profile("gpt-3.5-turbo").max_completion_tokens);
    }

    #[test]
    fn an_unknown_name_gets_safe_defaults() {
        for name in ["", "llama-3-8b", "gpt-40", "o11"] {
            assert_eq!(profile(name), UNKNOWN, "{name:?}");
        }
    }
}
