//! `retry` of `POST /chat`: asks again what a turn was asked that came to no answer.
//!
//! The new turn takes the place of the old question, which leaves the history once it is asked. A request that comes again
//! after that has no question to ask, and can only join the turn that it asked for the first time.

use axum::http::StatusCode;

use super::request::{ChatRequest, RETRY_KEY_MS, conversation_id};
use super::turns::{no_such_turn, prompt_of};
use crate::access::session::Session;
use crate::domain::conversation::Place;
use crate::domain::ids::{ItemId, TurnId};
use crate::domain::question;
use crate::domain::turn::{TurnRecord, TurnStatus};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::store::{IdempotencyKey, KeyRole};

/// A turn that is asked again.
pub struct Retry {
    turn: TurnId,
    place: Place,
    /// Its question; empty where it is no longer in the history.
    question: Vec<ItemId>,
}

impl Retry {
    /// Finds the turn that `request` names, and fills in what is to be asked again: all that the request does not say.
    ///
    /// # Errors
    /// Where the session has no such turn, or the turn runs or has an answer.
    pub async fn of(app: &App, session: Option<&Session>, request: &mut ChatRequest) -> Result<Option<Self>, ApiError> {
        let Some(named) = request.retry.take() else { return Ok(None) };
        if request.prompt.is_some() {
            return Err(ApiError::invalid("`retry` asks what was asked before, so `prompt` cannot be there, too."));
        }
        let turn = TurnId::parse(&named).ok_or_else(|| ApiError::invalid("`retry` is not the id of a turn."))?;
        let owner = session.ok_or_else(no_such_turn)?.owner();
        let record = app.store.turn(&owner, &turn).await?.ok_or_else(no_such_turn)?;
        if let Some(other) = &request.conversation_id
            && conversation_id(other)? != record.place.conversation
        {
            return Err(ApiError::invalid("`conversationId` is not the conversation of the turn in `retry`."));
        }
        if record.status == TurnStatus::Running {
            return Err(ApiError::new(StatusCode::CONFLICT, "turn_running", "This turn is running."));
        }
        let question = open_question(app, &record).await?;
        let prompt = prompt_of(&record.request).filter(|_| record.request.shown.is_none());
        request.prompt = Some(prompt.ok_or_else(not_retriable)?);
        let TurnRecord { id, place, request: asked, .. } = record;
        request.conversation_id = Some(place.conversation.to_string());
        request.model.get_or_insert(asked.model);
        request.system_prompt.get_or_insert(asked.instructions);
        request.temperature = request.temperature.or(asked.temperature);
        request.max_tokens = request.max_tokens.or(asked.max_tokens);
        Ok(Some(Self { turn: id, place, question }))
    }

    /// Whether nothing may begin: there is no question, so that the request can only join what it began before.
    pub fn only_joins(&self) -> bool {
        self.question.is_empty()
    }

    /// The key of a request that comes without one, so that a turn is asked again once.
    pub fn key(&self) -> IdempotencyKey {
        let (key, fingerprint) = (format!("retry.{}", self.turn), "retry".to_owned());
        IdempotencyKey { key, fingerprint, keep_ms: RETRY_KEY_MS, role: KeyRole::Join }
    }

    /// Takes the old question out of the history, where the new one is by now.
    pub async fn take_place(&self, app: &App) {
        app.turns.withdraw_question(&self.place, self.question.iter()).await;
    }
}

/// What the turn was asked, where it is in the history without an answer; nothing where it is gone.
async fn open_question(app: &App, record: &TurnRecord) -> Result<Vec<ItemId>, ApiError> {
    let mut open = Vec::new();
    for item in &record.request.input {
        match app.store.item(&record.place, &item.id).await? {
            None => {}
            Some(stored) if question::standing(&stored.item).is_some() => open.push(item.id.clone()),
            Some(_) => return Err(not_retriable()),
        }
    }
    Ok(open)
}

/// There is nothing to ask again.
pub fn not_retriable() -> ApiError {
    let text = "This turn has no question that can be asked again.";
    ApiError::new(StatusCode::CONFLICT, "turn_not_retriable", text)
        .details("It has an answer, was asked again already, its question was removed, or it was not asked at /chat.")
}
