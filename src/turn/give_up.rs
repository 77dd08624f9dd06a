//! Letting go of a turn that this server cannot go on with: it is ended as failed, or its lease is released.
//!
//! A turn whose run has gone must not keep its conversation busy until its lease runs out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::engine::Inner;
use super::finish::{Ending, store_end};
use super::hub::{Hub, HubState};
use super::remains::{Remains, prompt_tokens};
use crate::domain::conversation::Place;
use crate::domain::event::{End, Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnStatus};
use crate::store::{FinishTurn, Finished, StoreError, Unreadable};

/// After a failed try to release a lease, the next one comes this much later.
const RETRY_AFTER: Duration = Duration::from_millis(250);

impl Inner {
    /// Ends a turn whose run panicked as failed, with what was shown of it. `hub` is that of the run.
    pub(super) async fn fail(&self, turn: &TurnId, fence: u64, hub: &Hub) {
        // Its last write may be stored without having been shown here, so its readers go on from the store.
        let rest = Arc::new(Hub::new(hub.place.clone()));
        self.hubs.insert(turn.clone(), rest.clone());
        hub.leave(HubState::Moved);
        let ended = AssertUnwindSafe(self.end_as_failed(turn, fence, &rest)).catch_unwind().await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!(turn.id = %turn, "a turn whose run panicked could not be ended; it is released");
            self.release(&hub.place, turn, fence).await;
        }
        rest.leave(HubState::Moved);
        self.hubs.remove(turn, &rest);
    }

    async fn end_as_failed(&self, turn: &TurnId, fence: u64, hub: &Hub) -> Result<(), StoreError> {
        let found = self.store.turn(&hub.place.owner, turn).await?;
        // Where it is another's by now, or gone, there is nothing to end.
        let Some(record) = found.filter(|record| record.fence == fence && record.status == TurnStatus::Running) else {
            return Ok(());
        };
        let remains = self.remains(&record).await?;
        let fault = Fault::internal();
        self.end_remains(&record, hub, remains, TurnStatus::Failed, Some(fault)).await;
        Ok(())
    }

    /// Ends a turn that was taken over and cannot be read. Where that fails, it is found again when its lease has ended.
    pub(super) async fn end_as_unreadable(&self, found: &Unreadable, hub: &Hub) {
        tracing::error!(turn.id = %found.turn, "a turn that was taken over cannot be read; it ends as failed");
        let now_ms = self.clock.now_ms();
        let fault = Some(Fault::new(FaultKind::Internal, "what is stored of this turn cannot be read"));
        let end = End { status: TurnStatus::Failed, answer: None, usage: None, fault: fault.clone(), at_ms: now_ms };
        let finish = FinishTurn {
            place: found.place.clone(),
            turn: found.turn.clone(),
            fence: found.fence,
            status: end.status,
            items: Vec::new(),
            usage: None,
            fault,
            answer: None,
            events: vec![Numbered { seq: found.last_event + 1, event: Event::Ended(Box::new(end)) }],
            keep_events_ms: self.limits.keep_events_ms(),
            now_ms,
        };
        match self.store.finish_turn(finish.clone()).await {
            Ok(Finished::Stored) => hub.publish(finish.events),
            Ok(Finished::Fenced) => hub.leave(HubState::Moved),
            Err(error) => {
                tracing::error!(turn.id = %found.turn, %error, "a turn that cannot be read could not be ended");
                hub.leave(HubState::Stalled);
            }
        }
    }

    /// Ends a turn that no task runs, with what its attempts have left.
    pub(super) async fn end_remains(
        &self,
        record: &TurnRecord,
        hub: &Hub,
        remains: Remains,
        status: TurnStatus,
        fault: Option<Fault>,
    ) {
        let ending = Ending {
            place: &record.place,
            turn: &record.id,
            fence: record.fence,
            request: record.request.clone(),
            status,
            fault,
            prompt_tokens: prompt_tokens(record),
        };
        let Remains { shown, spent, .. } = remains;
        let numbered = |event| vec![Numbered { seq: record.last_event + 1, event }];
        let finish = ending.finish(self, shown, |_| Some(spent), numbered).await;
        store_end(self, hub, finish, None).await;
    }

    /// Ends a lease now, and has this server look for turns to take over. While the store is away it tries on, for as long
    /// as the lease would last anyway.
    pub(super) async fn release(&self, place: &Place, turn: &TurnId, fence: u64) {
        let until = Instant::now() + self.limits.lease;
        loop {
            match self.store.release_turn(place, turn, fence).await {
                Ok(()) => return self.orphans.notify_one(),
                Err(error) if Instant::now() >= until || self.abandoned.is_cancelled() => {
                    tracing::warn!(turn.id = %turn, %error, "the turn's lease has to run out before it is taken over");
                    return;
                }
                Err(_) => {}
            }
            let pause = tokio::time::sleep(RETRY_AFTER);
            // One more try when there is no more time.
            let _ = self.abandoned.run_until_cancelled(pause).await;
        }
    }
}
