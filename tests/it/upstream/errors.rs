//! What each error of an upstream becomes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Reply};
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SeededIds;
use openai_backend::domain::turn::FaultKind::{self, *};
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use secrecy::SecretString;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::{ask, hasty, once, open, plain, settings, streamed};
use crate::support::SOON;

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
        (html, UpstreamMisaddressed, "no chat completions at its address"),
        (redirect, UpstreamMisaddressed, "redirects elsewhere (302)"),
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

#[tokio::test]
async fn a_connection_that_is_not_answered_is_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = FakeOpenAi::start().await;
    let mut settings = hasty(&fake);
    settings.base_url = format!("https://{}/v1", silent.local_addr().unwrap()).parse().unwrap();
    settings.plain_timeout = SOON;
    let started = Instant::now();
    assert_eq!(ask(&once(settings.clone()), plain()).await.fault().kind, UpstreamTimeout);
    assert!(started.elapsed() < SOON / 2);
    // It is tried again like any other failure to connect.
    assert_eq!(ask(&open(settings), plain()).await.fault().kind, UpstreamTimeout);
    let mut accepted = 0;
    while tokio::time::timeout(Duration::from_millis(50), silent.accept()).await.is_ok() {
        accepted += 1;
    }
    assert_eq!(accepted, 1 + 4);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_cannot_be_reached_by_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = FakeOpenAi::start().await;
    let mut settings = settings(&fake);
    settings.base_url = format!("https://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\n\r\n").await.unwrap();
    };
    let upstream = once(settings);
    let (heard, ()) = tokio::join!(ask(&upstream, plain()), served);
    let fault = heard.fault();
    assert_eq!((fault.kind, fault.message.as_str()), (UpstreamUnavailable, "the model's server cannot be reached"));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let fake = FakeOpenAi::start().await;
    let with = |change: fn(&mut OpenAiSettings)| {
        let mut settings = settings(&fake);
        change(&mut settings);
        OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SeededIds::new(7))).err().map(|error| error.to_string())
    };
    assert_eq!(with(|_| ()), None);
    let sentence = with(|settings| settings.base_url = "ftp://models.example/".parse().unwrap());
    assert!(sentence.unwrap().contains("http://"));
    let sentence = with(|settings| settings.api_key = Some(SecretString::from("canary\n")));
    assert!(sentence.is_some_and(|sentence| sentence.contains("line break") && !sentence.contains("canary")));
}
