//! P25: the trouble of one model, or of one kind of route, refuses nothing that does not need it; and what is no trouble of
//! the model's server refuses nothing at all.

use fake_openai::{Reply, Step};
use openai_backend::upstream::health::{BreakerSettings, HealthSettings};
use openai_backend::upstream::openai::settings::OpenAiSettings;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Rig, failed};
use crate::support::client::Answer;
use crate::support::server::Setup;

fn to(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hi"}]})
}

impl Rig {
    /// With retries, as servers have them.
    async fn retrying() -> Self {
        Self::with(Setup::default(), |settings| OpenAiSettings { max_retries: 3, ..settings }).await
    }

    /// Whose breakers open at the third failure.
    async fn nervous() -> Self {
        let breaker = BreakerSettings { min_attempts: 3, ..BreakerSettings::default() };
        let health = HealthSettings { breaker, ..HealthSettings::default() };
        Self::with(Setup::default(), |settings| OpenAiSettings { health, ..settings }).await
    }

    async fn send_to(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.client.send(request.body(body.to_string())).await
    }

    /// Every door and route answers, except for the model `sick` and the route of embeddings.
    async fn all_is_well(&self) {
        self.complete(&to("well")).await.ok();
        let answer = self.complete(&json!({"model": "well", "messages": [], "stream": true})).await;
        assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
        self.send_to("/v1/responses", &json!({"model": "well", "input": "hi"})).await.ok();
        self.client.say("hi").await.ok();
        self.get("/v1/models").await.ok();
        assert_eq!(
            self.send_to("/v1/moderations", &json!({"input": "x"})).await.status.as_u16(),
            404,
            "the fake's own"
        );
    }
}

#[tokio::test]
async fn three_502s_of_one_model_are_that_models_own() {
    let rig = Rig::retrying().await;
    // The retries come at once, so that the test need not wait.
    rig.fake.set_responder(|request| match request.model() {
        "sick" => Reply::bad_gateway().header("retry-after-ms", "1"),
        _ => Reply::text("Hello"),
    });
    for _ in 0..3 {
        failed(&rig.complete(&to("sick")).await, 502);
    }
    failed(&rig.complete(&to("sick")).await, 503);
    rig.all_is_well().await;
    let answer = rig.send_to("/v1/responses", &json!({"model": "sick", "input": "hi"})).await;
    failed(&answer, 503);
}

#[tokio::test]
async fn the_failures_of_one_route_are_that_routes_own() {
    let rig = Rig::nervous().await;
    rig.fake.set_path("/v1/embeddings", Reply::server_error());
    for _ in 0..3 {
        assert_eq!(rig.send_to("/v1/embeddings", &json!({})).await.status.as_u16(), 500);
    }
    failed(&rig.send_to("/v1/embeddings", &json!({})).await, 503);
    rig.all_is_well().await;
    rig.fake.set_path("/v1/audio/speech", Reply::server_error());
    for _ in 0..4 {
        rig.send_to("/v1/audio/speech", &json!({})).await;
    }
    let status = rig.send_to("/v1/audio/transcriptions", &json!({})).await.status;
    assert_eq!(status.as_u16(), 404, "other audio, other models");
}

#[tokio::test]
async fn the_failures_of_one_model_are_its_own_on_every_route_that_takes_json() {
    for path in ["embeddings", "moderations", "images/generations", "audio/speech"] {
        let (rig, path) = (Rig::nervous().await, format!("/v1/{path}"));
        // Clients write the model behind what may be large.
        let to = |model: &str| json!({"input": "x".repeat(100_000), "model": model});
        rig.fake.set_path(&path, Reply::server_error());
        for _ in 0..3 {
            assert_eq!(rig.send_to(&path, &to("sick")).await.status.as_u16(), 500, "{path}");
        }
        failed(&rig.send_to(&path, &to("sick")).await, 503);
        rig.fake.set_path(&path, Reply::json(200, &json!({"data": []})));
        rig.send_to(&path, &to("well")).await.ok();
        assert_eq!(rig.fake.requests().pop().unwrap().body, to("well").to_string().as_bytes(), "as it came");
        failed(&rig.send_to(&path, &to("sick")).await, 503);
        // What names no model is none of them; nor is what is no JSON.
        rig.send_to(&path, &json!({"model": null})).await.ok();
        let broken = rig.request(Method::POST, &path).header("content-type", "application/json").body("{\"model\":");
        rig.client.send(broken).await.ok();
    }
}

#[tokio::test]
async fn what_the_models_server_does_not_have_is_no_outage() {
    let rig = Rig::retrying().await;
    rig.fake.set_path("/v1/embeddings", Reply::json(501, &json!({"error": {"message": "not implemented"}})));
    for _ in 0..20 {
        assert_eq!(rig.send_to("/v1/embeddings", &json!({})).await.status.as_u16(), 501);
    }
    rig.all_is_well().await;
    let calls = rig.fake.calls();
    rig.fake.push(Reply::json(501, &json!({"error": {"message": "not implemented"}})));
    failed(&rig.complete(&to("m")).await, 502);
    assert_eq!(rig.fake.calls(), calls + 1, "it is not asked again");
}

#[tokio::test]
async fn refusals_and_our_own_limits_are_no_outage() {
    let rig = Rig::nervous().await;
    let answers = [
        Reply::model_not_found(),
        Reply::context_length_exceeded(),
        Reply::rate_limited_for(9),
        Reply::error(422, &json!({"detail": "no"})),
        Reply::raw(200, "text/html", "<html>Welcome to the captive portal</html>"),
        Reply::json(200, &json!({"no": "answer"})),
        Reply::stream([Step::HugeLine(3 * 1024 * 1024), Step::Hang]),
        Reply::raw(200, "application/json", vec![b' '; 17 * 1024 * 1024]),
    ];
    for answer in answers {
        for stream in [false, true] {
            for _ in 0..3 {
                rig.fake.push(answer.clone());
                let body = json!({"model": "m", "messages": [], "stream": stream});
                assert!(rig.complete(&body).await.status.as_u16() != 503, "{answer:?}");
            }
        }
    }
    rig.complete(&to("m")).await.ok();
    rig.all_is_well().await;
}
