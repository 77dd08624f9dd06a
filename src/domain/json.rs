//! Writes JSON: strings by hand, since they are long and hardly ever need an escape, so that eight bytes are looked at at a
//! time; everything else by its `Serialize`.

use std::fmt::Write as _;

use serde::Serialize;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Whether any byte of the word has to be escaped: one below a blank, a quote or a backslash.
fn has_special(word: u64) -> bool {
    // Subtracting sets the high bit of a byte that is smaller; a borrow can only come from such a byte, so the answer for
    // the whole word is exact.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    (below(word, 0x20) | quote | backslash) & HIGHS != 0
}

fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes at the start need no escape.
fn plain_length(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| !has_special(u64::from_le_bytes(**word))).count() * 8;
    plain + bytes[plain..].iter().take_while(|byte| !is_special(**byte)).count()
}

/// Adds `text` in quotes, escaped where it has to be.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    loop {
        // What is escaped is ASCII, so the cuts are between characters.
        let (plain, special) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let Some(&byte) = special.as_bytes().first() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            // Writing to a String cannot fail.
            control => drop(write!(out, "\\u{control:04x}")),
        }
        rest = &special[1..];
    }
    out.push('"');
}

/// A value as JSON text.
///
/// # Panics
/// When it has a map whose keys are not strings, which no type here has.
#[must_use]
pub fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("keys are strings")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = String::new();
        push_json_string(&mut out, text);
        out
    }

    #[test]
    fn every_character_below_256_reads_back_at_every_place_in_a_word() {
        for code in 0..=255u8 {
            for before in 0..17 {
                let text = format!("{}{}tail of it", "é".repeat(before), char::from(code));
                assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
            }
        }
    }

    #[test]
    fn common_escapes_are_the_short_ones() {
        assert_eq!(written("a\"b\\c\nd\te\u{0}"), r#""a\"b\\c\nd\te\u0000""#);
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in "(?s).{0,64}") {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).unwrap(), text);
        }
    }
}
