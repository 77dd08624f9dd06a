//! Reasons to finish, figures and thoughts as each family of servers says them: what both doors make of them.

use fake_openai::{Reply, Step};
use serde_json::{Value, json};

use super::{Rig, ask, data};
use crate::support::schema::{Spec, check};

fn chunk(delta: &Value, finish: &Value) -> Value {
    json!({"id": "chatcmpl-0123456789abcdef0123", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn stream(chunks: impl IntoIterator<Item = Value>) -> Reply {
    Reply::stream(chunks.into_iter().map(|chunk| Step::json(&chunk)).chain([Step::Done]))
}

/// `Hello`, and this reason in the last chunk.
fn ending(reason: &Value) -> Reply {
    let said = json!({"role": "assistant", "content": "Hello"});
    stream([chunk(&said, &Value::Null), chunk(&json!({}), reason)])
}

fn whole(message: Value, reason: &Value) -> Reply {
    Reply::json(
        200,
        &json!({"id": "chatcmpl-0123456789abcdef0123", "object": "chat.completion", "created": 7, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": reason}]}),
    )
}

async fn chunks(rig: &Rig, reply: Reply) -> Vec<Value> {
    rig.fake.push(reply);
    let text = rig.complete(&ask(true)).await.text;
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let chunks = data(&text).into_iter().filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = chunks.map(|data| serde_json::from_str(data).unwrap()).collect();
    chunks.iter().for_each(|chunk| check(Spec::OpenAi, "CreateChatCompletionStreamResponse", chunk));
    chunks
}

async fn response(rig: &Rig, reply: Reply) -> Value {
    rig.fake.push(reply);
    rig.response_to(&json!({"model": "m", "input": "Hi"})).await.ok()
}

#[tokio::test]
async fn reasons_to_finish_are_openais_words() {
    let rig = Rig::new().await;
    for (said, own, status) in [
        (json!("stop"), "stop", "completed"),
        (json!("STOP"), "stop", "completed"),
        (json!("eos"), "stop", "completed"),
        (json!("end_turn"), "stop", "completed"),
        (json!("something new"), "stop", "completed"),
        (json!(""), "stop", "completed"),
        (Value::Null, "stop", "completed"),
        (json!("MAX_TOKENS"), "length", "incomplete"),
        (json!("max_tokens"), "length", "incomplete"),
        (json!("model_length"), "length", "incomplete"),
        (json!("insufficient_system_resource"), "length", "incomplete"),
        (json!("SAFETY"), "content_filter", "incomplete"),
        (json!("content_filter"), "content_filter", "incomplete"),
    ] {
        let reasons: Vec<Value> = chunks(&rig, ending(&said))
            .await
            .iter()
            .map(|chunk| chunk["choices"][0]["finish_reason"].clone())
            .collect();
        assert_eq!(reasons.iter().filter(|reason| !reason.is_null()).collect::<Vec<_>>(), [own], "{said}");
        let message = || json!({"role": "assistant", "content": "Hello"});
        rig.fake.push(whole(message(), &said));
        assert_eq!(rig.complete(&ask(false)).await.ok()["choices"][0]["finish_reason"], own, "{said}");
        for reply in [ending(&said), whole(message(), &said)] {
            let response = response(&rig, reply).await;
            assert_eq!(response["status"], status, "{said}: {response}");
            let reason = if own == "length" { json!("max_output_tokens") } else { json!(own) };
            let expected = if status == "incomplete" { reason } else { Value::Null };
            assert_eq!(response["incomplete_details"]["reason"], expected, "{said}");
        }
        rig.fake.push(ending(&said));
        let asked = json!({"prompt": "Hi"});
        let answered = rig.client.post("/chat", &asked).await.ok();
        let heard = answered["finishReason"].as_str().or(answered["finish_reason"].as_str());
        assert!(heard.is_none_or(|heard| heard == own), "{said}: {answered}");
    }
    let call = json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    for said in [json!("tool_use"), json!("function_call"), json!("tuesday"), Value::Null] {
        let reply = stream([
            chunk(&json!({"role": "assistant"}), &Value::Null),
            chunk(&call, &Value::Null),
            chunk(&json!({}), &said),
        ]);
        let last = chunks(&rig, reply).await.pop().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "tool_calls", "{said}");
    }
}

#[tokio::test]
async fn figures_are_found_wherever_they_stand() {
    let rig = Rig::new().await;
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18});
    let text = json!({"role": "assistant", "content": "Hello"});
    let with = |mut chunk: Value, path: &str, usage: &Value| {
        chunk.pointer_mut(path).unwrap()["usage"] = usage.clone();
        chunk
    };
    let end = || chunk(&json!({}), &json!("stop"));
    let early = json!({"prompt_tokens": 11, "completion_tokens": 1, "total_tokens": 12});
    let mut ollama = end();
    ollama["prompt_eval_count"] = json!(11);
    ollama["eval_count"] = json!(7);
    let in_choice = with(end(), "/choices/0", &usage);
    let mut figures = end();
    (figures["choices"], figures["usage"]) = (json!([]), usage.clone());
    for (what, reply) in [
        ("beside", stream([chunk(&text, &Value::Null), end(), figures])),
        ("in the choice", stream([chunk(&text, &Value::Null), in_choice])),
        ("in every chunk", stream([with(chunk(&text, &Value::Null), "", &early), with(end(), "", &usage)])),
        (
            "other names",
            stream([chunk(&text, &Value::Null), with(end(), "", &json!({"input_tokens": 11, "output_tokens": 7}))]),
        ),
        (
            "floats and texts",
            stream([
                chunk(&text, &Value::Null),
                with(end(), "", &json!({"prompt_tokens": 11.0, "completion_tokens": "7"})),
            ]),
        ),
        ("Ollama's", stream([chunk(&text, &Value::Null), ollama])),
    ] {
        let found = response(&rig, reply.clone()).await["usage"].clone();
        assert_eq!((&found["input_tokens"], &found["output_tokens"]), (&json!(11), &json!(7)), "{what}");
        if what != "Ollama's" {
            let last = chunks(&rig, reply).await.into_iter().rfind(|chunk| chunk["usage"].is_object()).expect(what);
            assert_eq!(
                (&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]),
                (&json!(11), &json!(7)),
                "{what}"
            );
        }
    }
    let odd = with(end(), "", &json!(["none"]));
    assert_eq!(response(&rig, stream([chunk(&text, &Value::Null), odd])).await["status"], "completed");
    let mut plain = json!({"choices": [{"index": 0, "message": text, "finish_reason": "stop"}]});
    plain["usage"] = json!({"input_tokens": 11, "output_tokens": 7});
    rig.fake.push(Reply::json(200, &plain));
    assert_eq!(rig.complete(&ask(false)).await.ok()["usage"]["total_tokens"], 18);
}

#[tokio::test]
async fn thoughts_are_told_from_what_is_said() {
    let rig = Rig::new().await;
    let parts =
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "So."}]);
    let written = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "So."}]);
    let said = |delta: &Value| chunk(delta, &Value::Null);
    let end = || chunk(&json!({}), &json!("stop"));
    for reply in [
        stream([
            said(&json!({"role": "assistant", "reasoning_content": "hm"})),
            said(&json!({"content": "So."})),
            end(),
        ]),
        stream([
            said(&json!({"role": "assistant", "reasoning": "hm", "content": ""})),
            said(&json!({"content": "So."})),
            end(),
        ]),
        stream([said(&json!({"role": "assistant", "content": parts})), end()]),
        stream([said(&json!({"role": "assistant", "content": [parts[0]]})), said(&json!({"content": "So."})), end()]),
        stream([
            said(&json!({"content": "<th"})),
            said(&json!({"content": "ink>\nhm\n</think"})),
            said(&json!({"content": ">\n\nSo."})),
            end(),
        ]),
        whole(json!({"role": "assistant", "content": written}), &json!("stop")),
        whole(json!({"role": "assistant", "content": "<think>hm</think>\nSo."}), &json!("stop")),
    ] {
        let response = response(&rig, reply.clone()).await;
        let output = response["output"].as_array().unwrap();
        let kinds: Vec<&Value> = output.iter().map(|item| &item["type"]).collect();
        assert_eq!(kinds, ["reasoning", "message"], "{reply:?}");
        assert_eq!(output[0]["summary"][0]["text"].as_str().unwrap().trim_end(), "hm", "{reply:?}");
        assert_eq!(output[1]["content"][0]["text"], "So.", "{reply:?}");
    }
    let plain = Rig::with(crate::support::server::Setup::default(), |settings| {
        openai_backend::upstream::openai::settings::OpenAiSettings { think_tags: false, ..settings }
    })
    .await;
    let tagged = whole(json!({"role": "assistant", "content": "<think>hm</think>So."}), &json!("stop"));
    let response = response(&plain, tagged).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "<think>hm</think>So.");
}
