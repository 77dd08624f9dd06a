//! Plain chat completions: what goes up byte for byte, what comes back, and the rules in between.

use std::time::Duration;

use fake_openai::{Gate, Reply, Step};
use reqwest::Method;
use serde_json::json;

use super::{Rig, ask, failed, hasty};
use crate::support::SOON;
use crate::support::schema::{Spec, check};
use crate::support::server::{Setup, TestServer};

#[tokio::test]
async fn a_request_goes_up_byte_for_byte() {
    let rig = Rig::new().await;
    let odd = "{ \"messages\" :[{\"role\":\"user\",\"content\":\"\\u00e9 \\ud83d\\udc4c\"}],\"model\":\"m\\u0031\",\r\n\
               \"temperature\":1.0e0,\"unknown\":{\"deep\":[1,2,{}]},\"n\":1, \"stream\":false }";
    rig.client.send(rig.completion(odd).header("accept", "text/event-stream")).await.ok();
    assert_eq!(rig.fake.last().body, odd);
    assert_eq!(rig.fake.last().path, "/v1/chat/completions");
}

#[tokio::test]
async fn an_answer_comes_back_byte_for_byte_where_nothing_is_missing() {
    let rig = Rig::new().await;
    let odd = r#"{ "choices":[{"message":{"refusal":null,"content":"\u00e9"},"logprobs":null,"finish_reason":"stop"}],"x":1.50 }"#;
    rig.fake.push(Reply::raw(200, "application/json; charset=utf-8", odd));
    let answer = rig.client.send(rig.completion(ask(false).to_string()).header("accept-encoding", "gzip")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, odd));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-encoding"), None);
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    rig.fake.push(Reply::raw(200, "application/json", r#"{"choices":[{"message":{"content":"x"}}]}"#));
    let mended = rig.complete(&ask(false)).await.ok();
    assert_eq!(mended, json!({"choices": [{"logprobs": null, "message": {"content": "x", "refusal": null}}]}));
}

#[tokio::test]
async fn the_rules_of_this_server_hold() {
    let setup =
        Setup::default().set("ALLOWED_MODELS", "m,gpt-4*").set("DEFAULT_MODEL", "m").set("MAX_TOKENS_LIMIT", "2000");
    let rig = Rig::with(setup, |settings| settings).await;
    let messages = json!([{"role": "user", "content": "Hi"}]);
    for (body, status, param, code) in [
        (json!({"model": "other", "messages": messages}), 404, "model", "model_not_found"),
        (json!({"model": "", "messages": messages}), 404, "model", "model_not_found"),
        (json!({"model": null, "messages": messages}), 400, "model", "invalid_type"),
        (json!({"messages": messages}), 400, "model", "missing_required_parameter"),
        (json!({"model": "m", "n": 0}), 400, "n", "integer_below_min_value"),
        (json!({"model": ["m"], "messages": messages}), 400, "model", "invalid_type"),
        (json!({"model": "m", "stream": "yes", "messages": messages}), 400, "stream", "invalid_type"),
        (json!({"model": "m", "max_completion_tokens": 1e9}), 400, "max_completion_tokens", "invalid_type"),
        (json!({"model": "m", "max_tokens": -1}), 400, "max_tokens", "invalid_type"),
        (json!({"model": "m", "n": "2"}), 400, "n", "invalid_type"),
    ] {
        let error = failed(&rig.complete(&body).await, status);
        assert_eq!((error["param"].as_str(), error["code"].as_str()), (Some(param), Some(code)), "{body}");
        assert_eq!(error["type"], "invalid_request_error");
    }
    // Two of a key would be two requests in one.
    let twice = rig.client.send(rig.completion(r#"{"model":"m","mod\u0065l":"other"}"#)).await;
    failed(&twice, 400);
    assert_eq!(rig.fake.calls(), 0);
    for body in [json!({"model": "gpt-4o", "max_tokens": 2000}), json!({"model": "m", "stream": null, "n": null})] {
        rig.complete(&body).await.ok();
    }
    let calls = rig.fake.calls();
    for body in [" {}", r#"{"messages":[]}"#] {
        let error = failed(&rig.client.send(rig.completion(body)).await, 400);
        assert_eq!((&error["param"], &error["code"]), (&json!("model"), &json!("missing_required_parameter")));
    }
    assert_eq!(rig.fake.calls(), calls);
}

#[tokio::test]
async fn a_cap_beyond_the_operators_limit_is_lowered_to_it_and_none_is_made_up() {
    let limited = Rig::with(Setup::default().set("MAX_TOKENS_LIMIT", "2000"), |settings| settings).await;
    let free = Rig::new().await;
    for (rig, asked, sent) in [
        (&limited, json!({"max_tokens": 32_000}), json!({"max_tokens": 2_000})),
        (&limited, json!({"max_completion_tokens": u64::MAX}), json!({"max_completion_tokens": 2_000})),
        (
            &limited,
            json!({"max_tokens": 5_000, "max_completion_tokens": 7}),
            json!({"max_tokens": 2_000, "max_completion_tokens": 7}),
        ),
        (&limited, json!({"max_tokens": 2_000}), json!({"max_tokens": 2_000})),
        (&limited, json!({}), json!({})),
        (&free, json!({"max_tokens": 128_000}), json!({"max_tokens": 128_000})),
        (&free, json!({}), json!({})),
    ] {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}], "seed": 7});
        body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        rig.complete(&body).await.ok();
        let up = rig.fake.last().json.clone();
        assert_eq!((&up["seed"], &up["messages"]), (&body["seed"], &body["messages"]));
        for cap in ["max_tokens", "max_completion_tokens"] {
            assert_eq!(up.get(cap), sent.get(cap), "{asked}");
        }
    }
}

#[tokio::test]
async fn an_early_failure_is_tried_again_and_a_late_one_is_not() {
    let rig = Rig::with(Setup::default(), |settings| openai_backend::upstream::openai::settings::OpenAiSettings {
        max_retries: 3,
        ..settings
    })
    .await;
    rig.fake.push_all([
        Reply::server_error(),
        Reply::rate_limited_for_ms(Duration::from_millis(1)),
        Reply::text("Third time"),
    ]);
    let answer = rig.complete(&ask(true)).await;
    assert!(answer.text.contains("Third"), "{}", answer.text);
    assert_eq!(rig.fake.calls(), 3);
    rig.fake.push(Reply::text("Half").then(Step::Fin));
    let answer = rig.complete(&ask(true)).await;
    assert!(answer.text.contains("upstream_cut"), "{}", answer.text);
    assert_eq!(rig.fake.calls(), 4);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_upstream() {
    let rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("never").wait_first(&gate));
    {
        let asked = rig.completion(ask(false).to_string()).send();
        let called = rig.fake.wait_for_calls(1, SOON);
        tokio::select! {
            _ = asked => panic!("it answered"),
            _ = called => {}
        }
    }
    rig.fake.wait_for_abort(SOON).await;
}

#[tokio::test]
async fn a_model_that_takes_too_long_is_a_504() {
    let rig = Rig::with(Setup::default(), hasty).await;
    for stream in [false, true] {
        rig.fake.push(Reply::hang());
        let error = failed(&rig.complete(&ask(stream)).await, 504);
        assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("api_error"), Some("upstream_timeout")));
    }
}

#[tokio::test]
async fn a_server_that_stops_waits_for_answers_and_takes_no_more() {
    let mut rig = Rig::new().await;
    let gate = Gate::new();
    rig.fake.push(Reply::pieces(["One", "Two"]).then_wait(&gate).then_text(" three"));
    let mut stream = rig.completion(ask(true).to_string()).send().await.unwrap();
    let mut text = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let spare = rig.request(Method::GET, "/health/ready");
    rig.server.begin_stop();
    let ready = rig.client.send(spare).await;
    assert!(matches!(ready.status.as_u16(), 200 | 503));
    gate.open();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("three") && text.ends_with("data: [DONE]\n\n"), "{text}");
    rig.server.ended().await;
}

#[tokio::test]
async fn a_server_out_of_patience_ends_a_stream_with_an_error() {
    let mut rig = Rig::with(Setup::default().set("SHUTDOWN_GRACE", "0s"), |settings| settings).await;
    let gate = Gate::new();
    rig.fake.push(Reply::text("One").then_wait(&gate));
    let mut stream = rig.completion(ask(true).to_string()).send().await.unwrap();
    let mut text = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    rig.server.begin_stop();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains("server_stopped") && !text.contains("[DONE]"), "{text}");
    rig.server.ended().await;
}

#[tokio::test]
async fn the_demo_answers_too() {
    let server = TestServer::demo().await;
    let client = server.client();
    let body =
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": [{"type": "text", "text": "Ahoy"}]}]});
    let plain = client.post("/v1/chat/completions", &body).await.ok();
    check(Spec::OpenAi, "CreateChatCompletionResponse", &plain);
    assert_eq!((&plain["object"], &plain["model"]), (&json!("chat.completion"), &json!("demo")));
    assert!(plain["choices"][0]["message"]["content"].as_str().unwrap().contains("Ahoy"), "{plain}");
    assert!(plain["usage"]["total_tokens"].as_u64().unwrap() > 0 && plain["created"].as_u64().unwrap() > 0);
    let empty = client.post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": []})).await;
    assert_eq!(failed(&empty, 400)["param"], "messages");
}
