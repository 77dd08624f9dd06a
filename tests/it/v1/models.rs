//! The list of models, with an upstream's list and without.

use fake_openai::Reply;
use serde_json::{Value, json};

use super::{Rig, failed};
use crate::support::schema::{Spec, check};
use crate::support::server::{Setup, TestServer};

fn names(list: &Value) -> Vec<&str> {
    assert_eq!(list["object"], "list");
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect()
}

async fn rig(list: Reply) -> Rig {
    let setup = Setup::default().set("ALLOWED_MODELS", "gpt-4*,org/one").set("DEFAULT_MODEL", "gpt-4o");
    let rig = Rig::with(setup, |settings| settings).await;
    rig.fake.set_path("/v1/models", list);
    rig
}

#[tokio::test]
async fn the_upstreams_list_is_kept_to_what_requests_may_name() {
    let listed = json!({"data": [{"id": "gpt-4.1", "x": 1.5}, {"id": "whisper"}, {"id": "org/one"}, {"no": "id"}]});
    let rig = rig(Reply::json(200, &listed)).await;
    let list = rig.get("/v1/models").await.ok();
    assert_eq!(names(&list), ["gpt-4.1", "org/one"]);
    let model = rig.get("/v1/models/gpt-4.1").await.ok();
    // What clients look for is put in where it is not there; all else is the upstream's.
    let wanted = json!({"id": "gpt-4.1", "x": 1.5, "object": "model", "created": 0, "owned_by": "openai-backend"});
    assert_eq!((&model, &list["data"][0]), (&wanted, &wanted));
    for path in ["/v1/models/org/one", "/v1/models/org%2Fone"] {
        assert_eq!(rig.get(path).await.ok()["id"], "org/one");
    }
    for path in ["/v1/models/whisper", "/v1/models/gpt-4", "/v1/models/org/two/three", "/v1/models/%F0%9F%92%A5"] {
        let error = failed(&rig.get(path).await, 404);
        assert_eq!(
            (error["code"].as_str(), error["param"].as_str()),
            (Some("model_not_found"), Some("model")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn where_there_is_no_list_the_settings_are_one() {
    for list in [Reply::raw(404, "text/html", "no"), Reply::json(501, &json!({})), Reply::json(200, &json!([1]))] {
        let rig = rig(list).await;
        let list = rig.get("/v1/models").await.ok();
        check(Spec::OpenAi, "ListModelsResponse", &list);
        assert_eq!(names(&list), ["gpt-4o", "org/one"]);
        let model = rig.get("/v1/models/gpt-4o").await.ok();
        check(Spec::OpenAi, "Model", &model);
        assert_eq!(model, json!({"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai-backend"}));
        failed(&rig.get("/v1/models/gpt-4.1").await, 404);
    }
}

#[tokio::test]
async fn an_upstream_that_fails_is_no_empty_list() {
    for (list, status) in
        [(Reply::invalid_api_key_leaking(), 502), (Reply::server_error(), 502), (Reply::rate_limited(), 429)]
    {
        let rig = rig(list).await;
        failed(&rig.get("/v1/models").await, status);
        failed(&rig.get("/v1/models/gpt-4o").await, status);
    }
}

#[tokio::test]
async fn the_demo_is_a_model() {
    let client = TestServer::demo().await;
    let list = client.client().get("/v1/models").await.ok();
    check(Spec::OpenAi, "ListModelsResponse", &list);
    assert_eq!(names(&list), ["demo"]);
    check(Spec::OpenAi, "Model", &client.client().get("/v1/models/demo").await.ok());
}

#[tokio::test]
async fn lists_of_other_shapes_become_the_one_that_clients_read() {
    let full = json!({"id": "gpt-4.1", "object": "model", "created": 7, "owned_by": "x"});
    let plain = json!({"id": "gpt-4.1", "object": "model", "created": 0, "owned_by": "openai-backend"});
    for (list, wanted) in [
        (json!({"object": "list", "data": [full, full, {"id": "gpt-4.1"}]}), full.clone()),
        (json!({"models": [{"name": "gpt-4.1", "model": "gpt-4.1"}]}), json!({"name": "gpt-4.1", "model": "gpt-4.1"})),
        (json!({"models": [{"name": "models/gpt-4.1", "displayName": "4.1"}]}), json!({"displayName": "4.1"})),
        (json!([{"id": "gpt-4.1", "object": "model"}]), plain.clone()),
        (json!(["gpt-4.1", "whisper"]), plain.clone()),
        (json!({"data": [], "models": [{"slug": "gpt-4.1"}]}), plain.clone()),
        (json!({"data": [{"id": "gpt-4.1", "created": "2024", "owned_by": null}]}), plain.clone()),
        (json!({"data": [{"id": "gpt-4.1", "created": 1700000000.5}]}), json!({"created": 1_700_000_000})),
    ] {
        let rig = rig(Reply::json(200, &list)).await;
        let shown = rig.get("/v1/models").await.ok();
        check(Spec::OpenAi, "ListModelsResponse", &shown);
        assert_eq!(names(&shown), ["gpt-4.1"], "{list}");
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&shown["data"][0][name], value, "{name} of {list}");
        }
        assert_eq!(rig.get("/v1/models/gpt-4.1").await.ok(), shown["data"][0]);
        assert_eq!(rig.get("/v1/models/").await.ok(), shown, "a slash at the end");
    }
}

/// Codex decodes a catalogue of its own out of the list, and falls back to its built-in one where that is empty.
#[tokio::test]
async fn codex_finds_its_catalogue_and_other_clients_none() {
    let rig = rig(Reply::json(200, &json!({"data": [{"id": "gpt-4.1"}]}))).await;
    let shown = rig.get("/v1/models?client_version=0.171.0").await.ok();
    assert_eq!((&shown["models"], names(&shown)), (&json!([]), vec!["gpt-4.1"]));
    assert_eq!(rig.get("/v1/models").await.ok().get("models"), None);
}

#[tokio::test]
async fn the_list_takes_no_place_among_the_calls() {
    let setup = Setup::default().set("MAX_MODEL_CALLS", "1");
    let rig = Rig::with(setup, |settings| settings).await;
    let gate = fake_openai::Gate::new();
    rig.fake.push(Reply::text("begun").then_wait(&gate));
    let running = json!({"model": "m", "input": "Hi", "background": true});
    let sdk = super::sdk::Sdk::new(&rig.server.url);
    sdk.respond(running).await;
    rig.fake.wait_for_calls(1, crate::support::SOON).await;
    failed(&sdk.post("/v1/responses", &json!({"model": "m", "input": "Hi"})).await, 503);
    assert!(!names(&rig.get("/v1/models").await.ok()).is_empty());
    gate.open();
}
