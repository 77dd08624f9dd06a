//! Keys and message text are in no log, at any level, and in no error of the SDK door (P20).

use fake_openai::{Reply, Step};
use reqwest::Method;
use serde_json::json;

use super::{KEY, Rig, SERVERS_KEY, ask, hasty};
use crate::support::captured_log::CapturedLog;
use crate::support::server::Setup;

#[tokio::test]
async fn an_indiscreet_model_server_is_not_repeated() {
    let setup = Setup::default().set("LOG_LEVEL", "trace");
    let log = CapturedLog::start(&setup.config().log);
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
    let log = log.text();
    assert!(log.contains("the model's server failed"), "the log was caught: {log}");
    for secret in ["canary", "lighthouses"] {
        assert!(!log.contains(secret), "{log}");
    }
}
