//! What is in a message, or in the output of a call: texts, refusals, images, files.

use serde_json::{Map, Value};

use crate::domain::item_json;
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{missing, unsupported, wrong_type, wrong_value};

/// The parts of a message or of an output, as JSON objects with commas between them.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) json: String,
    pub(super) texts: String,
    pub(super) images: u32,
}

impl Parts {
    pub(super) fn read(&mut self, role: &str, list: &[Value], param: &str) -> Result<(), OpenAiError> {
        let mut parts = list.iter().enumerate();
        parts.try_for_each(|(place, part)| self.add(role, part, &format!("{param}[{place}]")))
    }

    fn add(&mut self, role: &str, part: &Value, param: &str) -> Result<(), OpenAiError> {
        let Value::Object(fields) = part else { return Err(wrong_type(param, "an object", part)) };
        match (text(fields, "type", param)?, role) {
            ("input_text" | "output_text" | "text", _) => self.text(role, text(fields, "text", param)?),
            ("refusal", "assistant") => self.refusal(text(fields, "refusal", param)?),
            ("input_image", "user") => self.image(fields, param)?,
            ("input_file", "user") => self.file(fields, param)?,
            _ if role == "assistant" => {
                return Err(wrong_value(&format!("{param}.type"), &["output_text", "refusal"]));
            }
            _ if role == "user" => {
                return Err(wrong_value(&format!("{param}.type"), &["input_text", "input_image", "input_file"]));
            }
            _ => return Err(wrong_value(&format!("{param}.type"), &["input_text"])),
        }
        Ok(())
    }

    fn next(&mut self) -> &mut String {
        if !self.json.is_empty() {
            self.json.push(',');
        }
        &mut self.json
    }

    pub(super) fn text(&mut self, role: &str, said: &str) {
        self.texts.push_str(said);
        match role {
            "assistant" => item_json::push_text_part(self.next(), said),
            _ => item_json::push_input_part(self.next(), said),
        }
    }

    fn refusal(&mut self, said: &str) {
        self.texts.push_str(said);
        item_json::push_refusal_part(self.next(), said);
    }

    fn image(&mut self, fields: &Map<String, Value>, param: &str) -> Result<(), OpenAiError> {
        let detail = optional(fields, "detail", param)?.unwrap_or("auto");
        let Some(url) = optional(fields, "image_url", param)? else {
            if fields.contains_key("file_id") {
                let at = format!("{param}.file_id");
                return Err(unsupported(&at, format!("'{at}' cannot be used: send the image itself as 'image_url'.")));
            }
            return Err(missing(&format!("{param}.image_url")));
        };
        self.images += 1;
        item_json::push_part(self.next(), "input_image", &[("image_url", url), ("detail", detail)]);
        Ok(())
    }

    fn file(&mut self, fields: &Map<String, Value>, param: &str) -> Result<(), OpenAiError> {
        let mut given = Vec::new();
        for name in ["file_id", "file_data", "filename"] {
            given.extend(optional(fields, name, param)?.map(|value| (name, value)));
        }
        let value_of = |wanted: &str| given.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        if value_of("file_id").is_none() && value_of("file_data").is_none() {
            if fields.contains_key("file_url") {
                let at = format!("{param}.file_url");
                return Err(unsupported(&at, format!("'{at}' cannot be used: send the file itself as 'file_data'.")));
            }
            return Err(missing(&format!("{param}.file_data")));
        }
        self.texts.push_str(value_of("file_data").unwrap_or_default());
        item_json::push_part(self.next(), "input_file", &given);
        Ok(())
    }
}

pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str, param: &str) -> Result<&'a str, OpenAiError> {
    optional(fields, name, param)?.ok_or_else(|| missing(&format!("{param}.{name}")))
}

pub(super) fn optional<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    param: &str,
) -> Result<Option<&'a str>, OpenAiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value)),
        Some(other) => Err(wrong_type(&format!("{param}.{name}"), "a string", other)),
    }
}
