//! A short cut past the JSON parser: the events of one answer differ in hardly more than their text.
//!
//! An event that was parsed is kept as what stands around its text. A later event with the same surroundings, and with
//! a text that holds neither quotes nor escapes, is the same JSON with another string in it, so its meaning is known.
//! OpenAI pads each event with a random string (`obfuscation`), which may differ too.

use memchr::memchr2;

/// What stood around the text of the last event that was only text.
#[derive(Debug, Default)]
pub struct Template {
    known: bool,
    before: String,
    /// Between the text and the padding; the rest, where there is no padding.
    between: String,
    /// After the padding.
    after: Option<String>,
}

impl Template {
    /// Learns from `json`, an event that says `text` and nothing else. Both strings must be parts of `json` itself.
    pub fn learn(&mut self, json: &str, text: &str, padding: Option<&str>) {
        self.known = false;
        let Some((before, rest)) = around(json, text) else {
            return;
        };
        let (between, after) = match padding.map(|padding| around(rest, padding)) {
            None => (rest, None),
            Some(Some((between, after))) => (between, Some(after)),
            Some(None) => return,
        };
        refill(&mut self.before, before);
        refill(&mut self.between, between);
        match after {
            None => self.after = None,
            Some(after) => refill(self.after.get_or_insert_default(), after),
        }
        self.known = true;
    }

    /// The text of `json`, if that is all that is new in it.
    #[must_use]
    pub fn text<'a>(&self, json: &'a str) -> Option<&'a str> {
        if !self.known {
            return None;
        }
        let (text, rest) = plain_string(json.strip_prefix(&self.before)?)?;
        let rest = rest.strip_prefix(&self.between)?;
        let rest = match &self.after {
            None => rest,
            Some(after) => plain_string(rest)?.1.strip_prefix(after)?,
        };
        (rest.is_empty() && !text.is_empty()).then_some(text)
    }

    /// Whether nothing but a text differs in `json`, which may hold escapes other than those of characters by their number.
    #[must_use]
    pub fn fits(&self, json: &[u8]) -> bool {
        let fitting = || {
            let (text, rest) = escaped_string(json.strip_prefix(self.before.as_bytes())?)?;
            let rest = rest.strip_prefix(self.between.as_bytes())?;
            let rest = match &self.after {
                None => rest,
                Some(after) => escaped_string(rest)?.1.strip_prefix(after.as_bytes())?,
            };
            Some(rest.is_empty() && std::str::from_utf8(text).is_ok())
        };
        self.known && fitting().unwrap_or(false)
    }
}

/// Splits off what precedes the closing quote of a JSON string without `\u`.
fn escaped_string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = memchr2(b'"', b'\\', json)?;
    while json.get(end) == Some(&b'\\') {
        let escape = json.get(end + 1).filter(|escape| **escape != b'u')?;
        let after = end + 1 + usize::from(escape.is_ascii());
        end = after + memchr2(b'"', b'\\', json.get(after..)?)?;
    }
    json.split_at_checked(end)
}

/// Splits off what precedes the closing quote of a JSON string that is just its own text.
fn plain_string(json: &str) -> Option<(&str, &str)> {
    let end = memchr2(b'"', b'\\', json.as_bytes())?;
    let (text, rest) = json.split_at_checked(end)?;
    let plain = rest.starts_with('"') && text.bytes().all(|byte| byte >= b' ');
    plain.then_some((text, rest))
}

/// What stands before and after `part` in `whole`, if it is a part of it in memory.
fn around<'a>(whole: &'a str, part: &str) -> Option<(&'a str, &'a str)> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    Some((whole.get(..start)?, whole.get(end..)?))
}

fn refill(kept: &mut String, text: &str) {
    kept.clear();
    kept.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(before: &str, text: &str, after: &str) -> Template {
        let json = format!("{before}{text}{after}");
        let text = &json[before.len()..before.len() + text.len()];
        let mut template = Template::default();
        template.learn(&json, text, None);
        template
    }

    #[test]
    fn the_same_surroundings_give_the_text() {
        let template = learned(r#"{"a":1,"t":""#, "one", r#"","b":2}"#);
        assert_eq!(template.text(r#"{"a":1,"t":"zwei 👌","b":2}"#), Some("zwei 👌"));
        for other in [
            r#"{"a":2,"t":"x","b":2}"#,
            r#"{"a":1,"t":"x","b":3}"#,
            r#"{"a":1,"t":"x","b":2} "#,
            r#"{"a":1,"t":"","b":2}"#,
            r#"{"a":1,"t":"x\"","b":2}"#,
            r#"{"a":1,"t":"x\n","b":2}"#,
            "{\"a\":1,\"t\":\"x\ty\",\"b\":2}",
            r#"{"a":1,"t":"x","b":2,"t":"y","b":2}"#,
            r#"{"a":1,"t":"x"#,
            "",
        ] {
            assert_eq!(template.text(other), None, "{other}");
        }
    }

    #[test]
    fn escapes_fit_and_numbers_of_characters_do_not() {
        let template = learned(r#"{"a":1,"t":""#, "one", r#"","b":2}"#);
        for text in ["", "zwei 👌", r#"a \"b\" \n \\"#] {
            assert!(template.fits(format!(r#"{{"a":1,"t":"{text}","b":2}}"#).as_bytes()), "{text}");
        }
        for other in
            [&br#"{"a":1,"t":"\ud83d","b":2}"#[..], br#"{"a":1,"t":"x\","b":2}"#, b"{\"a\":1,\"t\":\"\xff\",\"b\":2}"]
        {
            assert!(!template.fits(other), "{}", String::from_utf8_lossy(other));
        }
        assert!(!Template::default().fits(b""));
    }

    #[test]
    fn padding_may_differ() {
        let json = r#"{"t":"one","o":"abc"}"#.to_owned();
        let mut template = Template::default();
        template.learn(&json, &json[6..9], Some(&json[16..19]));
        assert_eq!(template.text(r#"{"t":"two","o":""}"#), Some("two"));
        assert_eq!(template.text(r#"{"t":"two","o":"longer"}"#), Some("two"));
        assert_eq!(template.text(r#"{"t":"two","o":"lon\"ger"}"#), None);
        assert_eq!(template.text(r#"{"t":"two","o":"abc","x":1}"#), None);
    }

    #[test]
    fn nothing_is_learned_from_strings_that_are_not_parts() {
        let mut template = Template::default();
        assert_eq!(template.text(""), None);
        template.learn(r#"{"t":"one"}"#, &String::from("one"), None);
        assert_eq!(template.text(r#"{"t":"two"}"#), None);
        let json = r#"{"o":"abc","t":"one"}"#;
        template.learn(json, &json[16..19], Some(&json[6..9]));
        assert_eq!(template.text(json), None);
    }
}
