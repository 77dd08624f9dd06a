//! Compares what every client was told with the history, the turns and the model's calls.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Exchange, Person, Told};
use super::servers::Servers;
use crate::support::eventually;

/// What is there of one turn.
struct Kept {
    answer: String,
    complete: bool,
    turn: String,
}

pub async fn all(people: &[Person], said: &BTreeMap<String, Vec<String>>, servers: &Servers) -> Vec<String> {
    let mut wrong = Vec::new();
    for (prompt, calls) in said {
        if calls.len() > 2 {
            wrong.push(format!("P7: the model was asked {prompt:?} {} times", calls.len()));
        }
    }
    for person in people {
        wrong.extend(person.wrong.iter().cloned());
        let client = person.client.at(&servers.url());
        let turns = async || client.get("/chat/turns?limit=100").await.ok();
        let running = async || turns().await.as_array().unwrap().iter().any(|turn| turn["status"] == "running");
        eventually("every turn ends", async || !running().await).await;
        let history = client.get("/chat?details=true&limit=1000").await.ok();
        let kept = linear(&history, &mut wrong);
        let turns = turns().await;
        for exchange in &person.exchanges {
            let calls = said.get(&exchange.prompt).map_or(&[][..], Vec::as_slice);
            let turn = turns
                .as_array()
                .unwrap()
                .iter()
                .find(|turn| Some(turn["turn"].as_str().unwrap()) == exchange.turn.as_deref());
            judge(exchange, kept.get(&exchange.prompt), calls, turn, &mut wrong);
        }
        if let Some(prompt) =
            kept.keys().find(|prompt| !person.exchanges.iter().any(|exchange| exchange.prompt == **prompt))
        {
            wrong.push(format!("P8: {prompt:?} is in the history and was never asked"));
        }
    }
    wrong
}

/// Question, answer, question, answer; each question once. Between the pairs may be questions without an answer.
fn linear(history: &Value, wrong: &mut Vec<String>) -> BTreeMap<String, Kept> {
    let mut kept = BTreeMap::new();
    let is_open = |message: &&Value| !matches!(message["status"].as_str(), Some("completed" | "incomplete"));
    let (open, answered): (Vec<&Value>, Vec<&Value>) = history.as_array().unwrap().iter().partition(is_open);
    if let Some(odd) = open.iter().find(|message| message["role"] != "user") {
        wrong.push(format!("P8: no question, and without an answer: {odd}"));
    }
    for pair in answered.chunks(2) {
        let [question, answer] = pair else {
            wrong.push(format!("P8: a question without an answer: {pair:?}"));
            continue;
        };
        let text = |message: &Value, field: &str| message[field].as_str().unwrap_or_default().to_owned();
        if question["role"] != "user" || answer["role"] != "assistant" || question["turn"] != answer["turn"] {
            wrong.push(format!("P8: not linear: {pair:?}"));
        }
        let entry = Kept {
            answer: text(answer, "content"),
            complete: answer["status"] == "completed",
            turn: text(answer, "turn"),
        };
        if kept.insert(text(question, "content"), entry).is_some() {
            wrong.push(format!("P2: twice in the history: {question}"));
        }
    }
    kept
}

fn judge(exchange: &Exchange, kept: Option<&Kept>, calls: &[String], turn: Option<&Value>, wrong: &mut Vec<String>) {
    let mut say = |what: String| wrong.push(format!("{what}: {exchange:?}"));
    if let (Some(kept), Some(turn)) = (kept, &exchange.turn)
        && kept.turn != *turn
    {
        say(format!("P2: kept is another turn, {}", kept.turn));
    }
    let attempts = turn.and_then(|turn| turn["attempt"].as_u64());
    if attempts.is_some_and(|attempts| calls.len() as u64 > attempts) {
        say(format!("P7: {} calls, and on record are {attempts:?}", calls.len()));
    }
    if kept.is_some_and(|kept| kept.complete && !calls.contains(&kept.answer)) {
        say(format!("P11: kept as whole is what the model never said, of {calls:?}"));
    }
    match (&exchange.told, kept) {
        (Told::Completed(text), Some(kept)) if kept.complete && kept.answer == *text => {}
        (Told::Completed(_), kept) => {
            say(format!("P1: kept is {:?}", kept.map(|kept| (&kept.answer, kept.complete))));
        }
        (Told::Failed(_), kept) => {
            let kept = kept.map_or("", |kept| &kept.answer);
            if !kept.starts_with(&exchange.shown) {
                say(format!("P6: kept is {kept:?}"));
            }
        }
        // Its client was not told how it ended, and it may have gone on since.
        (Told::Nothing, _) => say("its client was never told how it ended".to_owned()),
    }
}
