//! One suite of conversations with every family of model servers, plain and streamed, on both doors: over chains, conversations
//! and stateless replays.

use fake_openai::{DIALECTS, Dialect};
use openai_backend::upstream::openai::settings::OpenAiSettings;
use serde_json::{Value, json};

use super::{Rig, data};
use crate::support::schema::{Spec, check};
use crate::support::server::Setup;

/// How a conversation goes on.
#[derive(Debug, Clone, Copy)]
enum Over {
    Chain,
    Conversation,
    Replay,
}

struct Suite<'a> {
    rig: &'a Rig,
    dialect: &'static Dialect,
    stream: bool,
}

async fn rig(dialect: &'static Dialect) -> Rig {
    let is_theirs = matches!(dialect.name, "OpenAI" | "Azure");
    let rig = Rig::with(Setup::default(), |settings| OpenAiSettings {
        kind: if is_theirs { "openai" } else { "compatible" },
        ..settings
    })
    .await;
    rig.fake.set_responder(dialect.responder());
    rig
}

fn tools() -> Value {
    ["get_weather", "get_time", "step"]
        .map(|name| json!({"type": "function", "name": name, "parameters": {"type": "object"}}))
        .into()
}

fn of_kind<'a>(response: &'a Value, kind: &str) -> Vec<&'a Value> {
    response["output"].as_array().unwrap().iter().filter(|item| item["type"] == kind).collect()
}

fn text_of(response: &Value) -> String {
    let parts = of_kind(response, "message").into_iter().flat_map(|item| item["content"].as_array().unwrap());
    parts.filter_map(|part| part["text"].as_str()).collect()
}

impl Suite<'_> {
    fn what(&self) -> String {
        format!("{}, {}", self.dialect.name, if self.stream { "streamed" } else { "plain" })
    }

    async fn respond(&self, mut body: Value) -> Value {
        body["model"] = json!("m");
        body["stream"] = json!(self.stream);
        body["tools"] = tools();
        let answer = self.rig.response_to(&body).await;
        if !self.stream {
            return answer.json();
        }
        let last = answer.text.lines().rev().find_map(|line| line.strip_prefix("data: "));
        let last: Value =
            serde_json::from_str(last.unwrap_or_else(|| panic!("{}: {}", self.what(), answer.text))).unwrap();
        last["response"].clone()
    }

    async fn completed(&self, body: Value) -> Value {
        let response = self.respond(body.clone()).await;
        assert_eq!(response["status"], "completed", "{}: {body}: {response}", self.what());
        assert_eq!(response["usage"]["output_tokens"], 7, "{}: {response}", self.what());
        response
    }

    async fn responses(&self) {
        let what = self.what();
        let body = json!({"input": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "answer"},
            {"role": "assistant", "content": "Well."}, {"role": "system", "content": "Be kind."}, {"role": "user", "content": "answer"}]});
        assert_eq!(text_of(&self.completed(body).await), "The answer, in some words.", "{what}");
        let thought = self.completed(json!({"input": "think"})).await;
        let thoughts = of_kind(&thought, "reasoning");
        assert_eq!(thoughts.len(), usize::from(self.dialect.thinks), "{what}: {thought}");
        assert!(
            thoughts.iter().all(|item| item["summary"][0]["text"].as_str().unwrap().trim_end() == "Let me see."),
            "{what}"
        );
        assert_eq!(text_of(&thought), "Thought of it.", "{what}");
        let cut = self.respond(json!({"input": "cut"})).await;
        assert_eq!(
            (&cut["status"], &cut["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("max_output_tokens")),
            "{what}"
        );
        let picture = json!([{"type": "input_text", "text": "picture"}, {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]);
        let seen = self.completed(json!({"input": [{"role": "user", "content": picture}]})).await;
        assert_eq!(text_of(&seen), "I see 1 picture.", "{what}");
        let failed = self.respond(json!({"input": "fail"})).await;
        assert!(failed["status"] == "failed" || failed["error"].is_object(), "{what}: {failed}");
        // What a server needs back is kept with stored items alone: a client that keeps the history itself has none of it.
        let replays = !self.dialect.needs_back;
        for over in [Over::Chain, Over::Conversation].into_iter().chain(replays.then_some(Over::Replay)) {
            for (prompt, said) in [("calls", "Heard 1, 2."), ("loop", "Heard 1, 1, 1.")] {
                self.called(over, prompt, said).await;
            }
        }
    }

    /// A loop of calls, to its last word.
    async fn called(&self, over: Over, prompt: &str, said: &str) {
        let what = format!("{}, {over:?}, {prompt}", self.what());
        let mut seen = std::collections::HashSet::new();
        let mut history = vec![json!({"role": "user", "content": prompt})];
        let mut body = match over {
            Over::Chain => json!({"input": history}),
            Over::Conversation => {
                let made =
                    self.rig.client.send(self.rig.request(reqwest::Method::POST, "/v1/conversations")).await.ok();
                json!({"input": history, "conversation": made["id"]})
            }
            Over::Replay => json!({"input": history, "store": false, "include": ["reasoning.encrypted_content"]}),
        };
        for _round in 0..5 {
            let response = self.completed(body.clone()).await;
            let calls = of_kind(&response, "function_call");
            if calls.is_empty() {
                assert_eq!(text_of(&response), said, "{what}");
                return;
            }
            let expected = if prompt == "calls" { 2 } else { 1 };
            assert_eq!(calls.len(), expected, "{what}: {response}");
            let output = |(n, call): (usize, &&Value)| json!({"type": "function_call_output", "call_id": call["call_id"], "output": (n + 1).to_string()});
            let outputs: Vec<Value> = calls.iter().enumerate().map(output).collect();
            assert!(calls.iter().all(|call| seen.insert(call["call_id"].to_string())), "{what}: {seen:?}");
            history.extend(response["output"].as_array().unwrap().iter().cloned());
            history.extend(outputs.iter().cloned());
            match over {
                Over::Chain => body = json!({"input": outputs, "previous_response_id": response["id"]}),
                Over::Conversation => body["input"] = json!(outputs),
                Over::Replay => body["input"] = json!(history),
            }
        }
        panic!("{what}: no end after five rounds");
    }

    /// The same through chat completions, whose client keeps the history as it is given to it.
    async fn completions(&self) {
        let what = self.what();
        for (prompt, said) in
            [("answer", "The answer, in some words."), ("calls", "Heard 1, 2."), ("loop", "Heard 1, 1, 1.")]
        {
            let mut messages = vec![json!({"role": "user", "content": prompt})];
            let mut rounds = 0;
            let text = loop {
                rounds += 1;
                assert!(rounds < 6, "{what}: no end");
                let message = self.complete(&messages).await;
                let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
                if calls.is_empty() {
                    break message["content"].as_str().unwrap_or_default().to_owned();
                }
                messages.push(message);
                messages.extend(calls.iter().enumerate().map(
                    |(n, call)| json!({"role": "tool", "tool_call_id": call["id"], "content": (n + 1).to_string()}),
                ));
            };
            assert_eq!(text, said, "{what}");
        }
        let cut = self.rig.complete(&self.ask(&[json!({"role": "user", "content": "cut"})])).await.text;
        assert!(cut.contains(r#""finish_reason":"length""#), "{what}: {cut}");
        let failed = self.rig.complete(&self.ask(&[json!({"role": "user", "content": "fail"})])).await.text;
        assert!(failed.contains(r#""error""#) && !failed.contains("[DONE]"), "{what}: {failed}");
    }

    fn ask(&self, messages: &[Value]) -> Value {
        json!({"model": "m", "messages": messages, "stream": self.stream})
    }

    /// The message of an answer, as an SDK adds it up.
    async fn complete(&self, messages: &[Value]) -> Value {
        let answer = self.rig.complete(&self.ask(messages)).await;
        if !self.stream {
            return answer.ok()["choices"][0]["message"].clone();
        }
        assert!(answer.text.ends_with("data: [DONE]\n\n"), "{}: {}", self.what(), answer.text);
        let mut message = json!({"role": "assistant", "content": ""});
        let mut calls: Vec<Value> = Vec::new();
        for data in data(&answer.text).into_iter().filter(|data| *data != "[DONE]") {
            let chunk: Value = serde_json::from_str(data).unwrap();
            if chunk["object"] == "chat.completion.chunk" && !matches!(self.dialect.name, "Mistral") {
                check(Spec::OpenAi, "CreateChatCompletionStreamResponse", &chunk);
            }
            let delta = &chunk["choices"][0]["delta"];
            for name in ["content", "reasoning_content"] {
                if let Some(text) = delta[name].as_str() {
                    message[name] = json!(message[name].as_str().unwrap_or_default().to_owned() + text);
                }
            }
            for part in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(part["index"].as_u64().unwrap()).unwrap();
                match calls.get_mut(index) {
                    Some(call) => {
                        let more = part["function"]["arguments"].as_str().unwrap();
                        let arguments = call["function"]["arguments"].as_str().unwrap().to_owned() + more;
                        call["function"]["arguments"] = json!(arguments);
                    }
                    None => calls.push(part.clone()),
                }
            }
        }
        if !calls.is_empty() {
            calls.iter_mut().for_each(|call| drop(call.as_object_mut().unwrap().remove("index")));
            message["tool_calls"] = json!(calls);
        }
        message
    }
}

#[tokio::test]
async fn every_family_passes_the_suite() {
    let families = DIALECTS.iter().map(|dialect| async move {
        let rig = rig(dialect).await;
        for stream in [false, true] {
            let suite = Suite { rig: &rig, dialect, stream };
            suite.responses().await;
            suite.completions().await;
        }
        let asked = json!({"prompt": "answer"});
        let answer = rig.client.post("/chat", &asked).await;
        assert!(answer.text.contains("The answer, in some words."), "{}: {}", dialect.name, answer.text);
    });
    futures::future::join_all(families).await;
}
