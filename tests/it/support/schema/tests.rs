//! The schemas let through what is right, and say where and why where it is wrong.

use serde_json::{Value, json};

use super::{EVENTS, Spec, check, check_event, check_frame, check_response, faults};

/// All 31 keys that Open Responses requires.
fn response() -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "completed_at": 2, "status": "completed",
        "incomplete_details": null, "model": "m", "previous_response_id": null, "instructions": null,
        "output": [reasoning(), message(), call()], "error": null, "tools": [], "tool_choice": "auto",
        "truncation": "disabled", "parallel_tool_calls": true, "text": {"format": {"type": "text"}}, "top_p": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0, "temperature": 1.0,
        "reasoning": {"effort": null, "summary": null},
        "usage": {
            "input_tokens": 1, "output_tokens": 2, "total_tokens": 3,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0}
        },
        "max_output_tokens": null, "max_tool_calls": null, "store": true, "background": false, "service_tier": "default",
        "metadata": {"a": "b"}, "safety_identifier": null, "prompt_cache_key": null
    })
}

fn message() -> Value {
    let text = json!({"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []});
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]})
}

fn reasoning() -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]})
}

fn call() -> Value {
    json!({
        "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"
    })
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = new;
    value
}

fn without(mut value: Value, key: &str) -> Value {
    value.as_object_mut().unwrap().remove(key).unwrap_or_else(|| panic!("nothing at {key}"));
    value
}

/// What is said against a document; fails where nothing is.
#[track_caller]
fn wrong(spec: Spec, name: &str, value: &Value) -> String {
    faults(spec, name, value).expect_err("a fault")
}

#[test]
fn good_responses_pass() {
    check_response(&response());
    let failed = json!({"code": "upstream_unavailable", "message": "m"});
    check_response(&with(response(), "/error", failed));
    for key in ["usage", "completed_at", "reasoning"] {
        check_response(&with(response(), &format!("/{key}"), Value::Null));
    }
    let tool = json!({"type": "function", "name": "f", "description": null, "parameters": {}, "strict": null});
    check_response(&with(response(), "/tools", json!([tool])));
    for choice in [json!("required"), json!({"type": "function", "name": "f"})] {
        check_response(&with(response(), "/tool_choice", choice));
    }
    let format =
        |schema| json!({"type": "json_schema", "name": "n", "description": null, "schema": schema, "strict": true});
    for format in [format(json!({"type": "object"})), json!({"type": "json_object"})] {
        check_response(&with(response(), "/text/format", format));
    }
}

#[test]
fn every_key_of_a_response_is_missed() {
    let keys: Vec<String> = response().as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 31);
    for key in keys {
        let said = wrong(Spec::OpenResponses, "ResponseResource", &without(response(), &key));
        assert_eq!(said, format!("  /: \"{key}\" is a required property"));
    }
}

#[test]
fn what_may_not_be_null_is_told() {
    for key in [
        "presence_penalty",
        "frequency_penalty",
        "top_logprobs",
        "temperature",
        "top_p",
        "tool_choice",
        "truncation",
        "background",
        "service_tier",
        "tools",
    ] {
        let said = wrong(Spec::OpenResponses, "ResponseResource", &with(response(), &format!("/{key}"), Value::Null));
        assert!(said.starts_with(&format!("  /{key}: null is not ")), "{said}");
    }
}

#[test]
fn a_fault_is_told_where_it_is() {
    for (pointer, new, reason) in [
        ("/output/1/type", json!("mesage"), "/output/1/type: \"mesage\" is not one of"),
        (
            "/output/1/content/0/annotations",
            json!(null),
            "/output/1/content/0/annotations: null is not of type \"array\"",
        ),
        ("/output/1/status", json!("done"), "/output/1/status: \"done\" is not one of"),
        ("/usage/input_tokens", json!("1"), "/usage/input_tokens: \"1\" is not of type \"integer\""),
        ("/usage", json!({}), "/usage: \"input_tokens\" is a required property"),
        ("/max_output_tokens", json!("9"), "/max_output_tokens: \"9\" is not of type"),
        ("/text/format/type", json!("xml"), "/text/format/type: \"xml\" is not one of"),
    ] {
        let response = with(response(), pointer, new);
        for (spec, name) in [(Spec::OpenResponses, "ResponseResource"), (Spec::OpenAi, "Response")] {
            let said = wrong(spec, name, &response);
            assert!(said.contains(reason), "{spec:?} of {pointer}: {said}");
        }
    }
    assert!(wrong(Spec::OpenAi, "Response", &with(response(), "/status", json!("done"))).contains("/status: "));
}

#[test]
fn events_are_found_by_their_type() {
    let delta = json!({
        "type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_1", "output_index": 0,
        "content_index": 0, "delta": "Hi", "logprobs": []
    });
    check_event(&delta);
    check_event(&json!({"type": "response.created", "sequence_number": 0, "response": response()}));
    check_event(
        &json!({"type": "response.output_item.added", "sequence_number": 2, "output_index": 0, "item": message()}),
    );
    for (spec, name) in &EVENTS["response.output_text.delta"] {
        for key in ["sequence_number", "item_id", "delta"] {
            assert!(
                wrong(*spec, name, &without(delta.clone(), key)).contains(&format!("\"{key}\" is a required property"))
            );
        }
    }
    for (event, said) in [
        (without(delta.clone(), "sequence_number"), "\"sequence_number\" is a required property"),
        (without(delta.clone(), "type"), "an event without a type"),
        (with(delta, "/type", json!("response.output_text.dleta")), "no description has an event of the type"),
    ] {
        let panic = std::panic::catch_unwind(|| check_event(&event)).expect_err("it fails");
        assert!(panic.downcast_ref::<String>().unwrap().contains(said));
    }
}

#[test]
fn both_describe_what_a_plain_stream_has() {
    for kind in [
        "created",
        "queued",
        "in_progress",
        "completed",
        "failed",
        "incomplete",
        "output_item.added",
        "output_item.done",
        "content_part.added",
        "content_part.done",
        "output_text.delta",
        "output_text.done",
        "refusal.delta",
        "refusal.done",
        "function_call_arguments.delta",
        "function_call_arguments.done",
    ] {
        let specs: Vec<Spec> = EVENTS[format!("response.{kind}").as_str()].iter().map(|(spec, _)| *spec).collect();
        assert_eq!(specs, [Spec::OpenResponses, Spec::OpenAi], "{kind}");
    }
    assert_eq!(EVENTS["error"], [(Spec::OpenResponses, "ErrorStreamingEvent"), (Spec::OpenAi, "ResponseErrorEvent")]);
}

#[test]
fn a_frame_is_an_event_or_a_failed_request() {
    let error = json!({"type": "invalid_request_error", "code": "c", "message": "m", "param": null});
    check_frame(&json!({"type": "error", "status": 400, "error": error}));
    check_frame(&json!({"type": "response.completed", "sequence_number": 9, "response": response()}));
    check_frame(&json!({
        "type": "error", "sequence_number": 3, "error": error, "code": "c", "message": "m", "param": null
    }));
    assert!(std::panic::catch_unwind(|| check_frame(&json!({"type": "error", "error": {}}))).is_err());
}

#[test]
fn lists_and_conversations() {
    let item = json!({"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": [
        {"type": "input_text", "text": "Hi"}
    ]});
    let list =
        json!({"object": "list", "data": [item, call()], "has_more": false, "first_id": "msg_1", "last_id": "fc_1"});
    check(Spec::OpenAi, "ConversationItemList", &list);
    check(Spec::OpenAi, "ResponseItemList", &list);
    check(Spec::OpenResponses, "ItemField", &list["data"][0]);
    let said = wrong(Spec::OpenAi, "ConversationItemList", &with(list, "/data/0/role", json!("me")));
    assert!(said.contains("/data/0/role: "), "{said}");
    check(
        Spec::OpenAi,
        "ConversationResource",
        &json!({"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}),
    );
    check(
        Spec::OpenResponses,
        "CreateResponseBody",
        &json!({"input": [{"type": "message", "role": "user", "content": "x"}]}),
    );
}
