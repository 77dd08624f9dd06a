//! A request's JSON object, taken apart key by key: each failure names the parameter, as OpenAI's do. What is not taken is
//! read over: the protocol grows every month, and a field that is newer than this server changes no answer of it.

use axum::body::Bytes;
use serde_json::{Map, Value};

use super::error::OpenAiError;
use crate::tasks::json_off_runtime;

/// The most pairs that metadata may have, and the most characters of their keys and values.
const METADATA_PAIRS: usize = 16;
const METADATA_KEY: usize = 64;
const METADATA_VALUE: usize = 512;

/// The fields that have not been taken yet.
#[derive(Debug)]
pub struct Fields {
    left: Map<String, Value>,
    /// Where the object stands in the body: the path before each of its keys.
    at: String,
}

impl Fields {
    /// Reads a body; an empty one is an empty object.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn read(body: &[u8]) -> Result<Self, OpenAiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self { left: Map::new(), at: String::new() });
        }
        let value = serde_json::from_slice(body).map_err(|error| crate::http::body::explain(&error))?;
        Self::of(value, "")
    }

    /// Reads a body that may be large.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub async fn of_body(body: Bytes) -> Result<Self, OpenAiError> {
        json_off_runtime(body.len(), move || Self::read(&body)).await
    }

    /// The fields of `value`, which stands at `param`.
    ///
    /// # Errors
    /// When it is no object.
    pub fn of(value: Value, param: &str) -> Result<Self, OpenAiError> {
        match value {
            Value::Object(left) => {
                let at = if param.is_empty() { String::new() } else { format!("{param}.") };
                Ok(Self { left, at })
            }
            other => Err(wrong_type(param, "an object", &other)),
        }
    }

    /// The whole name of one of its fields.
    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// Takes a value out; null counts as missing.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    ///
    /// # Errors
    /// When it is none.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, OpenAiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path(name), "a string", &other)),
        }
    }

    /// The text of this name, which is left where it is; `None` where there is none.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<&str> {
        self.left.get(name)?.as_str()
    }

    /// Puts a value in place of what is there.
    pub fn put(&mut self, name: &str, value: Value) {
        self.left.insert(name.to_owned(), value);
    }

    /// What is left but for these.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Map<String, Value> {
        let kept = self.left.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Takes a text of at most `most` characters.
    ///
    /// # Errors
    /// When it is none, or longer.
    pub fn short_text(&mut self, name: &str, most: usize) -> Result<Option<String>, OpenAiError> {
        let text = self.text(name)?;
        match &text {
            Some(text) if text.chars().count() > most => {
                let at = self.path(name);
                let message = format!("Invalid '{at}': it may have at most {most} characters.");
                Err(OpenAiError::invalid(&at, "string_above_max_length", message))
            }
            _ => Ok(text),
        }
    }

    /// Takes a truth value.
    ///
    /// # Errors
    /// When it is none.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, OpenAiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(&self.path(name), "a boolean", &other)),
        }
    }

    /// Takes a number from `least` to `most`.
    ///
    /// # Errors
    /// When it is none, or outside.
    pub fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, OpenAiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong_type(&self.path(name), "a number", &value))?;
        if number < least {
            return Err(below(&self.path(name), "decimal", least));
        }
        if number > most {
            return Err(above(&self.path(name), "decimal", most));
        }
        Ok(Some(number))
    }

    /// Takes a whole number from `least` to `most`.
    ///
    /// # Errors
    /// When it is none, or outside.
    pub fn whole(&mut self, name: &str, least: u32, most: u32) -> Result<Option<u32>, OpenAiError> {
        match self.at_least(name, least)? {
            Some(number) if number > most => Err(above(&self.path(name), "integer", most)),
            number => Ok(number),
        }
    }

    /// Takes a whole number of at least `least`; one that is larger than any that makes a difference is the largest.
    ///
    /// # Errors
    /// When it is none, or less.
    pub fn at_least(&mut self, name: &str, least: u32) -> Result<Option<u32>, OpenAiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let at = self.path(name);
        // In JSON, 1.0 is a whole number, and one of any length is a number.
        let number = value.as_f64().filter(|number| number.fract() == 0.0);
        let number = number.ok_or_else(|| wrong_type(&at, "an integer", &value))?;
        if number < f64::from(least) {
            return Err(below(&at, "integer", least));
        }
        // Beyond its range, the conversion gives the nearest number.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and not below `least`")]
        Ok(Some(number as u32))
    }

    /// Takes a list.
    ///
    /// # Errors
    /// When it is none.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, OpenAiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong_type(&self.path(name), "an array", &other)),
        }
    }

    /// Takes metadata: up to 16 pairs of strings, keys of up to 64 characters and values of up to 512.
    ///
    /// # Errors
    /// When it is something else.
    pub fn metadata(&mut self) -> Result<Option<Map<String, Value>>, OpenAiError> {
        let map = match self.take("metadata") {
            None => return Ok(None),
            Some(Value::Object(map)) => map,
            Some(other) => return Err(wrong_type("metadata", "an object", &other)),
        };
        if map.len() > METADATA_PAIRS {
            let message = format!("Invalid 'metadata': it may have at most {METADATA_PAIRS} pairs.");
            return Err(OpenAiError::invalid("metadata", "object_above_max_properties", message));
        }
        for (key, value) in &map {
            let Value::String(text) = value else { return Err(wrong_type("metadata", "an object of strings", value)) };
            if key.chars().count() > METADATA_KEY || text.chars().count() > METADATA_VALUE {
                let message = format!(
                    "Invalid 'metadata': keys may have at most {METADATA_KEY} characters, values {METADATA_VALUE}."
                );
                return Err(OpenAiError::invalid("metadata", "string_above_max_length", message));
            }
        }
        Ok(Some(map))
    }

    /// Takes a text that may not be missing.
    ///
    /// # Errors
    /// When it is missing, or no text.
    pub fn required_text(&mut self, name: &str) -> Result<String, OpenAiError> {
        self.text(name)?.ok_or_else(|| missing(&self.path(name)))
    }
}

/// A value of another type than it should be. Nothing of the value is quoted.
#[must_use]
pub fn wrong_type(param: &str, wanted: &str, got: &Value) -> OpenAiError {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let what = if param.is_empty() { "the body".to_owned() } else { format!("'{param}'") };
    OpenAiError::invalid(param, "invalid_type", format!("Invalid type for {what}: expected {wanted}, but got {got}."))
}

/// A value that is none of those that it may be. What it was is not quoted.
#[must_use]
pub fn wrong_value(param: &str, allowed: &[&str]) -> OpenAiError {
    let allowed = allowed.join("', '");
    let message = format!("Invalid value for '{param}'. Supported values are: '{allowed}'.");
    OpenAiError::invalid(param, "invalid_value", message)
}

/// Something that OpenAI has and this server has not.
#[must_use]
pub fn unsupported(param: &str, message: impl Into<String>) -> OpenAiError {
    OpenAiError::invalid(param, "unsupported_parameter", message)
}

/// A parameter that must be there.
#[must_use]
pub fn missing(param: &str) -> OpenAiError {
    let message = format!("Missing required parameter: '{param}'.");
    OpenAiError::invalid(param, "missing_required_parameter", message)
}

fn below(param: &str, kind: &str, least: impl std::fmt::Display) -> OpenAiError {
    let message = format!("Invalid '{param}': {kind} below minimum value. Expected a value >= {least}.");
    OpenAiError::invalid(param, &format!("{kind}_below_min_value"), message)
}

fn above(param: &str, kind: &str, most: impl std::fmt::Display) -> OpenAiError {
    let message = format!("Invalid '{param}': {kind} above maximum value. Expected a value <= {most}.");
    OpenAiError::invalid(param, &format!("{kind}_above_max_value"), message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::of(value, "").unwrap()
    }

    fn code(error: OpenAiError) -> (String, String) {
        let value: Value = serde_json::from_str(&error.json()).unwrap();
        let text = |key: &str| value["error"][key].as_str().unwrap_or_default().to_owned();
        (text("code"), text("param"))
    }

    #[test]
    fn each_failure_names_its_parameter_and_quotes_nothing() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let mut wrong = fields(json!({"a": 1, "b": "canary", "c": 3.5, "d": -1, "e": 99, "f": {}, "g": "canary"}));
        assert_eq!(code(wrong.text("a").unwrap_err()), pair("invalid_type", "a"));
        assert_eq!(code(wrong.flag("b").unwrap_err()), pair("invalid_type", "b"));
        assert_eq!(code(wrong.number("c", 0.0, 2.0).unwrap_err()), pair("decimal_above_max_value", "c"));
        assert_eq!(code(wrong.whole("d", 1, 9).unwrap_err()), pair("integer_below_min_value", "d"));
        assert_eq!(code(wrong.whole("e", 1, 9).unwrap_err()), pair("integer_above_max_value", "e"));
        assert_eq!(code(wrong.list("f").unwrap_err()), pair("invalid_type", "f"));
        assert_eq!(code(wrong.short_text("g", 3).unwrap_err()), pair("string_above_max_length", "g"));
        assert_eq!(code(wrong.required_text("i").unwrap_err()), pair("missing_required_parameter", "i"));
        let mut inner = Fields::of(json!({"a": 1}), "tools[0]").unwrap();
        assert_eq!(code(inner.text("a").unwrap_err()), pair("invalid_type", "tools[0].a"));
        let said = fields(json!({"metadata": "canary"})).metadata().unwrap_err();
        assert!(!said.json().contains("canary"));
    }

    #[test]
    fn whole_numbers_may_have_any_length_and_a_fraction_of_nothing() {
        let mut numbers = fields(json!({"a": 7.0, "b": 1e30, "c": 0.5, "d": -3.0, "e": u64::MAX, "f": null}));
        assert_eq!(numbers.at_least("a", 1).unwrap(), Some(7));
        assert_eq!(numbers.at_least("b", 1).unwrap(), Some(u32::MAX));
        assert_eq!(code(numbers.at_least("c", 0).unwrap_err()).0, "invalid_type");
        assert_eq!(code(numbers.at_least("d", 0).unwrap_err()).0, "integer_below_min_value");
        assert_eq!(code(numbers.whole("e", 0, 20).unwrap_err()).0, "integer_above_max_value");
        assert_eq!(numbers.at_least("f", 1).unwrap(), None);
    }

    #[test]
    fn metadata_has_limits() {
        let many: Map<String, Value> = (0..17).map(|n| (n.to_string(), "x".into())).collect();
        for wrong in [json!(many), json!({"k".repeat(65): "x"}), json!({"k": "v".repeat(513)}), json!({"k": 1})] {
            assert!(fields(json!({"metadata": wrong})).metadata().is_err());
        }
        let right = json!({"k".repeat(64): "v".repeat(512)});
        assert_eq!(fields(json!({"metadata": right})).metadata().unwrap(), right.as_object().cloned());
    }
}
