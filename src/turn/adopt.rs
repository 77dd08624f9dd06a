//! Takes over turns whose server went away: at the start, and whenever a lease has run out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::engine::{Inner, Turns};
use super::hub::{Hub, HubState, Stop};
use super::prompt;
use super::remains::Remains;
use super::run::{Job, guarded};
use crate::config::OnCrash;
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnStatus};
use crate::domain::window::Budget;
use crate::metering::Permit;
use crate::store::{AppendEvents, Appended, StoreError};

/// How many turns are taken over at once; the next ones follow when these run.
const AT_ONCE: usize = 32;

/// A turn that was taken over but could not be read is tried again this much later.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A turn is run this often in all.
const MAX_ATTEMPTS: u32 = 2;

impl Turns {
    /// Looks for turns to take over, at once and then three times a lease, until the server stops.
    pub async fn adopt_orphans(self) {
        let inner = &self.0;
        loop {
            match inner.store.adopt_turns(&inner.instance, inner.lease_ms(), AT_ONCE).await {
                Ok(orphans) if orphans.is_empty() => {}
                Ok(orphans) => {
                    let full = orphans.len() == AT_ONCE;
                    orphans.into_iter().for_each(|orphan| inner.clone().take_over(orphan));
                    if full {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "no turn could be taken over; trying again"),
            }
            // A turn that was released needs no waiting for.
            let pause = tokio::time::timeout(inner.limits.lease / 3, inner.orphans.notified());
            if inner.tasks.stopping().run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

impl Inner {
    fn take_over(self: Arc<Self>, orphan: TurnRecord) {
        tracing::info!(turn.id = %orphan.id, turn.attempt = orphan.attempt, "taking over a turn");
        let hub = Arc::new(Hub::new(orphan.place.clone()));
        // Its lease ended while it ran here: the old run shows nothing any more, and costs.
        if let Some(lost) = self.hubs.insert(orphan.id.clone(), hub.clone()) {
            lost.stop(Stop::TakenOver);
        }
        // Taken over while the server was already telling its turns to stop.
        if self.leaving.is_cancelled() {
            hub.stop(Stop::Shutdown);
        }
        let inner = self.clone();
        self.tasks.spawn("turn", async move {
            let (turn, fence) = (&orphan.id, orphan.fence);
            match AssertUnwindSafe(inner.clone().resume_in_time(&orphan, &hub)).catch_unwind().await {
                Ok(true) => {}
                Ok(false) => {
                    hub.leave(HubState::Moved);
                    inner.release(&orphan.place, turn, fence).await;
                }
                Err(_) => {
                    tracing::error!(turn.id = %turn, "a panic ended the take-over of a turn");
                    inner.fail(turn, fence, &hub).await;
                }
            }
            inner.hubs.remove(turn, &hub);
        });
    }

    /// False where it could not be read within its lease, after which another server may have it.
    async fn resume_in_time(self: Arc<Self>, orphan: &TurnRecord, hub: &Arc<Hub>) -> bool {
        let until = Instant::now() + self.limits.lease;
        while let Err(error) = self.clone().resume(orphan, hub).await {
            tracing::warn!(turn.id = %orphan.id, %error, "a turn could not be taken over");
            if Instant::now() >= until || self.leaving.is_cancelled() {
                return false;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        true
    }

    async fn resume(self: Arc<Self>, orphan: &TurnRecord, hub: &Arc<Hub>) -> Result<(), StoreError> {
        let remains = self.remains(orphan).await?;
        match self.sign_of_life(orphan).await? {
            Appended::Fenced => hub.leave(HubState::Moved),
            // The client that cancelled it saw what was shown, so that is kept, and the model is not asked again.
            Appended::Stored { cancel_requested: true } => {
                self.end_remains(orphan, hub, remains, TurnStatus::Cancelled, None).await;
            }
            Appended::Stored { cancel_requested: false } => {
                let budget = prompt::budget(&orphan.request, self.limits.history_max_tokens);
                let permit = self.metering.permit_again(&orphan.place.owner, &orphan.request);
                let rerun = self.limits.on_crash == OnCrash::Rerun && remains.attempts < MAX_ATTEMPTS;
                match (permit, budget) {
                    (Ok(permit), Ok(budget)) if rerun => {
                        let job = self.rerun(orphan, hub, &remains, (permit, budget)).await?;
                        guarded(self, job).await;
                    }
                    _ => {
                        let why = "the server went away before the answer was whole";
                        let fault = Fault::new(FaultKind::ServerStopped, why);
                        self.end_remains(orphan, hub, remains, TurnStatus::Interrupted, Some(fault)).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn rerun(
        &self,
        orphan: &TurnRecord,
        hub: &Arc<Hub>,
        remains: &Remains,
        (permit, budget): (Permit, Budget),
    ) -> Result<Job, StoreError> {
        Ok(Job {
            turn: orphan.id.clone(),
            fence: orphan.fence,
            attempt: remains.attempts + 1,
            request: orphan.request.clone(),
            model_call: permit.start(),
            budget,
            history: self.store.window(&orphan.place, budget).await?,
            hub: hub.clone(),
            next_seq: orphan.last_event + 1,
            spent: Some(remains.spent),
            slot: self.slot_for(&orphan.place),
        })
    }

    /// Renews the lease; says whether the turn is still ours, and whether it is still wanted.
    async fn sign_of_life(&self, orphan: &TurnRecord) -> Result<Appended, StoreError> {
        let append = AppendEvents {
            place: orphan.place.clone(),
            turn: orphan.id.clone(),
            fence: orphan.fence,
            events: Vec::new(),
            lease_ms: self.lease_ms(),
        };
        self.store.append_events(append).await
    }
}
