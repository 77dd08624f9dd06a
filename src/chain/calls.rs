//! Whether each output of a call that a request brings has its call: in the request, or in what it goes on from.

use std::collections::HashSet;

use serde::Deserialize;

use super::ChainError;
use super::backing::Backing;
use super::start::StartPoint;
use crate::domain::item::Item;

/// How many items are looked through at once. The call is nearly always among the newest.
const PAGE: usize = 100;

/// An output without its call.
#[derive(Debug, PartialEq, Eq)]
pub struct Orphan {
    /// What kind of call it answers, in words.
    pub of: &'static str,
    /// The call's id.
    pub call_id: String,
}

#[derive(Deserialize)]
struct Called {
    #[serde(rename = "type")]
    kind: String,
    call_id: Option<String>,
}

/// The first output in `input` whose call is neither in it nor in what a turn at `start` goes on from. A history that comes
/// whole in one request may have such outputs: where nothing went before, none is looked for.
///
/// # Errors
/// When the store cannot be asked.
pub async fn unanswerable(backing: &Backing, start: &StartPoint, input: &[Item]) -> Result<Option<Orphan>, ChainError> {
    if start.create {
        return Ok(None);
    }
    let mut made: HashSet<String> = start.calls.iter().cloned().collect();
    let mut orphans: Vec<Orphan> = Vec::new();
    for (kind, call_id) in input.iter().filter_map(called) {
        match kind.as_str() {
            "function_call_output" => orphans.push(Orphan { of: "function call", call_id }),
            "custom_tool_call_output" => orphans.push(Orphan { of: "custom tool call", call_id }),
            other if other.ends_with("_output") => {}
            _ => drop(made.insert(call_id)),
        }
    }
    orphans.retain(|orphan| !made.contains(&orphan.call_id));
    let mut before = start.expected_items.map_or(u64::MAX, |last| last.saturating_add(1));
    while !orphans.is_empty() {
        let page = backing.store.history(&start.place, Some(before), PAGE, backing.clock.now_ms()).await?;
        // Without its conversation the turn does not begin, which says more.
        let Some(page) = page else { return Ok(None) };
        for (kind, call_id) in page.items.iter().filter_map(|stored| called(&stored.item)) {
            if !kind.ends_with("_output") {
                orphans.retain(|orphan| orphan.call_id != call_id);
            }
        }
        match page.items.first() {
            Some(oldest) if page.has_more => before = oldest.seq,
            _ => break,
        }
    }
    Ok(orphans.into_iter().next())
}

/// The type of an item that names a call, and the call's id.
fn called(item: &Item) -> Option<(String, String)> {
    // Most items name none, and are not read for that.
    if !item.json.contains("\"call_id\"") {
        return None;
    }
    let Called { kind, call_id } = serde_json::from_str(&item.json).ok()?;
    Some((kind, call_id?))
}
