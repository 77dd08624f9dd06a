//! `POST /v1/responses/compact`: a long history, cut down to what the person said and a summary by the model.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::request::Basis;
use super::tokens::{basis_of, said};
use super::{object, stored_backing};
use crate::domain::compaction;
use crate::domain::dialogue::{self, PromptMessage};
use crate::domain::ids::{ItemId, ItemKind, TurnId};
use crate::domain::item::Item;
use crate::domain::model;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Fault, Usage};
use crate::http::app::App;
use crate::http::fault;
use crate::http::v1::answer;
use crate::http::v1::caller::{LiveCaller, while_alive};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::missing;
use crate::http::v1::items;
use crate::http::v1::schemas::{CompactResponse, CompactedResponse};
use crate::metering::{Call, ModelCall, Permit};
use crate::tasks::off_runtime;
use crate::turn::compaction::summary_in;

/// Cut a long history down. The output goes into the next request in place of it: what the person said last, word for word,
/// and an item of type `compaction`, which this server reads.
#[utoipa::path(post, path = "/v1/responses/compact", tag = "responses", operation_id = "compact_response",
    request_body = CompactResponse,
    responses((status = 200, description = "What is left, and what the summary cost.", body = CompactedResponse)))]
pub async fn compact(
    State(app): State<Arc<App>>,
    caller: LiveCaller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let in_flight = app.in_flight.enter();
    let (Basis { instructions, continues, input, .. }, mut fields, permit) =
        basis_of(&app, &caller, request, Basis::take).await?;
    fields.short_text("prompt_cache_key", 64)?;
    let turn = TurnId::fresh(&*app.ids, &*app.clock);
    let said = said(&stored_backing(&app, &caller.owner), &continues, input, (&turn, permit.model())).await?;
    if said.is_empty() {
        return Err(missing("input"));
    }
    let model_call = permit.start().await?;
    let size = said.iter().map(|item| item.json.len()).sum::<usize>() + instructions.as_ref().map_or(0, String::len);
    let (call, prompt_tokens, said) = off_runtime(size, move || {
        let call = call(&permit, instructions, &said);
        let prompt_tokens = tokens_of(&call);
        (call, prompt_tokens, said)
    })
    .await;
    let summing_up = in_flight.unless_stopped(summary(model_call, call, prompt_tokens));
    let told = while_alive(&caller.alive, summing_up).await?.ok_or_else(fault::stopping)?;
    let (summary, usage) = told.map_err(OpenAiError::from)?;
    let mut output: Vec<Value> =
        compaction::kept(&said, compaction::KEPT_TOKENS).into_iter().map(items::shown).collect();
    let id = ItemId::input_of(&turn, ItemKind::Compaction, output.len());
    output.push(json!({"type": "compaction", "id": id.as_str(), "encrypted_content": dialogue::sealed(&summary)}));
    Ok(answer::json(&json!({
        "id": turn.response_id(), "object": "response.compaction", "created_at": app.clock.now_ms().div_euclid(1000),
        "output": output, "usage": object::usage_of(&usage),
    })))
}

fn call(permit: &Permit, instructions: Option<String>, said: &[Item]) -> Call {
    Call {
        model: permit.model().to_owned(),
        messages: compaction::prompt(instructions, said),
        temperature: None,
        max_tokens: permit
            .answer_tokens()
            .map(|most| most.min(compaction::SUMMARY_TOKENS))
            .or(Some(compaction::SUMMARY_TOKENS)),
        stream: false,
        options: None,
    }
}

fn tokens_of(call: &Call) -> u64 {
    let encoding = model::profile(&call.model).encoding;
    let count = |message: &PromptMessage| u64::from(encoding.count_message(&message.text()));
    call.messages.iter().map(count).sum::<u64>() + u64::from(REQUEST_OVERHEAD)
}

async fn summary(model_call: ModelCall, call: Call, prompt_tokens: u64) -> Result<(String, Usage), Fault> {
    let encoding = model::profile(&call.model).encoding;
    summary_in(model_call.call(call).await?, encoding, prompt_tokens).await
}
