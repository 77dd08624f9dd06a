//! What a model's server wants back with an item: carried in the item's stored JSON, and shown to no client.

use std::borrow::Cow;

use serde::Deserialize;

use super::item_json::without_member;
use super::provider::ProviderData;

/// The name of the member that an item carries this under. It is never shown to clients.
pub const MEMBER: &str = "provider_data";

/// The same as it stands in an item's JSON.
const MARKER: &str = "\"provider_data\":";

/// An item's JSON with what its provider wants back, behind its other members.
pub fn push_into(json: &mut String, data: &ProviderData) {
    if !data.is_empty() && json.pop().is_some() {
        json.push(',');
        json.push_str(MARKER);
        // It has string keys only, so it always has a JSON.
        json.push_str(&serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned()));
        json.push('}');
    }
}

/// Where an item's JSON has it: in a text, its quotes would be escaped.
fn place_in(json: &str) -> Option<usize> {
    memchr::memmem::find(json.as_bytes(), MARKER.as_bytes())
}

/// What an item's JSON carries; `None` for nearly all.
#[must_use]
pub fn carried_by(json: &str) -> Option<ProviderData> {
    #[derive(Deserialize)]
    struct Carrier {
        provider_data: Option<ProviderData>,
    }
    place_in(json)?;
    serde_json::from_str::<Carrier>(json).ok()?.provider_data
}

/// An item's JSON as clients may see it.
#[must_use]
pub fn without(json: &str) -> Cow<'_, str> {
    match place_in(json) {
        None => Cow::Borrowed(json),
        Some(_) => without_member(json, MEMBER).map_or(Cow::Borrowed(json), Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::provider::ThoughtsMember;

    fn data() -> ProviderData {
        let members = json!({"signature": "s", "n": 1.5});
        ProviderData {
            origin: "0123abcd".into(),
            thoughts: Some(ThoughtsMember::Reasoning),
            said: String::new(),
            members: members.as_object().unwrap().clone(),
            calls: json!({"call_a": {"call": {"extra_content": {}}}}).as_object().unwrap().clone(),
        }
    }

    #[test]
    fn an_item_carries_it_and_shows_nothing_of_it() {
        for item in [r#"{"type":"message","id":"m"}"#, r#"{"type":"x","text":"\"provider_data\":{\"origin\":1}"}"#] {
            assert_eq!(carried_by(item), None);
            assert_eq!(without(item), item);
            let mut carrier = item.to_owned();
            push_into(&mut carrier, &data());
            assert_eq!(carried_by(&carrier), Some(data()));
            assert_eq!(without(&carrier), item);
        }
        let mut plain = "{}".to_owned();
        push_into(&mut plain, &ProviderData::default());
        assert_eq!(plain, "{}");
    }
}
