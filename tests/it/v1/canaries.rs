//! Keys and message text are in no log, at any level, and in no error of the SDK door (P20).

use std::io;
use std::sync::{Arc, Mutex};

use fake_openai::{Reply, Step};
use openai_backend::telemetry;
use reqwest::Method;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::{KEY, Rig, SERVERS_KEY, ask, hasty};
use crate::support::server::Setup;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_indiscreet_model_server_is_not_repeated() {
    // A second dispatcher keeps `tracing` from remembering what a neighbouring test's thread answered.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let sink = Sink::default();
    let setup = Setup::default().set("LOG_LEVEL", "trace");
    let subscriber = telemetry::subscriber(&setup.config().log, sink.clone(), false);
    let _logging = tracing::subscriber::set_default(subscriber);
    let rig = Rig::with(setup, hasty).await;
    let echo = format!("canary prompt: lighthouses {SERVERS_KEY} {KEY}");
    let error = json!({"error": {"message": echo, "type": echo, "param": echo, "code": echo}});
    let mut replies: Vec<Reply> =
        [400, 401, 403, 404, 408, 422, 429, 500, 503].map(|status| Reply::json(status, &error)).into();
    replies.extend([
        Reply::raw(500, "text/html", echo.clone()),
        Reply::raw(200, "application/json", echo.clone()),
        Reply::raw(200, echo.clone(), "{}"),
        Reply::garbage(echo.clone()),
        Reply::stream([Step::Data(echo.clone())]),
        Reply::json(200, &error),
        Reply::text("fine").then_error(&echo),
        Reply::no_answer(),
    ]);
    for reply in replies {
        for stream in [false, true] {
            rig.fake.push(reply.clone());
            let text = rig.complete(&ask(stream)).await.text;
            assert!(text.contains("error") && !text.contains("canary") && !text.contains("lighthouses"), "{text}");
        }
        rig.fake.set_path("/v1/models", reply);
        let text = rig.get("/v1/models").await.text;
        assert!(!text.contains("canary"), "{text}");
    }
    rig.client.send(rig.client.json("/v1/chat/completions", &ask(false)).bearer_auth("canary-wrong-key")).await;
    rig.client.send(rig.request(Method::POST, "/v1/files").body("canary")).await;
    rig.complete(&ask(true)).await;
    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the model's server failed"), "the log was caught: {log}");
    for secret in ["canary", "lighthouses"] {
        assert!(!log.contains(secret), "{log}");
    }
}
