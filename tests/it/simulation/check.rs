//! Compares what was seen with what is stored.

use std::collections::{BTreeMap, BTreeSet};

use openai_backend::domain::delta::Delta;
use openai_backend::domain::event::Event;
use openai_backend::domain::ids::TurnId;
use openai_backend::domain::item::{Role, StoredItem};
use openai_backend::domain::question;
use openai_backend::domain::turn::{TurnRecord, TurnStatus};
use openai_backend::store::{EventsPage, Store as _};

use super::world::World;

/// More than any conversation here has.
const ALL: usize = 10_000;

async fn records(world: &World) -> Vec<TurnRecord> {
    let mut all = Vec::new();
    for conversation in 0..world.plan.conversations {
        all.extend(world.store.turns(&world.place(conversation), ALL).await.unwrap().unwrap_or_default());
    }
    all
}

/// Whether any turn has not ended.
pub async fn running(world: &World) -> bool {
    records(world).await.iter().any(|record| record.status == TurnStatus::Running)
}

fn prompt_of(record: &TurnRecord) -> String {
    record.request.input[0].message().unwrap().text
}

pub async fn history(world: &World) {
    let mut answers: BTreeMap<TurnId, (String, bool)> = BTreeMap::new();
    let mut open: BTreeMap<TurnId, TurnStatus> = BTreeMap::new();
    for conversation in 0..world.plan.conversations {
        let page = world.store.history(&world.place(conversation), None, ALL, 0).await.unwrap();
        let items = page.map(|page| page.items).unwrap_or_default();
        is_linear(world, &items, &mut answers, &mut open);
    }
    let records = records(world).await;
    let mut prompts = BTreeSet::new();
    for record in &records {
        if !prompts.insert(prompt_of(record)) {
            world.wrong(&format!("P2: {} was begun twice", prompt_of(record)));
        }
        let answer = answers.remove(&record.id);
        // What was asked is in the history, with or without an answer.
        if open.remove(&record.id) != Some(record.status).filter(|_| answer.is_none()) {
            world.wrong(&format!("P1: {} is not in the history as it ended", prompt_of(record)));
        }
        turn(world, record, answer).await;
    }
    for turn in answers.keys().chain(open.keys()) {
        world.wrong(&format!("P8: {turn} is in the history and was never begun"));
    }
    for (turn, story) in &*world.stories.lock().unwrap() {
        if !records.iter().any(|record| record.id == *turn) {
            world.wrong(&format!("P2: {turn} ({}) was accepted and is not stored", story.prompt));
        }
    }
}

/// P8: question, answer, question, answer, each pair of one turn, each turn once, numbered without gaps; between the pairs
/// may be questions without an answer.
fn is_linear(
    world: &World,
    items: &[StoredItem],
    answers: &mut BTreeMap<TurnId, (String, bool)>,
    open: &mut BTreeMap<TurnId, TurnStatus>,
) {
    let has_gaps = items.iter().zip(1..).any(|(item, seq)| item.seq != seq);
    let mut answered = Vec::new();
    for stored in items {
        match (question::standing(&stored.item), &stored.item.turn) {
            (Some(status), Some(turn)) if open.insert(turn.clone(), status).is_none() => {}
            (Some(_), turn) => world.wrong(&format!("P8: asked twice: {turn:?}")),
            (None, _) => answered.push(stored),
        }
    }
    if has_gaps || !answered.len().is_multiple_of(2) {
        world.wrong("P8: the history has gaps");
        return;
    }
    for pair in answered.chunks(2) {
        let (question, answer) = (pair[0].item.message().unwrap(), pair[1].item.message().unwrap());
        let turn = pair[0].item.turn.clone().unwrap();
        let fits =
            question.role == Role::User && answer.role == Role::Assistant && pair[1].item.turn.as_ref() == Some(&turn);
        if !fits || answers.insert(turn.clone(), (answer.text, answer.complete)).is_some() {
            world.wrong(&format!("P8: the history is not linear at {turn}"));
        }
    }
}

async fn turn(world: &World, record: &TurnRecord, answer: Option<(String, bool)>) {
    let wrong = |what: String| world.wrong(&format!("{what}: {} ({})", record.id, prompt_of(record)));
    let page = world.store.read_events(&record.place.owner, &record.id, 0, ALL).await.unwrap();
    let EventsPage::Events { events, .. } = page else { return wrong("P4: the events are gone".into()) };
    if events.iter().zip(1..).any(|(event, seq)| event.seq != seq) {
        wrong("P4: the events have gaps".into());
    }
    // What the last attempt has shown, by the log.
    let (mut attempts, mut shown, mut end) = (0, String::new(), None);
    for (place, event) in events.iter().enumerate() {
        match &event.event {
            Event::Started { attempt } => {
                attempts += 1;
                shown.clear();
                if *attempt != attempts {
                    wrong(format!("P7: attempt {attempt} is the {attempts}th"));
                }
            }
            Event::Delta(Delta::Text { delta }) => shown.push_str(delta),
            Event::Delta(other) => wrong(format!("P11: the model never said {other:?}")),
            Event::Ended(ended) => {
                end = Some((**ended).clone());
                if place + 1 != events.len() {
                    wrong("P5: something comes after the end".into());
                }
            }
        }
    }
    let Some(end) = end else { return wrong("P5: there is no end".into()) };
    let said = world.upstream.said(&prompt_of(record));
    if attempts > 2 {
        wrong(format!("P7: it was run {attempts} times"));
    }
    if attempts > 1 && world.plan.is_swift() && !world.plan.crashes && !world.plan.stops {
        wrong("P7: it was run again for no reason".into());
    }
    if said.len() > attempts as usize {
        wrong(format!("P2: {} calls for {attempts} attempts", said.len()));
    }
    if attempts > 1 && (record.attempt < attempts || record.usage.is_none_or(|usage| !usage.estimated)) {
        wrong("P7: the second attempt's cost is not on the record".into());
    }
    if record.status != end.status || record.usage != end.usage {
        wrong(format!("P1: the record says {:?}, the end {:?}", record.status, end.status));
    }
    match (&answer, &end.answer) {
        (None, None) => {}
        (Some((text, complete)), Some(told)) if *text == told.text => {
            if *complete != (end.status == TurnStatus::Completed) {
                wrong("P1: an answer is not marked as what it is".into());
            }
        }
        other => wrong(format!("P1: the history and the end differ: {other:?}")),
    }
    let text = answer.map(|(text, _)| text).unwrap_or_default();
    if text != shown {
        wrong(format!("P6: shown was {shown:?}, and kept is {text:?}"));
    }
    match end.status {
        // P11: whole, and word for word one that came to its proper end.
        TurnStatus::Completed if said.iter().any(|said| said.ends && said.text == text) => {}
        TurnStatus::Completed => wrong(format!("P11: completed with {text:?}, and said was {said:?}")),
        _ if said.iter().any(|said| said.text.starts_with(&text)) || text.is_empty() => {}
        _ => wrong(format!("P6: kept is {text:?}, and said was {said:?}")),
    }
    let stories = world.stories.lock().unwrap();
    let Some(story) = stories.get(&record.id) else { return };
    for (seq, event) in &story.events {
        if events.get(*seq as usize - 1).map(|stored| &stored.event) != Some(event) {
            wrong(format!("P4: event {seq} was shown as {event:?}"));
        }
    }
    if story.cancelled && end.status != TurnStatus::Cancelled {
        wrong("a turn that was cancelled is not".into());
    }
}
