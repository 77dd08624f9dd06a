//! OpenAI's shape for every failure, whatever layer it comes from, and the other door's shape unchanged (P21).

use std::sync::Arc;
use std::time::Duration;

use fake_openai::Reply;
use reqwest::Method;
use serde_json::json;

use super::{KEY, Rig, ask, failed};
use crate::support::raw::Raw;
use crate::support::scripted::Scripted;
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn addresses_and_methods_that_there_are_not() {
    let rig = Rig::new().await;
    for path in
        ["/v1", "/v1/", "/v1/nowhere", "/v1/chat", "/v1/chat/completions/", "/v1/%ff", "/v1//models", "/v1/files/"]
    {
        let error = failed(&rig.get(path).await, 404);
        assert_eq!(
            (error["type"].as_str(), error["code"].as_str()),
            (Some("invalid_request_error"), Some("not_found"))
        );
    }
    for (method, path, allow) in [
        (Method::DELETE, "/v1/chat/completions", "POST"),
        (Method::DELETE, "/v1/models", "GET"),
        (Method::GET, "/v1/embeddings", "POST"),
    ] {
        let answer = rig.client.send(rig.request(method, path)).await;
        assert_eq!(failed(&answer, 405)["code"], "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains(allow), "{answer:?}");
    }
    // What only looks like it is the other door's.
    for path in ["/v10", "/v1x/models", "/V1/models"] {
        assert_eq!(rig.get(path).await.failed(404), "not_found");
    }
}

#[tokio::test]
async fn bodies_that_are_not_fit() {
    let setup = Setup::default().set("MAX_BODY_BYTES", "2048").set("BODY_TIMEOUT", "100ms");
    let rig = Rig::with(setup, |settings| settings).await;
    let json = |body: &str| rig.completion(body.to_owned());
    let post = || rig.request(Method::POST, "/v1/chat/completions");
    for (request, status, code) in [
        (json(""), 400, "invalid_request"),
        (json("{"), 400, "invalid_request"),
        (json("[]"), 400, "invalid_request"),
        (json("\"canary\""), 400, "invalid_request"),
        (json(r#"{"model": canary}"#), 400, "invalid_request"),
        (json(&format!("{{\"messages\":\"{}\"}}", "canary".repeat(400))), 413, "body_too_large"),
        (post().body("{}"), 415, "unsupported_media_type"),
        (json("{}").header("content-encoding", "gzip"), 415, "unsupported_media_type"),
    ] {
        let error = failed(&rig.client.send(request).await, status);
        assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some(code), Some("invalid_request_error")));
    }
    let mut slow = Raw::connect(&rig.server).await;
    slow.send(format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{{"
    ))
    .await;
    let answer = slow.answer().await.unwrap();
    assert_eq!(answer.status, 408);
    assert!(answer.body.contains(r#""code":"body_timeout""#), "{}", answer.body);
    assert_eq!(rig.fake.calls(), 0);
}

#[tokio::test]
async fn a_panic_is_in_shape_at_both_doors() {
    struct Panics;
    #[async_trait::async_trait]
    impl openai_backend::upstream::Upstream for Panics {
        fn info(&self) -> openai_backend::upstream::UpstreamInfo {
            openai_backend::upstream::Upstream::info(&Scripted::default())
        }
        async fn call(
            &self,
            _: openai_backend::upstream::Call,
        ) -> Result<openai_backend::upstream::Pieces, openai_backend::domain::turn::Fault> {
            panic!("canary")
        }
        async fn complete(
            &self,
            _: openai_backend::upstream::forward::Ask,
        ) -> Result<openai_backend::upstream::forward::Completed, openai_backend::upstream::forward::Rejected> {
            panic!("canary")
        }
        async fn check(&self) -> Result<String, openai_backend::domain::turn::Fault> {
            panic!("canary")
        }
    }
    let server = Setup::default().upstream(Arc::new(Panics)).start().await;
    let answer = server.client().post("/v1/chat/completions", &ask(false)).await;
    let error = failed(&answer, 500);
    assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some("internal"), Some("api_error")));
    assert_eq!(server.client().say("x").await.failed(500), "internal");
}

#[tokio::test]
async fn the_models_failures_mean_to_an_sdk_what_openais_do() {
    let rig = Rig::new().await;
    for (reply, status, kind, code) in [
        (Reply::invalid_api_key_leaking(), 502, "api_error", "upstream_refused_key"),
        (Reply::rate_limited_for(30), 429, "rate_limit_error", "rate_limit_exceeded"),
        (Reply::insufficient_quota(), 429, "insufficient_quota", "insufficient_quota"),
        (Reply::context_length_exceeded(), 400, "invalid_request_error", "context_length_exceeded"),
        (Reply::llama_context_exceeded(), 400, "invalid_request_error", "context_length_exceeded"),
        (Reply::model_not_found(), 404, "invalid_request_error", "model_not_found"),
        (Reply::unsupported_parameter("top_k"), 400, "invalid_request_error", "unsupported_parameter"),
        (
            Reply::json(422, &json!({"error": {"code": 422, "message": "no"}})),
            422,
            "invalid_request_error",
            "upstream_refused",
        ),
        (
            Reply::json(404, &json!({"error": {"message": "Invalid URL"}})),
            404,
            "invalid_request_error",
            "upstream_refused",
        ),
        (Reply::raw(302, "text/html", ""), 502, "api_error", "upstream_refused"),
        (Reply::server_error(), 502, "api_error", "upstream_unavailable"),
        (Reply::llama_loading(), 502, "api_error", "upstream_unavailable"),
        (Reply::bad_gateway(), 502, "api_error", "upstream_unavailable"),
    ] {
        for stream in [false, true] {
            rig.fake.push(reply.clone());
            let answer = rig.complete(&ask(stream)).await;
            let error = failed(&answer, status);
            assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some(kind), Some(code)), "{reply:?}");
            let hopeless = matches!(code, "upstream_refused_key" | "insufficient_quota");
            assert_eq!(answer.header("x-should-retry"), hopeless.then_some("false"), "{reply:?}");
        }
    }
    rig.fake.push(Reply::unsupported_parameter("max_completion_tokens"));
    let error = failed(&rig.complete(&json!({"model": "m", "max_completion_tokens": 5, "messages": []})).await, 400);
    assert_eq!(error["param"], "max_completion_tokens");
    assert!(error["message"].as_str().unwrap().contains("not supported with this model"), "{error}");
}

#[tokio::test]
async fn when_to_come_back_is_said_in_both_units() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::rate_limited_for_ms(Duration::from_millis(2_500)));
    let answer = rig.complete(&ask(false)).await;
    failed(&answer, 429);
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), (Some("3"), Some("2500")));
}

#[tokio::test]
async fn the_other_door_speaks_as_before() {
    let server = TestServer::demo().await;
    assert_eq!(server.client().post("/chat", &json!({})).await.failed(400), "invalid_request");
    assert_eq!(server.client().get("/nowhere").await.failed(404), "not_found");
}

#[tokio::test]
async fn null_counts_as_absent_and_what_caches_add_is_read_over() {
    let rig = Rig::new().await;
    rig.fake.set_default(Reply::text("ok"));
    let with_nulls = |known: serde_json::Value, absent: &str| {
        let mut body = known;
        absent.split(' ').for_each(|name| body[name] = json!(null));
        body
    };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let response = "instructions stream store background previous_response_id conversation truncation tool_choice tools \
                    parallel_tool_calls temperature top_p max_output_tokens max_tool_calls reasoning text metadata include user \
                    service_tier prompt_cache_key safety_identifier top_logprobs stream_options prompt";
    let inner = json!({"model": "m", "input": "Hi", "reasoning": {"effort": null, "summary": null},
        "text": {"format": null, "verbosity": null}});
    for (path, body) in [
        ("/v1/responses", with_nulls(json!({"model": "m", "input": "Hi"}), response)),
        ("/v1/responses", inner),
        (
            "/v1/responses/input_tokens",
            with_nulls(json!({"model": "m", "input": "Hi"}), "tools tool_choice text reasoning"),
        ),
        (
            "/v1/chat/completions",
            with_nulls(
                json!({"model": "m", "messages": messages}),
                "stream store n max_tokens max_completion_tokens metadata stream_options",
            ),
        ),
        ("/v1/conversations", with_nulls(json!({}), "items metadata")),
    ] {
        let answer = rig
            .client
            .send(rig.request(Method::POST, path).header("content-type", "application/json").body(body.to_string()))
            .await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {body}: {}", answer.text);
    }
    for path in ["/v1/models", "/v1/conversations", "/v1/chat/completions", "/v1/conversations?limit=1&order=desc"] {
        let and = if path.contains('?') { '&' } else { '?' };
        let answer = rig.get(&format!("{path}{and}_=1732&utm_source=x")).await;
        assert_eq!(answer.status.as_u16(), 200, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_upstreams_reason_code_and_parameter_come_through_both_doors_in_any_shape() {
    let rig = Rig::with(Setup::default(), |settings| settings).await;
    let raw = json!({"error": {"message": "Max is 4.", "param": "n", "code": "too_many"}}).to_string();
    for (body, reason, param, code) in [
        (
            json!({"error": {"message": "Max is 4.", "type": "t", "param": "n", "code": "too_many"}}),
            "Max is 4.",
            "n",
            "too_many",
        ),
        (
            json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}),
            "Max is 4.",
            "n",
            "too_many",
        ),
        (json!({"detail": [{"loc": ["body", "n"], "msg": "Max is 4.", "type": "max"}]}), "n: Max is 4.", "n", ""),
        (
            json!([{"error": {"code": 400, "message": "Max is 4.", "status": "INVALID_ARGUMENT"}}]),
            "Max is 4.",
            "",
            "upstream_refused",
        ),
        (json!({"error": {"code": 1213, "message": "Max is 4."}}), "Max is 4.", "", "1213"),
        (json!({"error": "Max is 4."}), "Max is 4.", "", ""),
        (json!({"message": "Max is 4. See https://user:pass@x/ with AIzaSecret"}), "See [address] with [key]", "", ""),
    ] {
        for stream in [false, true] {
            let response = json!({"model": "m", "input": "Hi", "stream": stream});
            for (path, asked) in [("/v1/responses", response), ("/v1/chat/completions", ask(stream))] {
                rig.fake.push(fake_openai::Reply::json(400, &body));
                let request = rig.request(Method::POST, path).header("content-type", "application/json");
                let answer = rig.client.send(request.body(asked.to_string())).await;
                let error = failed(&answer, 400);
                assert!(error["message"].as_str().unwrap().contains(reason), "{path}: {error}");
                assert_eq!(error["param"].as_str().unwrap_or_default(), param, "{path}: {error}");
                if !code.is_empty() {
                    assert_eq!(error["code"], code, "{path}");
                }
            }
        }
    }
}
