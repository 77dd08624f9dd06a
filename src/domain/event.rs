//! What happens in a turn, numbered from 1: the one model that every door is a projection of.

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use super::output::Answer;
use super::turn::{Fault, TurnStatus, Usage};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// An attempt began. With `attempt` above 1, whatever was shown before is void.
    Started {
        /// 1, or 2 after a crash.
        attempt: u32,
    },
    /// Nothing comes after this.
    Ended(Box<End>),
    /// The model said something.
    #[serde(untagged)]
    Delta(Delta),
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Any but `Running`.
    pub status: TurnStatus,
    /// What the history has of the answer: all of it, or what was shown; `None` where nothing was.
    pub answer: Option<Answer>,
    /// What it cost.
    pub usage: Option<Usage>,
    /// Why, where it is not completed.
    pub fault: Option<Fault>,
    /// When, in milliseconds since the Unix epoch; 0 where it was not written down.
    #[serde(default)]
    pub at_ms: i64,
}

/// An event with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbered {
    /// From 1, without gaps within a turn.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

impl Event {
    /// The event as a store keeps it.
    ///
    /// # Panics
    /// Never: every event is representable as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events have string keys only")
    }

    /// Reads [`Event::to_json`] back, of this release or an earlier one.
    ///
    /// # Errors
    /// When it is no event.
    pub fn from_json(json: &str) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            e: &'a str,
        }
        #[derive(Deserialize)]
        struct Started {
            attempt: u32,
        }
        // The tag is read first, so that each event is parsed by its own type and not through a copy of its fields.
        match serde_json::from_str::<Tag<'_>>(json)?.e {
            "started" => serde_json::from_str(json).map(|Started { attempt }| Self::Started { attempt }),
            "ended" => serde_json::from_str(json).map(|end| Self::Ended(Box::new(end))),
            _ => serde_json::from_str(json).map(Self::Delta),
        }
    }

    /// Adds what `next` says to this event, where both are parts of one text; gives `next` back where they are not.
    ///
    /// # Errors
    /// `next`, unchanged.
    pub fn join(&mut self, next: Self) -> Result<(), Self> {
        match (self, next) {
            (Self::Delta(delta), Self::Delta(next)) => delta.join(next).map_err(Self::Delta),
            (_, next) => Err(next),
        }
    }

    /// How much text it brings, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Delta(delta) => delta.size(),
            Self::Started { .. } | Self::Ended(_) => 0,
        }
    }

    /// Whether it is the last one of its turn.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

impl From<Delta> for Event {
    fn from(delta: Delta) -> Self {
        Self::Delta(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::provider::ProviderData;

    /// What stores hold by now, written by earlier releases.
    #[test]
    fn the_stored_form_is_what_it_always_was() {
        let call = Delta::Call { index: 1, call_id: "call_a".into(), name: "f".into(), tool: None };
        let data = ProviderData::of_mark("0123abcdr").unwrap();
        let data = Delta::Provider { data: Box::new(data) };
        let usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
        let end = End { status: TurnStatus::Cancelled, answer: None, usage: Some(usage), fault: None, at_ms: 5 };
        let cases = [
            (Event::Started { attempt: 2 }, r#"{"e":"started","attempt":2}"#),
            (Delta::text("a\n").into(), r#"{"e":"text","delta":"a\n"}"#),
            (Delta::refusal("no").into(), r#"{"e":"refusal","delta":"no"}"#),
            (Delta::reasoning("hm").into(), r#"{"e":"reasoning","delta":"hm"}"#),
            (call.into(), r#"{"e":"call","index":1,"call_id":"call_a","name":"f"}"#),
            (Delta::Arguments { index: 1, delta: "{".into() }.into(), r#"{"e":"arguments","index":1,"delta":"{"}"#),
            (data.into(), r#"{"e":"provider","data":{"origin":"0123abcd","thoughts":"reasoning"}}"#),
            (
                Event::Ended(Box::new(end)),
                concat!(
                    r#"{"e":"ended","status":"cancelled","answer":null,"usage":{"input_tokens":3,"output_tokens":4,"#,
                    r#""cached_tokens":0,"reasoning_tokens":0,"estimated":false},"fault":null,"at_ms":5}"#
                ),
            ),
        ];
        for (event, stored) in cases {
            assert_eq!(event.to_json(), stored);
            assert_eq!(Event::from_json(stored).unwrap(), event, "{stored}");
        }
        let early = r#"{"e":"ended","status":"completed","answer":null,"usage":null,"fault":null}"#;
        assert!(matches!(Event::from_json(early).unwrap(), Event::Ended(end) if end.at_ms == 0));
        for wrong in ["", "{}", r#"{"e":"sung"}"#, r#"{"e":"text"}"#, r#"{"e":"started"}"#, r#"{"delta":"a"}"#] {
            assert!(Event::from_json(wrong).is_err(), "{wrong}");
        }
    }
}
