//! Runs one turn to its end: upstream pieces in, stored events out, then history.
//!
//! This is a task that the server owns. Readers come and go; only a stop, the upstream's end or a lost lease ends it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::{Instant, MissedTickBehavior};

use super::compaction::{Plan, since_compaction};
use super::engine::Inner;
use super::finish::{Ending, store_end};
use super::hub::{Hub, HubState, Stop};
use super::log::EventLog;
use super::queue::Slot;
use crate::config::OnCrash;
use crate::domain::event::Event;
use crate::domain::ids::TurnId;
use crate::domain::item::Item;
use crate::domain::model;
use crate::domain::output::STEERED;
use crate::domain::reply::Reply;
use crate::domain::turn::{Fault, FaultKind, TurnRequest, TurnStatus, Usage};
use crate::domain::window::{Budget, Loaded};
use crate::metering::{Pieces, StartCall};
use crate::store::Appended;
use crate::tasks::{JSON_PER_TEXT, off_runtime};

/// How many batches that are ready are taken before the log gets to write: enough that a fast upstream costs few writes,
/// few enough that readers need not wait for its end.
const READY_BATCHES: usize = 32;

/// A turn that may run.
pub(super) struct Job {
    pub(super) turn: TurnId,
    pub(super) fence: u64,
    pub(super) attempt: u32,
    pub(super) request: TurnRequest,
    /// Makes the call.
    pub(super) model_call: StartCall,
    pub(super) budget: Budget,
    pub(super) history: Loaded,
    pub(super) hub: Arc<Hub>,
    /// The number that the next event gets.
    pub(super) next_seq: u64,
    /// What earlier attempts cost.
    pub(super) spent: Option<Usage>,
    /// Held until the turn is in the history, so that turns of one conversation run one after another.
    pub(super) slot: Option<Slot>,
}

/// Runs the turn to its end; should the run panic, the turn fails.
pub(super) async fn guarded(inner: Arc<Inner>, job: Job) {
    let (turn, fence, hub) = (job.turn.clone(), job.fence, job.hub.clone());
    if AssertUnwindSafe(run(&inner, job)).catch_unwind().await.is_err() {
        tracing::error!(turn.id = %turn, "a panic ended a turn's run");
        inner.fail(&turn, fence, &hub).await;
    }
    inner.hubs.remove(&turn, &hub);
}

/// How an attempt came to its end.
enum Outcome {
    Ends(TurnStatus, Option<Fault>),
    /// Another server has the turn now, or it is gone.
    Fenced,
    /// To be taken over.
    Released,
}

/// Runs the turn; the next one of its queue gets in when the history has it.
async fn run(inner: &Inner, job: Job) {
    let Job { turn, fence, attempt, request, model_call, budget, history, hub, next_seq, spent, slot } = job;
    let history =
        since_compaction(&*inner.store, &hub.place, (&request, &budget), (history, inner.clock.now_ms())).await;
    let (request, plan) = match history {
        Ok(history) => {
            let planning = off_runtime(work_of(&request, &history), move || {
                let plan = Plan::of(&request, &budget, history).map_err(|too_long| too_long.fault());
                (request, plan)
            });
            planning.await
        }
        Err(error) => {
            tracing::warn!(turn.id = %turn, %error, "the history of a turn could not be read");
            let text = "the store could not be asked for the conversation";
            (request, Err(Fault::new(FaultKind::StoreUnavailable, text)))
        }
    };
    let prompt_tokens = plan.as_ref().map_or(0, Plan::tokens);
    let mut log = EventLog::new(inner.store.clone(), hub.clone(), turn.clone(), fence, inner.limits.lease, next_seq);
    let mut reply = Reply::to(&request, attempt);
    let pieces = async move { plan?.begin(model_call).await }.into_stream().try_flatten();
    // A defect there fails this turn with what it has said so far.
    let id = turn.clone();
    let pieces = AssertUnwindSafe(pieces).catch_unwind().map(move |batch| batch.unwrap_or_else(|_| Err(defect(&id))));
    let pieces: Pieces = Box::pin(pieces);
    let outcome = match attempt {
        1 => drive(inner, pieces, &hub, &mut log, &mut reply).await,
        _ => match announce(inner, attempt, &hub, &mut log).await {
            Some(outcome) => outcome,
            None => drive(inner, pieces, &hub, &mut log, &mut reply).await,
        },
    };
    match outcome {
        Outcome::Ends(status, fault) => {
            let ending = Ending { place: &hub.place, turn: &turn, fence, request, status, fault, prompt_tokens };
            let with_spent = |usage: Option<Usage>| match spent {
                Some(spent) => Some(usage.unwrap_or_default().plus(spent)),
                None => usage,
            };
            let finish = ending.finish(inner, reply, with_spent, |last| {
                log.push(last);
                log.into_unstored()
            });
            store_end(inner, &hub, finish.await, slot).await;
        }
        Outcome::Fenced => hub.leave(HubState::Moved),
        Outcome::Released => {
            hub.leave(HubState::Leaving);
            inner.release(&hub.place, &turn, fence).await;
        }
    }
}

/// How many bytes of text take as long to count as the prompt takes to be composed: items are read, and those that another
/// tokenizer has counted are counted again.
fn work_of(request: &TurnRequest, history: &Loaded) -> usize {
    let encoding = model::profile(&request.model).encoding;
    let size = |items: &mut dyn Iterator<Item = &Item>| items.map(|item| item.json.len()).sum::<usize>();
    let items = &mut history.items.iter().map(|stored| &stored.item);
    let recounted = size(&mut items.clone().filter(|item| item.encoding != encoding));
    (size(items) + size(&mut request.input.iter())) / JSON_PER_TEXT + recounted
}

fn defect(turn: &TurnId) -> Fault {
    tracing::error!(turn.id = %turn, "a panic ended the model's answer");
    Fault::internal()
}

/// Tells that this is another attempt, before it costs anything; an outcome where there is to be none.
async fn announce(inner: &Inner, attempt: u32, hub: &Hub, log: &mut EventLog) -> Option<Outcome> {
    log.push(Event::Started { attempt });
    let mut stopped = std::pin::pin!(hub.stopped());
    while log.has_work() {
        tokio::select! {
            biased;
            why = &mut stopped => return Some(stop(why, inner.limits.on_crash)),
            flushed = log.flush() => match flushed {
                Some(Appended::Fenced) => return Some(Outcome::Fenced),
                Some(Appended::Stored { cancel_requested: true }) => {
                    return Some(Outcome::Ends(TurnStatus::Cancelled, None));
                }
                Some(Appended::Stored { .. }) | None => {}
            },
        }
    }
    None
}

async fn drive(inner: &Inner, mut pieces: Pieces, hub: &Hub, log: &mut EventLog, reply: &mut Reply) -> Outcome {
    let mut stopped = std::pin::pin!(hub.stopped());
    let mut renewal = tokio::time::interval_at(Instant::now() + inner.limits.lease / 3, inner.limits.lease / 3);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let batch = tokio::select! {
            biased;
            why = &mut stopped => {
                if why == Stop::Steered {
                    reply.finish(STEERED);
                }
                return stop(why, inner.limits.on_crash);
            }
            flushed = log.flush(), if log.has_work() => match flushed {
                Some(Appended::Fenced) => return Outcome::Fenced,
                Some(Appended::Stored { cancel_requested: true }) => return Outcome::Ends(TurnStatus::Cancelled, None),
                Some(Appended::Stored { .. }) | None => continue,
            },
            _ = renewal.tick() => {
                log.renew_lease();
                continue;
            }
            batch = pieces.next() => batch,
        };
        let mut batch = batch;
        for _ in 0..READY_BATCHES {
            match take(batch, log, reply) {
                Some(outcome) => return outcome,
                None => match pieces.next().now_or_never() {
                    Some(next) => batch = next,
                    None => break,
                },
            }
        }
    }
}

/// Adds a batch to the reply and the log; an outcome where it was the last one.
fn take(
    batch: Option<Result<Vec<crate::domain::reply::Piece>, Fault>>,
    log: &mut EventLog,
    reply: &mut Reply,
) -> Option<Outcome> {
    let pieces = match batch {
        Some(Ok(pieces)) => pieces,
        Some(Err(fault)) => return Some(Outcome::Ends(TurnStatus::Failed, Some(fault))),
        None => return Some(Outcome::Ends(TurnStatus::Completed, None)),
    };
    for piece in pieces {
        match reply.add(piece) {
            Ok(Some(delta)) => log.push(delta.into()),
            Ok(None) => {}
            Err(fault) => return Some(Outcome::Ends(TurnStatus::Failed, Some(fault))),
        }
    }
    None
}

fn stop(why: Stop, on_crash: OnCrash) -> Outcome {
    match (why, on_crash) {
        (Stop::TakenOver, _) => Outcome::Fenced,
        (Stop::Cancelled, _) => Outcome::Ends(TurnStatus::Cancelled, None),
        (Stop::Steered, _) => Outcome::Ends(TurnStatus::Completed, None),
        (Stop::Deleted, _) => {
            let fault = Fault::new(FaultKind::ConversationGone, "the conversation was deleted");
            Outcome::Ends(TurnStatus::Cancelled, Some(fault))
        }
        (Stop::Shutdown, OnCrash::Rerun) => Outcome::Released,
        (Stop::Shutdown, OnCrash::Interrupt) => {
            let fault = Fault::new(FaultKind::ServerStopped, "the server stopped before the answer was whole");
            Outcome::Ends(TurnStatus::Interrupted, Some(fault))
        }
    }
}
