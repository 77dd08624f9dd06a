//! What each kind of owner may do, and for how much at most: the one table of authority.
//!
//! | | visitor (cookie) | key, and the local machine while there is no key |
//! |---|---|---|
//! | routes to a model | `/chat`, responses, chat completions, the list of models | all |
//! | models | the operator's list, but for those of images, sound and search | the operator's list |
//! | an answer's tokens | capped by the operator's limit, also where the request sets none | as asked, lowered to that limit where there is one |
//! | answers to one request | 1 | as asked |
//! | fields of a chat completion | those that cost nothing more | all |

use serde_json::Value;

use super::Route;
use crate::domain::conversation::Owner;

/// The kinds of owners that differ in what they may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKind {
    /// A browser with a session's cookie: anyone who can reach the server.
    Visitor,
    /// A program with one of the server's keys.
    Key,
    /// A program on the server's own machine, while there is no key.
    Local,
}

impl OwnerKind {
    /// The kind of this owner.
    #[must_use]
    pub fn of(owner: &Owner) -> Self {
        match owner {
            Owner::Session(_) => Self::Visitor,
            Owner::ApiKey(id) if id == crate::config::LOCAL => Self::Local,
            Owner::ApiKey(_) => Self::Key,
        }
    }

    pub(super) fn policy(self) -> &'static Policy {
        match self {
            Self::Visitor => &VISITOR,
            Self::Key | Self::Local => &TRUSTED,
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct Policy {
    routes: &'static [Route],
    /// Whether models of images, sound and search are left out, which cost more than their answers' tokens.
    pub(super) text_models_only: bool,
    /// Whether an answer is capped where the request sets no number.
    pub(super) always_capped: bool,
    pub(super) most_choices: Option<u64>,
    /// The fields that a chat completion may have; `None` for any.
    fields: Option<&'static [&'static str]>,
}

const VISITOR: Policy = Policy {
    routes: &[Route::Chat, Route::Responses, Route::Completions, Route::Models],
    text_models_only: true,
    always_capped: true,
    most_choices: Some(1),
    fields: Some(&PLAIN_FIELDS),
};

const TRUSTED: Policy =
    Policy { routes: &Route::ALL, text_models_only: false, always_capped: false, most_choices: None, fields: None };

/// What a visitor's chat completion may say. It is passed on unread, and model servers know fields that name other models,
/// lift the cap or buy searches and priority: those that do not are listed, and the others need a key.
const PLAIN_FIELDS: [&str; 29] = [
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
];

impl Policy {
    pub(super) fn allows_route(&self, route: Route) -> bool {
        self.routes.contains(&route)
    }

    /// Whether a chat completion's fields are to be looked at, one by one.
    pub(super) fn vets_fields(&self) -> bool {
        self.fields.is_some()
    }

    /// Whether a chat completion may have a field of this name and value.
    pub(super) fn allows_field(&self, name: &str, value: &str) -> bool {
        let Some(fields) = self.fields else { return true };
        match name {
            _ if fields.contains(&name) || value == "null" => true,
            "service_tier" => ["\"auto\"", "\"default\"", "\"flex\""].contains(&value),
            "modalities" => serde_json::from_str::<Vec<String>>(value).is_ok_and(|all| all == ["text"]),
            "tools" => {
                serde_json::from_str::<Vec<Value>>(value).is_ok_and(|tools| tools.iter().all(runs_at_the_client))
            }
            _ => false,
        }
    }
}

/// Whether a tool is one that the client runs. Those that model servers run, such as searches, are paid for by the call.
fn runs_at_the_client(tool: &Value) -> bool {
    tool["type"] == "function" || tool["type"] == "custom"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitors_completion_has_no_field_that_costs_more() {
        for (name, value) in [
            ("temperature", "1"),
            ("web_search_options", "null"),
            ("service_tier", "\"default\""),
            ("modalities", "[\"text\"]"),
            ("tools", r#"[{"type":"function","function":{"name":"f"}}]"#),
            ("tools", "[]"),
        ] {
            assert!(VISITOR.allows_field(name, value), "{name}");
        }
        for (name, value) in [
            ("web_search_options", "{}"),
            ("service_tier", "\"priority\""),
            ("modalities", "[\"text\",\"audio\"]"),
            ("tools", r#"[{"type":"function"},{"type":"web_search"}]"#),
            ("tools", "{}"),
            ("MAX_TOKENS", "99999"),
            ("n_predict", "99999"),
            ("models", "[\"dear\"]"),
            ("prediction", "{}"),
        ] {
            assert!(!VISITOR.allows_field(name, value), "{name}");
            assert!(TRUSTED.allows_field(name, value), "{name}");
        }
    }

    #[test]
    fn the_local_machine_is_no_name_that_a_key_may_have() {
        assert_eq!(OwnerKind::of(&Owner::ApiKey("local".into())), OwnerKind::Local);
        assert_eq!(OwnerKind::of(&Owner::ApiKey("web".into())), OwnerKind::Key);
        assert!(!crate::config::is_key_name("local"));
    }
}
