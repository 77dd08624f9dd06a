//! What a request asks for reaches the model in its own words, and the response shows it.

use super::*;

/// What is given, what the model is asked for, what the response shows.
struct Case(Value, Value, Value);

fn sent(name: &str) -> Value {
    let mut function = function(name);
    function.as_object_mut().unwrap().remove("type");
    json!({"type": "function", "function": function})
}

fn with_tools(mut more: Value) -> Value {
    more["tools"] = json!([function("f"), function("g")]);
    more
}

fn sent_tools(mut more: Value) -> Value {
    more["tools"] = json!([sent("f"), sent("g")]);
    more
}

fn tools() -> Vec<Case> {
    let loose = json!({"type": "function", "name": "f", "parameters": {"$schema": "x", "type": "object"}});
    let loose_sent = json!({"name": "f", "parameters": {"$schema": "x", "type": "object"}});
    let loose_shown = json!({"type": "function", "name": "f", "description": null, "strict": null,
        "parameters": {"$schema": "x", "type": "object"}});
    let bare = json!({"type": "function", "name": "f", "description": null, "strict": null, "parameters": null});
    let one = json!({"type": "function", "name": "g"});
    let allowed = json!({"type": "allowed_tools", "mode": "required", "tools": [one]});
    let allowed_auto = json!({"type": "allowed_tools", "mode": "auto", "tools": [one]});
    let none: Option<Value> = None;
    vec![
        Case(
            json!({"tools": [loose]}),
            json!({"tools": [{"type": "function", "function": loose_sent}], "tool_choice": none}),
            json!({"tools": [loose_shown], "tool_choice": "auto", "parallel_tool_calls": true}),
        ),
        Case(
            json!({"tools": [{"type": "function", "name": "f", "strict": null, "parameters": null}]}),
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
            json!({"tools": [bare]}),
        ),
        Case(
            json!({"tools": [function("f"), function("g"), function("f")]}),
            json!({"tools": [sent("f"), sent("g")]}),
            json!({"tools": [function("f"), function("g"), function("f")]}),
        ),
        Case(
            with_tools(json!({"tool_choice": "required", "parallel_tool_calls": false})),
            sent_tools(json!({"tool_choice": "required", "parallel_tool_calls": false})),
            with_tools(json!({"tool_choice": "required", "parallel_tool_calls": false})),
        ),
        Case(
            with_tools(json!({"tool_choice": "none"})),
            sent_tools(json!({"tool_choice": "none", "parallel_tool_calls": none})),
            with_tools(json!({"tool_choice": "none"})),
        ),
        Case(
            with_tools(json!({"tool_choice": one})),
            sent_tools(json!({"tool_choice": {"type": "function", "function": {"name": "g"}}})),
            with_tools(json!({"tool_choice": one})),
        ),
        Case(
            with_tools(json!({"tool_choice": allowed})),
            json!({"tools": [sent("g")], "tool_choice": "required"}),
            with_tools(json!({"tool_choice": allowed})),
        ),
        Case(
            with_tools(json!({"tool_choice": allowed_auto})),
            json!({"tools": [sent("g")], "tool_choice": "auto"}),
            with_tools(json!({"tool_choice": allowed_auto})),
        ),
        // Agents send this with every request.
        Case(
            json!({"tools": [], "include": [], "tool_choice": "auto", "parallel_tool_calls": false}),
            json!({"tools": none, "tool_choice": none, "parallel_tool_calls": none}),
            json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": false}),
        ),
    ]
}

fn form() -> Vec<Case> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let format = json!({"type": "json_schema", "name": "n", "schema": schema, "strict": true, "description": "d"});
    let format_sent = json!({"name": "n", "schema": schema, "strict": true, "description": "d"});
    let loose = json!({"type": "json_schema", "name": "n", "schema": schema});
    let loose_shown =
        json!({"type": "json_schema", "name": "n", "schema": schema, "strict": false, "description": null});
    let none: Option<Value> = None;
    vec![
        Case(
            json!({"text": {"format": format, "verbosity": "low"}}),
            json!({"response_format": {"type": "json_schema", "json_schema": format_sent}, "verbosity": "low"}),
            json!({"text": {"format": format, "verbosity": "low"}}),
        ),
        Case(
            json!({"text": {"format": loose}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}),
            json!({"text": {"format": loose_shown}}),
        ),
        Case(
            json!({"text": {"format": {"type": "json_object"}}}),
            json!({"response_format": {"type": "json_object"}}),
            json!({"text": {"format": {"type": "json_object"}}}),
        ),
        Case(
            json!({"text": {"format": {"type": "text"}}}),
            json!({"response_format": none, "verbosity": none}),
            json!({"text": {"format": {"type": "text"}}}),
        ),
        Case(
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
            json!({"reasoning_effort": "low", "reasoning": none}),
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
        ),
    ]
}

fn numbers() -> Vec<Case> {
    let none: Option<Value> = None;
    let same = |fields: Value| Case(fields.clone(), fields.clone(), fields);
    let shown_only = |fields: Value| Case(fields.clone(), json!({}), fields);
    vec![
        same(json!({"temperature": 0.0, "top_p": 0.25, "presence_penalty": -2.0, "frequency_penalty": 2.0})),
        same(json!({"safety_identifier": "s", "prompt_cache_key": "k", "user": "u"})),
        Case(json!({"max_output_tokens": 17}), json!({"max_tokens": 17}), json!({"max_output_tokens": 17})),
        Case(
            json!({"model": "gpt-5", "max_output_tokens": 17}),
            json!({"max_completion_tokens": 17, "max_tokens": none}),
            json!({"max_output_tokens": 17}),
        ),
        Case(
            json!({"max_output_tokens": 128_000}),
            json!({"max_tokens": 128_000}),
            json!({"max_output_tokens": 128_000}),
        ),
        Case(json!({}), json!({"max_tokens": none}), json!({"max_output_tokens": null})),
        shown_only(json!({"metadata": {"a": "b"}, "max_tool_calls": 3, "truncation": "auto"})),
        Case(json!({"service_tier": "auto"}), json!({"service_tier": none}), json!({"service_tier": "default"})),
        Case(
            json!({"stream_options": {"include_obfuscation": false}, "prompt_cache_retention": "24h", "top_logprobs": 0,
                "include": ["reasoning.encrypted_content", "file_search_call.results"]}),
            json!({"stream_options": none, "top_logprobs": none, "include": none}),
            json!({"top_logprobs": 0}),
        ),
        Case(
            json!({"instructions": "Be brief."}),
            json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}),
            json!({"instructions": "Be brief."}),
        ),
    ]
}

#[tokio::test]
async fn each_reaches_the_model_and_is_shown() {
    let rig = Rig::new().await;
    for Case(given, asked, shown) in tools().into_iter().chain(form()).chain(numbers()) {
        let mut body = ask("Hi");
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let response = rig.respond(body.clone()).await;
        let call = rig.fake.last().json.clone();
        for (key, value) in asked.as_object().unwrap() {
            assert_eq!(call[key], *value, "{key} of {given}");
        }
        let events = rig.stream(body).await;
        let streamed = rig.fake.last().json.clone();
        for (key, value) in asked.as_object().unwrap().iter().filter(|(key, _)| *key != "stream_options") {
            assert_eq!(streamed[key], *value, "{key} of {given}, streamed");
        }
        let stored = rig.sdk().response(id(&response)).await;
        for (key, value) in shown.as_object().unwrap() {
            for response in [&response, &stored, &events[0]["response"], &events.last().unwrap()["response"]] {
                assert_eq!(response[key], *value, "{key} of {given}");
            }
        }
    }
}

#[tokio::test]
async fn a_cap_beyond_the_operators_limit_is_lowered_to_it_and_the_response_says_so() {
    let limited = Rig::with(Setup::default().set("MAX_TOKENS_LIMIT", "2000"), |settings| settings).await;
    for (asked, in_force) in [(json!(32_000), 2_000), (json!(u32::MAX), 2_000), (json!(7), 7), (Value::Null, 2_000)] {
        let response = limited.respond(json!({"model": "m", "input": "Hi", "max_output_tokens": asked})).await;
        assert_eq!(response["max_output_tokens"], in_force, "{asked}");
        assert_eq!(limited.fake.last().json["max_tokens"], in_force, "{asked}");
    }
    let visited = Rig::new().await;
    visited.client.say("Hello").await.ok();
    let body = json!({"model": "m", "input": "Hi", "max_output_tokens": 32_000});
    assert_eq!(visited.client.post("/v1/responses", &body).await.ok()["max_output_tokens"], 16_000);
}

#[tokio::test]
async fn nothing_else_is_sent_and_a_null_is_nothing() {
    let rig = Rig::new().await;
    let plain = rig.respond(ask("Hi")).await;
    let wanted = json!({"model": "m", "stream": false, "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(rig.fake.last().json, wanted);
    let mut nulls = ask("Hi");
    for name in [
        "instructions",
        "previous_response_id",
        "conversation",
        "store",
        "background",
        "stream",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "temperature",
        "top_p",
        "presence_penalty",
        "frequency_penalty",
        "safety_identifier",
        "prompt_cache_key",
        "user",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "truncation",
        "service_tier",
        "top_logprobs",
        "include",
        "stream_options",
        "prompt",
        "whatever",
    ] {
        nulls[name] = Value::Null;
    }
    let mut response = rig.respond(nulls).await;
    assert_eq!(rig.fake.last().json, wanted);
    for own in ["id", "created_at", "completed_at", "output"] {
        response[own] = plain[own].clone();
    }
    assert_eq!(response, plain);
}

/// What changes no answer, or is newer than this server: it is read over, and a value of a list that grows is passed on.
#[tokio::test]
async fn what_this_server_does_not_know_is_no_reason_to_refuse() {
    let rig = Rig::new().await;
    let none: Option<Value> = None;
    let mut plain = rig.respond(ask("Hi")).await;
    for (given, asked, shown) in [
        (json!({"client_metadata": {"a": "b"}, "access_programs": ["x"], "whatever": 7}), json!({}), json!({})),
        (json!({"moderation": {"model": "x"}, "context_management": [{"type": "compaction"}]}), json!({}), json!({})),
        (json!({"prompt_cache_retention": "24h", "prompt_cache_options": {"ttl": "1h"}}), json!({}), json!({})),
        (json!({"service_tier": "priority"}), json!({"service_tier": none}), json!({"service_tier": "default"})),
        (json!({"stream_options": {"include_usage": true, "newer": 1}}), json!({}), json!({})),
        (json!({"include": ["something.newer"]}), json!({"include": none}), json!({})),
        (
            json!({"reasoning": {"effort": "xhigh", "context": "all_turns", "newer": 1}}),
            json!({"reasoning_effort": "xhigh"}),
            json!({"reasoning": {"effort": "xhigh", "summary": null, "context": "all_turns"}}),
        ),
        (
            json!({"text": {"verbosity": "high", "newer": 1, "format": {"type": "text", "newer": 1}}}),
            json!({"verbosity": "high", "response_format": none}),
            json!({"text": {"format": {"type": "text"}, "verbosity": "high"}}),
        ),
        (json!({"max_tool_calls": 1e12}), json!({}), json!({})),
        (json!({"tools": [{"type": "web_search"}, {"type": "newer"}]}), json!({"tools": none}), json!({"tools": []})),
        (
            json!({"tools": [{"type": "web_search"}, function("f")], "tool_choice": "required"}),
            json!({"tools": [sent("f")], "tool_choice": "required"}),
            json!({"tools": [function("f")]}),
        ),
        (
            json!({"tools": [{"type": "web_search"}, function("f")],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}}),
            json!({"tools": none, "tool_choice": none}),
            json!({"tools": [function("f")]}),
        ),
    ] {
        let mut body = ask("Hi");
        body.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        let response = rig.respond(body.clone()).await;
        for (key, value) in asked.as_object().unwrap() {
            assert_eq!(rig.fake.last().json[key], *value, "{key} of {given}");
        }
        for (key, value) in shown.as_object().unwrap() {
            assert_eq!(response[key], *value, "{key} of {given}");
        }
        assert_eq!(rig.stream(body).await.last().unwrap()["type"], "response.completed", "{given}");
        for own in ["id", "created_at", "completed_at", "output"] {
            plain[own] = response[own].clone();
        }
        if shown == json!({}) && asked == json!({}) {
            plain["max_tool_calls"] = response["max_tool_calls"].clone();
            assert_eq!(response, plain, "{given}");
        }
    }
}

/// Of these there is no published list that has them.
#[tokio::test]
async fn values_that_are_newer_than_the_lists_of_them_are_passed_on() {
    let rig = Rig::new().await;
    let body = json!({"model": "m", "input": "Hi", "reasoning": {"effort": "newest"}, "text": {"verbosity": "highest"},
        "safety_identifier": "s".repeat(128)});
    let response = rig.post("/v1/responses", &body).await.ok();
    let sent = rig.fake.last().json.clone();
    assert_eq!(sent["safety_identifier"], "s".repeat(128));
    assert_eq!((&sent["reasoning_effort"], &sent["verbosity"]), (&json!("newest"), &json!("highest")));
    assert_eq!(
        (&response["reasoning"]["effort"], &response["text"]["verbosity"]),
        (&json!("newest"), &json!("highest"))
    );
}

#[tokio::test]
async fn an_image_that_is_not_to_be_made_smaller_is_one_in_high_detail() {
    let rig = Rig::new().await;
    let image =
        |detail: &str| json!({"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": detail});
    for (detail, sent) in [("original", "high"), ("low", "low"), ("newer", "newer")] {
        let response =
            rig.respond(json!({"model": "m", "input": [{"role": "user", "content": [image(detail)]}]})).await;
        assert_eq!(rig.fake.last().messages()[0]["content"][0]["image_url"]["detail"], sent);
        let asked = rig.get(&format!("/v1/responses/{}/input_items", id(&response))).await.ok();
        assert_eq!(asked["data"][0]["content"][0]["detail"], detail, "it is shown as it came");
    }
}

/// The rest of the history says what came of them.
#[tokio::test]
async fn items_of_other_types_are_kept_and_shown_and_not_told() {
    let rig = Rig::new().await;
    let search = json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}});
    let input = json!([{"role": "user", "content": "Look it up."}, search, {"role": "assistant", "content": "Found."},
        {"role": "user", "content": "Thanks."}]);
    let response = rig.respond(json!({"model": "m", "input": input})).await;
    assert_eq!(rig.told(), pairs(&[("user", "Look it up."), ("assistant", "Found."), ("user", "Thanks.")]));
    let asked = rig.get(&format!("/v1/responses/{}/input_items?order=asc", id(&response))).await.ok();
    let mut kept = asked["data"][1].clone();
    assert_ne!(kept["id"], "ws_1");
    kept["id"] = "ws_1".into();
    assert_eq!(kept, search);
    let conversation = rig.sdk().conversation(json!([search])).await;
    let items = rig.sdk().items(&conversation).await;
    assert_eq!((&items[0]["type"], &items[0]["action"]["query"]), (&json!("web_search_call"), &json!("q")));
    let path = format!("/v1/conversations/{conversation}/items/{}", items[0]["id"].as_str().unwrap());
    assert_eq!(rig.get(&path).await.ok(), items[0]);
}

/// Items of tools that OpenAI hosts, of clients' own, and of types that nobody has heard of: a history with them is taken,
/// listed and gone on from, and the model is told what was said.
#[tokio::test]
async fn a_history_may_have_items_of_any_type() {
    let rig = Rig::new().await;
    let others = json!([
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "s", "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "s", "output": "{}"},
        {"type": "mcp_list_tools", "id": "mcpl_1", "server_label": "x", "tools": []},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "x", "name": "f", "arguments": "{}", "output": "42"},
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "x", "name": "f", "arguments": "{}"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"},
        {"type": "something_of_next_year", "deep": {"er": [1, null]}},
    ]);
    let mut history = vec![json!({"role": "user", "content": "One"})];
    history.extend(others.as_array().unwrap().iter().cloned());
    history.push(json!({"role": "assistant", "content": "Two"}));
    history.push(json!({"role": "user", "content": "Three"}));
    let said = [("user", "One"), ("assistant", "Two"), ("user", "Three")];
    let whole = rig.respond(json!({"model": "m", "input": history})).await;
    assert_eq!(rig.told(), pairs(&said));
    let listed = rig.get(&format!("/v1/responses/{}/input_items?order=asc", id(&whole))).await.ok();
    for (other, kept) in others.as_array().unwrap().iter().zip(&listed["data"].as_array().unwrap()[1..]) {
        let mut other = other.clone();
        other["id"] = kept["id"].clone();
        assert_eq!(*kept, other);
    }
    // They stand in a chain and in a conversation as well.
    rig.respond(after(&whole, "And?")).await;
    assert_eq!(rig.told()[..3], pairs(&said));
    let conversation = rig.sdk().conversation(json!(history)).await;
    // The published descriptions lag behind, and know neither the last one nor the output of the shell.
    let kept = rig.get(&format!("/v1/conversations/{conversation}/items?limit=100")).await.ok();
    assert_eq!(kept["data"].as_array().unwrap().len(), history.len());
    let body =
        json!({"model": "m", "input": [others[7], {"role": "user", "content": "And?"}], "conversation": conversation});
    rig.respond(body).await;
    assert_eq!(rig.told()[..3], pairs(&said));
}

#[tokio::test]
async fn the_answer_names_who_answered() {
    let rig = Rig::new().await;
    rig.fake.push(Reply::text("Hi").model("its-own-name"));
    let events = rig.stream(json!({"model": "m", "input": "Hi"})).await;
    assert_eq!(rig.fake.last().model(), "m");
    assert_eq!(events[0]["response"]["model"], "m");
    assert_eq!(events.last().unwrap()["response"]["model"], "its-own-name");
}
