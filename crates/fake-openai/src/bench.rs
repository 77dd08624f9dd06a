//! The bench mode: answers rendered once, requests hardly looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::record::RecordedRequest;
use crate::render;
use crate::reply::Reply;

/// The fixed answer of the bench mode. Nothing is recorded in it but the number of calls.
#[derive(Clone, Copy, Debug)]
pub struct Bench {
    /// How many one-word chunks a stream has.
    pub tokens: usize,
    /// The pause before each chunk; a plain answer waits for all of them at once.
    pub delay: Duration,
    /// Each chunk in a write of its own, also without a delay.
    pub flush_each: bool,
}

impl Default for Bench {
    /// 200 tokens, no delay.
    fn default() -> Self {
        Self { tokens: 200, delay: Duration::ZERO, flush_each: false }
    }
}

/// The rendered answers, by what the request asks.
pub(crate) struct Rendered {
    plain: Arc<Plan>,
    stream: Arc<Plan>,
    stream_usage: Arc<Plan>,
}

impl Rendered {
    pub(crate) fn new(bench: Bench) -> Self {
        let reply = || Reply::tokens(bench.tokens).model("gpt-bench").usage(20, bench.tokens as u64);
        let all_at_once = bench.delay * u32::try_from(bench.tokens).unwrap_or(u32::MAX);
        let plan = |reply: Reply, asked: Value| Arc::new(render::plan(&reply, &request(asked), false));
        let streamed = || match bench.flush_each && bench.delay.is_zero() {
            true => reply().flush_each(),
            false => reply().delay_each(bench.delay),
        };
        let usage = json!({"stream": true, "stream_options": {"include_usage": true}});
        Self {
            plain: plan(reply().delay_each(all_at_once), json!({})),
            stream: plan(streamed(), json!({"stream": true})),
            stream_usage: plan(streamed(), usage),
        }
    }

    /// The answer to a body, from its bytes alone: inside a JSON string the quotes that are looked for are escaped.
    pub(crate) fn for_body(&self, body: &[u8]) -> Arc<Plan> {
        let body = std::str::from_utf8(body).unwrap_or_default();
        let plan = match is_true(body, "\"stream\":") {
            false => &self.plain,
            true if is_true(body, "\"include_usage\":") => &self.stream_usage,
            true => &self.stream,
        };
        plan.clone()
    }
}

fn is_true(body: &str, key: &str) -> bool {
    let value = body.find(key).map(|at| body[at + key.len()..].trim_start());
    value.is_some_and(|value| value.starts_with("true"))
}

/// A request that asks nothing but this.
fn request(json: Value) -> RecordedRequest {
    RecordedRequest {
        index: 0,
        connection: 0,
        method: "POST".to_owned(),
        path: crate::record::CHAT.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Bytes::new(),
        json,
        arrived: Instant::now(),
        http11: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Op;

    #[test]
    fn the_body_alone_chooses_the_answer() {
        let rendered = Rendered::new(Bench::default());
        let chosen = |body: &str| rendered.for_body(body.as_bytes());
        assert!(Arc::ptr_eq(&chosen(r#"{"model":"m"}"#), &rendered.plain));
        assert!(Arc::ptr_eq(&chosen(r#"{"stream": true}"#), &rendered.stream));
        let usage = r#"{"stream":true,"stream_options":{"include_usage":true}}"#;
        assert!(Arc::ptr_eq(&chosen(usage), &rendered.stream_usage));
        let quoted = r#"{"messages":[{"role":"user","content":"\"stream\":true"}]}"#;
        assert!(Arc::ptr_eq(&chosen(quoted), &rendered.plain));
    }

    #[test]
    fn without_delay_an_answer_is_one_write_unless_each_chunk_is() {
        let rendered = Rendered::new(Bench::default());
        assert!(matches!(rendered.stream.ops[..], [Op::Write(_)]));
        assert!(matches!(rendered.plain.ops[..], [Op::Write(_)]));
        let each = Rendered::new(Bench { flush_each: true, ..Bench::default() });
        assert_eq!(each.stream.ops.len(), 201);
    }
}
