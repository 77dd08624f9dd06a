//! A turn's events as those of a response: each of ours becomes one or several of OpenAI's, numbered from 0.
//!
//! The numbers follow from the events alone, so that every reader, on every instance, gives each event the same number, and
//! a stream that was cut goes on where it was cut.

use std::fmt::Write as _;

use super::object::{self, Head, State};
use crate::domain::delta::Delta;
use crate::domain::event::{End, Event};
use crate::domain::ids::ItemId;
use crate::domain::item_json;
use crate::domain::json::push_json_string;
use crate::domain::output::{Output, Outputs};
use crate::domain::tools::input_of;
use crate::http::sse::Frames;

/// Folds a turn's events, from the first on, into frames.
pub struct Projector {
    head: Head,
    answer_id: ItemId,
    outputs: Outputs,
    /// Which outputs were told to be done.
    done: Vec<bool>,
    /// Whether the text of the open message was told to be done.
    text_done: bool,
    /// How many outputs earlier attempts had: theirs are void, and their places taken.
    base: usize,
    next: u64,
    after: Option<u64>,
}

impl Projector {
    /// Frames of the events after number `after`; of all, where there is none.
    #[must_use]
    pub fn new(head: Head, answer_id: ItemId, after: Option<u64>) -> Self {
        let outputs = Outputs::new(answer_id.clone());
        Self { head, answer_id, outputs, done: Vec::new(), text_done: false, base: 0, next: 0, after }
    }

    /// The number of the last event that the reader has. What is no event of the response goes by it, too, so that who
    /// reads on from there misses nothing.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.next.saturating_sub(1).max(self.after.unwrap_or_default())
    }

    /// Adds what `event` amounts to.
    pub fn show(&mut self, event: &Event, out: &mut impl Frames) {
        match event {
            Event::Started { attempt: 1 } => self.begin(out),
            Event::Started { attempt } => self.begin_again(*attempt, out),
            Event::Ended(end) => self.end(end, out),
            Event::Delta(delta) => self.grow(delta, out),
        }
    }

    fn begin(&mut self, out: &mut impl Frames) {
        if self.head.background {
            self.whole("response.created", &State::without_output("queued"), out);
            self.whole("response.queued", &State::without_output("queued"), out);
        } else {
            self.whole("response.created", &State::without_output("in_progress"), out);
        }
        self.whole("response.in_progress", &State::without_output("in_progress"), out);
    }

    /// The server that ran the turn is gone, and it runs again. What was shown is closed as incomplete; what comes has
    /// places of its own, and the response at the end has only those.
    fn begin_again(&mut self, attempt: u32, out: &mut impl Frames) {
        self.close_all("incomplete", out);
        self.base += self.outputs.list().len();
        self.outputs = Outputs::new(self.answer_id.of_attempt(attempt));
        self.done.clear();
    }

    fn grow(&mut self, delta: &Delta, out: &mut impl Frames) {
        let Some(change) = self.outputs.add(delta) else { return };
        if let Some(closed) = change.closed {
            self.close(closed, "completed", out);
        }
        if change.is_new {
            self.open(change.place, out);
        }
        match delta {
            Delta::Text { delta } => {
                self.emit("response.output_text.delta", out, |json, at| {
                    at.item(json, change.place);
                    json.push_str(r#","content_index":0,"delta":"#);
                    push_json_string(json, delta);
                    json.push_str(r#","logprobs":[]"#);
                });
            }
            Delta::Refusal { delta } => self.refuse(change.place, delta, out),
            Delta::Reasoning { delta } => {
                self.emit("response.reasoning_summary_text.delta", out, |json, at| {
                    at.item(json, change.place);
                    json.push_str(r#","summary_index":0,"delta":"#);
                    push_json_string(json, delta);
                });
            }
            // A tool that takes a text is shown it once it is whole: until then it stands in the quotes of JSON.
            Delta::Arguments { .. } if self.outputs.list().get(change.place).is_some_and(Output::is_custom) => {}
            Delta::Arguments { delta, .. } => {
                self.emit("response.function_call_arguments.delta", out, |json, at| {
                    at.item(json, change.place);
                    json.push_str(r#","delta":"#);
                    push_json_string(json, delta);
                });
            }
            Delta::Compaction { .. } => {
                self.emit("response.compaction.compacting", out, |json, at| at.item(json, change.place));
                self.close(change.place, "completed", out);
            }
            Delta::Call { .. } | Delta::Provider { .. } => {}
        }
    }

    /// A refusal is a part of its message: the first one, or the second where something was said before it.
    fn refuse(&mut self, place: usize, delta: &str, out: &mut impl Frames) {
        let Some(Output::Message { text, refusal, .. }) = self.outputs.list().get(place) else { return };
        let (index, is_first) = (usize::from(!text.is_empty()), refusal.len() == delta.len());
        if is_first {
            if index == 1 {
                self.finish_text(place, out);
            }
            self.part("response.content_part.added", place, index, out, |json| item_json::push_refusal_part(json, ""));
        }
        self.emit("response.refusal.delta", out, |json, at| {
            at.item(json, place);
            let _ = write!(json, r#","content_index":{index},"delta":"#);
            push_json_string(json, delta);
        });
    }

    fn open(&mut self, place: usize, out: &mut impl Frames) {
        self.text_done = false;
        self.done.push(false);
        let Some(output) = self.outputs.list().get(place).cloned() else { return };
        self.emit("response.output_item.added", out, |json, at| {
            let _ = write!(json, r#","output_index":{},"item":"#, at.base + place);
            item_json::push_begun(json, &output);
        });
        match &output {
            Output::Message { refusal, .. } if refusal.is_empty() => {
                self.part("response.content_part.added", place, 0, out, |json| item_json::push_text_part(json, ""));
            }
            Output::Reasoning { .. } => self.summary_part("response.reasoning_summary_part.added", place, "", out),
            Output::Message { .. } | Output::Compaction { .. } | Output::Call { .. } => {}
        }
    }

    fn close_all(&mut self, last: &str, out: &mut impl Frames) {
        for place in 0..self.outputs.list().len() {
            let status = object::status_in(self.outputs.list(), place, last == "completed");
            self.close(place, status, out);
        }
    }

    fn close(&mut self, place: usize, status: &str, out: &mut impl Frames) {
        if self.done.get(place).copied().unwrap_or(true) {
            return;
        }
        self.done[place] = true;
        let Some(output) = self.outputs.list().get(place).cloned() else { return };
        match &output {
            Output::Message { text, refusal, .. } => {
                if refusal.is_empty() {
                    self.finish_text(place, out);
                } else {
                    self.finish_refusal(place, usize::from(!text.is_empty()), refusal, out);
                }
            }
            Output::Reasoning { text, .. } => {
                self.emit("response.reasoning_summary_text.done", out, |json, at| {
                    at.item(json, place);
                    json.push_str(r#","summary_index":0,"text":"#);
                    push_json_string(json, text);
                });
                self.summary_part("response.reasoning_summary_part.done", place, text, out);
            }
            Output::Compaction { .. } => {}
            Output::Call { arguments, .. } if output.is_custom() => self.finish_input(place, &input_of(arguments), out),
            Output::Call { name, arguments, tool, .. } => {
                let name = tool.as_ref().map_or(name, |tool| &tool.name);
                self.emit("response.function_call_arguments.done", out, |json, at| {
                    at.item(json, place);
                    json.push_str(r#","name":"#);
                    push_json_string(json, name);
                    json.push_str(r#","arguments":"#);
                    push_json_string(json, arguments);
                });
            }
        }
        self.emit("response.output_item.done", out, |json, at| {
            let _ = write!(json, r#","output_index":{},"item":"#, at.base + place);
            item_json::push_output(json, &output, status);
        });
    }

    fn finish_input(&mut self, place: usize, input: &str, out: &mut impl Frames) {
        for (name, member) in [("delta", "delta"), ("done", "input")] {
            self.emit(&format!("response.custom_tool_call_input.{name}"), out, |json, at| {
                at.item(json, place);
                let _ = write!(json, r#","{member}":"#);
                push_json_string(json, input);
            });
        }
    }

    fn finish_text(&mut self, place: usize, out: &mut impl Frames) {
        let Some(Output::Message { text, .. }) = self.outputs.list().get(place).cloned() else { return };
        if std::mem::replace(&mut self.text_done, true) {
            return;
        }
        self.emit("response.output_text.done", out, |json, at| {
            at.item(json, place);
            json.push_str(r#","content_index":0,"text":"#);
            push_json_string(json, &text);
            json.push_str(r#","logprobs":[]"#);
        });
        self.part("response.content_part.done", place, 0, out, |json| item_json::push_text_part(json, &text));
    }

    fn finish_refusal(&mut self, place: usize, index: usize, refusal: &str, out: &mut impl Frames) {
        self.emit("response.refusal.done", out, |json, at| {
            at.item(json, place);
            let _ = write!(json, r#","content_index":{index},"refusal":"#);
            push_json_string(json, refusal);
        });
        self.part("response.content_part.done", place, index, out, |json| item_json::push_refusal_part(json, refusal));
    }

    fn end(&mut self, end: &End, out: &mut impl Frames) {
        let status = object::status_of(end.status, end.answer.as_ref());
        // An answer without a word is a message without a word.
        if self.outputs.list().is_empty() && end.answer.is_some() {
            let change = self.outputs.add(&Delta::text(""));
            change.iter().for_each(|change| self.open(change.place, out));
        }
        self.close_all(if status == "completed" { "completed" } else { "incomplete" }, out);
        let name = match status {
            "completed" => "response.completed",
            "failed" => "response.failed",
            _ => "response.incomplete",
        };
        self.whole(name, &State::of(end), out);
    }

    /// An event with the response in it.
    fn whole(&mut self, name: &str, state: &State<'_>, out: &mut impl Frames) {
        self.emit(name, out, |json, at| {
            json.push_str(r#","response":"#);
            json.push_str(&at.head.object(state));
        });
    }

    fn part(&mut self, name: &str, place: usize, index: usize, out: &mut impl Frames, part: impl FnOnce(&mut String)) {
        self.emit(name, out, |json, at| {
            at.item(json, place);
            let _ = write!(json, r#","content_index":{index},"part":"#);
            part(json);
        });
    }

    fn summary_part(&mut self, name: &str, place: usize, text: &str, out: &mut impl Frames) {
        self.emit(name, out, |json, at| {
            at.item(json, place);
            json.push_str(r#","summary_index":0,"part":"#);
            item_json::push_summary_part(json, text);
        });
    }

    /// Which item an event is about.
    fn item(&self, json: &mut String, place: usize) {
        let id = self.outputs.list().get(place).map_or("", |output| output.id().as_str());
        let _ = write!(json, r#","item_id":"{id}","output_index":{}"#, self.base + place);
    }

    /// Numbers an event and adds it, unless it was seen.
    fn emit(&mut self, name: &str, out: &mut impl Frames, fields: impl FnOnce(&mut String, &Self)) {
        let number = self.next;
        self.next += 1;
        if self.after.is_some_and(|after| number <= after) {
            return;
        }
        let mut json = String::with_capacity(256);
        let _ = write!(json, r#"{{"type":"{name}","sequence_number":{number}"#);
        fields(&mut json, self);
        json.push('}');
        out.add(None, name, &json);
    }
}
