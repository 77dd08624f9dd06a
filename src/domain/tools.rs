//! Tools that Chat Completions have no word for: what the model knows them by, and how its calls of them are shown.
//!
//! A custom tool takes a text where a function takes JSON: it is offered as a function with one string. A tool of a namespace
//! is offered under a name made of both.
//!
//! Source: `CustomToolParam` and `NamespaceToolParam` of OpenAI's API description.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hex;

/// The longest name of a function that model servers take, in bytes.
const MAX_NAME: usize = 64;

/// The one parameter of a custom tool's function.
const INPUT: &str = "input";

/// A tool as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTool {
    /// Its name.
    pub name: String,
    /// The namespace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether it takes a text in place of JSON.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub custom: bool,
}

/// The tools of a request that are not functions of the same name: each by the name of its function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientTools(Vec<(String, ClientTool)>);

impl ClientTools {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    pub fn push(&mut self, function: String, tool: ClientTool) {
        self.0.push((function, tool));
    }

    /// The tool that the model knows as this function.
    #[must_use]
    pub fn of(&self, function: &str) -> Option<&ClientTool> {
        self.0.iter().find(|(name, _)| name == function).map(|(_, tool)| tool)
    }
}

/// The name of a tool's function: letters, digits, `_` and `-`, and no more of them than model servers take.
#[must_use]
pub fn function_name(namespace: Option<&str>, name: &str) -> String {
    let Some(namespace) = namespace else { return name.to_owned() };
    let whole = format!("{namespace}__{name}");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let plain: String = whole.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == whole && plain.len() <= MAX_NAME {
        return plain;
    }
    // Names that are cut or replaced alike stay apart.
    let digest = hex::encode(&Sha256::digest(whole.as_bytes())[..4]);
    let kept = plain.get(..plain.len().min(MAX_NAME - digest.len() - 1)).unwrap_or_default();
    format!("{kept}_{digest}")
}

/// The parameters of a custom tool's function.
#[must_use]
pub fn custom_parameters() -> Value {
    json!({
        "type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT], "additionalProperties": false,
    })
}

/// The text in the arguments of a custom tool's function. Arguments of another form are the text themselves: some models
/// leave the wrapping out.
#[must_use]
pub fn input_of(arguments: &str) -> String {
    let wrapped = match serde_json::from_str(arguments) {
        Ok(Value::Object(mut fields)) => fields.remove(INPUT),
        Ok(text) => Some(text),
        Err(_) => None,
    };
    match wrapped {
        Some(Value::String(input)) => input,
        _ => arguments.to_owned(),
    }
}

/// The arguments of a custom tool's function with this text.
#[must_use]
pub fn arguments_of(input: &str) -> String {
    json!({INPUT: input}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_rules_of_model_servers_and_stay_apart() {
        assert_eq!(function_name(None, "apply_patch"), "apply_patch");
        assert_eq!(function_name(Some("crm"), "get_user"), "crm__get_user");
        let odd = [function_name(Some("crm.v1"), "get"), function_name(Some("crm v1"), "get")];
        assert!(odd[0] != odd[1] && odd[0].starts_with("crm_v1__get_"), "{odd:?}");
        let long = |end: &str| function_name(Some(&"n".repeat(80)), end);
        assert_eq!((long("a").len(), long("a") == long("b")), (MAX_NAME, false));
    }

    #[test]
    fn a_custom_tools_text_goes_there_and_back() {
        for text in ["", "*** Begin Patch\n\"x\"", "{\"input\": 1}", "\"quoted\""] {
            assert_eq!(input_of(&arguments_of(text)), text);
        }
        for (odd, text) in [("plain text", "plain text"), ("\"a\"", "a"), ("{\"other\":1}", "{\"other\":1}"), ("", "")]
        {
            assert_eq!(input_of(odd), text);
        }
    }
}
