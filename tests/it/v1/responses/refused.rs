//! What cannot be honoured is refused by its name, before anything is spent, and nothing of what was said is quoted.

use super::*;

/// `{"a": ...}`, and the parameter that is to blame.
type Case = (Value, &'static str);

fn shapes() -> Vec<Case> {
    vec![
        (json!({"model": 7}), "model"),
        (json!({"model": null}), "model"),
        (json!({"instructions": ["canary"]}), "instructions"),
        (json!({"input": 7}), "input"),
        (json!({"input": {"canary": "x"}}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": ["canary"]}), "input[0]"),
        (json!({"input": [{"role": "user", "content": "x"}, {"role": "user"}]}), "input[1].content"),
        (json!({"input": [{"role": "canary", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": 7, "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}), "input[0].content[0].image_url"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}), "input[0].content[0].type"),
        (json!({"input": [{"type": "function_call", "call_id": "a", "name": "f"}]}), "input[0].arguments"),
        (json!({"input": [{"type": "function_call_output", "call_id": "a"}]}), "input[0].output"),
        (json!({"input": [{"type": "function_call_output", "output": "canary"}]}), "input[0].call_id"),
        (json!({"store": "canary"}), "store"),
        (json!({"background": 1}), "background"),
        (json!({"stream": "true"}), "stream"),
        (json!({"background": true, "store": false}), "store"),
        (json!({"metadata": "canary"}), "metadata"),
        (json!({"metadata": {"k": 7}}), "metadata"),
        (json!({"metadata": {"k": "canary".repeat(100)}}), "metadata"),
        (json!({"previous_response_id": 7}), "previous_response_id"),
        (json!({"conversation": 7}), "conversation"),
        (json!({"conversation": {"id": 7}}), "conversation.id"),
        (json!({"conversation": {}}), "conversation.id"),
        (json!({"conversation": "conv_1", "previous_response_id": "resp_1"}), "previous_response_id"),
    ]
}

fn tools() -> Vec<Case> {
    let mut cases = vec![
        (json!({"tools": {}}), "tools"),
        (json!({"tools": ["canary"]}), "tools[0]"),
        (json!({"tools": [{"name": "f"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function"}]}), "tools[0].name"),
        (json!({"tools": [{"type": "function", "name": 7}]}), "tools[0].name"),
        (json!({"tools": [function("f"), {"type": "function", "name": "canary name"}]}), "tools[1].name"),
        (json!({"tools": [{"type": "function", "name": "f", "parameters": "canary"}]}), "tools[0].parameters"),
        (json!({"tools": [{"type": "function", "name": "f", "strict": "canary"}]}), "tools[0].strict"),
        (json!({"tools": [{"type": "function", "name": "f", "description": 7}]}), "tools[0].description"),
        (json!({"tool_choice": "canary"}), "tool_choice"),
        (json!({"tool_choice": 7}), "tool_choice"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "name": "canary"}, "tools": [function("f")]}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "function"}, "tools": [function("f")]}), "tool_choice.name"),
        (json!({"tool_choice": {"type": "file_search"}}), "tool_choice.type"),
        (json!({"tool_choice": {"type": "allowed_tools", "mode": "canary", "tools": []}}), "tool_choice.mode"),
        (json!({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}), "tool_choice.tools"),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "canary"}]}}),
            "tool_choice.tools[0].name",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": []}, "tools": [function("f")]}),
            "tool_choice",
        ),
        (json!({"tools": [{"type": "custom", "name": "c", "format": "canary"}]}), "tools[0].format"),
        (
            json!({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]}),
            "tools[0].tools[0].name",
        ),
        (
            json!({"tools": [{"type": "namespace", "name": "n", "tools": [function("f")]}], "tool_choice": {"type": "function", "name": "f"}}),
            "tool_choice.name",
        ),
        (json!({"parallel_tool_calls": "canary"}), "parallel_tool_calls"),
        (json!({"max_tool_calls": 0}), "max_tool_calls"),
    ];
    for demanded in ["web_search", "file_search", "mcp", "image_generation", "shell"] {
        cases.push((json!({"tools": [{"type": demanded}], "tool_choice": {"type": demanded}}), "tool_choice.type"));
        cases.push((json!({"tools": [{"type": demanded}], "tool_choice": "required"}), "tool_choice"));
    }
    for translated in ["custom", "namespace"] {
        cases.push((json!({"tools": [function("f"), {"type": translated}]}), "tools[1].name"));
        cases.push((json!({"tools": [{"type": translated, "name": "a canary"}]}), "tools[0].name"));
    }
    cases
}

fn form() -> Vec<Case> {
    let format = |format: Value| json!({"text": {"format": format}});
    vec![
        (json!({"text": "canary"}), "text"),
        (format(json!("canary")), "text.format"),
        (format(json!({})), "text.format.type"),
        (format(json!({"type": "canary"})), "text.format.type"),
        (format(json!({"type": "json_schema", "schema": {}})), "text.format.name"),
        (format(json!({"type": "json_schema", "name": 7, "schema": {}})), "text.format.name"),
        (format(json!({"type": "json_schema", "name": "n"})), "text.format.schema"),
        (format(json!({"type": "json_schema", "name": "n", "schema": "canary"})), "text.format.schema"),
        (format(json!({"type": "json_schema", "name": "n", "schema": {}, "strict": "canary"})), "text.format.strict"),
        (json!({"text": {"verbosity": 7}}), "text.verbosity"),
        (json!({"reasoning": "low"}), "reasoning"),
        (json!({"reasoning": {"effort": 7}}), "reasoning.effort"),
        (json!({"stream_options": "canary"}), "stream_options"),
        (json!({"stream_options": {"include_obfuscation": "canary"}}), "stream_options.include_obfuscation"),
    ]
}

fn numbers() -> Vec<Case> {
    vec![
        (json!({"temperature": "canary"}), "temperature"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"top_p": 1.1}), "top_p"),
        (json!({"presence_penalty": 2.1}), "presence_penalty"),
        (json!({"frequency_penalty": -2.1}), "frequency_penalty"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_output_tokens": 1.5}), "max_output_tokens"),
        (json!({"max_output_tokens": "canary"}), "max_output_tokens"),
        (json!({"truncation": "canary"}), "truncation"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"top_logprobs": -1}), "top_logprobs"),
        (json!({"include": ["message.output_text.logprobs"]}), "include"),
        (json!({"include": [7]}), "include"),
        (json!({"include": "canary"}), "include"),
        (json!({"prompt_cache_key": "canary".repeat(11)}), "prompt_cache_key"),
        (json!({"user": 7}), "user"),
        (json!({"safety_identifier": "canary".repeat(22)}), "safety_identifier"),
        (json!({"service_tier": 7}), "service_tier"),
        (json!({"text": {"format": {"type": "text"}, "verbosity": []}}), "text.verbosity"),
        (json!({"reasoning": {"context": 7}}), "reasoning.context"),
        (json!({"stream_options": {"include_usage": "canary"}}), "stream_options.include_usage"),
        (json!({"input": [{"type": ""}]}), "input[0].type"),
        (json!({"prompt": {"id": "pmpt_canary"}}), "prompt"),
    ]
}

#[tokio::test]
async fn each_wrong_parameter_is_named() {
    let rig = Rig::new().await;
    let cases = [shapes(), tools(), form(), numbers()].concat();
    for (wrong, param) in &cases {
        for streamed in [false, true] {
            let mut body = ask("canary: do not quote me");
            if streamed && wrong.get("stream").is_none() {
                body["stream"] = true.into();
            }
            body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
            let error = failed(&rig.post("/v1/responses", &body).await, 400);
            assert_eq!(error["param"], *param, "{wrong}: {error}");
            assert_eq!(error["type"], "invalid_request_error", "{wrong}");
        }
    }
    assert_eq!(rig.fake.calls(), 0, "nothing is spent on what is refused");
}

#[tokio::test]
async fn the_codes_tell_what_is_wrong() {
    let rig = Rig::new().await;
    for (wrong, code) in [
        (json!({"temperature": "hot"}), "invalid_type"),
        (json!({"temperature": 3}), "decimal_above_max_value"),
        (json!({"max_output_tokens": 0}), "integer_below_min_value"),
        (json!({"truncation": "x"}), "invalid_value"),
        (json!({"input": null}), "missing_required_parameter"),
        (json!({"model": null}), "missing_required_parameter"),
        (json!({"prompt": {"id": "x"}}), "unsupported_parameter"),
        (json!({"previous_response_id": "resp_1", "conversation": "conv_1"}), "mutually_exclusive_parameters"),
        (json!({"previous_response_id": "resp_unknown"}), "previous_response_not_found"),
        (json!({"previous_response_id": "no id"}), "previous_response_not_found"),
        (json!({"user": "u".repeat(513)}), "string_above_max_length"),
    ] {
        let mut body = ask("Hi");
        body.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        let error = failed(&rig.post("/v1/responses", &body).await, 400);
        assert_eq!(error["code"], code, "{wrong}");
    }
}

#[tokio::test]
async fn what_is_no_request_at_all_is_refused_without_a_word_of_it() {
    let rig = Rig::new().await;
    let sdk = rig.sdk();
    for body in ["[\"canary\"]", "\"canary\"", "{\"canary", "canary", "{\"input\": canary}", "\u{0}", "null"] {
        let request = sdk.request(reqwest::Method::POST, "/v1/responses").header("content-type", "application/json");
        failed(&sdk.send(request.body(body)).await, 400);
    }
    for (body, param) in [(json!({}), "model"), (json!({"input": "x"}), "model"), (json!({"model": "m"}), "input")] {
        for path in ["/v1/responses", "/v1/responses/compact"] {
            let error = failed(&sdk.post(path, &body).await, 400);
            assert_eq!((&error["param"], &error["code"]), (&json!(param), &json!("missing_required_parameter")));
        }
    }
    let stranger = crate::support::client::Client::new(&rig.server.url);
    failed(&stranger.post("/v1/responses", &ask("canary")).await, 401);
    assert_eq!(rig.fake.calls(), 0);
}

#[tokio::test]
async fn what_is_too_long_for_the_model_is_told_before_it_is_sent() {
    let rig = Rig::new().await;
    // Of gpt-4 it is known how much it takes.
    for more in [json!({}), json!({"truncation": "auto"})] {
        let mut body = json!({"model": "gpt-4", "input": "canary word ".repeat(9_000)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = failed(&rig.post("/v1/responses", &body).await, 400);
        assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("input")));
    }
    assert_eq!(rig.fake.calls(), 0);
    // Of others their server says it.
    for stream in [false, true] {
        rig.fake.push(Reply::context_length_exceeded());
        let body = json!({"model": "m", "input": "canary", "stream": stream});
        let error = failed(&rig.post("/v1/responses", &body).await, 400);
        assert_eq!((&error["code"], &error["param"]), (&json!("context_length_exceeded"), &json!("input")));
    }
}
