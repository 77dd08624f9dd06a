//! Takes over turns whose server went away: at the start, and whenever a lease has run out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::engine::{Inner, Turns};
use super::finish::{Ending, store_end};
use super::hub::{Hub, HubState, Stop};
use super::prompt;
use super::run::{Job, guarded};
use crate::config::OnCrash;
use crate::domain::event::{Event, Numbered};
use crate::domain::reply::Reply;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnStatus, Usage};
use crate::domain::window::Budget;
use crate::metering::Permit;
use crate::store::{AppendEvents, Appended, EventsPage, StoreError};

/// How many turns are taken over at once; the next ones follow when these run.
const AT_ONCE: usize = 32;

/// How many stored events are read at once.
const PAGE: usize = 512;

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
            let pause = tokio::time::sleep(inner.limits.lease / 3);
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
        // Its lease ended while it ran here: what goes on there is for nobody, and costs.
        if let Some(lost) = self.hubs.insert(orphan.id.clone(), hub.clone()) {
            lost.stop(Stop::TakenOver);
        }
        // Taken over while the server was already telling its turns to stop.
        if self.leaving.is_cancelled() {
            hub.stop(Stop::Shutdown);
        }
        let inner = self.clone();
        self.tasks.spawn("turn", async move {
            // After that, somebody else may have it.
            let until = Instant::now() + inner.limits.lease;
            while let Err(error) = inner.clone().resume(&orphan, &hub).await {
                tracing::warn!(turn.id = %orphan.id, %error, "a turn could not be taken over");
                if Instant::now() >= until || inner.leaving.is_cancelled() {
                    hub.leave(HubState::Moved);
                    break;
                }
                tokio::time::sleep(RETRY_AFTER).await;
            }
            inner.hubs.remove(&orphan.id, &hub);
        });
    }

    async fn resume(self: Arc<Self>, orphan: &TurnRecord, hub: &Arc<Hub>) -> Result<(), StoreError> {
        let remains = self.remains(orphan).await?;
        match self.sign_of_life(orphan).await? {
            Appended::Fenced => hub.leave(HubState::Moved),
            // Whoever asked for that saw what was shown, so it is kept instead of being asked for again.
            Appended::Stored { cancel_requested: true } => {
                self.end(orphan, hub, remains, TurnStatus::Cancelled, None).await;
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
                        self.end(orphan, hub, remains, TurnStatus::Interrupted, Some(fault)).await;
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

    /// What the lost attempts have left behind.
    async fn remains(&self, orphan: &TurnRecord) -> Result<Remains, StoreError> {
        let mut attempts: Vec<Reply> = Vec::new();
        let mut after = 0;
        loop {
            let page = self.store.read_events(&orphan.place.owner, &orphan.id, after, PAGE).await?;
            let EventsPage::Events { events, .. } = page else { break };
            let Some(last) = events.last() else { break };
            after = last.seq;
            for Numbered { event, .. } in events {
                match event {
                    Event::Started { attempt } => attempts.push(Reply::to(&orphan.request, attempt)),
                    // What was shown was within bounds when it was shown.
                    Event::Delta(delta) => drop(attempts.last_mut().map(|reply| reply.show(&delta))),
                    Event::Ended(_) => {}
                }
            }
        }
        let estimates = attempts.iter().map(|reply| reply.estimate(prompt_tokens(orphan)));
        Ok(Remains {
            spent: estimates.fold(Usage::default(), Usage::plus),
            attempts: u32::try_from(attempts.len()).unwrap_or(u32::MAX),
            shown: attempts.pop().unwrap_or_else(|| Reply::to(&orphan.request, 1)),
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

    async fn end(&self, orphan: &TurnRecord, hub: &Hub, remains: Remains, status: TurnStatus, fault: Option<Fault>) {
        let mut end = remains.shown.end(status, fault, prompt_tokens(orphan));
        end.usage = Some(remains.spent);
        let ending = Ending { place: &orphan.place, turn: &orphan.id, fence: orphan.fence, request: &orphan.request };
        let finish = ending.finish(self, end, |event| vec![Numbered { seq: orphan.last_event + 1, event }]);
        store_end(self, hub, finish, None).await;
    }
}

/// What a turn whose server went away has left behind.
struct Remains {
    /// What the last attempt has shown.
    shown: Reply,
    /// What the attempts cost at least, by our own count: nobody is left who could say.
    spent: Usage,
    /// How often the upstream was, or may have been, called.
    attempts: u32,
}

/// Without the history, which may have been less than it is now.
fn prompt_tokens(orphan: &TurnRecord) -> u64 {
    u64::from(orphan.request.input_tokens().saturating_add(REQUEST_OVERHEAD))
}
