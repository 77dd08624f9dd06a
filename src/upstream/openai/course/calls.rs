//! The calls in a chunk: what the assembler makes of them, in the words that SDKs read.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::domain::json::push_json_string;
use crate::upstream::openai::calls::{Calls, Mint, Said};
use crate::upstream::openai::halves::{Field, Halves};
use crate::upstream::openai::members::Members;
use crate::upstream::openai::wire::{Function, ToolCall};

/// A chunk's list of calls.
#[derive(Default)]
pub(super) struct Listed<'a> {
    entries: Vec<Entry<'a>>,
    shape: Shape,
}

/// What a call stands in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A chunk's `tool_calls`.
    #[default]
    Part,
    /// A chunk's `function_call`.
    Older,
    /// A whole answer's `tool_calls`.
    Whole,
}

struct Entry<'a> {
    raw: &'a str,
    said: Option<Said>,
    /// It says just that, at the right place.
    is_sound: bool,
}

/// Takes a chunk's `tool_calls`, or its `function_call`.
pub(super) fn mended<'a>(calls: &mut Calls, list: &'a RawValue, older: bool) -> Listed<'a> {
    let raws: Vec<&'a RawValue> = match older {
        true => vec![list],
        false => serde_json::from_str(list.get()).unwrap_or_default(),
    };
    let read = |raw: &&'a RawValue| match older {
        true => ToolCall { function: serde_json::from_str::<Function<'a>>(raw.get()).ok(), ..ToolCall::default() },
        false => serde_json::from_str::<ToolCall<'a>>(raw.get()).unwrap_or_default(),
    };
    let parsed: Vec<ToolCall<'a>> = raws.iter().map(read).collect();
    let said = calls.take(parsed.iter().map(ToolCall::part));
    let entries = raws.iter().zip(&parsed).zip(said).map(|((raw, call), said)| Entry {
        raw: raw.get(),
        is_sound: !older && said.as_ref().is_some_and(|said| is_sound(raw.get(), call, said)),
        said,
    });
    Listed { entries: entries.collect(), shape: if older { Shape::Older } else { Shape::Part } }
}

/// Whether an entry has its place, and what a call begins with in its first part and nowhere else: some SDKs add up what
/// is said twice.
fn is_sound(raw: &str, call: &ToolCall<'_>, said: &Said) -> bool {
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw) else { return false };
    let function = members.get("function").and_then(|raw| serde_json::from_str::<Members<'_>>(raw.get()).ok());
    let arguments = function.as_ref().and_then(|function| function.get("arguments")).map(RawValue::get);
    let (id, name) = (call.id.0.as_ref(), call.function.as_ref().map_or("", |function| function.name.0.as_ref()));
    let is_labelled = match &said.head {
        Some((own_id, own_name)) => {
            let is_function = members.get("type").is_some_and(|kind| kind.get() == r#""function""#);
            is_function && id == own_id && name == own_name && arguments.is_some()
        }
        None => id.is_empty() && name.is_empty(),
    };
    let says = call.function.as_ref().map_or("", |function| function.arguments.0.as_ref());
    is_labelled
        && call.index == Some(said.place)
        && arguments.is_none_or(|arguments| arguments.starts_with('"'))
        && says == said.arguments
}

/// A whole answer's calls with all that SDKs read; `None` where nothing is missing.
#[must_use]
pub fn whole_calls(list: &RawValue, mint: Mint) -> Option<String> {
    let raws: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let mut calls = Calls::new(mint);
    let mut entries = Vec::with_capacity(raws.len());
    let mut is_changed = false;
    for raw in &raws {
        let call: ToolCall<'_> = serde_json::from_str(raw.get()).ok()?;
        let Some(mut said) = calls.whole(call.part()) else {
            // A call without a name, or of another kind than functions.
            entries.push(raw.get().to_owned());
            continue;
        };
        if said.arguments.trim_ascii().is_empty() {
            "{}".clone_into(&mut said.arguments);
        }
        // The place is not what tells the calls of a whole answer apart.
        let numbered = ToolCall { index: Some(said.place), ..call };
        if is_sound(raw.get(), &numbered, &said) {
            entries.push(raw.get().to_owned());
            continue;
        }
        is_changed = true;
        let entry = Entry { raw: raw.get(), said: Some(said), is_sound: false };
        entries.extend(entry.written(Shape::Whole));
    }
    is_changed.then(|| format!("[{}]", entries.join(",")))
}

impl Listed<'_> {
    /// Joins halves of characters in arguments.
    pub(super) fn join(&mut self, halves: &mut Halves) {
        for entry in &mut self.entries {
            if let Some(said) = &mut entry.said
                && let Cow::Owned(joined) = halves.join(Field::Arguments(said.place), &said.arguments)
            {
                entry.is_sound &= joined == said.arguments;
                said.arguments = joined;
            }
        }
    }

    /// Adds to arguments that go on here; whether there are such.
    pub(super) fn add(&mut self, field: Field, text: &str) -> bool {
        let is_it =
            |entry: &&mut Entry<'_>| entry.said.as_ref().is_some_and(|said| field == Field::Arguments(said.place));
        let Some(entry) = self.entries.iter_mut().rev().find(is_it) else { return false };
        entry.is_sound = false;
        entry.said.iter_mut().for_each(|said| said.arguments.push_str(text));
        true
    }

    /// The list as a member of a delta, empty where it has no entry; `None` where it may stay as it is. Calls among `empty`
    /// that begin here get their arguments here, and are taken out of it.
    pub(super) fn written(mut self, empty: &mut Vec<Said>) -> Option<String> {
        for entry in &mut self.entries {
            if let Some(said) = &mut entry.said
                && said.arguments.trim_ascii().is_empty()
                && let Some(at) = empty.iter().position(|call| call.place == said.place)
            {
                said.arguments = empty.swap_remove(at).arguments;
                entry.is_sound = false;
            }
        }
        if self.entries.iter().all(|entry| entry.is_sound) {
            return None;
        }
        let entries: Vec<String> = self.entries.iter().filter_map(|entry| entry.written(self.shape)).collect();
        Some(if entries.is_empty() { String::new() } else { format!(r#""tool_calls":[{}]"#, entries.join(",")) })
    }
}

impl Entry<'_> {
    fn written(&self, shape: Shape) -> Option<String> {
        let said = self.said.as_ref()?;
        let mut own = match shape {
            Shape::Whole => String::new(),
            Shape::Part | Shape::Older => format!(r#""index":{}"#, said.place),
        };
        if let Some((id, _)) = &said.head {
            own.push_str(if own.is_empty() { r#""id":"# } else { r#","id":"# });
            push_json_string(&mut own, id);
            own.push_str(r#","type":"function""#);
        }
        own.push_str(r#","function":{"#);
        if let Some((_, name)) = &said.head {
            own.push_str(r#""name":"#);
            push_json_string(&mut own, name);
            own.push(',');
        }
        own.push_str(r#""arguments":"#);
        push_json_string(&mut own, &said.arguments);
        own.push('}');
        // What a server says besides belongs to the call.
        let members = match shape {
            Shape::Older => Members::default(),
            Shape::Part | Shape::Whole => serde_json::from_str(self.raw).unwrap_or_default(),
        };
        Some(members.json(&own, &["index", "id", "type", "function"]))
    }
}
