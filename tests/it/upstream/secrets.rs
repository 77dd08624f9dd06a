//! P20: the key and the message's text are in no error and in no log, at any level.

use fake_openai::{FakeOpenAi, Reply, Step};
use openai_backend::upstream::Upstream;
use serde_json::json;

use super::{KEY, PROMPT, ask, hasty, once, open, plain, settings, streamed};
use crate::support::captured_log::CapturedLog;

fn replies() -> Vec<Reply> {
    let echo = format!("Invalid message: '{PROMPT}' with key {KEY} and Bearer {KEY}.");
    let error =
        |status| Reply::error(status, &json!({"error": {"message": echo, "type": echo, "param": echo, "code": echo}}));
    let statuses = [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 503];
    let mut replies: Vec<Reply> = statuses.map(error).into();
    replies.extend([
        Reply::text(PROMPT),
        Reply::invalid_api_key_leaking(),
        Reply::raw(500, "text/html", echo.clone()),
        Reply::raw(200, "text/html", echo.clone()),
        Reply::raw(200, "application/json", echo.clone()),
        Reply::garbage(echo.clone()),
        Reply::stream([Step::error(&echo), Step::End]),
        Reply::stream([Step::event("error", echo.clone()), Step::End]),
        Reply::stream([Step::Data(echo.clone())]),
        Reply::text(PROMPT).then(Step::FinInsideEvent),
        Reply::text(PROMPT).then(Step::Hang),
        Reply::no_answer(),
    ]);
    replies
}

#[tokio::test]
async fn nothing_private_is_in_errors_or_logs() {
    // Louder than the product ever is.
    let log = CapturedLog::of(|written| {
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(written);
        log.finish().into()
    });

    let fake = FakeOpenAi::start().await;
    let upstream = once(hasty(&fake));
    let mut telling = settings(&fake);
    telling.base_url = "http://canary:canary@models.example/v1?key=canary".parse().unwrap();
    let mut said = format!("{telling:?} {:?} {:?}", open(telling.clone()).info(), upstream.info());
    for reply in replies() {
        for call in [plain(), streamed()] {
            fake.push(reply.clone());
            if let Some(fault) = ask(&upstream, call).await.fault {
                said.push_str(&format!("{fault} {fault:?} {}\n", serde_json::to_string(&fault).unwrap()));
            }
        }
    }
    fake.push_all([Reply::server_error(), Reply::server_error()]);
    ask(&open(settings(&fake)), streamed()).await.whole();
    fake.outage().await;
    said.push_str(&upstream.check().await.unwrap_err().to_string());

    let logged = log.text();
    assert!(logged.contains("upstream.attempt=2") && logged.contains("upstream.status=429"), "{}", logged);
    for (what, text) in [("errors", &said), ("logs", &logged)] {
        for secret in [KEY, "canary", "lighthouses"] {
            let found = text.find(secret).map(|at| &text[at.saturating_sub(200)..(at + 60).min(text.len())]);
            assert_eq!(found, None, "{secret} in the {what}");
        }
    }
}
