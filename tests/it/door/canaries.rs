//! Keys, cookies and message text are in no log, at any level, and in no error (P20).
//!
//! What the product promises is its own log, filter included: other crates are kept to `info`, because below it they may
//! quote the bytes that they carry. So these tests log as the product does at its loudest, and search that.

use std::sync::Arc;

use fake_openai::{FakeOpenAi, Reply};
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::ids::SystemIds;
use openai_backend::domain::turn::FaultKind;
use openai_backend::store::memory::Memory;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use reqwest::Method;
use serde_json::json;

use crate::support::captured_log::CapturedLog;
use crate::support::client::Client;
use crate::support::faulty::Faulty;
use crate::support::scripted::{Act, Scripted};
use crate::support::server::Setup;

const PROMPT: &str = "canary-prompt-3f1c";
const SYSTEM: &str = "canary-system-77ab";
const ANSWER: &str = "canary-answer-90de";
const KEY: &str = "canary-key-5521";
const SECRET: &str = "canary-secret-1b0f that is long enough to sign";
const PANIC: &str = "canary-panic-c4c4";

fn setup(level: &str) -> Setup {
    let logged = Setup::default().set("LOG_LEVEL", level).set("ACCESS_LOG", "all");
    logged.set("SESSION_SECRET", SECRET).set("OPENAI_API_KEY", KEY)
}

/// Nothing secret was logged, but something was.
#[track_caller]
fn assert_clean(log: &CapturedLog, cookies: &[String]) {
    let text = log.text();
    assert!(text.contains("openai_backend"), "the log was not caught: {text:?}");
    let words: Vec<&str> = vec![PROMPT, SYSTEM, ANSWER, KEY, "canary-secret", PANIC];
    let pieces = cookies.iter().flat_map(|cookie| cookie.split_once('=').unwrap().1.split('.'));
    for word in words.into_iter().chain(pieces) {
        assert!(!text.contains(word), "{word} is in the log: {text}");
    }
}

fn body(stream: bool) -> serde_json::Value {
    json!({"prompt": PROMPT, "systemPrompt": SYSTEM, "stream": stream})
}

/// Both kinds of turn; gives what a client was told where it was an error.
async fn talk(client: &Client) -> Vec<String> {
    let mut errors = Vec::new();
    for stream in [false, true] {
        let answer = client.post("/chat", &body(stream)).await;
        let failed = !answer.status.is_success();
        errors.extend((failed || answer.text.contains("event: error")).then(|| answer.text.replace(ANSWER, "")));
    }
    errors
}

#[track_caller]
fn assert_say_nothing(errors: &[String]) {
    for error in errors {
        assert!(!error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_good_day_is_logged_without_a_word_of_it() {
    for level in ["trace", "trace,hyper=trace,tower_http=trace,reqwest=trace,h2=trace", "debug", "info"] {
        let upstream = Arc::new(Scripted::new([vec![Act::Say(ANSWER)], vec![Act::Say(ANSWER)]]));
        let setup = setup(level).upstream(upstream);
        let log = CapturedLog::start(&setup.config().log);
        let server = setup.start().await;
        let client = server.client();
        assert!(talk(&client).await.is_empty());
        let cookie = client.cookie().unwrap();
        assert!(client.get("/chat?details=true").await.text.contains(PROMPT));
        client.get(&format!("/chat?conversationId={PROMPT}")).await;
        client.get(&format!("/{PROMPT}")).await;
        client.delete("/chat").await;
        server.stop().await;
        assert_clean(&log, &[cookie]);
    }
}

#[tokio::test]
async fn a_bad_day_is_logged_without_a_word_of_it() {
    let faults = [FaultKind::UpstreamRefusedKey, FaultKind::RateLimited, FaultKind::UpstreamCut, FaultKind::Internal];
    let script = faults.into_iter().flat_map(|kind| {
        [
            vec![Act::Fail(kind)],
            vec![Act::Fail(kind)],
            vec![Act::Say(ANSWER), Act::Fail(kind)],
            vec![Act::Say(ANSWER), Act::Fail(kind)],
        ]
    });
    let setup = setup("trace").upstream(Arc::new(Scripted::new(script)));
    let log = CapturedLog::start(&setup.config().log);
    let server = setup.start().await;
    let client = server.client();
    for _ in 0..faults.len() * 2 {
        let errors = talk(&client).await;
        assert_eq!(errors.len(), 2);
        assert_say_nothing(&errors);
    }
    assert_clean(&log, &[client.cookie().unwrap()]);
}

#[tokio::test]
async fn a_store_that_fails_is_logged_without_a_word_of_it() {
    let store = Faulty::well(Arc::new(Memory::new(Arc::new(SystemClock))));
    let upstream = Arc::new(Scripted::new([vec![Act::Say(ANSWER)], vec![Act::Say(ANSWER)]]));
    let setup = setup("trace").store(store.clone()).upstream(upstream);
    let log = CapturedLog::start(&setup.config().log);
    let server = setup.start().await;
    let client = server.client();
    talk(&client).await;
    for break_it in [Faulty::go_away as fn(&Faulty), Faulty::fill, Faulty::panic] {
        break_it(&store);
        let errors = talk(&client).await;
        assert_eq!(errors.len(), 2);
        assert_say_nothing(&errors);
        client.get("/chat").await;
        client.delete("/chat").await;
    }
    assert_clean(&log, &[client.cookie().unwrap()]);
    assert!(log.text().contains("the store failed a request"), "it is logged at all: {}", log.text());
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_logged_without_a_word_of_them() {
    let setup = setup("trace");
    let log = CapturedLog::start(&setup.config().log);
    let server = setup.start().await;
    let client = server.client();
    client.say("Hi").await;
    let cookie = client.cookie().unwrap();
    for body in [
        format!("{{\"prompt\": \"{PROMPT}\""),
        format!("\"{PROMPT}\""),
        PROMPT.to_owned(),
        format!("{{\"prompt\": [\"{PROMPT}\"]}}"),
        format!("{{\"prompt\": \"x\", \"temperature\": \"{PROMPT}\"}}"),
        format!("{{\"prompt\": \"{PROMPT}\", \"model\": \"{PROMPT}\\n\"}}"),
        format!("{{\"prompt\": \"{PROMPT}\", \"conversationId\": \"{PROMPT}\"}}"),
    ] {
        let request = client.request(Method::POST, "/chat").header("content-type", "application/json");
        let answer = client.send(request.body(body)).await;
        answer.failed(400);
        assert_say_nothing(&[answer.text]);
    }
    let request = client.request(Method::POST, "/chat").header("content-type", PROMPT);
    assert_say_nothing(&[client.send(request.body(PROMPT)).await.text]);
    client.set_cookie(Some(format!("{cookie}{PROMPT}")));
    assert_say_nothing(&[client.get("/chat").await.text]);
    assert_clean(&log, &[cookie]);
}

#[tokio::test]
async fn a_panic_is_logged_without_a_word_of_it() {
    let script = [vec![Act::Panic(PANIC)], vec![Act::Say(ANSWER), Act::Panic(PANIC)]];
    let setup = setup("trace").upstream(Arc::new(Scripted::new(script)));
    let log = CapturedLog::start(&setup.config().log);
    let server = setup.start().await;
    let (one, two) = (server.client(), server.client());
    let plain = one.post("/chat", &body(false)).await;
    let streamed = two.post("/chat", &body(true)).await;
    assert_say_nothing(&[plain.text, streamed.text.replace(ANSWER, "")]);
    let cookies: Vec<String> = [one, two].iter().filter_map(Client::cookie).collect();
    assert_clean(&log, &cookies);
    assert!(log.text().contains("panic"), "it is logged at all: {}", log.text());
}

/// Ways in which a model server gives away what it was told.
fn indiscreet() -> Vec<Reply> {
    let everything = format!("{KEY} {PROMPT} {SYSTEM} {ANSWER}");
    let error = json!({"error": {"message": everything, "type": everything, "param": everything, "code": everything}});
    let mut replies: Vec<Reply> = [400, 401, 403, 404, 408, 422, 429, 500, 503, 302, 204]
        .into_iter()
        .flat_map(|status| {
            [Reply::json(status, &error), Reply::raw(status, "text/html", everything.clone()).header("x-echo", KEY)]
        })
        .collect();
    replies.extend([
        Reply::invalid_api_key_leaking(),
        Reply::raw(200, "text/html", everything.clone()),
        Reply::raw(200, "application/json", everything.clone()),
        Reply::raw(200, everything.clone(), "{}"),
        Reply::json(200, &json!({"choices": everything})),
        Reply::garbage(everything.clone()),
        Reply::text(ANSWER).then_error(&everything),
        Reply::text(ANSWER).without_done().without_finish_reason(),
        Reply::text(ANSWER).finish_reason(everything.clone()).status(500),
        Reply::text(ANSWER).then_json(&json!({"choices": [{"delta": everything}]})),
        Reply::no_answer(),
        Reply::reset(),
    ]);
    replies
}

#[tokio::test]
async fn an_indiscreet_model_server_is_not_repeated() {
    for reply in indiscreet() {
        let fake = FakeOpenAi::start().await;
        fake.set_default(reply.clone());
        let base_url = fake.base_url();
        let settings = OpenAiSettings {
            max_retries: 1,
            ..OpenAiSettings::new(base_url.parse().unwrap(), Some(KEY.into()), "compatible")
        };
        let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let setup = setup("trace").set("OPENAI_BASE_URL", &base_url).upstream(Arc::new(upstream));
        let log = CapturedLog::start(&setup.config().log);
        let server = setup.start().await;
        let client = server.client();
        let errors = talk(&client).await;
        assert!(!errors.is_empty(), "{reply:?}");
        assert_say_nothing(&errors);
        assert!(fake.calls() >= 1);
        assert_clean(&log, &[client.cookie().unwrap()]);
        assert!(!log.text().contains("canary"), "{}", log.text());
    }
}
