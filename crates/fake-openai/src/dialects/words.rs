//! An answer in a dialect's words, streamed or in one.

use serde_json::{Value, json};

use super::{Calls, Chatter, Dialect, Figures, Said, Thoughts};
use crate::record::RecordedRequest;
use crate::reply::Reply;
use crate::steps::Step;

impl Dialect {
    pub(super) fn say(&self, request: &RecordedRequest, said: &Said) -> Reply {
        match request.wants_stream() {
            true => Reply::stream(self.events(said).into_iter().chain([Step::Done])),
            false => Reply::json(200, &self.whole(said)),
        }
    }

    /// Half an answer, and what went wrong.
    pub(super) fn fail(&self, request: &RecordedRequest) -> Reply {
        let failure = (self.failure)();
        if !request.wants_stream() {
            return Reply::json(200, &failure);
        }
        let begun = self.chunk(json!({"role": "assistant", "content": "Half of"}), Value::Null);
        Reply::stream([Step::json(&begun), Step::Flush, Step::json(&failure), Step::End])
    }

    fn finish_of(&self, said: &Said) -> &'static str {
        let [stop, length, calls] = self.finish;
        match said {
            _ if said.is_cut => length,
            _ if said.calls.is_empty() => stop,
            _ => calls,
        }
    }

    fn events(&self, said: &Said) -> Vec<Step> {
        let mut chunks = Vec::new();
        let mut role = json!({"role": "assistant", "content": ""});
        for mut delta in self.thoughts(said).into_iter().chain(texts(said)).chain(self.called(said)) {
            if let Some(role) = role.take().as_object_mut() {
                role.retain(|name, _| delta.get(name).is_none());
                delta.as_object_mut().expect("a delta is an object").append(role);
            }
            chunks.push(self.chunk(delta, Value::Null));
        }
        let mut last = self.chunk(json!({}), json!(self.finish_of(said)));
        match self.figures {
            Figures::WithFinish => last["usage"] = figures(),
            Figures::InChoice => last["choices"][0]["usage"] = figures(),
            Figures::Everywhere => chunks.iter_mut().chain([&mut last]).for_each(|chunk| chunk["usage"] = figures()),
            Figures::Last => {}
        }
        chunks.push(last);
        if self.figures == Figures::Last {
            let mut own = self.chunk(json!({}), Value::Null);
            (own["choices"], own["usage"]) = (json!([]), figures());
            chunks.push(own);
        }
        let mut steps = match self.chatter {
            Chatter::Filter => {
                let filter = json!({"choices": [], "created": 0, "id": "", "model": "", "object": "",
                    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]});
                vec![Step::json(&filter)]
            }
            Chatter::None | Chatter::Comments => Vec::new(),
        };
        for chunk in &chunks {
            if self.chatter == Chatter::Comments {
                steps.push(Step::Comment("OPENROUTER PROCESSING".to_owned()));
            }
            steps.push(Step::json(chunk));
        }
        steps
    }

    fn chunk(&self, delta: Value, finish: Value) -> Value {
        json!({"id": "chatcmpl-fake-0123456789abcdef", "object": "chat.completion.chunk", "created": 1_764_000_000, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    fn whole(&self, said: &Said) -> Value {
        let mut message = json!({"role": "assistant", "content": said.text});
        match self.thoughts {
            _ if said.thoughts.is_empty() => {}
            Thoughts::None => {}
            Thoughts::ReasoningContent => message["reasoning_content"] = json!(said.thoughts),
            Thoughts::Reasoning => message["reasoning"] = json!(said.thoughts),
            Thoughts::Details => {
                message["reasoning"] = json!(said.thoughts);
                message["reasoning_details"] = details(said.thoughts);
            }
            Thoughts::Parts => {
                message["content"] = json!([thinking(said.thoughts), {"type": "text", "text": said.text}])
            }
            Thoughts::Tags => message["content"] = json!(format!("{}{}", tagged(said.thoughts), said.text)),
        }
        if !said.calls.is_empty() {
            message["tool_calls"] = (0..said.calls.len()).map(|at| self.call(said, at)).collect();
        }
        let mut usage = figures();
        let mut whole = json!({"id": "chatcmpl-fake-0123456789abcdef", "object": "chat.completion", "created": 1_764_000_000,
            "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": self.finish_of(said)}]});
        match self.figures {
            Figures::InChoice => whole["choices"][0]["usage"] = usage.take(),
            _ => whole["usage"] = usage.take(),
        }
        whole
    }

    fn thoughts(&self, said: &Said) -> Vec<Value> {
        if said.thoughts.is_empty() {
            return Vec::new();
        }
        let pieces = said.thoughts.split_inclusive(' ');
        match self.thoughts {
            Thoughts::None => Vec::new(),
            Thoughts::ReasoningContent => pieces.map(|piece| json!({"reasoning_content": piece})).collect(),
            Thoughts::Reasoning => pieces.map(|piece| json!({"reasoning": piece})).collect(),
            Thoughts::Details => {
                pieces.map(|piece| json!({"reasoning": piece, "reasoning_details": details(piece)})).collect()
            }
            Thoughts::Parts => pieces.map(|piece| json!({"content": [thinking(piece)]})).collect(),
            Thoughts::Tags => {
                tagged(said.thoughts).split_inclusive('i').map(|piece| json!({"content": piece})).collect()
            }
        }
    }

    fn called(&self, said: &Said) -> Vec<Value> {
        let calls = (0..said.calls.len()).map(|at| (at, self.call(said, at)));
        match self.calls {
            Calls::Pieces => {
                calls.flat_map(|(at, call)| pieces(at, call)).map(|call| json!({"tool_calls": [call]})).collect()
            }
            Calls::Listed if said.calls.is_empty() => Vec::new(),
            Calls::Listed => {
                let listed = calls.map(|(at, call)| with_index(at, call));
                vec![json!({"tool_calls": listed.collect::<Vec<_>>()})]
            }
            Calls::Index0 | Calls::Signed => {
                calls.map(|(_, call)| json!({"tool_calls": [with_index(0, call)]})).collect()
            }
            Calls::NoIndex => calls.map(|(_, call)| json!({"tool_calls": [call]})).collect(),
        }
    }

    fn call(&self, said: &Said, at: usize) -> Value {
        let (name, arguments) = &said.calls[at];
        let mut call = json!({"id": (self.call_id)(said.round * 10 + at), "type": "function",
            "function": {"name": name, "arguments": arguments}});
        if self.calls == Calls::Signed && at == 0 {
            call["extra_content"] = json!({"google": {"thought_signature": format!("signature {}", said.round)}});
        }
        call
    }
}

fn texts(said: &Said) -> Vec<Value> {
    said.text.split_inclusive(' ').map(|piece| json!({"content": piece})).collect()
}

fn with_index(index: usize, mut call: Value) -> Value {
    call["index"] = json!(index);
    call
}

/// A call's head, and its arguments in pieces.
fn pieces(index: usize, mut call: Value) -> Vec<Value> {
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default().to_owned();
    call["function"]["arguments"] = json!("");
    let tails = arguments.split_inclusive(':').map(|piece| json!({"index": index, "function": {"arguments": piece}}));
    [with_index(index, call)].into_iter().chain(tails).collect()
}

fn thinking(text: &str) -> Value {
    json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]})
}

fn details(text: &str) -> Value {
    json!([{"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}])
}

fn tagged(text: &str) -> String {
    format!("<think>\n{text}\n</think>\n\n")
}

fn figures() -> Value {
    json!({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18})
}
