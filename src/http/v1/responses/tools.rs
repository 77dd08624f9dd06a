//! Tools and the form of the answer, from the words of Responses to those of Chat Completions.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::domain::tools::{ClientTool, ClientTools, custom_parameters, function_name};
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
    /// The tools that the client knows by other names than the upstream.
    pub tools: ClientTools,
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
        let Tools { offers, shown } = Tools::read(fields.list("tools")?.unwrap_or_default())?;
        let choice = fields.take("tool_choice");
        let (mode, allowed) =
            choice.as_ref().map(|choice| read_choice(choice, &offers)).transpose()?.unwrap_or_default();
        let parallel = fields.flag("parallel_tool_calls")?;
        self.show("tools", shown);
        self.show("tool_choice", choice.map_or_else(|| "auto".into(), in_force));
        self.show("parallel_tool_calls", parallel.unwrap_or(true));
        let offered = offers.iter().filter(|tool| allowed.as_ref().is_none_or(|names| names.contains(&tool.function)));
        // A tool that is there twice is offered once: many model servers refuse two of one name.
        let mut names = HashSet::new();
        let offered: Vec<Value> =
            offered.filter(|tool| names.insert(&tool.function)).map(|tool| tool.sent.clone()).collect();
        let renamed = offers.into_iter().filter(|tool| tool.client.custom || tool.client.namespace.is_some());
        renamed.for_each(|tool| self.tools.push(tool.function, tool.client));
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

/// The tools of a request.
#[derive(Default)]
struct Tools {
    offers: Vec<Offer>,
    shown: Vec<Value>,
}

/// A tool as a function of the upstream.
struct Offer {
    client: ClientTool,
    /// The name of the function.
    function: String,
    sent: Value,
}

impl Tools {
    fn read(given: Vec<Value>) -> Result<Self, OpenAiError> {
        let mut tools = Self::default();
        for (place, tool) in given.into_iter().enumerate() {
            let at = format!("tools[{place}]");
            let mut fields = Fields::of(tool, &at)?;
            match fields.required_text("type")?.as_str() {
                "namespace" => {
                    let shown = tools.namespace(fields, &at)?;
                    tools.shown.push(shown);
                }
                kind => {
                    let shown = tools.tool(kind, fields, &at, None)?;
                    tools.shown.extend(shown);
                }
            }
        }
        Ok(tools)
    }

    /// Adds the tools of a namespace; gives how it is shown.
    fn namespace(&mut self, mut fields: Fields, at: &str) -> Result<Value, OpenAiError> {
        let name = tool_name(&mut fields, at)?;
        let description = fields.text("description")?;
        let mut shown = Vec::new();
        for (place, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
            let at = format!("{at}.tools[{place}]");
            let mut fields = Fields::of(tool, &at)?;
            let kind = fields.required_text("type")?;
            shown.extend(self.tool(&kind, fields, &at, Some(&name))?);
        }
        Ok(json!({"type": "namespace", "name": name, "description": description, "tools": shown}))
    }

    /// Adds a tool; gives how it is shown, or `None` for one that OpenAI hosts.
    fn tool(
        &mut self,
        kind: &str,
        mut fields: Fields,
        at: &str,
        namespace: Option<&str>,
    ) -> Result<Option<Value>, OpenAiError> {
        let custom = match kind {
            "function" => false,
            "custom" => true,
            _ => return Ok(None),
        };
        let name = tool_name(&mut fields, at)?;
        let description = fields.text("description")?;
        let function = function_name(namespace, &name);
        let (sent, shown) = match custom {
            true => custom_tool(&mut fields, at, &function, &name, description)?,
            false => function_tool(&mut fields, at, &function, &name, description)?,
        };
        let client = ClientTool { name, namespace: namespace.map(str::to_owned), custom };
        self.offers.push(Offer { client, function, sent: json!({"type": "function", "function": sent}) });
        Ok(Some(shown))
    }
}

fn tool_name(fields: &mut Fields, at: &str) -> Result<String, OpenAiError> {
    let name = fields.text("name")?.ok_or_else(|| missing(&format!("{at}.name")))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !(1..=128).contains(&name.len()) || !name.bytes().all(plain) {
        let at = format!("{at}.name");
        let message = format!("Invalid '{at}': it has 1 to 128 letters, digits, '_' and '-'.");
        return Err(OpenAiError::invalid(&at, "invalid_value", message));
    }
    Ok(name)
}

/// A function: as it is sent, and as it is shown.
fn function_tool(
    fields: &mut Fields,
    at: &str,
    function: &str,
    name: &str,
    description: Option<String>,
) -> Result<(Value, Value), OpenAiError> {
    let strict = fields.flag("strict")?;
    let parameters = fields.take("parameters");
    if let Some(other) = parameters.as_ref().filter(|value| !value.is_object()) {
        return Err(wrong_type(&format!("{at}.parameters"), "an object", other));
    }
    let mut sent = json!({"name": function});
    for (key, value) in [
        ("description", description.clone().map(Value::from)),
        ("parameters", parameters.clone()),
        ("strict", strict.map(Value::from)),
    ] {
        if let Some(value) = value {
            sent[key] = value;
        }
    }
    let shown = json!({"type": "function", "name": name, "description": description, "parameters": parameters,
        "strict": strict});
    Ok((sent, shown))
}

/// A tool that takes a text, as a function with one string. A grammar is told to the model, since no other server enforces
/// one.
fn custom_tool(
    fields: &mut Fields,
    at: &str,
    function: &str,
    name: &str,
    description: Option<String>,
) -> Result<(Value, Value), OpenAiError> {
    let format = fields.take("format").unwrap_or_else(|| json!({"type": "text"}));
    if !format.is_object() {
        return Err(wrong_type(&format!("{at}.format"), "an object", &format));
    }
    let grammar = format["definition"].as_str().map(|definition| {
        let syntax = format["syntax"].as_str().unwrap_or("lark");
        format!("The input follows this {syntax} grammar:\n{definition}")
    });
    let told: Vec<&str> = [description.as_deref(), grammar.as_deref()].into_iter().flatten().collect();
    let mut sent = json!({"name": function, "parameters": custom_parameters()});
    if !told.is_empty() {
        sent["description"] = told.join("\n\n").into();
    }
    let shown = json!({"type": "custom", "name": name, "description": description, "format": format});
    Ok((sent, shown))
}

/// The choice as Chat Completions take it, and the names of the tools that may be called, where those are not all.
type Choice = (Option<Value>, Option<Vec<String>>);

/// A choice as the response shows it: without the hosted tools, which are not offered.
fn in_force(mut choice: Value) -> Value {
    if choice["type"] == "allowed_tools"
        && let Some(tools) = choice.get_mut("tools").and_then(Value::as_array_mut)
    {
        tools.retain(is_offered);
        for tool in tools.iter_mut().filter_map(Value::as_object_mut) {
            tool.entry("type").or_insert_with(|| "function".into());
        }
    }
    choice
}

/// Whether a tool that a choice names is one that is offered, rather than one that OpenAI hosts.
fn is_offered(tool: &Value) -> bool {
    tool["type"].as_str().is_none_or(|kind| matches!(kind, "function" | "custom" | "namespace"))
}

/// The functions of the tools that `named`, at `at`, means: one, or all of a namespace.
fn functions_of(named: &Value, at: &str, offers: &[Offer]) -> Result<Vec<String>, OpenAiError> {
    let name = named["name"].as_str().ok_or_else(|| missing(&format!("{at}.name")))?;
    let is_meant = |tool: &&Offer| match (named["type"].as_str(), named["namespace"].as_str()) {
        (Some("namespace"), _) => tool.client.namespace.as_deref() == Some(name),
        (_, namespace) => tool.client.name == name && tool.client.namespace.as_deref() == namespace,
    };
    let functions: Vec<String> = offers.iter().filter(is_meant).map(|tool| tool.function.clone()).collect();
    if functions.is_empty() {
        let at = format!("{at}.name");
        return Err(OpenAiError::invalid(&at, "invalid_value", format!("'{at}' names no tool in 'tools'.")));
    }
    Ok(functions)
}

fn read_choice(choice: &Value, offers: &[Offer]) -> Result<Choice, OpenAiError> {
    const MODES: [&str; 3] = ["none", "auto", "required"];
    match choice {
        Value::String(mode) if MODES.contains(&mode.as_str()) => Ok((Some(mode.as_str().into()), None)),
        Value::String(_) => Err(wrong_value("tool_choice", &MODES)),
        Value::Object(object) => match object.get("type").and_then(Value::as_str) {
            Some("function" | "custom") => {
                let name = functions_of(choice, "tool_choice", offers)?.swap_remove(0);
                Ok((Some(json!({"type": "function", "function": {"name": name}})), None))
            }
            Some("allowed_tools") => {
                let mode = match object.get("mode") {
                    None | Some(Value::Null) => "auto",
                    Some(Value::String(mode)) if ["auto", "required"].contains(&mode.as_str()) => mode,
                    Some(_) => return Err(wrong_value("tool_choice.mode", &["auto", "required"])),
                };
                let list = object.get("tools").and_then(Value::as_array).ok_or_else(|| missing("tool_choice.tools"))?;
                let offered = list.iter().enumerate().filter(|(_, tool)| is_offered(tool));
                let names =
                    offered.map(|(place, tool)| functions_of(tool, &format!("tool_choice.tools[{place}]"), offers));
                Ok((Some(mode.into()), Some(names.collect::<Result<Vec<_>, _>>()?.concat())))
            }
            _ => Err(unsupported(
                "tool_choice.type",
                "'tool_choice.type' is 'function', 'custom' or 'allowed_tools' here.",
            )),
        },
        other => Err(wrong_type("tool_choice", "a string or an object", other)),
    }
}
