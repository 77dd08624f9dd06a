//! Takes over turns whose server went away: at the start, and whenever a lease has run out.

use std::sync::Arc;

use super::hub::{Hub, HubState};
use super::run::{self, Job};
use super::{Inner, OnCrash, Turns, guarded, prompt};
use crate::domain::event::{Event, Numbered};
use crate::domain::reply::{Piece, Reply, history_of};
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Fault, FaultKind, TurnRecord, TurnStatus, Usage};
use crate::store::{EventsPage, FinishTurn, StoreError};

/// How many turns are taken over at once; the next ones follow when these run.
const AT_ONCE: usize = 32;

/// How many stored events are read at once.
const PAGE: usize = 512;

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
        self.hubs.insert(orphan.id.clone(), hub.clone());
        let inner = self.clone();
        self.tasks.spawn("turn", async move {
            let turn = orphan.id.clone();
            if let Err(error) = inner.clone().resume(orphan, hub.clone()).await {
                // The lease runs out, and somebody tries again.
                tracing::warn!(turn.id = %turn, %error, "a turn could not be taken over");
                hub.leave(HubState::Moved);
            }
            inner.hubs.remove(&turn);
        });
    }

    async fn resume(self: Arc<Self>, orphan: TurnRecord, hub: Arc<Hub>) -> Result<(), StoreError> {
        let shown = self.shown(&orphan).await?;
        let budget = prompt::budget(&orphan.request, self.limits.history_max_tokens);
        let rerun = self.limits.on_crash == OnCrash::Rerun && orphan.attempt <= MAX_ATTEMPTS;
        match budget {
            Ok(budget) if rerun => {
                let history = self.store.window(&orphan.place, budget).await?;
                let job = Job {
                    spent: Some(spent(&orphan, &shown)),
                    line: self.place_for(&orphan.place),
                    turn: orphan.id,
                    fence: orphan.fence,
                    attempt: orphan.attempt,
                    request: orphan.request,
                    budget,
                    history,
                    hub,
                    next_seq: orphan.last_event + 1,
                };
                guarded(self, job).await;
            }
            _ => self.interrupt(&orphan, &hub, &shown).await,
        }
        Ok(())
    }

    /// What the last attempt has shown.
    async fn shown(&self, orphan: &TurnRecord) -> Result<Reply, StoreError> {
        let mut reply = Reply::to(&orphan.request);
        let mut after = 0;
        loop {
            let page = self.store.read_events(&orphan.place.owner, &orphan.id, after, PAGE).await?;
            let EventsPage::Events { events, .. } = page else { return Ok(reply) };
            let Some(last) = events.last() else { return Ok(reply) };
            after = last.seq;
            for Numbered { event, .. } in events {
                match event {
                    Event::Started { .. } => reply = Reply::to(&orphan.request),
                    // What was shown was within bounds when it was shown.
                    Event::Text { delta } => drop(reply.add(Piece::Text(delta))),
                    Event::Ended(_) => {}
                }
            }
        }
    }

    async fn interrupt(&self, orphan: &TurnRecord, hub: &Hub, shown: &Reply) {
        let fault = Fault::new(FaultKind::ServerStopped, "the server went away before the answer was whole");
        let mut end = shown.end(TurnStatus::Interrupted, Some(fault), prompt_tokens(orphan));
        end.usage = Some(spent(orphan, shown));
        let items = history_of(&orphan.id, &orphan.request, &end);
        let (usage, fault) = (end.usage, end.fault.clone());
        let finish = FinishTurn {
            place: orphan.place.clone(),
            turn: orphan.id.clone(),
            fence: orphan.fence,
            status: TurnStatus::Interrupted,
            items,
            usage,
            fault,
            events: vec![Numbered { seq: orphan.last_event + 1, event: Event::Ended(Box::new(end)) }],
            keep_events_ms: self.limits.keep_events_ms(),
            now_ms: self.clock.now_ms(),
        };
        run::store_end(self, hub, finish).await;
    }
}

/// What the lost attempt cost at least, by our own count: nobody is left who could say.
fn spent(orphan: &TurnRecord, shown: &Reply) -> Usage {
    let earlier = orphan.usage.unwrap_or_default();
    earlier.plus(shown.estimate(prompt_tokens(orphan)))
}

/// Without the history, which may have been less than it is now.
fn prompt_tokens(orphan: &TurnRecord) -> u64 {
    u64::from(orphan.request.input_tokens().saturating_add(REQUEST_OVERHEAD))
}
