//! A chat completion before it is rendered: its parts, how text is cut to chunks, and its flaws.

use crate::steps::{LineEnd, Step};

/// How the text of a streamed answer is cut to chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// A word with the space before it, like most tokens.
    #[default]
    Words,
    /// A character each.
    Characters,
    /// As many characters each.
    Size(usize),
    /// Each part as it was given.
    Whole,
}

impl Chunking {
    /// Cuts `text`; joined, the pieces are `text` again.
    pub(crate) fn cut(self, text: &str) -> Vec<&str> {
        match self {
            Self::Whole => vec![text],
            Self::Words => cut_before(text, |before, c| c == ' ' && before != ' '),
            Self::Characters => cut_before(text, |_, _| true),
            Self::Size(size) => {
                let mut count = 0;
                cut_before(text, |_, _| {
                    count += 1;
                    count % size.max(1) == 0
                })
            }
        }
    }
}

/// Cuts before each character for which `here(the one before, it)` holds; asked from the second character on.
fn cut_before(text: &str, mut here: impl FnMut(char, char) -> bool) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (at, c) in text.char_indices() {
        if before.is_some_and(|before| here(before, c)) {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = Some(c);
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// A piece of a completion, in the order of the stream.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(String),
    /// A chunk of its own, whatever the chunking.
    Piece(String),
    Reasoning(String),
    Refusal(String),
    Tool(ToolCall),
    Step(Step),
}

/// The token counts of an answer. What is `None` is counted in words of the request and chunks of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `prompt_tokens`.
    pub prompt: Option<u64>,
    /// `completion_tokens`.
    pub completion: Option<u64>,
    /// `prompt_tokens_details.cached_tokens`.
    pub cached: u64,
    /// `completion_tokens_details.reasoning_tokens`.
    pub reasoning: u64,
}

/// What an answer says and how. Flaws are the switches that are false in a sound answer.
#[derive(Clone, Debug)]
pub(crate) struct Completion {
    pub(crate) parts: Vec<Part>,
    pub(crate) chunking: Chunking,
    /// A step before each chunk of content.
    pub(crate) before_each: Option<Step>,
    pub(crate) finish_reason: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) mode: Mode,
    pub(crate) line_end: LineEnd,
    pub(crate) split: Option<usize>,
    pub(crate) bom: bool,
    pub(crate) no_role: bool,
    pub(crate) no_usage: bool,
    pub(crate) no_finish_reason: bool,
    pub(crate) no_done: bool,
    pub(crate) until_close: bool,
}

/// Whether the answer is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    AsAsked,
    Streamed,
    Plain,
}

impl Completion {
    pub(crate) fn new(parts: Vec<Part>) -> Self {
        Self {
            parts,
            chunking: Chunking::default(),
            before_each: None,
            finish_reason: None,
            model: None,
            usage: Usage::default(),
            mode: Mode::AsAsked,
            line_end: LineEnd::default(),
            split: None,
            bom: false,
            no_role: false,
            no_usage: false,
            no_finish_reason: false,
            no_done: false,
            until_close: false,
        }
    }

    /// The finish reason set, or the one that the parts imply.
    pub(crate) fn finish_reason(&self) -> &str {
        let has_tool = || self.parts.iter().any(|part| matches!(part, Part::Tool(_)));
        match &self.finish_reason {
            Some(reason) => reason,
            None if has_tool() => "tool_calls",
            None => "stop",
        }
    }

    /// How many chunks of content the answer has: its tokens, for the usage.
    pub(crate) fn tokens(&self) -> u64 {
        let chunks = |part: &Part| match part {
            Part::Text(text) | Part::Reasoning(text) | Part::Refusal(text) => self.chunking.cut(text).len(),
            Part::Piece(_) => 1,
            Part::Tool(tool) => 1 + tool.fragments().len(),
            Part::Step(_) => 0,
        };
        self.parts.iter().map(|part| chunks(part) as u64).sum()
    }
}

impl ToolCall {
    /// The arguments as they are streamed. JSON has few spaces, so words would be no cut at all.
    pub(crate) fn fragments(&self) -> Vec<&str> {
        Chunking::Size(6).cut(&self.arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_joined_are_the_text() {
        let text = "two  spaces, a\nline and é 👌 ";
        for chunking in [Chunking::Words, Chunking::Characters, Chunking::Size(3), Chunking::Whole] {
            assert_eq!(chunking.cut(text).concat(), text, "{chunking:?}");
        }
        assert_eq!(Chunking::Words.cut("Hello big world"), ["Hello", " big", " world"]);
        assert_eq!(Chunking::Size(2).cut("abcde"), ["ab", "cd", "e"]);
        assert!(Chunking::Words.cut("").is_empty());
    }
}
