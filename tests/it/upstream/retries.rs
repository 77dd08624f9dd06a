//! P10: what is tried again, when, and how often in all.

use std::time::{Duration, Instant, UNIX_EPOCH};

use fake_openai::{FakeOpenAi, KeepAlive, Reply, Step};
use futures::future::join_all;
use openai_backend::domain::clock::{Clock, SystemClock};
use openai_backend::domain::turn::FaultKind::{self, *};
use openai_backend::upstream::openai::settings::OpenAiSettings;

use super::{ask, hasty, no_breaker, open, plain, settings, streamed};

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let replies = [
        Reply::server_error(),
        Reply::overloaded(),
        Reply::bad_gateway(),
        Reply::rate_limited(),
        Reply::no_answer(),
        Reply::reset(),
    ];
    let trials = replies.into_iter().zip([plain(), streamed()].into_iter().cycle()).map(|(reply, call)| async move {
        let fake = FakeOpenAi::start().await;
        fake.push_all([reply.clone(), reply, Reply::text("Hello")]);
        let heard = ask(&open(settings(&fake)), call).await.whole();
        assert_eq!((heard.text.as_str(), fake.calls()), ("Hello", 3));
    });
    join_all(trials).await;
}

#[tokio::test]
async fn three_retries_are_the_most() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::server_error());
    let fault = ask(&open(settings(&fake)), plain()).await.fault();
    assert_eq!((fault.kind, fake.calls()), (UpstreamUnavailable, 4));
}

#[tokio::test]
async fn what_would_fail_again_is_not_tried_again() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(no_breaker(settings(&fake)));
    let cut = || Reply::text("Hello").then(Step::Fin);
    let replies = [
        Reply::invalid_api_key(),
        Reply::insufficient_quota(),
        Reply::model_not_found(),
        Reply::context_length_exceeded(),
        Reply::unsupported_parameter("x"),
        Reply::server_error().header("x-should-retry", "false"),
        Reply::garbage("no http\r\n\r\n"),
        Reply::stream([Step::Fin]),
        Reply::stream([Step::error("x"), Step::End]),
        cut(),
        cut().plain(),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        fake.push(reply);
        let call = if number % 2 == 0 { streamed() } else { plain() };
        ask(&upstream, call).await.fault();
        assert_eq!(fake.calls(), number + 1);
    }
}

#[tokio::test]
async fn a_short_retry_after_is_waited_out_and_a_long_one_is_passed_on() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(settings(&fake));
    let pause = Duration::from_millis(300);
    for reply in [Reply::rate_limited_for_ms(pause), Reply::overloaded().header("retry-after", "0.3")] {
        fake.push(reply);
        let calls = fake.calls();
        ask(&upstream, plain()).await.whole();
        let arrived: Vec<Instant> = fake.chat_requests()[calls..].iter().map(|request| request.arrived).collect();
        let waited = arrived[1] - arrived[0];
        assert!(waited >= pause && waited < pause * 3, "{waited:?}");
    }
    let now_ms = u64::try_from(SystemClock.now_ms()).unwrap();
    let later = UNIX_EPOCH + Duration::from_millis(now_ms + 30_000);
    for reply in [Reply::rate_limited_for(20), Reply::rate_limited_until(later)] {
        fake.push(reply);
        let (calls, started) = (fake.calls(), Instant::now());
        let fault = ask(&upstream, plain()).await.fault();
        assert!(started.elapsed() < Duration::from_secs(1));
        assert_eq!((fault.kind, fake.calls() - calls), (RateLimited, 1));
        let seconds = fault.retry_after_ms.unwrap() / 1000;
        assert!((20..=30).contains(&seconds), "{seconds}");
    }
}

#[tokio::test]
async fn attempts_share_one_deadline() {
    let fake = FakeOpenAi::start().await;
    let settings = OpenAiSettings { plain_timeout: Duration::from_millis(400), ..settings(&fake) };
    let upstream = open(settings);
    for (second, expected) in [(Reply::hang(), UpstreamTimeout), (Reply::rate_limited_for(1), RateLimited)] {
        fake.push_all([Reply::server_error(), second]);
        let started = Instant::now();
        assert_eq!(ask(&upstream, plain()).await.fault().kind, expected);
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn a_hang_is_not_tried_again() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(hasty(&fake));
    fake.set_default(Reply::hang());
    for call in [plain(), streamed()] {
        assert_eq!(ask(&upstream, call).await.fault().kind, UpstreamTimeout);
    }
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_stale_connection_is_replaced_at_once() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(OpenAiSettings { max_retries: 0, ..settings(&fake) });
    fake.set_keep_alive(KeepAlive { stale_after_requests: Some(1), ..KeepAlive::default() });
    for call in [plain(), streamed(), plain(), streamed()] {
        ask(&upstream, call).await.whole();
    }
    assert_eq!((fake.calls(), fake.stale_closes()), (4, 3));
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_not_a_stale_one() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(OpenAiSettings { max_retries: 0, ..settings(&fake) });
    fake.push(Reply::no_answer());
    assert_eq!(ask(&upstream, plain()).await.fault().kind, UpstreamUnavailable);
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_not_used() {
    let fake = FakeOpenAi::start().await;
    let upstream = open(OpenAiSettings { max_retries: 0, ..settings(&fake) });
    fake.set_keep_alive(KeepAlive { close_idle_after: Some(Duration::from_millis(20)), ..KeepAlive::default() });
    for _ in 0..5 {
        ask(&upstream, plain()).await.whole();
        fake.wait_for_connections(0, crate::support::SOON).await;
    }
    assert_eq!((fake.calls(), fake.accepted_connections()), (5, 5));
}

/// 100 calls, 10 at a time, to an upstream that never answers anything else; the calls that it saw, and the faults.
async fn storm(reply: Reply) -> (usize, Vec<FaultKind>) {
    let fake = FakeOpenAi::start().await;
    fake.set_default(reply);
    let upstream = open(no_breaker(settings(&fake)));
    let mut faults = Vec::new();
    for _ in 0..10 {
        let ten = join_all((0..10).map(|_| ask(&upstream, streamed()))).await;
        faults.extend(ten.into_iter().map(|heard| heard.fault().kind));
    }
    (fake.calls(), faults)
}

#[tokio::test]
async fn all_calls_together_retry_at_most_a_fifth() {
    let hint = Duration::from_millis(10);
    let cases = [
        (Reply::server_error().header("retry-after-ms", "1"), UpstreamUnavailable),
        (Reply::rate_limited_for_ms(hint), RateLimited),
        (Reply::no_answer(), UpstreamUnavailable),
    ];
    join_all(cases.map(|(reply, expected)| async move {
        let (calls, faults) = storm(reply).await;
        assert!(faults.iter().all(|kind| *kind == expected), "{faults:?}");
        assert!((110..=120).contains(&calls), "{calls}");
    }))
    .await;
}
