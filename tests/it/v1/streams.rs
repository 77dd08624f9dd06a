//! Streamed chat completions: not buffered, not re-encoded, mended where a server is known to forget something.

use fake_openai::{Gate, LineEnd, Reply, Step};
use serde_json::{Value, json};

use super::{Rig, ask, assert_shape, data, failed, hasty};
use crate::support::SOON;
use crate::support::schema::{Spec, check};
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn chunks_come_as_they_are_made() {
    let rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.push(Reply::pieces(["one", "two", "three"]).gate_each(&gate));
    let response =
        rig.completion(ask(true).to_string()).header("accept", "application/json").header("accept-encoding", "gzip");
    let mut response = response.send().await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(headers.contains_key("x-request-id") && !headers.contains_key("content-encoding"));
    let mut text = String::new();
    for word in ["one", "two", "three"] {
        assert!(!text.contains(word), "{word} was there before it was said");
        gate.pass(1);
        while !text.contains(word) {
            let chunk = tokio::time::timeout(SOON, response.chunk()).await.expect("nothing is held back");
            text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_sound_stream_is_left_alone_byte_for_byte() {
    let rig = Rig::new().await;
    let first = r#"data: {"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}],"x":1.50}"#;
    let body = format!(
        "{first}\n\n: ping\n\ndata:{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"\\u00e9 \u{1f44c}\"}}}}]}}\r\n\r\n\
         event: message\nid: 7\ndata: {{\"choices\": [ {{\"index\":0,\"delta\":{{}},\"finish_reason\" : \"stop\"}}]}}\n\n\
         data: {{\"choices\":[],\"usage\":{{\"total_tokens\":3}}}}\n\ndata: [DONE]\n\n"
    );
    for step in [Step::Flush, Step::SplitEveryByte, Step::SplitEvery(7)] {
        rig.fake.push(Reply::stream([step, Step::send(body.clone()), Step::End]));
        assert_eq!(rig.complete(&ask(true)).await.text, body);
    }
    let spoken = |reply: Reply| async {
        rig.fake.push(reply);
        rig.complete(&ask(true)).await.text
    };
    for line_end in [LineEnd::Lf, LineEnd::CrLf, LineEnd::Cr] {
        let text = spoken(Reply::text("\u{1f44c} all of it").line_end(line_end).split_every(3)).await;
        let end = match line_end {
            LineEnd::Lf => "\n\n",
            LineEnd::CrLf => "\r\n\r\n",
            LineEnd::Cr => "\r\r",
        };
        assert!(text.ends_with(&format!("data: [DONE]{end}")), "{text:?}");
    }
    let text = spoken(Reply::text("x").bom()).await;
    assert!(text.starts_with("data: "), "{text:?}");
}

fn chunks(text: &str) -> Vec<Value> {
    let chunks = data(text).into_iter().filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
    for chunk in &chunks {
        check(Spec::OpenAi, "CreateChatCompletionStreamResponse", chunk);
    }
    chunks
}

#[tokio::test]
async fn what_a_server_forgot_is_put_in() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::text("👌 ok").without_role());
    let text = rig.complete(&ask(true)).await.text;
    let found = chunks(&text);
    assert_eq!(found[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}), "{text}");
    assert_eq!(found[0]["id"], found[1]["id"]);
    let roles = found.iter().filter(|chunk| chunk["choices"][0]["delta"].get("role").is_some()).count();
    assert_eq!((roles, data(&text).last().copied()), (1, Some("[DONE]")));

    for reply in [Reply::text("All").without_done(), Reply::text("All").without_done().until_close()] {
        rig.fake.push(reply);
        let text = rig.complete(&ask(true)).await.text;
        assert!(text.ends_with("data: [DONE]\n\n") && text.contains("\"stop\""), "{text}");
        assert_eq!(text.matches("[DONE]").count(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_says_so_and_does_not_say_done() {
    let rig = Rig::with(Setup::default(), hasty).await;
    let words = || Reply::text("Some words");
    for (reply, code) in [
        (words().then(Step::End), "upstream_cut"),
        (words().then(Step::Flush).then(Step::Fin), "upstream_cut"),
        (words().then(Step::Flush).then(Step::FinInsideEvent), "upstream_cut"),
        (words().then(Step::Flush).then(Step::FinInsideChunk), "upstream_cut"),
        (words().then(Step::Flush).then(Step::Hang), "upstream_timeout"),
        (words().then_error("canary-server-key and canary prompt"), "upstream_unavailable"),
        (words().then(Step::event("error", "canary")), "upstream_unavailable"),
        (words().then(Step::json(&json!({"error": {"code": 429, "message": "canary"}}))), "rate_limit_exceeded"),
        (words().then(Step::Data("{canary".into())), "upstream_garbage"),
        (words().then(Step::HugeLine(3_000_000)), "upstream_garbage"),
    ] {
        rig.fake.push(reply.clone());
        let answer = rig.complete(&ask(true)).await;
        assert_eq!(answer.status.as_u16(), 200);
        let last: Value = serde_json::from_str(data(&answer.text).last().unwrap()).unwrap();
        assert_shape(&last);
        assert_eq!(last["error"]["code"], code, "{reply:?}");
        assert!(answer.text.contains("words") && !answer.text.contains("[DONE]"), "{}", answer.text);
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_stream_that_fails_at_once_keeps_its_status() {
    let rig = Rig::with(Setup::default(), hasty).await;
    for (reply, status, code) in [
        (Reply::stream([Step::error("x"), Step::End]), 502, "upstream_unavailable"),
        (Reply::stream([Step::Comment("ping".into()), Step::End]), 502, "upstream_cut"),
        (Reply::stream([Step::Done, Step::End]), 502, "upstream_garbage"),
        (Reply::hang_after_headers(), 504, "upstream_timeout"),
        (Reply::json(200, &json!({"error": {"code": 429, "message": "x"}})), 429, "rate_limit_exceeded"),
        (Reply::raw(200, "text/html", "<html>"), 502, "upstream_garbage"),
    ] {
        rig.fake.push(reply.clone());
        let error = failed(&rig.complete(&ask(true)).await, status);
        assert_eq!(error["code"], code, "{reply:?}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_stream_upstream() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::text("Half").then(Step::Hang));
    let mut response = rig.completion(ask(true).to_string()).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    drop(response);
    rig.fake.wait_for_abort(SOON).await;
}

#[tokio::test]
async fn a_stream_leaves_its_connection_for_the_next() {
    let rig = Rig::new().await;
    for _ in 0..3 {
        assert!(rig.complete(&ask(true)).await.text.ends_with("[DONE]\n\n"));
    }
    assert_eq!(rig.fake.accepted_connections(), 1);
}

#[tokio::test]
async fn the_demo_streams_with_its_figures() {
    let server = TestServer::demo().await;
    let mut body = ask(true);
    body["stream_options"] = json!({"include_usage": true});
    let text = server.client().post("/v1/chat/completions", &body).await.text;
    let found = chunks(&text);
    let words: String = found.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(words.starts_with("[demo]") && words.contains("lighthouses"), "{words}");
    assert_eq!(found[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(found[found.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert!(found.last().unwrap()["usage"]["total_tokens"].as_u64().unwrap() > 0);
    assert_eq!(data(&text).last().copied(), Some("[DONE]"));
}

#[tokio::test]
async fn a_stream_that_waits_for_its_first_chunk_begins_all_the_same() {
    let rig = Rig::with(Setup::default().set("FIRST_EVENT_WAIT", "30ms"), |settings| settings).await;
    for reply in [Reply::text("Hello"), Reply::server_error()] {
        let gate = Gate::new();
        rig.fake.push(reply.wait_first(&gate));
        let response = rig.completion(ask(true).to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200, "the header is out before the model's server has answered");
        gate.open();
        let text = tokio::time::timeout(SOON, response.text()).await.unwrap().unwrap();
        match text.contains("Hello") {
            true => assert!(text.ends_with("data: [DONE]\n\n"), "{text}"),
            false => assert!(text.contains("\"error\"") && !text.contains("[DONE]"), "{text}"),
        }
        assert_eq!(text.contains("Hello"), rig.fake.calls() == 1, "{text}");
    }
}
