//! P10: an upstream that is down is left alone, the client is told at once, and it heals.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Reply};
use openai_backend::domain::turn::FaultKind::*;
use openai_backend::upstream::health::breaker::BreakerSettings;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;

use super::{ask, open, plain, settings, streamed};

const OPEN_FOR: Duration = Duration::from_secs(1);

fn quick(fake: &FakeOpenAi) -> OpenAi {
    let breaker = BreakerSettings { min_attempts: 5, open_for: OPEN_FOR, ..BreakerSettings::default() };
    open(OpenAiSettings { breaker, max_retries: 0, ..settings(fake) })
}

#[tokio::test]
async fn an_upstream_that_is_down_is_left_alone_and_heals() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::server_error());
    let upstream = quick(&fake);
    for _ in 0..5 {
        assert_eq!(ask(&upstream, streamed()).await.fault().kind, UpstreamUnavailable);
    }
    let mut took = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let fault = ask(&upstream, plain()).await.fault();
        took.push(started.elapsed());
        assert_eq!(fault.kind, BreakerOpen);
        assert!((1..=OPEN_FOR.as_millis()).contains(&u128::from(fault.retry_after_ms.unwrap())));
    }
    took.sort();
    // Not the slowest: that one says how busy the machine is.
    assert!(took[took.len() / 2] < Duration::from_millis(10), "{took:?}");
    assert_eq!(fake.calls(), 5);

    fake.set_default(Reply::text("Hello"));
    tokio::time::sleep(OPEN_FOR).await;
    for _ in 0..5 {
        assert_eq!(ask(&upstream, streamed()).await.whole().text, "Hello");
    }
}

#[tokio::test]
async fn a_probe_that_fails_is_the_only_one() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::no_answer());
    let upstream = quick(&fake);
    for _ in 0..5 {
        ask(&upstream, plain()).await.fault();
    }
    tokio::time::sleep(OPEN_FOR).await;
    let kinds = futures::future::join_all((0..10).map(|_| ask(&upstream, plain()))).await;
    let probes = kinds.into_iter().filter(|heard| heard.fault.as_ref().unwrap().kind != BreakerOpen).count();
    assert_eq!((probes, fake.calls()), (1, 6));
}

#[tokio::test]
async fn an_upstream_that_refuses_is_not_down() {
    let fake = FakeOpenAi::start().await;
    let upstream = quick(&fake);
    for reply in [Reply::invalid_api_key(), Reply::rate_limited_for(9), Reply::unsupported_parameter("x")] {
        for _ in 0..10 {
            fake.push(reply.clone());
            assert_ne!(ask(&upstream, plain()).await.fault().kind, BreakerOpen);
        }
    }
    ask(&upstream, plain()).await.whole();
}

#[tokio::test]
async fn a_retry_ends_where_the_breaker_opens() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::server_error().header("retry-after-ms", "1"));
    let breaker = BreakerSettings { min_attempts: 2, ..BreakerSettings::default() };
    let upstream = open(OpenAiSettings { breaker, ..settings(&fake) });
    let fault = ask(&upstream, plain()).await.fault();
    assert_eq!((fault.kind, fake.calls()), (UpstreamUnavailable, 2), "the honest fault, not the breaker's");
    assert_eq!(ask(&upstream, plain()).await.fault().kind, BreakerOpen);
}
