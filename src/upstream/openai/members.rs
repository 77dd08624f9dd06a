//! The members of a JSON object in their order, each value as the text that it came as.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::json::push_json_string;

/// An object's members; their values are borrowed from the object's text.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// The value of a member; where there are two of one name, the last counts, as it does for most readers.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// The value of a member that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The object's text with other values for some members; those that it does not have stand at its front.
    #[must_use]
    pub fn with(&self, changes: &[(&str, String)]) -> String {
        let mut front = String::new();
        for (name, value) in changes.iter().filter(|(name, _)| self.get(name).is_none()) {
            front.push_str(if front.is_empty() { "" } else { "," });
            push_json_string(&mut front, name);
            front.push(':');
            front.push_str(value);
        }
        let changed = |name: &str| changes.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        self.written(&front, self.iter().map(|(name, value)| (name, changed(name).unwrap_or_else(|| value.get()))))
    }

    /// The object's text, its members without those of these names, behind `first`: whole members by commas, or nothing.
    #[must_use]
    pub fn json(&self, first: &str, without: &[&str]) -> String {
        let kept = self.iter().filter(|(name, _)| !without.contains(name));
        self.written(first, kept.map(|(name, value)| (name, value.get())))
    }

    fn written<'b>(&self, first: &str, members: impl Iterator<Item = (&'b str, &'b str)>) -> String {
        let length: usize = self.0.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum();
        let mut out = String::with_capacity(first.len() + length + 2);
        out.push('{');
        out.push_str(first);
        for (key, value) in members {
            if out.len() > 1 {
                out.push(',');
            }
            push_json_string(&mut out, key);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A member that is there, also where its value is null.
///
/// # Errors
/// When it is no JSON.
pub fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Borrowed wherever it holds no escape.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Members<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn values_stay_as_they_are_and_members_go_by_name() {
        let text = r#" { "a" : 1.50, "b\n" : {"c": [ ]},"a":2 , "d":"\u00e9"} "#;
        let members = read(text);
        assert_eq!(members.json("", &[]), r#"{"a":1.50,"b\n":{"c": [ ]},"a":2,"d":"\u00e9"}"#);
        assert_eq!(members.json(r#""x":0"#, &["a", "b\n"]), r#"{"x":0,"d":"\u00e9"}"#);
        assert_eq!(members.json("", &["a", "b\n", "d"]), "{}");
        assert_eq!(read("{}").json(r#""x":0"#, &[]), r#"{"x":0}"#);
        let changes = [("d", "7".to_owned()), ("x", "[]".to_owned()), ("y", "0".to_owned())];
        assert_eq!(members.with(&changes), r#"{"x":[],"y":0,"a":1.50,"b\n":{"c": [ ]},"a":2,"d":7}"#);
        assert_eq!(members.get("a").map(RawValue::get), Some("2"));
        assert_eq!((members.text("d").as_deref(), members.text("a")), (Some("é"), None));
        for wrong in ["[]", "1", "", "{\"a\":}", "{\"a\":1"] {
            assert!(serde_json::from_str::<Members<'_>>(wrong).is_err(), "{wrong}");
        }
    }
}
