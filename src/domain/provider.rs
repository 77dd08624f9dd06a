//! What a model's server wants back with its own messages and calls: where its thoughts came, and members that only it
//! reads, such as signatures.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The members of one call by their names, by the calls' numbers or ids.
type Calls = Map<String, Value>;

/// What came with an answer, an item or a message beside text and calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderData {
    /// The server and model that it came from, as [`origin`] has them; it goes back to no other. Empty where a client
    /// that sends a history does not say.
    pub origin: String,
    /// The member of a message that has its thoughts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thoughts: Option<ThoughtsMember>,
    /// The thoughts, where they came sealed in a client's history.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// Members of the message.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub members: Map<String, Value>,
    /// Members of its calls: an object each, by the call's number in an answer, by its id in an item.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub calls: Calls,
}

/// What servers call the member with the thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThoughtsMember {
    /// DeepSeek, Kimi, GLM, llama.cpp, SGLang.
    ReasoningContent,
    /// OpenRouter, vLLM, Groq.
    Reasoning,
}

impl ThoughtsMember {
    /// Its name in a message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReasoningContent => "reasoning_content",
            Self::Reasoning => "reasoning",
        }
    }
}

/// A short name for a server and one of its models.
#[must_use]
pub fn origin(base_url: &str, model: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(base_url).chain_update([0]).chain_update(model).finalize();
    super::hex::encode(&digest[..4])
}

impl ProviderData {
    /// Whether there is nothing to give back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.thoughts.is_none() && self.members.is_empty() && self.calls.is_empty()
    }

    /// Adds what came later, in place of what has another origin; members of one name are those that came last.
    pub fn add(&mut self, more: Self) {
        if self.is_empty() || self.origin != more.origin {
            *self = more;
            return;
        }
        let Self { origin: _, thoughts, said, members, calls } = more;
        self.thoughts = self.thoughts.or(thoughts);
        self.said.push_str(&said);
        self.members.extend(members);
        self.calls.extend(calls);
    }

    /// About how many bytes of JSON it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let sizes = self.members.iter().chain(&self.calls).map(|(name, value)| name.len() + value.to_string().len());
        self.origin.len() + sizes.sum::<usize>()
    }

    /// About how many tokens of a prompt its members take: they are JSON, of which four bytes make a token or less.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        if self.members.is_empty() && self.calls.is_empty() {
            0
        } else {
            u32::try_from(self.size() / 4).unwrap_or(u32::MAX)
        }
    }

    /// The mark that ids of reasoning items carry, so that thoughts that come back in a client's own history are given to
    /// no other server either.
    #[must_use]
    pub fn mark(&self) -> Option<String> {
        let end = match self.thoughts? {
            ThoughtsMember::ReasoningContent => "",
            ThoughtsMember::Reasoning => "r",
        };
        (!self.origin.is_empty()).then(|| format!("{}{end}", self.origin))
    }

    /// [`ProviderData::mark`] back.
    #[must_use]
    pub fn of_mark(mark: &str) -> Option<Self> {
        let (origin, thoughts) = match mark.strip_suffix('r') {
            Some(origin) => (origin, ThoughtsMember::Reasoning),
            None => (mark, ThoughtsMember::ReasoningContent),
        };
        let is_origin = origin.len() == 8 && origin.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_origin.then(|| Self { origin: origin.to_owned(), thoughts: Some(thoughts), ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_the_origin_and_the_name_of_the_thoughts() {
        for thoughts in [ThoughtsMember::Reasoning, ThoughtsMember::ReasoningContent] {
            let data = ProviderData {
                origin: origin("http://a/v1", "m"),
                thoughts: Some(thoughts),
                ..ProviderData::default()
            };
            let read = ProviderData::of_mark(&data.mark().unwrap()).unwrap();
            assert_eq!((read.origin, read.thoughts), (data.origin, data.thoughts));
        }
        assert_ne!(origin("http://a/v1", "m"), origin("http://b/v1", "m"));
        for foreign in ["", "0", "again2", "abcdefghr", "0123456789"] {
            assert_eq!(ProviderData::of_mark(foreign), None, "{foreign}");
        }
    }
}
