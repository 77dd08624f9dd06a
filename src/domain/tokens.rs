//! Counting tokens with the model's own tokenizer, whose tables are in the binary.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use tiktoken::CoreBpe;

/// What a message costs beyond its text: the role and the separators of OpenAI's chat format.
/// Source: OpenAI's cookbook, "How to count tokens with tiktoken" (3 a message; the role is one more).
pub const MESSAGE_OVERHEAD: u32 = 4;

/// What every request costs once: the primer of the answer.
pub const REQUEST_OVERHEAD: u32 = 3;

/// The most bytes of a text that are really counted. The slowest texts, such as one letter repeated, take 0.4 µs a byte.
const COUNTED_BYTES: usize = 256 * 1024;

/// A tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `cl100k_base`: GPT-3.5 and GPT-4.
    Cl100k,
    /// `o200k_base`: GPT-4o and everything since.
    O200k,
}

impl Encoding {
    /// The name under which a store keeps it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cl100k => "cl100k",
            Self::O200k => "o200k",
        }
    }

    /// Reads [`Encoding::as_str`] back.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "cl100k" => Some(Self::Cl100k),
            "o200k" => Some(Self::O200k),
            _ => None,
        }
    }

    /// Loads the tables, which takes tens of milliseconds and megabytes; do it off the runtime.
    pub fn load(self) {
        self.tables();
    }

    /// Whether [`Encoding::load`] has been done.
    #[must_use]
    pub fn is_loaded(self) -> bool {
        self.slot().get().is_some()
    }

    /// How many tokens `text` has. Special tokens in it count as the plain text they are. Of a text longer than
    /// [`COUNTED_BYTES`] only the beginning is counted, and the rest taken to be like it.
    #[must_use]
    pub fn count(self, text: &str) -> u32 {
        let counted = &text[..text.floor_char_boundary(COUNTED_BYTES)];
        let tokens = self.tables().count(counted);
        let scaled = match counted.len() == text.len() {
            true => tokens,
            false => (tokens * text.len()).div_ceil(counted.len()),
        };
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }

    fn slot(self) -> &'static OnceLock<&'static CoreBpe> {
        static CL100K: OnceLock<&CoreBpe> = OnceLock::new();
        static O200K: OnceLock<&CoreBpe> = OnceLock::new();
        match self {
            Self::Cl100k => &CL100K,
            Self::O200k => &O200K,
        }
    }

    fn tables(self) -> &'static CoreBpe {
        let name = match self {
            Self::Cl100k => "cl100k_base",
            Self::O200k => "o200k_base",
        };
        self.slot().get_or_init(|| tiktoken::get_encoding(name).expect("both encodings are compiled in"))
    }

    /// How many tokens a message with this text costs in a prompt.
    #[must_use]
    pub fn count_message(self, text: &str) -> u32 {
        self.count(text).saturating_add(MESSAGE_OVERHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_another_implementation() {
        let texts = [
            "",
            "hello world",
            "<|endoftext|>",
            "👌 ok, naïve façade",
            "漢字仮名交じり文",
            "fn main() { println!(\"{x}\"); }",
            "   \n\n\t  tabs",
            "1234567890 3.14159",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "مرحبا بالعالم",
        ];
        let oracles = [
            (Encoding::Cl100k, tiktoken_rs::cl100k_base().unwrap()),
            (Encoding::O200k, tiktoken_rs::o200k_base().unwrap()),
        ];
        for (encoding, oracle) in oracles {
            for text in texts {
                let wanted = oracle.encode_ordinary(text).len();
                assert_eq!(encoding.count(text) as usize, wanted, "{encoding:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_huge_text_is_taken_to_be_like_its_beginning() {
        let quarter = "all work and no play ".repeat(COUNTED_BYTES / 21);
        let exact = 4 * Encoding::O200k.count(&quarter) as usize;
        let counted = Encoding::O200k.count(&quarter.repeat(4)) as usize;
        assert!(counted.abs_diff(exact) < exact / 10, "{counted} {exact}");
    }
}
