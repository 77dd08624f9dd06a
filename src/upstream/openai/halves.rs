//! Characters that came in halves: JSON writes those beyond U+FFFF as two escapes, and servers that send each token by itself
//! put one half into one event and the other into the next. A half that stays alone is U+FFFD. Pure.
//!
//! No Rust string holds a half. While an event is read, each is a character of its own, from the last of Unicode's private
//! ones, of which there are as many.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// Stands for the half 0xD800, and so on.
const FIRST: u32 = 0x10_f800;
const LOW: u32 = 0xdc00 - 0xd800;

/// What [`FIRST`] and all after it begin with.
const MARK: &[u8] = b"\xf4\x8f";

const REPLACEMENT: &str = "\u{fffd}";

/// The text of a JSON document, its lone halves marked; borrowed where it has none.
#[must_use]
pub fn marked(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    if memmem::find(bytes, b"\\ud").is_none() && memmem::find(bytes, b"\\uD").is_none() {
        return Cow::Borrowed(json);
    }
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    while let Some(next) = bytes.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += next;
        let Some(half) = half_at(json, at) else {
            at += 2;
            continue;
        };
        if half < LOW && half_at(json, at + 6).is_some_and(|half| half >= LOW) {
            at += 12;
            continue;
        }
        out.push_str(json.get(from..at).unwrap_or_default());
        out.extend(char::from_u32(FIRST + half));
        at += 6;
        from = at;
    }
    if from == 0 {
        return Cow::Borrowed(json);
    }
    out.push_str(json.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// The half, counted from 0xD800, that the escape at `at` stands for.
fn half_at(json: &str, at: usize) -> Option<u32> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    (0xd800..0xe000).contains(&code).then(|| code - 0xd800)
}

/// A text without marks: each is a character that cannot be read.
#[must_use]
pub fn unmarked(text: &str) -> Cow<'_, str> {
    if memmem::find(text.as_bytes(), MARK).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if half_of(c).is_some() { '\u{fffd}' } else { c }).collect())
}

fn half_of(c: char) -> Option<u32> {
    u32::from(c).checked_sub(FIRST)
}

/// Which text of an answer a half is the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// What is said.
    Text,
    /// What is refused.
    Refusal,
    /// What is thought.
    Reasoning,
    /// The same by its other name, where both are passed on.
    Thoughts,
    /// The arguments of the call at this place.
    Arguments(u32),
}

/// First halves that wait for the second one.
#[derive(Debug, Default)]
pub struct Halves(Vec<(Field, u32)>);

impl Halves {
    /// None waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text with its halves joined; one at its end is kept for the text that follows.
    pub fn join<'a>(&mut self, field: Field, text: &'a str) -> Cow<'a, str> {
        if text.is_empty() || (self.0.is_empty() && memmem::find(text.as_bytes(), MARK).is_none()) {
            return Cow::Borrowed(text);
        }
        let waiting = self.0.iter().position(|(known, _)| *known == field).map(|at| self.0.swap_remove(at).1);
        let (mut high, mut out) = (waiting, String::with_capacity(text.len() + 4));
        for c in text.chars() {
            match (high.take(), half_of(c)) {
                (Some(high), Some(low)) if low >= LOW => {
                    out.extend(char::from_u32(0x1_0000 + (high << 10) + (low - LOW)));
                }
                (before, half) => {
                    if before.is_some() {
                        out.push_str(REPLACEMENT);
                    }
                    match half {
                        Some(half) if half < LOW => high = Some(half),
                        Some(_) => out.push_str(REPLACEMENT),
                        None => out.push(c),
                    }
                }
            }
        }
        self.0.extend(high.map(|high| (field, high)));
        Cow::Owned(out)
    }

    /// The fields whose half has stayed alone, at the answer's end: each goes on with U+FFFD.
    pub fn close(&mut self) -> impl Iterator<Item = (Field, &'static str)> {
        std::mem::take(&mut self.0).into_iter().map(|(field, _)| (field, REPLACEMENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str]) -> String {
        let mut halves = Halves::default();
        let mut all = String::new();
        for text in texts {
            let json = format!("\"{text}\"");
            let text: String = serde_json::from_str(&marked(&json)).unwrap();
            all.push_str(&halves.join(Field::Text, &text));
            halves.join(Field::Refusal, "");
        }
        all.extend(halves.close().map(|(_, text)| text));
        all
    }

    #[test]
    fn halves_are_joined_and_lone_ones_replaced() {
        for (texts, expected) in [
            (&[r"a\ud83d", r"\ude00b"][..], "a😀b"),
            (&[r"\uD83D", "", r"\uDE00"], "😀"),
            (&[r"\ud83d\ude00"], "😀"),
            (&[r"\ud83d", "x", r"\ude00"], "\u{fffd}x\u{fffd}"),
            (&[r"\ud83d", r"\ud83d\ude00"], "\u{fffd}😀"),
            (&[r"\ud83d", r"\ud83d", r"\ude00"], "\u{fffd}😀"),
            (&["x", r"\ud83d"], "x\u{fffd}"),
            (&[r"\\ud83d", r"\\\ud83d"], "\\ud83d\\\u{fffd}"),
        ] {
            assert_eq!(said(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn only_what_is_lone_is_marked() {
        for whole in ["", "{}", r#"{"a":"\ud83d\ude00 \u00e9 \\ud83d"}"#, r"\", r"\u", r"\ud", r"\ud8"] {
            assert!(matches!(marked(whole), Cow::Borrowed(text) if text == whole), "{whole}");
        }
        assert_eq!(unmarked(&marked(r#"{"a":"\ud83dx"}"#)), "{\"a\":\"\u{fffd}x\"}");
    }
}
