//! P10: an upstream that is down is left alone, the client is told at once, and it heals.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Gate, Reply};
use openai_backend::domain::turn::FaultKind::*;
use openai_backend::upstream::health::{BreakerSettings, HealthSettings};
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;

use super::{ask, open, plain, settings, streamed};
use crate::support::SOON;

const OPEN_FOR: Duration = Duration::from_secs(1);

fn quick(fake: &FakeOpenAi) -> OpenAi {
    open(OpenAiSettings { max_retries: 0, ..soon_open(settings(fake)) })
}

fn soon_open(settings: OpenAiSettings) -> OpenAiSettings {
    let breaker = BreakerSettings { min_attempts: 5, open_for: OPEN_FOR, ..BreakerSettings::default() };
    OpenAiSettings { health: HealthSettings { breaker, ..settings.health }, ..settings }
}

/// One whose breaker has just been opened by failures of this kind, and is due for a probe.
async fn due(fake: &FakeOpenAi, settings: OpenAiSettings, failure: Reply) -> OpenAi {
    let upstream = open(soon_open(settings));
    fake.set_default(failure);
    for _ in 0..5 {
        ask(&upstream, plain()).await.fault();
    }
    assert_eq!(ask(&upstream, plain()).await.fault().kind, BreakerOpen);
    fake.set_default(Reply::text("Hello"));
    tokio::time::sleep(OPEN_FOR).await;
    upstream
}

/// A failure that is not tried again.
fn hopeless() -> Reply {
    Reply::server_error().header("x-should-retry", "false")
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
async fn a_probe_that_fails_has_the_retries_of_any_request() {
    let fake = FakeOpenAi::start().await;
    let upstream = due(&fake, settings(&fake), hopeless()).await;
    fake.push_all([Reply::server_error(), Reply::server_error()]);
    assert_eq!(ask(&upstream, plain()).await.whole().text, "Hello");
    assert_eq!(ask(&upstream, plain()).await.whole().text, "Hello", "what the retry found out counts");
}

#[tokio::test]
async fn what_comes_while_a_probe_is_under_way_waits_for_its_outcome() {
    let fake = FakeOpenAi::start().await;
    let upstream = due(&fake, settings(&fake), hopeless()).await;
    let (gate, calls) = (Gate::new(), fake.calls());
    fake.push(Reply::text("Hello").wait_first(&gate));
    let others = async {
        gate.reached(1, SOON).await;
        let others = (0..5).map(|_| ask(&upstream, plain()));
        let opened = async {
            tokio::task::yield_now().await;
            assert_eq!(fake.calls(), calls + 1, "the probe is alone");
            gate.open();
        };
        futures::future::join(futures::future::join_all(others), opened).await.0
    };
    let (probe, others) = futures::future::join(ask(&upstream, plain()), others).await;
    assert_eq!(probe.whole().text, "Hello");
    assert!(others.into_iter().all(|heard| heard.whole().text == "Hello"));
}

#[tokio::test]
async fn a_slow_probe_keeps_others_for_a_second_at_the_most() {
    let fake = FakeOpenAi::start().await;
    let upstream = due(&fake, settings(&fake), hopeless()).await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello").wait_first(&gate));
    let others = async {
        gate.reached(1, SOON).await;
        let started = Instant::now();
        let others = futures::future::join_all((0..5).map(|_| ask(&upstream, plain()))).await;
        assert!(others.into_iter().all(|heard| heard.whole().text == "Hello"));
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
        gate.open();
    };
    let (probe, ()) = futures::future::join(ask(&upstream, plain()), others).await;
    assert_eq!(probe.whole().text, "Hello");
}

#[tokio::test]
async fn a_probe_whose_caller_leaves_is_followed_by_the_next() {
    let fake = FakeOpenAi::start().await;
    let upstream = due(&fake, settings(&fake), hopeless()).await;
    let gate = Gate::new();
    fake.push(Reply::text("Hello").wait_first(&gate));
    tokio::select! {
        _ = ask(&upstream, plain()) => panic!("the gate is closed"),
        () = gate.reached(1, SOON) => {}
    }
    fake.push(Reply::server_error().header("x-should-retry", "false"));
    assert_eq!(ask(&upstream, plain()).await.fault().kind, UpstreamUnavailable, "a probe, too");
    assert_eq!(ask(&upstream, plain()).await.fault().kind, BreakerOpen, "and its failure counts");
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
    let health = HealthSettings { breaker, ..HealthSettings::default() };
    let upstream = open(OpenAiSettings { health, ..settings(&fake) });
    let fault = ask(&upstream, plain()).await.fault();
    assert_eq!((fault.kind, fake.calls()), (UpstreamUnavailable, 2), "the honest fault, not the breaker's");
    assert_eq!(ask(&upstream, plain()).await.fault().kind, BreakerOpen);
}
