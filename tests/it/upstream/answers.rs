//! Whole answers: what is sent, what is read, and what becomes of the connection.

use fake_openai::{Chunking, FakeOpenAi, Gate, LineEnd, Reply, Step, Usage as FakeUsage};
use futures::StreamExt;
use openai_backend::domain::turn::Usage;
use openai_backend::upstream::Upstream;
use serde_json::json;

use super::{KEY, PROMPT, ask, once, open, plain, settings, streamed};
use crate::support::SOON;

const TEXT: &str = "Grüße, 世界! 👌🏽 \"quoted\" \\ and\nnew lines";

#[tokio::test]
async fn a_plain_answer_comes_in_one_batch() {
    let fake = FakeOpenAi::start().await;
    let usage = FakeUsage { prompt: Some(9), completion: Some(4), cached: 3, reasoning: 2 };
    fake.push(Reply::text(TEXT).model("gpt-real").usage_details(usage));
    let upstream = open(settings(&fake));
    let mut pieces = upstream.call(plain()).await.unwrap();
    assert_eq!(pieces.next().await.unwrap().unwrap().len(), 4);
    assert!(pieces.next().await.is_none());

    fake.push(Reply::text(TEXT).model("gpt-real").usage_details(usage));
    let heard = ask(&upstream, plain()).await.whole();
    let usage = Usage { input_tokens: 9, output_tokens: 4, cached_tokens: 3, reasoning_tokens: 2, estimated: false };
    assert_eq!((heard.text.as_str(), heard.model.as_str()), (TEXT, "gpt-real"));
    assert_eq!((heard.finish.as_deref(), heard.usage), (Some("stop"), Some(usage)));
}

#[tokio::test]
async fn a_streamed_answer_is_the_same_answer() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text(TEXT).usage(9, 4).chunked(Chunking::Characters));
    let heard = ask(&open(settings(&fake)), streamed()).await.whole();
    assert_eq!((heard.text.as_str(), heard.deltas), (TEXT, TEXT.chars().count()));
    assert_eq!((heard.finish.as_deref(), heard.model.as_str()), (Some("stop"), "gpt-3.5-turbo"));
    assert_eq!(heard.usage, Some(Usage { input_tokens: 9, output_tokens: 4, ..Usage::default() }));
}

#[tokio::test]
async fn the_request_says_what_the_call_says() {
    let fake = FakeOpenAi::start().await;
    ask(&open(settings(&fake)), streamed()).await.whole();
    let request = fake.last();
    assert_eq!((request.path.as_str(), request.key()), ("/v1/chat/completions", Some(KEY)));
    let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": PROMPT}]);
    let expected = json!({
        "model": "gpt-3.5-turbo", "messages": messages, "temperature": 0.95, "max_tokens": 1000,
        "stream": true, "stream_options": {"include_usage": true},
    });
    assert_eq!(request.json, expected);
}

#[tokio::test]
async fn pieces_come_as_they_are_sent() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello").then_wait(&gate).then_text(" world"));
    let upstream = open(settings(&fake));
    let mut pieces = upstream.call(streamed()).await.unwrap();
    let mut seen = pieces.next().await.unwrap().unwrap();
    while seen.len() < 2 {
        seen.extend(pieces.next().await.unwrap().unwrap());
    }
    assert_eq!(fake.in_flight(), 1);
    gate.open();
    while let Some(batch) = pieces.next().await {
        seen.extend(batch.unwrap());
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn what_is_sent_together_is_given_together() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::tokens(200));
    let upstream = open(settings(&fake));
    let pieces = upstream.call(streamed()).await.unwrap();
    let sizes: Vec<usize> = pieces.map(|batch| batch.unwrap().len()).collect().await;
    assert_eq!(sizes.iter().sum::<usize>(), 203);
    assert!(sizes.len() <= 20, "{sizes:?}");
}

#[tokio::test]
async fn every_way_to_write_a_stream_is_the_same_stream() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(settings(&fake));
    let reply = || Reply::text(TEXT).usage(9, 4);
    let variants = [
        reply().split_every(1),
        reply().split_every(1).line_end(LineEnd::CrLf).bom(),
        reply().split_every(7).line_end(LineEnd::Cr),
        reply().until_close(),
        reply().without_role(),
        reply().then(Step::Comment("ping".to_owned())),
        reply().then(Step::event("ping", "{}")),
        reply().close(),
        reply().content_type("Text/Event-Stream"),
        reply().plain(),
    ];
    for (number, reply) in variants.into_iter().enumerate() {
        fake.push(reply);
        let heard = ask(&upstream, streamed()).await.whole();
        assert_eq!((heard.text.as_str(), heard.finish.as_deref()), (TEXT, Some("stop")), "variant {number}");
        assert!(heard.usage.is_some_and(|usage| usage.output_tokens == 4), "variant {number}");
    }
    fake.push(reply().streamed());
    assert_eq!(ask(&upstream, plain()).await.whole().text, TEXT);
}

#[tokio::test]
async fn what_compatible_servers_leave_out_is_not_missed() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(settings(&fake));
    fake.push(Reply::text(TEXT).without_usage());
    let heard = ask(&upstream, streamed()).await.whole();
    assert_eq!((heard.text.as_str(), heard.usage), (TEXT, None));
    fake.push(Reply::text(TEXT).without_usage().without_finish_reason());
    assert_eq!(ask(&upstream, streamed()).await.whole().text, TEXT);
    fake.push(Reply::text(TEXT).without_usage().without_finish_reason());
    assert_eq!(ask(&upstream, plain()).await.whole().text, TEXT);
    fake.push(Reply::reasoning("hm").then_text("so").then_refusal(" no"));
    let heard = ask(&upstream, streamed()).await.whole();
    assert_eq!(
        (heard.text.as_str(), heard.more.as_slice()),
        ("so", &["reasoning hm".to_owned(), "refusal  no".into()][..])
    );
    fake.push(Reply::empty().finish_reason("length"));
    let heard = ask(&upstream, plain()).await.whole();
    assert_eq!((heard.text.as_str(), heard.finish.as_deref()), ("", Some("length")));
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_answer() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(settings(&fake));
    for call in [plain(), streamed(), streamed(), plain()] {
        ask(&upstream, call).await.whole();
    }
    assert_eq!(fake.accepted_connections(), 1);
}

#[tokio::test]
async fn a_reader_that_leaves_closes_the_request() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(settings(&fake));
    fake.push(Reply::text("Hello").then(Step::Hang));
    let mut pieces = upstream.call(streamed()).await.unwrap();
    pieces.next().await.unwrap().unwrap();
    drop(pieces);
    fake.wait_for_aborts(1, SOON).await;

    for call in [plain(), streamed()] {
        fake.push(Reply::hang());
        let (calls, aborts) = (fake.calls() + 1, fake.aborted().len() + 1);
        tokio::select! {
            _ = upstream.call(call) => panic!("nothing was answered"),
            _ = fake.wait_for_calls(calls, SOON) => {}
        }
        fake.wait_for_aborts(aborts, SOON).await;
    }
}

#[tokio::test]
async fn check_says_what_it_found() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(settings(&fake));
    assert!(upstream.check().await.unwrap().contains("takes the key"));
    fake.set_path("/v1/models", Reply::json(404, &json!({"error": "no"})));
    assert!(upstream.check().await.unwrap().contains("can be reached"));
    fake.require_key("another");
    let fault = upstream.check().await.unwrap_err();
    assert_eq!(fault.kind.code(), "upstream_refused_key");
    fake.outage().await;
    assert_eq!(upstream.check().await.unwrap_err().kind.code(), "upstream_unavailable");
}

#[test]
fn the_address_is_shown_without_credentials() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shown = runtime.block_on(async {
        let fake = FakeOpenAi::start().await;
        let mut settings = settings(&fake);
        settings.base_url = "http://user:hunter2@models.example:8080/v1/?key=hunter2#x".parse().unwrap();
        open(settings).info()
    });
    assert_eq!((shown.location.as_str(), shown.kind), ("http://models.example:8080/v1", "compatible"));
}
