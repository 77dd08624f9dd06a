//! How a turn ends: what its end is made of, and storing that, however long the store is away.

use std::time::Duration;

use tokio::time::Instant;

use super::engine::Inner;
use super::hub::{Hub, HubState};
use super::queue::Slot;
use crate::domain::conversation::Place;
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::reply::{Reply, history_of};
use crate::domain::turn::{Fault, FaultKind, TurnRequest, TurnStatus, Usage};
use crate::store::{FinishTurn, Finished};
use crate::tasks::off_runtime;

/// After a failed attempt to store the end of a turn, the next one comes this much later.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A turn that ends.
pub(super) struct Ending<'a> {
    pub(super) place: &'a Place,
    pub(super) turn: &'a TurnId,
    pub(super) fence: u64,
    pub(super) request: TurnRequest,
    pub(super) status: TurnStatus,
    pub(super) fault: Option<Fault>,
    /// What was sent, for the case that the upstream gave no usage.
    pub(super) prompt_tokens: u64,
}

impl Ending<'_> {
    /// What the store is told. `usage` makes the turn's usage out of that of the reply; `events` numbers the last event and
    /// gives it with those that are not stored yet.
    pub(super) async fn finish(
        self,
        inner: &Inner,
        reply: Reply,
        usage: impl FnOnce(Option<Usage>) -> Option<Usage>,
        events: impl FnOnce(Event) -> Vec<Numbered>,
    ) -> FinishTurn {
        let now_ms = inner.clock.now_ms();
        let Self { place, turn, fence, request, status, fault, prompt_tokens } = self;
        let (id, is_response) = (turn.clone(), request.shown.is_some());
        // The answer's tokens are counted, also those of its usage where the upstream has not.
        let (mut end, items) = off_runtime(reply.size(), move || {
            let end = reply.end(status, fault, prompt_tokens);
            let items = history_of(&id, &request, &end);
            (end, items)
        })
        .await;
        end.usage = usage(end.usage);
        end.at_ms = now_ms;
        FinishTurn {
            place: place.clone(),
            turn: turn.clone(),
            fence,
            status: end.status,
            items,
            usage: end.usage,
            fault: end.fault.clone(),
            // A turn of the cookie door is read in its history; a response is read by itself, long after its events are gone.
            answer: end.answer.clone().filter(|_| is_response),
            events: events(Event::Ended(Box::new(end))),
            keep_events_ms: inner.limits.keep_events_ms(),
            now_ms,
        }
    }
}

/// Stores the end and shows it; while the store does not take it, tries on. Readers are told after a while that it may
/// take long; the turn keeps its place until the store has it, so that nothing can come before it in the history.
pub(super) async fn store_end(inner: &Inner, hub: &Hub, finish: FinishTurn, slot: Option<Slot>) {
    let patience_ends = Instant::now() + inner.limits.store_patience;
    loop {
        match inner.store.finish_turn(finish.clone()).await {
            Ok(Finished::Stored) => {
                tracing::debug!(turn.id = %finish.turn, turn.status = finish.status.as_str(), "turn ended");
                // A client that is told the end may ask for the next turn at once, and is not to find this one in the way.
                drop(slot);
                return hub.publish(finish.events);
            }
            // There is nowhere left to store this end. Its readers are told all the same.
            Ok(Finished::Fenced) if is_deletion(&finish) => return hub.publish(finish.events),
            Ok(Finished::Fenced) => {
                tracing::info!(turn.id = %finish.turn, "turn ended elsewhere, or its conversation is gone");
                return hub.leave(HubState::Moved);
            }
            Err(error) => {
                tracing::warn!(turn.id = %finish.turn, %error, "the end of a turn could not be stored; trying again");
            }
        }
        if Instant::now() >= patience_ends {
            hub.leave(HubState::Stalled);
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(RETRY_AFTER) => {}
            () = inner.abandoned.cancelled() => return hub.leave(HubState::Stalled),
        }
    }
}

fn is_deletion(finish: &FinishTurn) -> bool {
    finish.fault.as_ref().is_some_and(|fault| fault.kind == FaultKind::ConversationGone)
}
