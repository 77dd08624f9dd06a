//! P11: an answer without its proper end is a fault, whatever became of it.

use std::time::Duration;

use fake_openai::{FakeOpenAi, Outcome, Reply, Step};
use openai_backend::domain::turn::FaultKind::{self, *};
use openai_backend::upstream::openai::settings::OpenAiSettings;
use serde_json::json;

use super::{ask, hasty, once, plain, settings, streamed};
use crate::support::SOON;

/// A stream of `Hello` and then these steps, with which it ends.
fn hello(steps: impl IntoIterator<Item = Step>) -> Reply {
    steps.into_iter().fold(Reply::text("Hello").without_finish_reason().without_done(), Reply::then)
}

fn finished(steps: impl IntoIterator<Item = Step>) -> Reply {
    let chunk = |delta, finish: Option<&str>| {
        Step::json(&json!({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let opening = [chunk(json!({"content": "Hello"}), None), chunk(json!({}), Some("stop")), Step::Flush];
    Reply::stream(opening.into_iter().chain(steps))
}

#[tokio::test]
async fn a_stream_that_breaks_is_a_fault_after_what_was_said() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(hasty(&fake));
    let cases: Vec<(&str, Reply, FaultKind)> = vec![
        ("end without a finish", hello([Step::End]), UpstreamCut),
        ("fin", hello([Step::Fin]), UpstreamCut),
        ("fin in an event", hello([Step::FinInsideEvent]), UpstreamCut),
        ("fin in a chunk", hello([Step::FinInsideChunk]), UpstreamCut),
        ("reset", hello([Step::Flush, Step::Sleep(Duration::from_millis(20)), Step::Reset]), UpstreamCut),
        ("until close", hello([Step::Fin]).until_close(), UpstreamCut),
        ("no http", hello([Step::Garbage("\u{7}\u{7}\u{7}\r\n\r\n".into()), Step::Fin]), UpstreamCut),
        ("no json", hello([Step::Data("{oops".to_owned())]), UpstreamGarbage),
        ("no object", hello([Step::Data("42".to_owned())]), UpstreamGarbage),
        ("no utf-8", hello([Step::send(&b"data: {\"choices\":\xff}\n\n"[..])]), UpstreamGarbage),
        ("torn utf-8", hello([Step::send(&b"data: \"\xf0\x9f\"\n\n"[..])]), UpstreamGarbage),
        ("huge line", hello([Step::HugeLine(40 * 1024 * 1024), Step::Hang]), UpstreamGarbage),
        ("error", hello([Step::error("canary"), Step::End]), UpstreamUnavailable),
        ("error event", hello([Step::event("error", "canary"), Step::End]), UpstreamUnavailable),
        ("idle", hello([Step::Hang]), UpstreamTimeout),
    ];
    for (what, reply, expected) in cases {
        fake.push(reply);
        let heard = ask(&upstream, streamed()).await;
        assert_eq!((heard.text.as_str(), heard.finish.as_deref()), ("Hello", None), "{what}");
        assert_eq!(heard.fault.map(|fault| fault.kind), Some(expected), "{what}");
    }
}

#[tokio::test]
async fn an_answer_that_never_begins_is_a_fault() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(hasty(&fake));
    let cases: Vec<(&str, Reply, FaultKind)> = vec![
        ("hang", Reply::hang(), UpstreamTimeout),
        ("hang after headers", Reply::hang_after_headers(), UpstreamTimeout),
        ("no answer", Reply::no_answer(), UpstreamUnavailable),
        ("reset", Reply::reset(), UpstreamUnavailable),
        ("no http", Reply::garbage("SSH-2.0-OpenSSH_9.2\r\n\r\n"), UpstreamGarbage),
        ("only the end mark", Reply::stream([Step::Done]), UpstreamGarbage),
        ("nothing", Reply::stream([Step::End]), UpstreamCut),
        ("wrong type", Reply::text("x").content_type("text/html"), UpstreamGarbage),
        ("an empty 204", Reply::raw(204, "text/plain", ""), UpstreamGarbage),
        ("error first", Reply::stream([Step::error("canary"), Step::End]), UpstreamUnavailable),
    ];
    for (what, reply, expected) in cases {
        fake.push(reply);
        let heard = ask(&upstream, streamed()).await;
        assert_eq!(heard.text, "", "{what}");
        assert_eq!(heard.fault.map(|fault| fault.kind), Some(expected), "{what}");
    }
}

#[tokio::test]
async fn once_the_model_has_finished_nothing_is_lost() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(hasty(&fake));
    let cases = [
        ("no end mark", finished([Step::End])),
        ("fin", finished([Step::Fin])),
        ("reset", finished([Step::Sleep(Duration::from_millis(20)), Step::Reset])),
        ("hang", finished([Step::Hang])),
        ("garbage", finished([Step::Data("{oops".to_owned())])),
        ("hang after the end mark", finished([Step::Done, Step::Hang])),
    ];
    for (what, reply) in cases {
        fake.push(reply);
        let heard = ask(&upstream, streamed()).await;
        assert_eq!(heard.fault, None, "{what}");
        assert_eq!((heard.text.as_str(), heard.finish.as_deref()), ("Hello", Some("stop")), "{what}");
    }
}

#[tokio::test]
async fn the_figures_are_waited_for_after_the_finish() {
    let fake = FakeOpenAi::start().await;
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}});
    fake.push(finished([Step::Sleep(Duration::from_millis(60)), Step::json(&usage), Step::Done]));
    let heard = ask(&once(settings(&fake)), streamed()).await.whole();
    assert_eq!(heard.usage.map(|usage| usage.input_tokens), Some(9));
}

#[tokio::test]
async fn comments_and_empty_chunks_are_a_sign_of_life() {
    let fake = FakeOpenAi::start().await;
    let at_work = || [Step::Comment("at work".to_owned()), Step::Sleep(Duration::from_millis(60))];
    let empty = || [Step::Data(json!({"choices": []}).to_string()), Step::Sleep(Duration::from_millis(60))];
    let hello = || Step::json(&json!({"choices": [{"index": 0, "delta": {"content": "Hello"}}]}));
    let end = Step::json(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}));
    let steps = (0..8).flat_map(|_| at_work()).chain([hello()]).chain((0..8).flat_map(|_| at_work()));
    let steps = steps.chain((0..8).flat_map(|_| empty())).chain([end, Step::Data("[DONE]".to_owned())]);
    fake.push(Reply::stream(steps));
    let settings = OpenAiSettings { idle_timeout: Duration::from_millis(400), ..hasty(&fake) };
    let settings = OpenAiSettings { first_byte_timeout: Duration::from_millis(400), ..settings };
    assert_eq!(ask(&once(settings), streamed()).await.whole().text, "Hello");
}

#[tokio::test]
async fn a_slow_stream_lives_as_long_as_events_come() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::tokens(12).delay_each(Duration::from_millis(60)));
    let settings = OpenAiSettings { idle_timeout: Duration::from_millis(400), ..hasty(&fake) };
    let settings = OpenAiSettings { first_byte_timeout: Duration::from_millis(400), ..settings };
    assert_eq!(ask(&once(settings), streamed()).await.whole().deltas, 12);
}

#[tokio::test]
async fn a_line_of_100_mb_is_refused_after_the_first() {
    let fake = FakeOpenAi::start().await;
    fake.push(hello([Step::HugeLine(100 * 1024 * 1024)]));
    let fault = ask(&once(settings(&fake)), streamed()).await.fault();
    assert_eq!(fault.kind, UpstreamGarbage);
    // The rest was not read: the fake could not get rid of it.
    fake.wait_until_idle(SOON).await;
    assert_eq!(fake.outcome(0), Some(Outcome::Aborted));
}

#[tokio::test]
async fn a_plain_answer_that_breaks_is_a_fault() {
    let fake = FakeOpenAi::start().await;
    let (hasty, patient) = (once(hasty(&fake)), once(settings(&fake)));
    let json = |value| Reply::json(200, &value);
    let cases: Vec<(&str, Reply, FaultKind)> = vec![
        ("hang", Reply::hang(), UpstreamTimeout),
        ("hang in the body", Reply::text("Hello").then(Step::Hang), UpstreamTimeout),
        ("cut", Reply::text("Hello").then(Step::Fin), UpstreamCut),
        ("reset", Reply::text("Hello").then(Step::Reset), UpstreamCut),
        ("no json", Reply::raw(200, "application/json", "<html>"), UpstreamGarbage),
        ("half json", Reply::raw(200, "application/json", r#"{"choices":[{"mess"#), UpstreamCut),
        ("wrong type", Reply::raw(200, "text/html", "<html>"), UpstreamGarbage),
        ("no choices", json(json!({"id": "x"})), UpstreamGarbage),
        ("empty choices", json(json!({"choices": []})), UpstreamGarbage),
        ("an error with 200", json(json!({"error": {"code": 429, "message": "canary"}})), RateLimited),
        ("too large", Reply::raw(200, "application/json", vec![b' '; 33 * 1024 * 1024]), UpstreamGarbage),
    ];
    for (what, reply, expected) in cases {
        fake.push(reply);
        // Only a deadline that is meant to pass is short: this machine may be slow.
        let upstream = if expected == UpstreamTimeout { &hasty } else { &patient };
        let heard = ask(upstream, plain()).await;
        assert_eq!(heard.text, "", "{what}");
        assert_eq!(heard.fault.map(|fault| fault.kind), Some(expected), "{what}");
    }
}
