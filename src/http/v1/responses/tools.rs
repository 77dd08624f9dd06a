//! Tools and the form of the answer, from the words of Responses to those of Chat Completions.

use serde_json::{Map, Value, json};

use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::{Fields, missing, unsupported, wrong_type, wrong_value};

const NOTHING_TO_CALL: &str = "Invalid 'tool_choice': a call is required, and there is no tool that may be called.";

/// The same thing twice: as the upstream takes it, and as the response shows it.
#[derive(Debug, Default)]
pub struct Options {
    /// Fields of Chat Completions.
    pub sent: Map<String, Value>,
    /// Fields of the response.
    pub shown: Map<String, Value>,
}

impl Options {
    fn send(&mut self, name: &str, value: impl Into<Value>) {
        self.sent.insert(name.to_owned(), value.into());
    }

    fn show(&mut self, name: &str, value: impl Into<Value>) {
        self.shown.insert(name.to_owned(), value.into());
    }

    /// Takes `tools`, `tool_choice` and `parallel_tool_calls`.
    ///
    /// Tools that OpenAI hosts are left out, unless `tool_choice` demands one: the model is free not to use them.
    ///
    /// # Errors
    /// What is wrong, or a tool that would have to be used and is not to be had.
    pub fn tools(&mut self, fields: &mut Fields) -> Result<(), OpenAiError> {
        let given = fields.list("tools")?.unwrap_or_default();
        let tools = given.into_iter().enumerate().map(Tool::read).filter_map(Result::transpose);
        let tools: Vec<Tool> = tools.collect::<Result<_, _>>()?;
        let choice = fields.take("tool_choice");
        let (mode, allowed) =
            choice.as_ref().map(|choice| read_choice(choice, &tools)).transpose()?.unwrap_or_default();
        let parallel = fields.flag("parallel_tool_calls")?;
        self.show("tools", tools.iter().map(|tool| tool.shown.clone()).collect::<Vec<_>>());
        self.show("tool_choice", choice.map_or_else(|| "auto".into(), in_force));
        self.show("parallel_tool_calls", parallel.unwrap_or(true));
        let offered = tools.iter().filter(|tool| allowed.as_ref().is_none_or(|names| names.contains(&tool.name)));
        let offered: Vec<Value> = offered.map(|tool| tool.sent.clone()).collect();
        if offered.is_empty() {
            // A model that is offered nothing would answer as if nothing had been required.
            return match mode.as_ref().is_some_and(|mode| *mode == "required") {
                true => Err(OpenAiError::invalid("tool_choice", "invalid_value", NOTHING_TO_CALL)),
                false => Ok(()),
            };
        }
        self.send("tools", offered);
        if let Some(mode) = mode {
            self.send("tool_choice", mode);
        }
        if let Some(parallel) = parallel {
            self.send("parallel_tool_calls", parallel);
        }
        Ok(())
    }

    /// Takes `text`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn text(&mut self, fields: &mut Fields) -> Result<(), OpenAiError> {
        let mut shown = json!({"format": {"type": "text"}});
        if let Some(text) = fields.take("text") {
            let mut text = Fields::of(text, "text")?;
            if let Some(format) = text.take("format") {
                shown["format"] = self.format(Fields::of(format, "text.format")?)?;
            }
            if let Some(verbosity) = text.text("verbosity")? {
                self.send("verbosity", verbosity.as_str());
                shown["verbosity"] = verbosity.into();
            }
        }
        self.show("text", shown);
        Ok(())
    }

    fn format(&mut self, mut format: Fields) -> Result<Value, OpenAiError> {
        let kind = format.text("type")?.ok_or_else(|| missing("text.format.type"))?;
        let shown = match kind.as_str() {
            "text" => json!({"type": "text"}),
            "json_object" => {
                self.send("response_format", json!({"type": "json_object"}));
                json!({"type": "json_object"})
            }
            "json_schema" => {
                let name = format.text("name")?.ok_or_else(|| missing("text.format.name"))?;
                let schema = format.take("schema").ok_or_else(|| missing("text.format.schema"))?;
                if !schema.is_object() {
                    return Err(wrong_type("text.format.schema", "an object", &schema));
                }
                let description = format.text("description")?;
                let strict = format.flag("strict")?;
                let mut sent = json!({"name": name, "schema": schema});
                if let Some(description) = &description {
                    sent["description"] = description.as_str().into();
                }
                if let Some(strict) = strict {
                    sent["strict"] = strict.into();
                }
                self.send("response_format", json!({"type": "json_schema", "json_schema": sent}));
                json!({"type": "json_schema", "name": name, "description": description, "schema": schema,
                    "strict": strict.unwrap_or(false)})
            }
            _ => return Err(wrong_value("text.format.type", &["text", "json_object", "json_schema"])),
        };
        Ok(shown)
    }

    /// Takes `reasoning`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn reasoning(&mut self, fields: &mut Fields) -> Result<(), OpenAiError> {
        let mut shown = json!({"effort": null, "summary": null});
        if let Some(reasoning) = fields.take("reasoning") {
            let mut reasoning = Fields::of(reasoning, "reasoning")?;
            // Which efforts there are is the model's to say: there are new ones every year.
            if let Some(effort) = reasoning.text("effort")? {
                self.send("reasoning_effort", effort.as_str());
                shown["effort"] = effort.into();
            }
            // The summary is what the upstream lets be seen; how long it is, is the upstream's to say.
            let (summary, older) = (reasoning.text("summary")?, reasoning.text("generate_summary")?);
            if let Some(summary) = summary.or(older) {
                shown["summary"] = summary.into();
            }
            if let Some(context) = reasoning.text("context")? {
                shown["context"] = context.into();
            }
        }
        self.show("reasoning", shown);
        Ok(())
    }

    /// Takes a number that both sides call by the same name; `otherwise` is shown where there is none.
    ///
    /// # Errors
    /// When it is none, or outside its range.
    pub fn number(
        &mut self,
        fields: &mut Fields,
        name: &str,
        (least, most): (f64, f64),
        otherwise: f64,
    ) -> Result<(), OpenAiError> {
        let number = fields.number(name, least, most)?;
        if let Some(number) = number {
            self.send(name, number);
        }
        self.show(name, number.unwrap_or(otherwise));
        Ok(())
    }

    /// Takes `user`, which `safety_identifier` has replaced: it is shown where it was given, and has no null.
    ///
    /// # Errors
    /// When it is no text.
    pub fn user(&mut self, fields: &mut Fields) -> Result<(), OpenAiError> {
        if let Some(user) = fields.short_text("user", 512)? {
            self.send("user", user.as_str());
            self.show("user", user);
        }
        Ok(())
    }

    /// Takes a short text that both sides call by the same name.
    ///
    /// # Errors
    /// When it is none, or longer than `most` characters.
    pub fn short_text(&mut self, fields: &mut Fields, name: &str, most: usize) -> Result<(), OpenAiError> {
        let text = fields.short_text(name, most)?;
        if let Some(text) = &text {
            self.send(name, text.as_str());
        }
        self.show(name, text);
        Ok(())
    }
}

struct Tool {
    name: String,
    sent: Value,
    shown: Value,
}

impl Tool {
    /// `None` for a tool that OpenAI hosts.
    fn read((place, tool): (usize, Value)) -> Result<Option<Self>, OpenAiError> {
        let at = format!("tools[{place}]");
        let mut fields = Fields::of(tool, &at)?;
        match fields.required_text("type")?.as_str() {
            "function" => {}
            "custom" | "namespace" => {
                let at = format!("{at}.type");
                let message = format!("'{at}' is a tool that this server does not have.");
                return Err(unsupported(&at, message));
            }
            _ => return Ok(None),
        }
        let name = fields.text("name")?.ok_or_else(|| missing(&format!("{at}.name")))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=128).contains(&name.len()) || !name.bytes().all(plain) {
            let at = format!("{at}.name");
            let message = format!("Invalid '{at}': it has 1 to 128 letters, digits, '_' and '-'.");
            return Err(OpenAiError::invalid(&at, "invalid_value", message));
        }
        let (description, strict) = (fields.text("description")?, fields.flag("strict")?);
        let parameters = fields.take("parameters");
        if let Some(other) = parameters.as_ref().filter(|value| !value.is_object()) {
            return Err(wrong_type(&format!("{at}.parameters"), "an object", other));
        }
        let mut function = json!({"name": name});
        for (key, value) in [
            ("description", description.clone().map(Value::from)),
            ("parameters", parameters.clone()),
            ("strict", strict.map(Value::from)),
        ] {
            if let Some(value) = value {
                function[key] = value;
            }
        }
        let shown = json!({"type": "function", "name": name, "description": description, "parameters": parameters,
            "strict": strict});
        Ok(Some(Self { name, sent: json!({"type": "function", "function": function}), shown }))
    }
}

/// The choice as Chat Completions take it, and the names of the tools that may be called, where those are not all.
type Choice = (Option<Value>, Option<Vec<String>>);

/// A choice as the response shows it: without the hosted tools, which are not offered.
fn in_force(mut choice: Value) -> Value {
    if choice["type"] == "allowed_tools"
        && let Some(tools) = choice.get_mut("tools").and_then(Value::as_array_mut)
    {
        tools.retain(|tool| tool["type"].as_str().is_none_or(|kind| kind == "function"));
        for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
            tool.insert("type".to_owned(), "function".into());
        }
    }
    choice
}

fn read_choice(choice: &Value, tools: &[Tool]) -> Result<Choice, OpenAiError> {
    const MODES: [&str; 3] = ["none", "auto", "required"];
    let known = |name: &str, at: &str| match tools.iter().any(|tool| tool.name == name) {
        true => Ok(name.to_owned()),
        false => Err(OpenAiError::invalid(at, "invalid_value", format!("'{at}' names no function in 'tools'."))),
    };
    match choice {
        Value::String(mode) if MODES.contains(&mode.as_str()) => Ok((Some(mode.as_str().into()), None)),
        Value::String(_) => Err(wrong_value("tool_choice", &MODES)),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("function") => {
                let name = object.get("name").and_then(Value::as_str).ok_or_else(|| missing("tool_choice.name"))?;
                let name = known(name, "tool_choice.name")?;
                Ok((Some(json!({"type": "function", "function": {"name": name}})), None))
            }
            Some("allowed_tools") => {
                let mode = match object.get("mode") {
                    None | Some(Value::Null) => "auto",
                    Some(Value::String(mode)) if ["auto", "required"].contains(&mode.as_str()) => mode,
                    Some(_) => return Err(wrong_value("tool_choice.mode", &["auto", "required"])),
                };
                let list = object.get("tools").and_then(Value::as_array).ok_or_else(|| missing("tool_choice.tools"))?;
                let name = |(place, tool): (usize, &Value)| {
                    if tool["type"].as_str().is_some_and(|kind| kind != "function") {
                        return None;
                    }
                    let at = format!("tool_choice.tools[{place}].name");
                    Some(tool["name"].as_str().ok_or_else(|| missing(&at)).and_then(|name| known(name, &at)))
                };
                let names = list.iter().enumerate().filter_map(name).collect::<Result<Vec<_>, _>>()?;
                Ok((Some(mode.into()), Some(names)))
            }
            _ => Err(unsupported("tool_choice.type", "'tool_choice.type' is 'function' or 'allowed_tools' here.")),
        },
        other => Err(wrong_type("tool_choice", "a string or an object", other)),
    }
}
