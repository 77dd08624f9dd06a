//! `POST /v1/responses/input_tokens`: what a request would take of the model's context.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::json;

use super::chain_error::of_reference;
use super::request::{Basis, truncation};
use super::stored_backing;
use super::tools::Options;
use crate::chain::backing::Backing;
use crate::chain::start::Continues;
use crate::chain::{history, references};
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::item::Item;
use crate::domain::json::json_of;
use crate::domain::model;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::http::app::App;
use crate::http::body;
use crate::http::v1::answer;
use crate::http::v1::caller::{LiveCaller, body_of};
use crate::http::v1::error::OpenAiError;
use crate::http::v1::fields::Fields;
use crate::http::v1::items::InputItem;
use crate::http::v1::schemas::{CountTokens, TokenCount};
use crate::http::v1::tokenizer::loaded;
use crate::metering::{Route, Wish};

/// Count what a response would be made from: instructions, history, input, tools. By this server's own tokenizer, so about.
#[utoipa::path(post, path = "/v1/responses/input_tokens", tag = "responses", operation_id = "count_input_tokens",
    request_body = CountTokens, responses((status = 200, description = "The count.", body = TokenCount)))]
pub async fn count(
    State(app): State<Arc<App>>,
    LiveCaller { owner, alive }: LiveCaller,
    request: Request,
) -> Result<Response, OpenAiError> {
    let bytes = body_of(&alive, body::object(request, &app)).await?;
    let mut fields = Fields::read(&bytes)?;
    let Basis { model, instructions, continues, input } = Basis::take_or_default(&mut fields)?;
    let wish = Wish { model: model.as_deref(), ..Wish::of(Route::Responses) };
    let permit = app.metering.permit(&owner, &wish)?;
    let model = permit.model();
    loaded(model).await?;
    let mut options = Options::default();
    options.tools(&mut fields)?;
    options.text(&mut fields)?;
    options.reasoning(&mut fields)?;
    truncation(&mut fields)?;
    let encoding = model::profile(model).encoding;
    let turn = TurnId::fresh(&*app.ids, &*app.clock);
    let said = said(&stored_backing(&app, &owner), &continues, input, (&turn, model)).await?;
    let said = said.iter().map(|item| item.tokens);
    let instructions = instructions.map_or(0, |text| encoding.count_message(&text));
    let tools = if options.sent.is_empty() { 0 } else { encoding.count(&json_of(&options.sent)) };
    let total = said.chain([instructions, tools, REQUEST_OVERHEAD]).fold(0, u32::saturating_add);
    Ok(answer::json(&json!({"object": "response.input_tokens", "input_tokens": total})))
}

/// All that a response would be told: what was said before, and what is new. `turn` is what new items are named after, and
/// `model` by whose tokens they are counted.
///
/// # Errors
/// When what it goes on from, or refers to, is not there.
pub async fn said(
    backing: &Backing,
    continues: &Continues,
    given: Vec<InputItem>,
    (turn, model): (&TurnId, &str),
) -> Result<Vec<Item>, OpenAiError> {
    let mut said: Vec<Item> =
        history::history(backing, continues).await?.into_iter().map(|stored| stored.item).collect();
    for (place, given) in given.into_iter().enumerate() {
        match given {
            InputItem::New(new) => said.push(new.item(ItemId::input_of(turn, new.kind, place), None, model)),
            InputItem::Reference(id) if said.iter().any(|item| item.id == id) => {}
            InputItem::Reference(id) => {
                let found = references::find(&[backing], &id).await;
                said.push(found.map_err(|error| of_reference(error, &format!("input[{place}].id")))?);
            }
        }
    }
    Ok(said)
}
