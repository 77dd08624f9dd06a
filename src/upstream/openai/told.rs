//! An upstream's error, read out of whatever shape it has.
//!
//! OpenAI sends `{"error": {"message", "type", "param", "code"}}`. Others send a text for the object, the object without its
//! wrapping, a list of one, FastAPI's `detail`, a whole error as JSON in a text, or a page of HTML.

use serde_json::Value;

/// How often an error may be wrapped in another one.
const MOST_LAYERS: u32 = 3;

/// What an error says of itself; texts are empty where it does not.
#[derive(Debug, Default)]
pub struct Told {
    /// A word, or a number as text; a number that is an HTTP status is no code.
    pub code: String,
    /// The type.
    pub kind: String,
    /// The parameter that it is about.
    pub param: String,
    /// For a person.
    pub message: String,
    /// The status inside an error that came with status 200.
    pub status: Option<u64>,
    /// The prompt's tokens, and those that the model takes.
    pub tokens: Option<(u64, u64)>,
}

/// Reads a body.
#[must_use]
pub fn of_body(body: &[u8]) -> Told {
    if let Ok(value) = serde_json::from_slice(body) {
        return of_json(&value);
    }
    let text = String::from_utf8_lossy(body);
    let message = match text.trim_start().starts_with('<') {
        true => title(&text).unwrap_or_default().trim(),
        false => text.trim(),
    };
    Told { message: message.to_owned(), ..Told::default() }
}

/// Reads JSON.
#[must_use]
pub fn of_json(value: &Value) -> Told {
    layer(value, MOST_LAYERS)
}

fn layer(value: &Value, layers: u32) -> Told {
    let value = value.get(0).unwrap_or(value);
    let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
    // Members may stand beside an error that is a text.
    let both = [error, value];
    let word =
        |key: &str| both.iter().map(|from| text_of(&from[key])).find(|word| !word.is_empty()).unwrap_or_default();
    let texts = [error.as_str(), error["message"].as_str(), error["detail"].as_str(), value["message"].as_str()];
    let details = [&error["detail"], &error["message"], &error["errors"]].into_iter().find_map(listed);
    let mut told = Told {
        code: Some(word("code")).filter(|code| !is_status(code)).unwrap_or_default(),
        kind: word("type"),
        param: word("param"),
        message: texts.into_iter().flatten().find(|text| !text.is_empty()).unwrap_or_default().to_owned(),
        status: error["code"].as_u64().or_else(|| error["status"].as_u64()),
        tokens: error["n_prompt_tokens"].as_u64().zip(error["n_ctx"].as_u64()),
    };
    if let Some((param, message)) = details.filter(|_| told.message.is_empty()) {
        told.message = message;
        told.param = if told.param.is_empty() { param } else { told.param };
    }
    match inner(error, &told.message).filter(|_| layers > 0).map(|inner| layer(&inner, layers - 1)) {
        Some(inner) if !inner.message.is_empty() => told.with(inner),
        _ => told,
    }
}

impl Told {
    /// What the innermost error says counts: the outer ones say that there was one.
    fn with(self, inner: Self) -> Self {
        let or = |inner: String, outer: String| if inner.is_empty() { outer } else { inner };
        Self {
            code: or(inner.code, self.code),
            kind: or(inner.kind, self.kind),
            param: or(inner.param, self.param),
            message: inner.message,
            status: self.status.or(inner.status),
            tokens: inner.tokens.or(self.tokens),
        }
    }
}

/// An error inside an error: OpenRouter's `metadata.raw`, or a message that is JSON.
fn inner(error: &Value, message: &str) -> Option<Value> {
    let raw = &error["metadata"]["raw"];
    if raw.is_object() || raw.is_array() {
        return Some(raw.clone());
    }
    let texts = [raw.as_str().unwrap_or_default(), message];
    let json = texts.into_iter().map(str::trim).find(|text| text.starts_with(['{', '[']))?;
    serde_json::from_str(json).ok()
}

/// FastAPI's list of what is wrong: the first place, and all that is said.
fn listed(details: &Value) -> Option<(String, String)> {
    let list = details.as_array().filter(|list| !list.is_empty())?;
    let mut first = None;
    let said = list.iter().filter_map(|detail| {
        let message = [&detail["msg"], &detail["message"], detail].into_iter().find_map(Value::as_str)?;
        let place = place_of(&detail["loc"]);
        first.get_or_insert_with(|| place.clone());
        Some(if place.is_empty() { message.to_owned() } else { format!("{place}: {message}") })
    });
    let said = said.collect::<Vec<_>>().join("; ");
    (!said.is_empty()).then(|| (first.unwrap_or_default(), said))
}

/// `["body", "messages", 0, "content"]` as `messages[0].content`.
fn place_of(path: &Value) -> String {
    let mut place = String::new();
    for step in path.as_array().into_iter().flatten().filter(|step| *step != "body") {
        match (step.as_str(), step.as_u64()) {
            (Some(name), _) if place.is_empty() => place.push_str(name),
            (Some(name), _) => place.extend([".", name]),
            (None, Some(number)) => place.push_str(&format!("[{number}]")),
            (None, None) => {}
        }
    }
    place
}

fn is_status(code: &str) -> bool {
    code.parse::<u16>().is_ok_and(|number| (100..600).contains(&number))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The title of a page.
fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    page.get(start..start + lower.get(start..)?.find('<')?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_says_why() {
        let raw =
            json!({"error": {"message": "No image here.", "param": "messages[0]", "code": "bad_image"}}).to_string();
        for (body, message, param, code) in [
            (json!({"error": "No."}), "No.", "", ""),
            (json!({"error": "bad_request", "message": "No.", "code": 7}), "bad_request", "", "7"),
            (json!({"message": "No.", "param": "n", "code": "x"}), "No.", "n", "x"),
            (json!({"error": {"message": "No.", "code": 400, "param": null}}), "No.", "", ""),
            (json!({"error": {"message": "No.", "code": 1213}}), "No.", "", "1213"),
            (json!([{"error": {"code": 400, "message": "No.", "status": "INVALID_ARGUMENT"}}]), "No.", "", ""),
            (json!({"detail": "No."}), "No.", "", ""),
            (
                json!({"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required", "type": "missing",
                    "input": "private"}, {"loc": ["body", "n"], "msg": "Not 7"}]}),
                "messages[0].content: Field required; n: Not 7",
                "messages[0].content",
                "",
            ),
            (
                json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}),
                "No image here.",
                "messages[0]",
                "bad_image",
            ),
            (json!({"error": {"message": raw}}), "No image here.", "messages[0]", "bad_image"),
            (json!({"error": {"message": "{not JSON", "type": "t"}}), "{not JSON", "", ""),
        ] {
            let told = of_body(body.to_string().as_bytes());
            let read = (told.message.as_str(), told.param.as_str(), told.code.as_str());
            assert_eq!(read, (message, param, code), "{body}");
        }
    }

    #[test]
    fn pages_and_plain_texts_say_why() {
        for (body, message) in [
            ("<html><head><TITLE>413 Too Large</TITLE></head>", "413 Too Large"),
            ("<html>", ""),
            (" upstream is asleep\n", "upstream is asleep"),
            ("", ""),
        ] {
            assert_eq!(of_body(body.as_bytes()).message, message);
        }
    }

    #[test]
    fn what_is_wrapped_without_end_is_read_as_far_as_it_goes() {
        let mut body = json!({"error": {"message": "innermost"}}).to_string();
        for _ in 0..50 {
            body = json!({"error": {"message": body}}).to_string();
            if body.len() > 100_000 {
                break;
            }
        }
        assert!(!of_body(body.as_bytes()).message.is_empty());
    }
}
