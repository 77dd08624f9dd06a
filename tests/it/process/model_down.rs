//! A model server that fails (P10): it is not buried under retries, its word on when to come back is passed on, and all is
//! well when it is.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Reply};
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;

use crate::support::eventually;
use crate::support::process::Program;

const CALLS: usize = 100;

#[tokio::test]
async fn a_failing_model_server_sees_few_retries_and_then_a_pause_and_then_all_is_well() {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).start().await;
    fake.set_default(Reply::server_error());
    let asked = stream::iter(0..CALLS).map(async |n| {
        let answer =
            server.client().on_a_page().await.post("/chat", &json!({"prompt": "Hi", "stream": n % 2 == 0})).await;
        let status = answer.status.as_u16();
        assert!(status == 502 || status == 503, "{status}");
        assert_eq!(answer.failed(status), "upstream_unavailable");
    });
    asked.buffer_unordered(10).collect::<Vec<_>>().await;
    // A fifth more than was asked for, or the ten a minute that a quiet server may retry.
    assert!(fake.calls() <= CALLS * 12 / 10 + 10, "{} calls", fake.calls());
    assert!(fake.calls() < CALLS / 2, "the breaker never opened: {} calls", fake.calls());

    // The quickest of many: a busy machine delays most of them.
    let mut quickest = Duration::MAX;
    for _ in 0..300 {
        if quickest < Duration::from_millis(10) {
            break;
        }
        let browser = server.client();
        let began = Instant::now();
        let answer = browser.say("Hi").await;
        if answer.status == 503 {
            quickest = quickest.min(began.elapsed());
            assert!(answer.header("retry-after").is_some());
        }
    }
    assert!(quickest < Duration::from_millis(10), "an open breaker takes {quickest:?}");

    fake.set_default(Reply::text("Well again"));
    eventually("it is asked again", async || server.client().say("Hi").await.status == 200).await;
    server.stop().await;
}

#[tokio::test]
async fn a_rate_limit_goes_to_the_client_and_a_spent_account_is_not_tried_again() {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).start().await;
    for stream in [false, true] {
        let ask = json!({"prompt": "Hi", "stream": stream});
        let calls = fake.calls();
        fake.push(Reply::rate_limited_for(30));
        let limited = server.client().on_a_page().await.post("/chat", &ask).await;
        assert_eq!((limited.failed(429).as_str(), limited.header("retry-after")), ("rate_limited", Some("30")));
        fake.push(Reply::insufficient_quota());
        assert_eq!(server.client().on_a_page().await.post("/chat", &ask).await.failed(429), "quota_exhausted");
        assert_eq!(fake.calls(), calls + 2, "neither was tried again");
        fake.push(Reply::rate_limited_for(1));
        let answer = server.client().on_a_page().await.post("/chat", &ask).await;
        assert_eq!(answer.status, 200, "a short wait is waited out: {}", answer.text);
        assert_eq!(fake.calls(), calls + 4);
    }
    server.stop().await;
}
