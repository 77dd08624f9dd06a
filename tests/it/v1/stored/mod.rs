//! Chat completions that are kept (`keeping`), and what can be done with them (`reading`).

mod keeping;
mod reading;

use fake_openai::{Reply, Step};
use serde_json::{Value, json};

use super::{Rig, ask, data};
use crate::support::client::Answer;
use crate::support::schema::{Spec, check};

/// An id that the model's server may give.
const ID: &str = "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG";
const PATH: &str = "/v1/chat/completions";

fn kept(stream: bool) -> Value {
    let mut body = ask(stream);
    body["store"] = json!(true);
    body["metadata"] = json!({"topic": "lighthouses"});
    body
}

/// An answer in one, and as a stream, under this id.
fn reply(id: &Value, stream: bool, text: &str) -> Reply {
    let choice = |key: &str, said: Value, finish: Value| json!([{"index": 0, key: said, "logprobs": null, "finish_reason": finish}]);
    let whole = |object: &str, choices: Value| json!({"id": id, "object": object, "created": 1, "model": "m-1", "choices": choices});
    if !stream {
        let message = json!({"role": "assistant", "content": text, "refusal": null});
        return Reply::json(200, &whole("chat.completion", choice("message", message, json!("stop"))));
    }
    let chunk =
        |delta: Value, finish: Value| Step::json(&whole("chat.completion.chunk", choice("delta", delta, finish)));
    Reply::stream([
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        Step::Comment("ping".into()),
        chunk(json!({"content": text}), Value::Null),
        chunk(json!({}), json!("stop")),
        Step::Done,
    ])
}

/// The id that the client was told.
#[track_caller]
fn told(answer: &Answer, stream: bool) -> String {
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
    if !stream {
        return answer.json()["id"].as_str().unwrap().to_owned();
    }
    let (last, chunks) = data(&answer.text).split_last().map(|(last, chunks)| (*last, chunks.to_vec())).unwrap();
    assert_eq!(last, "[DONE]", "{}", answer.text);
    let ids: Vec<Value> =
        chunks.iter().map(|chunk| serde_json::from_str::<Value>(chunk).unwrap()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    ids[0].as_str().unwrap().to_owned()
}

async fn list(rig: &Rig) -> Vec<Value> {
    let page = rig.get(PATH).await.ok();
    check(Spec::OpenAi, "ChatCompletionList", &page);
    page["data"].as_array().unwrap().clone()
}
