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
    assert_eq!(rig.get("/v1/models/gpt-4.1").await.ok(), json!({"id": "gpt-4.1", "x": 1.5}));
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
