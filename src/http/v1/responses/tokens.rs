//! `POST /v1/responses/input_tokens`: what a request would take of the model's context.

use std::collections::HashSet;
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
use crate::http::v1::tokenizer::{counting, text_bytes};
use crate::metering::{Permit, Route, Wish};
use crate::tasks::json_off_runtime;

/// Count what a response would be made from: instructions, history, input, tools. By this server's own tokenizer, so about.
#[utoipa::path(post, path = "/v1/responses/input_tokens", tag = "responses", operation_id = "count_input_tokens",
    request_body = CountTokens, responses((status = 200, description = "The count.", body = TokenCount)))]
pub async fn count(State(app): State<Arc<App>>, caller: LiveCaller, request: Request) -> Result<Response, OpenAiError> {
    let (Basis { instructions, continues, input, .. }, mut fields, permit) =
        basis_of(&app, &caller, request, Basis::take_or_default).await?;
    let model = permit.model();
    let mut options = Options::default();
    options.tools(&mut fields)?;
    options.text(&mut fields)?;
    options.reasoning(&mut fields)?;
    truncation(&mut fields)?;
    let encoding = model::profile(model).encoding;
    let turn = TurnId::fresh(&*app.ids, &*app.clock);
    let said = said(&stored_backing(&app, &caller.owner), &continues, input, (&turn, model)).await?;
    let said = said.iter().map(|item| item.tokens);
    let tools = if options.sent.is_empty() { String::new() } else { json_of(&options.sent) };
    let rest = tools.len() + instructions.as_ref().map_or(0, String::len);
    let rest = counting(model, rest, move || {
        let instructions = instructions.map_or(0, |text| encoding.count_message(&text));
        instructions.saturating_add(encoding.count(&tools))
    });
    let total = said.chain([rest.await, REQUEST_OVERHEAD]).fold(0, u32::saturating_add);
    Ok(answer::json(&json!({"object": "response.input_tokens", "input_tokens": total})))
}

/// What a request about a history says: the basis that `take` takes, what is left of its fields, and the permit for its model.
///
/// # Errors
/// What is wrong with it, or not allowed.
pub async fn basis_of(
    app: &App,
    caller: &LiveCaller,
    request: Request,
    take: fn(&mut Fields) -> Result<Basis, OpenAiError>,
) -> Result<(Basis, Fields, Permit), OpenAiError> {
    let bytes = body_of(&caller.alive, body::object(request, app)).await?;
    let size = bytes.len();
    let read = move || {
        let mut fields = Fields::read(&bytes)?;
        Ok::<_, OpenAiError>((take(&mut fields)?, fields))
    };
    let (basis, fields) = json_off_runtime(size, read).await?;
    let wish = Wish { model: basis.model.as_deref(), ..Wish::of(Route::Responses) };
    let permit = app.metering.permit(&caller.owner, &wish)?;
    Ok((basis, fields, permit))
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
    let mut known: HashSet<ItemId> = said.iter().map(|item| item.id.clone()).collect();
    for (place, given) in counted(given, turn, model).await.into_iter().enumerate() {
        let item = match given {
            Counted::New(item) => item,
            Counted::Reference(id) if known.contains(&id) => continue,
            Counted::Reference(id) => {
                let found = references::find(&[backing], &id).await;
                found.map_err(|error| of_reference(error, &format!("input[{place}].id")))?
            }
        };
        known.insert(item.id.clone());
        said.push(item);
    }
    Ok(said)
}

/// What a request has given, each new item with its tokens.
enum Counted {
    New(Item),
    Reference(ItemId),
}

async fn counted(given: Vec<InputItem>, turn: &TurnId, model: &str) -> Vec<Counted> {
    let bytes = text_bytes(&given);
    let (turn, name) = (turn.clone(), model.to_owned());
    let count = move |(place, given): (usize, InputItem)| match given {
        InputItem::New(new) => Counted::New(new.item(ItemId::input_of(&turn, new.kind, place), None, &name)),
        InputItem::Reference(id) => Counted::Reference(id),
    };
    counting(model, bytes, move || given.into_iter().enumerate().map(count).collect()).await
}
