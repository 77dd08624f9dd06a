//! What each error of an upstream becomes.

use fake_openai::{FakeOpenAi, Reply};
use openai_backend::domain::turn::FaultKind::{self, *};
use serde_json::json;

use super::{ask, once, plain, settings, streamed};

#[tokio::test]
async fn each_error_keeps_its_meaning() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(settings(&fake));
    let html = Reply::raw(404, "text/html", "<html>canary</html>");
    let redirect = Reply::raw(302, "text/html", "").header("Location", "https://elsewhere.example/");
    let cases: Vec<(Reply, FaultKind, &str)> = vec![
        (Reply::invalid_api_key(), UpstreamRefusedKey, "the model's server refused this server's API key (401)"),
        (Reply::invalid_api_key_leaking(), UpstreamRefusedKey, "API key"),
        (Reply::model_not_found(), UnknownModel, "does not have this model"),
        (Reply::context_length_exceeded(), ContextTooLong, "longer than the model takes"),
        (Reply::llama_context_exceeded(), ContextTooLong, "9001 tokens and the model takes 8192"),
        (Reply::unsupported_parameter("temperature"), UpstreamRefused, "'temperature' is not supported"),
        (Reply::rate_limited(), RateLimited, "no more requests"),
        (Reply::insufficient_quota(), QuotaExhausted, "no credit left"),
        (Reply::server_error(), UpstreamUnavailable, "failing (500)"),
        (Reply::overloaded(), UpstreamUnavailable, "failing (503)"),
        (Reply::llama_loading(), UpstreamUnavailable, "failing (503)"),
        (Reply::bad_gateway(), UpstreamUnavailable, "failing (502)"),
        (Reply::raw(504, "text/html", "<html>"), UpstreamTimeout, "(504)"),
        (html, UpstreamRefused, "no chat completions at its address"),
        (redirect, UpstreamRefused, "redirects elsewhere (302)"),
        (Reply::error(400, &json!({"error": {"code": 400}})), UpstreamRefused, "refused the request (400)"),
    ];
    for (reply, expected, words) in cases {
        for call in [plain(), streamed()] {
            fake.push(reply.clone());
            let fault = ask(&upstream, call).await.fault();
            assert_eq!(fault.kind, expected, "{fault}");
            assert!(fault.message.contains(words) && !fault.message.contains("canary"), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let fake = FakeOpenAi::start().await;
    let upstream = once(settings(&fake));
    fake.outage().await;
    let fault = ask(&upstream, plain()).await.fault();
    assert_eq!((fault.kind, fault.message.as_str()), (UpstreamUnavailable, "the model's server cannot be reached"));
    fake.restart().await;
    ask(&upstream, plain()).await.whole();
}
