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
use crate::domain::conversation::Place;
use crate::domain::ids::TurnId;
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnStatus};
use crate::domain::window::Budget;
use crate::metering::{Permit, StartCall};
use crate::store::{AdoptTurns, Adopted, AppendEvents, Appended, StoreError, Unreadable};
use crate::tasks::off_runtime;

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
            match inner.store.adopt_turns(inner.adoption()).await {
                Ok(Adopted { turns, unreadable }) => {
                    let full = turns.len() + unreadable.len() >= AT_ONCE;
                    turns.into_iter().for_each(|orphan| inner.clone().take_over(orphan));
                    unreadable.into_iter().for_each(|orphan| inner.clone().end_unreadable(orphan));
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
    fn adoption(&self) -> AdoptTurns {
        let claims = self.claims.clone();
        AdoptTurns {
            holder: self.instance.clone(),
            lease_ms: self.lease_ms(),
            limit: AT_ONCE,
            in_hand: Arc::new(move |turn| claims.has(turn)),
        }
    }

    fn take_over(self: Arc<Self>, orphan: TurnRecord) {
        tracing::info!(turn.id = %orphan.id, turn.attempt = orphan.attempt, "taking over a turn");
        let (inner, hub) = (self.clone(), self.enter(&orphan.place, &orphan.id));
        let claim = self.claims.claim(&orphan.id);
        self.tasks.spawn("turn", async move {
            let (place, turn, fence) = (&orphan.place, &orphan.id, orphan.fence);
            match AssertUnwindSafe(inner.clone().resume_in_time(&orphan, &hub)).catch_unwind().await {
                Ok(Resumed::Done) => {}
                Ok(Resumed::NotNow) => {
                    hub.leave(HubState::Moved);
                    inner.release(place, turn, fence).await;
                }
                Ok(Resumed::Unreadable) => inner.end_as_unreadable(&unreadable(&orphan), &hub).await,
                Err(_) => {
                    tracing::error!(turn.id = %turn, "a panic ended the take-over of a turn");
                    inner.fail(turn, fence, &hub).await;
                }
            }
            inner.hubs.remove(turn, &hub);
            drop(claim);
        });
    }

    fn end_unreadable(self: Arc<Self>, found: Unreadable) {
        let (inner, hub) = (self.clone(), self.enter(&found.place, &found.turn));
        let claim = self.claims.claim(&found.turn);
        self.tasks.spawn("turn", async move {
            inner.end_as_unreadable(&found, &hub).await;
            inner.hubs.remove(&found.turn, &hub);
            drop(claim);
        });
    }

    /// Adds a turn that was taken over to those that run here.
    fn enter(&self, place: &Place, turn: &TurnId) -> Arc<Hub> {
        let hub = Arc::new(Hub::new(place.clone()));
        // Its lease ended while it ran here: the old run shows nothing any more, and costs.
        if let Some(lost) = self.hubs.insert(turn.clone(), hub.clone()) {
            lost.stop(Stop::TakenOver);
        }
        // Taken over while the server was already telling its turns to stop.
        if self.leaving.is_cancelled() {
            hub.stop(Stop::Shutdown);
        }
        hub
    }

    async fn resume_in_time(self: Arc<Self>, orphan: &TurnRecord, hub: &Arc<Hub>) -> Resumed {
        // Early enough for its end to be stored before another server may have the turn.
        let until = Instant::now() + self.limits.lease / 2;
        while let Err(error) = self.clone().resume(orphan, hub).await {
            tracing::warn!(turn.id = %orphan.id, %error, "a turn could not be taken over");
            if self.leaving.is_cancelled() {
                return Resumed::NotNow;
            }
            if Instant::now() >= until {
                return if matches!(error, StoreError::Broken(_)) { Resumed::Unreadable } else { Resumed::NotNow };
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Resumed::Done
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
                let (request, most) = (orphan.request.clone(), self.limits.history_max_tokens);
                let budget = off_runtime(request.instructions.len(), move || prompt::budget(&request, most)).await;
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
            model_call: StartCall::WhenFree(permit),
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

/// What came of an attempt to go on with a turn.
enum Resumed {
    /// It has ended, or another server has it.
    Done,
    /// The store cannot be used, or this server stops: the turn is to be taken over again.
    NotNow,
    /// What is stored of it cannot be read, however often it is tried.
    Unreadable,
}

fn unreadable(orphan: &TurnRecord) -> Unreadable {
    let (place, turn) = (orphan.place.clone(), orphan.id.clone());
    Unreadable { place, turn, fence: orphan.fence, last_event: orphan.last_event }
}
