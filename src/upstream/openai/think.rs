//! Thoughts that stand in the text itself, between `<think>` and `</think>` at its start, told from the answer behind them.
//! Pure.

/// What opens thoughts, and what closes them.
const TAGS: [(&str, &str); 2] = [("<think>", "</think>"), ("<thinking>", "</thinking>")];

/// A text as far as it has come.
#[derive(Debug)]
pub struct Thinking {
    stage: Stage,
    /// What cannot be told yet.
    held: String,
    /// A thought has been given.
    has_thought: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing but blanks, or a part of a tag, has come.
    Start,
    /// Thoughts, which this tag ends.
    Inside(&'static str),
    /// The thoughts are over; the blanks behind them are no part of the answer.
    Behind,
    /// The answer.
    Text,
}

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Thoughts.
    Thought,
    /// What is said.
    Said,
}

impl Thinking {
    /// For a model whose thoughts may stand in the text, or for one whose text is never looked at.
    #[must_use]
    pub fn new(looks: bool) -> Self {
        Self { stage: if looks { Stage::Start } else { Stage::Text }, held: String::new(), has_thought: false }
    }

    /// Whether all that follows is text.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Text
    }

    /// Takes a piece of the text; gives each part of it that can be told.
    pub fn take(&mut self, text: &str, mut say: impl FnMut(Kind, &str)) {
        if self.is_over() {
            return say(Kind::Said, text);
        }
        self.held.push_str(text);
        while !self.held.is_empty() {
            let before = (self.stage, self.held.len());
            self.step(&mut say);
            if before == (self.stage, self.held.len()) {
                break;
            }
        }
    }

    /// The text is over: what is held can be no more than it is.
    pub fn close(&mut self, mut say: impl FnMut(Kind, &str)) {
        let held = std::mem::take(&mut self.held);
        let kind = if matches!(self.stage, Stage::Inside(_)) { Kind::Thought } else { Kind::Said };
        if !held.is_empty() && self.stage != Stage::Behind {
            say(kind, &held);
        }
    }

    fn step(&mut self, say: &mut impl FnMut(Kind, &str)) {
        match self.stage {
            Stage::Start => {
                let begun = self.held.trim_start();
                if let Some((open, close)) = TAGS.iter().find(|(open, _)| begun.starts_with(open)) {
                    self.held = begun[open.len()..].to_owned();
                    self.stage = Stage::Inside(close);
                } else if !TAGS.iter().any(|(open, _)| open.starts_with(begun)) {
                    self.stage = Stage::Text;
                    say(Kind::Said, &std::mem::take(&mut self.held));
                }
            }
            Stage::Inside(close) => {
                if !self.has_thought {
                    self.held = self.held.trim_start_matches(['\r', '\n']).to_owned();
                }
                let (end, after) = match self.held.find(close) {
                    Some(end) => (end, Some(end + close.len())),
                    None => (self.held.len() - begun_at_end(&self.held, close), None),
                };
                // The blanks before the tag are none of the thoughts' own.
                let thought = self.held[..end].to_owned();
                let thought = if after.is_some() { thought.trim_end() } else { &thought };
                let rest = after.map_or(end, |after| after);
                self.stage = if after.is_some() { Stage::Behind } else { self.stage };
                let rest = self.held.split_off(rest);
                if !thought.is_empty() {
                    self.has_thought = true;
                    say(Kind::Thought, thought);
                }
                self.held = rest;
            }
            Stage::Behind => {
                let text = self.held.trim_start().to_owned();
                self.held.clear();
                if !text.is_empty() {
                    self.stage = Stage::Text;
                    say(Kind::Said, &text);
                }
            }
            Stage::Text => say(Kind::Said, &std::mem::take(&mut self.held)),
        }
    }
}

/// How many bytes at the end of a text may be the begin of `tag`.
fn begun_at_end(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|length| text.ends_with(&tag[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(pieces: &[&str]) -> (String, String) {
        let (mut thoughts, mut said) = (String::new(), String::new());
        let mut thinking = Thinking::new(true);
        let mut say = |kind, text: &str| match kind {
            Kind::Thought => thoughts.push_str(text),
            Kind::Said => said.push_str(text),
        };
        pieces.iter().for_each(|piece| thinking.take(piece, &mut say));
        thinking.close(&mut say);
        (thoughts, said)
    }

    const CASES: [(&str, &str, &str); 8] = [
        ("<think>\nhm\n</think>\n\nSo.", "hm", "So."),
        ("\n<thinking>a < b</thinking>So.", "a < b", "So."),
        ("<think></think>So <think>x</think>", "", "So <think>x</think>"),
        ("<think>no end </thin", "no end </thin", ""),
        ("So <think>x</think>", "", "So <think>x</think>"),
        ("<thing", "", "<thing"),
        ("  indented", "", "  indented"),
        ("<think>é</think>", "é", ""),
    ];

    #[test]
    fn thoughts_at_the_start_are_told_from_the_text() {
        for (text, thoughts, said) in CASES {
            assert_eq!(told(&[text]), (thoughts.to_owned(), said.to_owned()), "{text}");
        }
        let mut all = String::new();
        Thinking::new(false).take("<think>x</think>", |_, text| all.push_str(text));
        assert_eq!(all, "<think>x</think>");
    }

    proptest! {
        #[test]
        fn cuts_change_nothing_but_blanks_before_the_tag(case in 0..CASES.len(), sizes in prop::collection::vec(1usize..4, 1..9)) {
            let (text, thoughts, said) = CASES[case];
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let mut sizes = sizes.into_iter().cycle();
            let (mut rest, mut pieces) = (&characters[..], Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                pieces.push(piece.concat());
                rest = after;
            }
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (thought, answer) = told(&pieces);
            prop_assert_eq!(thought.trim_end(), thoughts);
            prop_assert_eq!(answer, said);
        }
    }
}
