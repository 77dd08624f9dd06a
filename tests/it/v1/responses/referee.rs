//! Adds the events of a response up, by the rules of the specification and without the server's help: what was opened is
//! closed, pieces make the whole, and the response at the end is what the events said.

use serde_json::{Value, json};

/// An output as the events have built it.
#[derive(Default)]
struct Built {
    id: Value,
    kind: String,
    /// What parts have come to, and whether they are done.
    parts: Vec<(String, String, bool)>,
    arguments: String,
    arguments_done: bool,
    done: Option<Value>,
}

/// Fails where the events of a whole response contradict each other.
#[track_caller]
pub fn judge(events: &[Value]) {
    let built = judge_all(events);
    let response = &events.last().unwrap()["response"];
    let told: Vec<&Value> = built.iter().collect();
    let output: Vec<&Value> = response["output"].as_array().unwrap().iter().collect();
    assert_eq!(told, output, "the response is what its events said");
}

/// The same where an attempt was lost: the response has what the last one said. Gives all items that were done.
#[track_caller]
pub fn judge_all(events: &[Value]) -> Vec<Value> {
    assert_eq!((&events[0]["type"], &events[0]["sequence_number"]), (&json!("response.created"), &json!(0)));
    let (first, id) = (&events[0]["response"], &events[0]["response"]["id"]);
    let is_queued = first["background"] == true;
    assert_eq!(first["status"], if is_queued { "queued" } else { "in_progress" });
    assert_eq!(events[1]["type"], if is_queued { "response.queued" } else { "response.in_progress" });
    let mut items: Vec<Built> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let kind = event["type"].as_str().unwrap();
        let is_last = place + 1 == events.len();
        match kind {
            "response.created" => assert_eq!(place, 0),
            "response.queued" => assert_eq!((place, &event["response"]["status"]), (1, &json!("queued"))),
            "response.in_progress" => {
                let right = (1 + usize::from(is_queued), &json!("in_progress"));
                assert_eq!((place, &event["response"]["status"]), right);
            }
            "response.completed" | "response.failed" | "response.incomplete" => {
                assert!(is_last, "{event} is the end");
                let status = event["response"]["status"].as_str().unwrap();
                let named = if status == "cancelled" { "incomplete" } else { status };
                assert_eq!(kind.strip_prefix("response."), Some(named));
            }
            _ => take(&mut items, kind, event),
        }
        assert!(!is_last || event.get("response").is_some(), "{event} is no end");
        if let Some(response) = event.get("response") {
            assert_eq!((&response["id"], &response["created_at"]), (id, &first["created_at"]));
            assert!(is_last || response["output"] == json!([]), "{event}");
        }
    }
    items.into_iter().map(|item| item.done.expect("all items are done")).collect()
}

fn take(items: &mut Vec<Built>, kind: &str, event: &Value) {
    let index = usize::try_from(event["output_index"].as_u64().unwrap_or_else(|| panic!("no index: {event}"))).unwrap();
    if kind == "response.output_item.added" {
        assert_eq!(index, items.len(), "{event}");
        return items.push(Built::begun(&event["item"]));
    }
    let item = items.get_mut(index).unwrap_or_else(|| panic!("nothing there: {event}"));
    assert!(item.done.is_none(), "{event} about what is done");
    if kind == "response.output_item.done" {
        return item.finish(&event["item"]);
    }
    assert_eq!(event["item_id"], item.id, "{event}");
    let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("no {key}: {event}"));
    match kind {
        "response.function_call_arguments.delta" => {
            assert!(!item.arguments_done, "{event}");
            item.arguments.push_str(text("delta"));
        }
        "response.function_call_arguments.done" => {
            assert_eq!(text("arguments"), item.arguments);
            item.arguments_done = true;
        }
        _ => take_part(item, kind, event),
    }
}

fn take_part(item: &mut Built, kind: &str, event: &Value) {
    let key = if kind.contains("summary") { "summary_index" } else { "content_index" };
    let index = usize::try_from(event[key].as_u64().unwrap_or_else(|| panic!("no index: {event}"))).unwrap();
    let text = |value: &Value| {
        let text = value["text"].as_str().or(value["refusal"].as_str());
        text.unwrap_or_else(|| panic!("no text: {event}")).to_owned()
    };
    match kind {
        "response.content_part.added" | "response.reasoning_summary_part.added" => {
            assert_eq!(index, item.parts.len(), "{event}");
            assert!(item.parts.iter().all(|(.., done)| *done), "{event}: one part after another");
            assert_eq!(text(&event["part"]), "", "{event}");
            let kind = event["part"]["type"].as_str().unwrap().to_owned();
            item.parts.push((kind, String::new(), false));
        }
        "response.content_part.done" | "response.reasoning_summary_part.done" => {
            let (kind, said, done) = &mut item.parts[index];
            assert!(!*done, "{event}");
            assert_eq!((text(&event["part"]), &event["part"]["type"]), (said.clone(), &json!(*kind)));
            *done = true;
        }
        "response.output_text.delta" | "response.refusal.delta" | "response.reasoning_summary_text.delta" => {
            let (_, said, done) = &mut item.parts[index];
            let delta = event["delta"].as_str().unwrap();
            assert!(!*done && !delta.is_empty(), "{event}");
            said.push_str(delta);
        }
        "response.output_text.done" | "response.refusal.done" | "response.reasoning_summary_text.done" => {
            let (_, said, done) = &item.parts[index];
            assert!(!done, "{event}");
            assert_eq!(text(event), *said);
        }
        other => panic!("{other} is not expected of this server"),
    }
}

impl Built {
    fn begun(item: &Value) -> Self {
        let kind = item["type"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "message" => assert_eq!((&item["content"], &item["status"]), (&json!([]), &json!("in_progress"))),
            "reasoning" => assert_eq!(item["summary"], json!([])),
            "function_call" => assert_eq!((&item["arguments"], &item["status"]), (&json!(""), &json!("in_progress"))),
            other => panic!("{other} is not expected of this server"),
        }
        Self { id: item["id"].clone(), kind, ..Self::default() }
    }

    fn finish(&mut self, item: &Value) {
        assert_eq!((&item["id"], &item["type"]), (&self.id, &json!(self.kind)));
        assert!(self.parts.iter().all(|(.., done)| *done), "{item}: its parts are done");
        let parts = match self.kind.as_str() {
            "function_call" => {
                assert!(self.arguments_done, "{item}");
                assert_eq!(item["arguments"], self.arguments.as_str());
                return self.done = Some(item.clone());
            }
            "message" => item["content"].as_array().unwrap(),
            _ => item["summary"].as_array().unwrap(),
        };
        let said: Vec<(&str, &str)> = parts
            .iter()
            .map(|part| (part["type"].as_str().unwrap(), part["text"].as_str().or(part["refusal"].as_str()).unwrap()))
            .collect();
        let built: Vec<(&str, &str)> =
            self.parts.iter().map(|(kind, said, _)| (kind.as_str(), said.as_str())).collect();
        assert_eq!(said, built);
        self.done = Some(item.clone());
    }
}
