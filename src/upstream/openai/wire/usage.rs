//! What an answer cost, by whatever names a server counts it.

use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::turn::Usage;
use crate::upstream::openai::members::Members;

/// Token counts, by OpenAI's names, those of Responses and of Anthropic, and Ollama's.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub struct WireUsage {
    prompt_tokens: Count,
    completion_tokens: Count,
    input_tokens: Count,
    output_tokens: Count,
    prompt_eval_count: Count,
    eval_count: Count,
    prompt_cache_hit_tokens: Count,
    #[serde(deserialize_with = "super::lenient")]
    prompt_tokens_details: Option<Details>,
    #[serde(deserialize_with = "super::lenient")]
    completion_tokens_details: Option<Details>,
    #[serde(deserialize_with = "super::lenient")]
    input_tokens_details: Option<Details>,
    #[serde(deserialize_with = "super::lenient")]
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    reasoning_tokens: Count,
}

impl WireUsage {
    /// Ollama's own counts, which stand beside its answer.
    #[must_use]
    pub fn beside(prompt_eval_count: Count, eval_count: Count) -> Self {
        Self { prompt_eval_count, eval_count, ..Self::default() }
    }

    /// The counts, unless there are none: a real call costs something.
    #[must_use]
    pub fn counts(&self) -> Option<Usage> {
        let first = |counts: &[Count]| counts.iter().map(|count| count.0).find(|count| *count > 0).unwrap_or(0);
        let detail = |details: [&Option<Details>; 2], get: fn(&Details) -> Count| {
            first(&details.map(|details| details.as_ref().map(get).unwrap_or_default()))
        };
        let usage = Usage {
            input_tokens: first(&[self.prompt_tokens, self.input_tokens, self.prompt_eval_count]),
            output_tokens: first(&[self.completion_tokens, self.output_tokens, self.eval_count]),
            cached_tokens: match detail([&self.prompt_tokens_details, &self.input_tokens_details], |d| d.cached_tokens)
            {
                0 => self.prompt_cache_hit_tokens.0,
                cached => cached,
            },
            reasoning_tokens: detail([&self.completion_tokens_details, &self.output_tokens_details], |d| {
                d.reasoning_tokens
            }),
            estimated: false,
        };
        (usage.input_tokens > 0 || usage.output_tokens > 0).then_some(usage)
    }
}

/// A `usage` by OpenAI's names, in whole numbers; `None` where it has them, or counts nothing.
#[must_use]
pub fn mended_usage(raw: &RawValue) -> Option<String> {
    let usage: WireUsage = serde_json::from_str(raw.get()).ok()?;
    let counts = usage.counts()?;
    let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
    let total = counts.input_tokens + counts.output_tokens;
    let own =
        [("prompt_tokens", counts.input_tokens), ("completion_tokens", counts.output_tokens), ("total_tokens", total)];
    let is_whole = |name: &str| members.get(name).is_some_and(|count| count.get().bytes().all(|b| b.is_ascii_digit()));
    if own.iter().all(|(name, _)| is_whole(name)) {
        return None;
    }
    let missing = own.into_iter().filter(|(name, _)| !is_whole(name)).map(|(name, count)| (name, count.to_string()));
    Some(members.with(&missing.collect::<Vec<_>>()))
}

/// A number of tokens, also as a float or in a text; 0 where there is anything else.
#[derive(Debug, Default, Clone, Copy)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyCount)
    }
}

struct AnyCount;

impl<'de> Visitor<'de> for AnyCount {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E: Error>(self, count: u64) -> Result<Count, E> {
        Ok(Count(count))
    }

    fn visit_i64<E: Error>(self, count: i64) -> Result<Count, E> {
        Ok(Count(u64::try_from(count).unwrap_or(0)))
    }

    fn visit_f64<E: Error>(self, count: f64) -> Result<Count, E> {
        // A float to an integer saturates, and what is negative or no number gives 0.
        Ok(Count(count as u64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        self.visit_f64(text.trim().parse().unwrap_or(0.0))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_unit<E: Error>(self) -> Result<Count, E> {
        Ok(Count(0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Count, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Count(0))
    }
}
