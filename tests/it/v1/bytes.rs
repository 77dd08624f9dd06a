//! Answers by their content, whatever their label, encoding, cut and characters: the same on both doors.

use std::io::Write as _;

use fake_openai::{Gate, Reply, Step};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::{Rig, ask, data};
use crate::support::SOON;
use crate::support::schema::{Spec, check};

/// What an answer says: text, thoughts, refusal, and the arguments of its calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    text: String,
    thoughts: String,
    refusal: String,
    arguments: String,
}

impl Said {
    fn text(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }

    fn add(&mut self, message: &Value) {
        let add = |into: &mut String, value: &Value| into.push_str(value.as_str().unwrap_or_default());
        add(&mut self.text, &message["content"]);
        add(&mut self.thoughts, &message["reasoning_content"]);
        add(&mut self.refusal, &message["refusal"]);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            add(&mut self.arguments, &call["function"]["arguments"]);
        }
    }

    fn of_chunks(text: &str) -> Self {
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let mut said = Self::default();
        for data in data(text).into_iter().filter(|data| *data != "[DONE]") {
            let chunk: Value = serde_json::from_str(data).unwrap();
            check(Spec::OpenAi, "CreateChatCompletionStreamResponse", &chunk);
            said.add(&chunk["choices"][0]["delta"]);
        }
        said
    }

    fn of_response(response: &Value) -> Self {
        assert_eq!(response["status"], "completed", "{response}");
        let mut said = Self::default();
        let add = |into: &mut String, value: &Value| into.push_str(value.as_str().unwrap_or_default());
        for item in response["output"].as_array().unwrap() {
            add(&mut said.arguments, &item["arguments"]);
            for part in item["summary"].as_array().into_iter().flatten() {
                add(&mut said.thoughts, &part["text"]);
            }
            for part in item["content"].as_array().into_iter().flatten() {
                add(&mut said.refusal, &part["refusal"]);
                let is_thought = part["type"] == "reasoning_text";
                add(if is_thought { &mut said.thoughts } else { &mut said.text }, &part["text"]);
            }
        }
        said
    }
}

/// The same answer on both doors, and once more where it is stored on the way.
async fn everywhere(rig: &Rig, reply: &Reply, stream: bool, expected: &Said) {
    for store in [false, true] {
        rig.fake.push(reply.clone());
        let mut body = ask(stream);
        body["store"] = json!(store);
        let answer = rig.complete(&body).await;
        let said = match stream {
            true => Said::of_chunks(&answer.text),
            false => {
                let whole = answer.ok();
                check(Spec::OpenAi, "CreateChatCompletionResponse", &whole);
                let mut said = Said::default();
                said.add(&whole["choices"][0]["message"]);
                said
            }
        };
        assert_eq!(&said, expected, "{reply:?}");
    }
    rig.fake.push(reply.clone());
    let answer = rig.response_to(&json!({"model": "m", "input": "Hi", "stream": stream})).await;
    let response = match stream {
        true => {
            let last = answer.text.lines().rev().find_map(|line| line.strip_prefix("data: "));
            serde_json::from_str::<Value>(last.unwrap_or_else(|| panic!("{}", answer.text))).unwrap()["response"]
                .clone()
        }
        false => answer.ok(),
    };
    assert_eq!(&Said::of_response(&response), expected, "{reply:?}");
}

#[tokio::test]
async fn a_label_is_not_believed_where_the_content_says_better() {
    let rig = Rig::new().await;
    for label in
        ["text/plain; charset=utf-8", "application/octet-stream", "application/json", "application/x-ndjson", ""]
    {
        for stream in [true, false] {
            let reply = Reply::text("as it is").content_type(label);
            everywhere(&rig, &reply, stream, &Said::text("as it is")).await;
        }
    }
    let labelled = Reply::text("as it is").plain().content_type("text/event-stream");
    everywhere(&rig, &labelled, false, &Said::text("as it is")).await;
}

#[tokio::test]
async fn an_answer_in_the_other_form_is_the_same_answer() {
    let rig = Rig::new().await;
    let calls = || Reply::text("Well").then_tool_call("call_a", "f", r#"{"a":1}"#);
    let called = Said { arguments: r#"{"a":1}"#.to_owned(), ..Said::text("Well") };
    everywhere(&rig, &calls().plain(), true, &called).await;
    everywhere(&rig, &calls().streamed(), false, &called).await;
    // The figures and the reason come along.
    rig.fake.push(Reply::text("Cut").finish_reason("length").usage(11, 7).plain());
    let text = rig.complete(&ask(true)).await.text;
    assert!(text.contains(r#""finish_reason":"length""#) && text.contains(r#""completion_tokens":7"#), "{text}");
    rig.fake.push(Reply::text("Cut").finish_reason("length").usage(11, 7).streamed());
    let mut body = ask(false);
    body["stream_options"] = json!({"include_usage": true});
    let whole = rig.complete(&body).await.ok();
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
}

const PLAIN: &str = r#"{"id":"chatcmpl-0123456789abcdef0123","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"packed"},"finish_reason":"stop"}]}"#;

fn chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-0123456789abcdef0123\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn events(deltas: &[&str]) -> String {
    let said: String = deltas.iter().map(|delta| chunk(delta, "null")).collect();
    chunk(r#"{"role":"assistant","content":""}"#, "null") + &said + &chunk("{}", "\"stop\"") + "data: [DONE]\n\n"
}

fn packed(coding: &str, body: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[tokio::test]
async fn what_comes_compressed_is_read() {
    let rig = Rig::new().await;
    let stream = events(&[r#"{"content":"packed"}"#]);
    for (coding, header) in [("gzip", "gzip"), ("gzip", ""), ("zlib", "deflate"), ("raw", "deflate")] {
        for (body, is_stream, label) in [(PLAIN, false, "application/json"), (&stream, true, "text/event-stream")] {
            let reply = Reply::raw(200, label, packed(coding, body.as_bytes()));
            let reply = if header.is_empty() { reply } else { reply.header("content-encoding", header) };
            everywhere(&rig, &reply, is_stream, &Said::text("packed")).await;
        }
    }
    let reply = Reply::raw(200, "application/json", PLAIN).header("content-encoding", "br");
    rig.fake.push(reply);
    let refused = rig.complete(&ask(false)).await;
    assert!(refused.status == 502 && refused.text.contains("br"), "{}", refused.text);
    let error = packed(
        "gzip",
        br#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#,
    );
    rig.fake.push(Reply::raw(404, "application/json", error).header("content-encoding", "gzip"));
    assert!(rig.complete(&ask(false)).await.text.contains("model_not_found"));
}

#[tokio::test]
async fn a_compressed_stream_is_not_waited_for() {
    let rig = Rig::new().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(
            (chunk(r#"{"role":"assistant","content":""}"#, "null") + &chunk(r#"{"content":"early"}"#, "null"))
                .as_bytes(),
        )
        .unwrap();
    encoder.flush().unwrap();
    let early = std::mem::take(encoder.get_mut());
    encoder.write_all((chunk("{}", "\"stop\"") + "data: [DONE]\n\n").as_bytes()).unwrap();
    let late = encoder.finish().unwrap();
    let gate = Gate::new();
    let steps = [Step::send(early), Step::Flush, Step::Wait(gate.clone()), Step::send(late), Step::End];
    rig.fake.push(Reply::stream(steps).header("content-encoding", "gzip"));
    let mut response = rig.completion(ask(true).to_string()).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("early") {
        let chunk = tokio::time::timeout(SOON, response.chunk()).await.expect("nothing is held back");
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
    }
    gate.open();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(Said::of_chunks(&text), Said::text("early"));
}

#[tokio::test]
async fn a_small_body_that_stands_for_a_huge_one_is_refused() {
    let rig = Rig::new().await;
    let huge = [b"data: ".as_slice(), &vec![b'x'; 40 * 1024 * 1024]].concat();
    for (body, label, stream) in [(&huge, "text/event-stream", true), (&huge[6..].to_vec(), "text/event-stream", false)]
    {
        rig.fake.push(Reply::raw(200, label, packed("gzip", body)).header("content-encoding", "gzip"));
        assert_eq!(rig.complete(&ask(stream)).await.status, 502);
    }
}

#[tokio::test]
async fn halves_of_characters_are_joined_and_lone_ones_replaced() {
    let rig = Rig::new().await;
    let role = |content: &str, more: &str| events(&[content, more]);
    for (deltas, expected) in [
        (&[r#"{"content":"Hi \ud83d"}"#, r#"{"content":"\ude00 bye"}"#][..], Said::text("Hi 😀 bye")),
        (&[r#"{"content":"Hi \ud83d"}"#, r#"{"content":" bye"}"#], Said::text("Hi \u{fffd} bye")),
        (&[r#"{"content":"Hi "}"#, r#"{"content":"\uDE00"}"#], Said::text("Hi \u{fffd}")),
        (&[r#"{"content":"Hi \ud83d"}"#], Said::text("Hi \u{fffd}")),
        (
            &[r#"{"reasoning_content":"\ud83d"}"#, r#"{"reasoning_content":"\ude00"}"#, r#"{"content":"x"}"#],
            Said { thoughts: "😀".to_owned(), ..Said::text("x") },
        ),
        (
            &[r#"{"refusal":"no \ud83d"}"#, r#"{"refusal":"\ude00"}"#],
            Said { refusal: "no 😀".to_owned(), ..Said::default() },
        ),
        (
            &[
                r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":\"\ud83d"}}]}"#,
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}"#,
            ],
            Said { arguments: "{\"x\":\"😀\"}".to_owned(), ..Said::default() },
        ),
    ] {
        for step in [Step::Flush, Step::SplitEvery(7)] {
            let reply = Reply::stream([step, Step::send(events(deltas)), Step::End]);
            everywhere(&rig, &reply, true, &expected).await;
        }
    }
    let lone = PLAIN.replace("packed", r"Hi \ud83d");
    everywhere(&rig, &Reply::raw(200, "application/json", lone), false, &Said::text("Hi \u{fffd}")).await;
    let text = role(r#"{"content":"BYTES"}"#, r#"{"content":" end"}"#).into_bytes();
    let at = text.windows(5).position(|bytes| bytes == b"BYTES").unwrap();
    let broken = [&text[..at], b"a\xffb\xf0\x9f", &text[at + 5..]].concat();
    everywhere(&rig, &Reply::stream([Step::send(broken), Step::End]), true, &Said::text("a\u{fffd}b\u{fffd} end"))
        .await;
    let mut broken = PLAIN.as_bytes().to_vec();
    let at = broken.windows(6).position(|bytes| bytes == b"packed").unwrap();
    broken[at] = 0xff;
    everywhere(&rig, &Reply::raw(200, "application/json", broken), false, &Said::text("\u{fffd}acked")).await;
}

#[tokio::test]
async fn one_event_may_hold_a_picture() {
    let rig = Rig::new().await;
    let picture = "iVBORw0KGgo".repeat(500_000);
    let image = format!(
        r#"{{"content":"Here.","images":[{{"type":"image_url","index":0,"image_url":{{"url":"data:image/png;base64,{picture}"}}}}]}}"#
    );
    let text = events(&[&image]);
    rig.fake.push(Reply::stream([Step::send(text.clone()), Step::End]));
    assert!(rig.complete(&ask(true)).await.text == text, "it goes on byte for byte");
    rig.fake.push(Reply::stream([Step::SplitEvery(50_000), Step::send(text.replace('\n', "\r\n")), Step::End]));
    let answer = rig.response_to(&json!({"model": "m", "input": "draw", "stream": true})).await;
    assert!(answer.text.contains(r#""status":"completed""#) && answer.text.contains("Here."), "{}", answer.text);
    let whole = PLAIN.replace("packed", &format!(r#"packed","picture":"{}"#, "iVBORw0KGgo".repeat(1_800_000)));
    rig.fake.push(Reply::raw(200, "application/json", whole.clone()));
    assert!(rig.complete(&ask(false)).await.text.len() >= whole.len(), "a plain one, too");
    rig.fake.push(Reply::raw(200, "application/json", whole));
    let answer = rig.response_to(&json!({"model": "m", "input": "draw"})).await;
    assert!(answer.text.contains("packed"), "{}", answer.text);
}

#[tokio::test]
async fn events_are_the_same_however_their_bytes_fall() {
    let rig = Rig::new().await;
    let sound = events(&[r#"{"content":"one"}"#, r#"{"content":" two"}"#]);
    let shapes = [
        sound.replace("data: ", "data:"),
        sound.replace('\n', "\r"),
        sound.replace('\n', "\r\n"),
        format!("\u{feff}{sound}"),
        sound.replace("data: {", ": ping\n\n: pong\nid: 1\nretry: 5\ndata: {"),
        sound.replace("\"choices\"", "\ndata: \"choices\""),
        // No empty line behind the last event, nor an end of its line.
        sound.trim_end().to_owned(),
        sound.trim_end().to_owned() + "\n",
        sound.trim_end().trim_end_matches("data: [DONE]").trim_end().to_owned(),
    ];
    for shape in shapes {
        for step in [Step::Flush, Step::SplitEveryByte, Step::SplitEvery(5)] {
            let reply = Reply::stream([step, Step::send(shape.clone()), Step::End]);
            rig.fake.push(reply.clone());
            let text = rig.complete(&ask(true)).await.text.replace("\r\n", "\n").replace('\r', "\n");
            let joined: String = text.split('\n').filter_map(|line| line.strip_prefix("data:")).collect();
            assert!(joined.contains("one") && joined.contains(" two") && joined.ends_with("[DONE]"), "{text}");
            rig.fake.push(reply);
            let answer = rig.response_to(&json!({"model": "m", "input": "Hi"})).await.ok();
            assert_eq!(Said::of_response(&answer), Said::text("one two"), "{shape}");
        }
    }
}

#[tokio::test]
async fn chunks_that_leave_out_what_they_are_of_say_it() {
    let rig = Rig::new().await;
    let bare = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let odd = events(&[r#"{"content":"x"}"#])
        .replace("chat.completion.chunk", "chat.completion")
        .replace("\"created\":7,", "");
    for text in [bare, &odd] {
        rig.fake.push(Reply::stream([Step::send(text.to_owned()), Step::End]));
        let answer = rig.complete(&ask(true)).await.text;
        assert_eq!(Said::of_chunks(&answer), Said::text("x"));
        let chunks = data(&answer).into_iter().filter(|data| *data != "[DONE]");
        let ids: Vec<String> =
            chunks.map(|data| serde_json::from_str::<Value>(data).unwrap()["id"].to_string()).collect();
        assert!(ids.iter().all(|id| *id == ids[0] && id.contains("chatcmpl-")), "{ids:?}");
    }
}
