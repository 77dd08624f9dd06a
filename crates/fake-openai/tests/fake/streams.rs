//! The shape of answers, streamed and plain.

use std::time::Duration;

use fake_openai::{Bench, Chunking, FakeOpenAi, Gate, LineEnd, Reply, Step, Usage};
use serde_json::{Value, json};

use crate::client::{Client, SOON, prompt, prompt_with_usage};

fn parsed(events: &[String]) -> Vec<Value> {
    events.iter().filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn deltas(events: &[Value]) -> Vec<&Value> {
    events.iter().map(|event| &event["choices"][0]["delta"]).collect()
}

#[tokio::test]
async fn a_stream_has_role_words_finish_and_done() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("Hello big world").finish_reason("length"));
    let response = Client::connect(&fake).await.ask(&prompt("hi", true)).await;
    assert_eq!(response.header("content-type"), Some("text/event-stream; charset=utf-8"));
    let events = response.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    let chunks = parsed(&events);
    let said: Vec<_> = deltas(&chunks).iter().map(|delta| delta["content"].clone()).collect();
    assert_eq!(said, [json!(""), json!("Hello"), json!(" big"), json!(" world"), Value::Null]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(chunks[4]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[0]["model"], "gpt-test");
    assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::text("one two"));
    let response = Client::connect(&fake).await.ask(&prompt_with_usage("three words here")).await;
    let chunks = parsed(&response.events());
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["prompt_tokens"], 3);
    assert_eq!(last["usage"]["completion_tokens"], 2);
    assert_eq!(last["usage"]["total_tokens"], 5);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
}

#[tokio::test]
async fn a_plain_answer_is_one_object() {
    let fake = FakeOpenAi::start().await;
    let usage = Usage { prompt: Some(7), completion: Some(9), cached: 3, reasoning: 4 };
    fake.push(Reply::reasoning("Hm.").then_text("Yes").then_text(" sir").usage_details(usage).model("other"));
    let answer = Client::connect(&fake).await.ask(&prompt("hi", false)).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Yes sir"), &json!("Hm.")));
    assert_eq!((&answer["object"], &answer["model"]), (&json!("chat.completion"), &json!("other")));
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"], 4);
}

#[tokio::test]
async fn tool_calls_come_whole_or_as_deltas() {
    let arguments = r#"{"city":"Paris"}"#;
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::tool_call("call_1", "weather", arguments).then_tool_call("call_2", "time", "{}"));
    let mut client = Client::connect(&fake).await;
    let plain = client.ask(&prompt("hi", false)).await.json();
    assert_eq!(plain["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(plain["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], arguments);
    assert_eq!(plain["choices"][0]["message"]["content"], Value::Null);

    let chunks = parsed(&client.ask(&prompt("hi", true)).await.events());
    let calls: Vec<_> = deltas(&chunks).iter().filter_map(|delta| delta["tool_calls"].get(0)).cloned().collect();
    let first: Vec<_> = calls.iter().filter(|call| call["index"] == 0).collect();
    assert_eq!((&first[0]["id"], &first[0]["function"]["name"]), (&json!("call_1"), &json!("weather")));
    let joined: String = first.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(joined, arguments);
    assert!(calls.iter().any(|call| call["index"] == 1 && call["id"] == "call_2"));
}

#[tokio::test]
async fn a_gate_holds_what_comes_after_it() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello").then_wait(&gate).then_text(" world"));
    let mut client = Client::connect(&fake).await;
    client.chat(&prompt("hi", true)).await;
    gate.reached(1, SOON).await;
    assert_eq!((gate.waiting(), fake.in_flight()), (1, 1));
    client.head().await.unwrap();
    client.event().await;
    assert!(client.event().await.contains(r#""content":"Hello""#));
    gate.open();
    assert!(client.event().await.contains(r#""content":" world""#));
    fake.wait_until_idle(SOON).await;
    assert_eq!(gate.waiting(), 0);
}

#[tokio::test]
async fn passes_let_one_chunk_through_each() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("a b c").gate_each(&gate).without_role());
    let mut client = Client::connect(&fake).await;
    client.chat(&prompt("hi", true)).await;
    client.head().await.unwrap();
    for (n, word) in ["a", " b", " c"].into_iter().enumerate() {
        gate.reached(n + 1, SOON).await;
        gate.pass(1);
        assert!(client.event().await.contains(&format!(r#""content":"{word}""#)));
    }
}

#[tokio::test]
async fn lines_end_as_chosen_and_bytes_are_torn() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("é👌").line_end(LineEnd::CrLf).split_every(1).bom());
    fake.push(Reply::stream([
        Step::LineEnd(LineEnd::Cr),
        Step::Comment("ping".into()),
        Step::event("note", "two\nlines"),
        Step::SplitEvery(4),
        Step::Done,
    ]));
    let mut client = Client::connect(&fake).await;
    client.chat(&prompt("hi", true)).await;
    client.head().await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = client.chunk().await.unwrap() {
        assert_eq!(chunk.len(), 1);
        body.extend(chunk);
    }
    let text = String::from_utf8(body).unwrap();
    assert!(text.starts_with("\u{feff}data: {") && text.ends_with("data: [DONE]\r\n\r\n") && text.contains("é👌"));

    let steps = client.ask(&prompt("hi", true)).await.text();
    assert_eq!(steps, ": ping\r\revent: note\rdata: two\rdata: lines\r\rdata: [DONE]\r\r");
}

#[tokio::test]
async fn what_llama_cpp_leaves_out_can_be_left_out() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::text("ok").without_role().without_usage().without_finish_reason().without_done());
    let mut client = Client::connect(&fake).await;
    let chunks = parsed(&client.ask(&prompt_with_usage("hi")).await.events());
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"content": "ok"}));
    let plain = client.ask(&prompt("hi", false)).await.json();
    assert_eq!(plain["choices"][0]["finish_reason"], Value::Null);
    assert!(plain.get("usage").is_none());
}

#[tokio::test]
async fn an_answer_can_have_the_wrong_kind() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("plain").plain());
    fake.push(Reply::text("streamed").streamed().content_type("text/html"));
    fake.push(Reply::text("before").then_error("The model crashed"));
    let mut client = Client::connect(&fake).await;
    let plain = client.ask(&prompt("hi", true)).await.json();
    assert_eq!(plain["choices"][0]["message"]["content"], "plain");
    let streamed = client.ask(&prompt("hi", false)).await;
    assert_eq!(streamed.header("content-type"), Some("text/html"));
    assert!(streamed.events().len() > 1);
    let crashed = client.ask(&prompt("hi", true)).await.events();
    assert!(crashed.last().unwrap().contains("The model crashed"));
    assert!(!crashed.contains(&"[DONE]".to_owned()));
}

#[tokio::test]
async fn text_can_be_cut_to_characters_or_given_pieces() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("añb").chunked(Chunking::Characters));
    fake.push(Reply::pieces(["one two ", "three"]));
    let mut client = Client::connect(&fake).await;
    for expected in [&["", "a", "ñ", "b"][..], &["", "one two ", "three"]] {
        let chunks = parsed(&client.ask(&prompt("hi", true)).await.events());
        let said: Vec<_> = deltas(&chunks).iter().filter_map(|delta| delta["content"].as_str()).collect();
        assert_eq!(said, expected);
    }
}

#[tokio::test]
async fn the_bench_answers_without_recording() {
    let fake = FakeOpenAi::start().await;
    fake.set_bench(Bench { tokens: 5, delay: Duration::from_millis(1), ..Bench::default() });
    let mut client = Client::connect(&fake).await;
    let events = client.ask(&prompt_with_usage("hi")).await.events();
    assert_eq!(events.len(), 1 + 5 + 1 + 1 + 1, "role, words, finish, usage, done");
    let plain = client.ask(&prompt("hi", false)).await.json();
    assert_eq!(plain["choices"][0]["message"]["content"], "word0 word1 word2 word3 word4");
    assert_eq!((fake.calls(), fake.requests().len()), (2, 0));
}
