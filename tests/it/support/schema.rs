//! Holds answers to the two published descriptions of them (tests/schemas/): Open Responses, and OpenAI's own.

mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

/// Whose description of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    OpenResponses,
    OpenAi,
}

/// Fails the test unless `value` is what the description's schema of this name says, telling each place that is not and why.
#[track_caller]
pub fn check(spec: Spec, name: &str, value: &Value) {
    if let Err(faults) = faults(spec, name, value) {
        panic!("not {spec:?}'s {name}:\n{faults}\nin {value}");
    }
}

/// A response, by both descriptions.
#[track_caller]
pub fn check_response(response: &Value) {
    check(Spec::OpenResponses, "ResponseResource", response);
    check(Spec::OpenAi, "Response", response);
}

/// An event of a stream of responses, by each description that has its `type`. One that neither has fails.
#[track_caller]
pub fn check_event(event: &Value) {
    let kind = event["type"].as_str().unwrap_or_else(|| panic!("an event without a type: {event}"));
    let schemas = EVENTS.get(kind).unwrap_or_else(|| panic!("no description has an event of the type {kind}: {event}"));
    for (spec, name) in schemas {
        check(*spec, name, event);
    }
}

/// A frame of a socket: an event, or the failure of a request, which has a `status` and no number.
#[track_caller]
pub fn check_frame(frame: &Value) {
    if frame["type"] == "error" && frame.get("sequence_number").is_none() {
        check(Spec::OpenResponses, "WebSocketErrorEvent", frame);
        check(Spec::OpenAi, "ResponseWsError", frame);
    } else {
        check_event(frame);
    }
}

/// The same as [`check`], as a value: each fault with its place, one a line.
fn faults(spec: Spec, name: &str, value: &Value) -> Result<(), String> {
    let validator = match spec {
        Spec::OpenResponses => OPEN_RESPONSES.validator(name),
        Spec::OpenAi => OPEN_AI.validator(name),
    };
    let mut faults: Vec<String> = validator.iter_errors(value).flat_map(|error| reasons(&error)).collect();
    faults.sort_unstable();
    faults.dedup();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// What is wrong, from inside the union's branch that comes closest, where a union is what failed.
fn reasons(error: &ValidationError<'_>) -> Vec<String> {
    let place = error.instance_path().as_str();
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return vec![format!("  {}: {error}", if place.is_empty() { "/" } else { place })];
    };
    // A branch that wants another type altogether (most often null) was not meant.
    let meant = |branch: &&Vec<ValidationError<'static>>| {
        let other = |error: &ValidationError<'_>| matches!(error.kind(), ValidationErrorKind::Type { .. });
        !branch.iter().any(|error| error.instance_path().as_str() == place && other(error))
    };
    let steps = |error: &ValidationError<'_>| error.instance_path().as_str().matches('/').count();
    let depth = |branch: &&Vec<ValidationError<'static>>| branch.iter().map(steps).max();
    match context.iter().filter(meant).max_by_key(depth) {
        Some(closest) => closest.iter().flat_map(reasons).collect(),
        None => context.iter().flatten().flat_map(reasons).collect(),
    }
}

/// One description, parsed once for all tests.
struct Described {
    schemas: Value,
    /// What has been compiled, by name: a test compiles what it checks, and the next one finds it.
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

impl Described {
    fn new(text: &str) -> Self {
        let schemas = serde_json::from_str(text).expect("tests/schemas holds JSON");
        Self { schemas, validators: Mutex::default() }
    }

    fn validator(&self, name: &str) -> Arc<Validator> {
        assert!(self.schemas["$defs"].get(name).is_some(), "tests/schemas has no {name}");
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = validators.entry(name.to_owned()).or_insert_with(|| {
            let mut schema = self.schemas.clone();
            schema["$ref"] = format!("#/$defs/{name}").into();
            Arc::new(jsonschema::validator_for(&schema).expect("tests/schemas holds schemas"))
        });
        Arc::clone(compiled)
    }

    /// The schemas of numbered events: their `type`, and their name.
    fn events(&self) -> impl Iterator<Item = (&str, &str)> {
        let schemas = self.schemas["$defs"].as_object().expect("schemas by name").iter();
        schemas.filter_map(|(name, schema)| {
            let numbered = schema["required"].as_array()?.iter().any(|key| key == "sequence_number");
            let kind = schema["properties"]["type"]["enum"][0].as_str()?;
            numbered.then_some((kind, name.as_str()))
        })
    }
}

static OPEN_RESPONSES: LazyLock<Described> =
    LazyLock::new(|| Described::new(include_str!("../../schemas/openresponses.json")));
static OPEN_AI: LazyLock<Described> = LazyLock::new(|| Described::new(include_str!("../../schemas/openai.json")));

/// Who describes the events of a `type`, and as which schema.
static EVENTS: LazyLock<BTreeMap<&str, Vec<(Spec, &str)>>> = LazyLock::new(|| {
    let mut events: BTreeMap<&str, Vec<(Spec, &str)>> = BTreeMap::new();
    for (spec, described) in [(Spec::OpenResponses, &OPEN_RESPONSES), (Spec::OpenAi, &OPEN_AI)] {
        for (kind, name) in described.events() {
            events.entry(kind).or_default().push((spec, name));
        }
    }
    events
});
