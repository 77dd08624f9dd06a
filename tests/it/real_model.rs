//! A real, small language model behind the real program: what it says is silly, how it says it must be right.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::curl::{FIRST, HISTORY, SECOND, WITH_MODEL, content, shell};
use crate::process::{on_both_stores, resume, turn_of};
use crate::support::process::Program;
use crate::support::sse::{Event, text_of};

/// Long enough to install it on a slow line, where it is missing.
const STARTS_WITHIN: Duration = Duration::from_secs(300);

pub struct RealModel {
    base_url: String,
    _child: Child,
}

impl RealModel {
    pub async fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/real-model");
        let mut command = Command::new(script);
        command.args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(STARTS_WITHIN, lines.next_line()).await.expect("the model starts").unwrap();
        let base_url = first.expect("the first line of scripts/real-model is the base URL; what went wrong is above");
        Self { base_url, _child: child }
    }

    /// A server in front of it.
    pub fn program(&self) -> Program {
        Program::towards(&self.base_url).set("DEFAULT_MODEL", "smollm2-135m-instruct").set("MAX_TOKENS", "40")
    }
}

/// `counted_here`: whether a part of the figures is an estimate, because the server did not tell them.
#[track_caller]
fn is_whole(answer: &Value, counted_here: bool) {
    assert_eq!(answer["role"], "assistant", "{answer}");
    assert!(!answer["content"].as_str().unwrap().trim().is_empty(), "{answer}");
    assert!(["stop", "length"].contains(&answer["finishReason"].as_str().unwrap()), "{answer}");
    let usage = &answer["usage"];
    let [input, output, total] =
        ["inputTokens", "outputTokens", "totalTokens"].map(|name| usage[name].as_u64().expect("the model's figures"));
    assert!(input > 0 && output > 0 && input + output == total, "{usage}");
    assert_eq!(usage.get("estimated").is_some(), counted_here, "{usage}");
}

#[tokio::test]
async fn three_turns_with_a_restart_in_between_on_both_stores() {
    let model = RealModel::start().await;
    for (store, program, _redis) in on_both_stores(|| model.program()) {
        let server = program.start().await;
        let browser = server.client();
        let first = browser.say("Hello, what is your name?").await.ok();
        is_whole(&first, false);
        let events = browser.stream(&json!({"prompt": "Tell me a joke about programming."})).await.rest().await;
        let second = &events.last().unwrap().data;
        assert_eq!(events.last().unwrap().name, "completed", "{store}: {events:?}");
        is_whole(second, false);
        assert_eq!(second["content"], text_of(&events), "{store}");
        assert!(events.len() > 3, "{store}: it came word by word");
        server.stop().await;

        let server = program.start().await;
        let browser = browser.at(&server.url);
        let third = browser.say("And another one, please.").await.ok();
        is_whole(&third, false);
        let history = browser.history().await;
        let said = |n: usize| (history[n].0.as_str(), history[n].1.as_str());
        assert_eq!(history.len(), 6, "{store}");
        assert_eq!(said(0), ("user", "Hello, what is your name?"));
        assert_eq!(said(3), ("assistant", second["content"].as_str().unwrap()), "{store}");
        assert_eq!(said(5), ("assistant", third["content"].as_str().unwrap()), "{store}");
        // The model was shown the history: by its own count the prompt grew by more than the new question.
        let input = |answer: &Value| answer["usage"]["inputTokens"].as_u64().unwrap();
        assert!(input(&third) > input(&first) + 20, "{store}: {} {}", input(&first), input(&third));
        server.stop().await;
    }
}

#[tokio::test]
async fn the_curl_commands_work_word_for_word() {
    let model = RealModel::start().await;
    let program = model.program();
    let server = program.start().await;
    for command in [FIRST, SECOND, WITH_MODEL] {
        assert!(!content(&shell(&program, &server.url, command).await).trim().is_empty(), "{command}");
    }
    let history: Value = serde_json::from_str(&shell(&program, &server.url, HISTORY).await).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 6, "{history}");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_that_a_kill_broke_off_is_given_again_to_whoever_comes_back() {
    let model = RealModel::start().await;
    for (store, program, _redis) in on_both_stores(|| model.program().set("ON_CRASH", "rerun")) {
        let server = program.start().await;
        let browser = server.client();
        let asked = json!({"prompt": "Write a long story about a lighthouse.", "maxTokens": 150, "temperature": 0});
        let mut stream = browser.stream(&asked).await;
        let turn = turn_of(&stream.expect("started").await);
        let mut shown: Vec<Event> = Vec::new();
        while shown.len() < 3 {
            shown.push(stream.expect("delta").await);
        }
        let program = server.kill().await;
        let cut = stream.rest().await;
        assert!(cut.iter().all(|event| event.name == "delta"), "{store}: no end was told: {cut:?}");
        let last = cut.last().or(shown.last()).and_then(|event| event.id).unwrap();

        let server = program.start().await;
        let browser = browser.at(&server.url);
        let events = resume(&browser, &turn, last).await.rest().await;
        let ids: Vec<u64> = events.iter().map(|event| event.id.unwrap()).collect();
        assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{store}: {ids:?}");
        let restarted = events.iter().position(|event| event.name == "restarted").expect("the readers are told");
        let answer = &events.last().unwrap().data;
        // What the lost attempt cost is in it, too.
        is_whole(answer, true);
        assert_eq!(answer["content"], text_of(&events[restarted..]), "{store}");
        assert_eq!(browser.history().await[1].1, answer["content"].as_str().unwrap(), "{store}");
        let turns = browser.get("/chat/turns").await.ok();
        assert_eq!((&turns[0]["status"], &turns[0]["attempt"]), (&json!("completed"), &json!(2)), "{store}");
        server.stop().await;
    }
}
