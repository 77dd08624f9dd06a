//! How a turn begins: its place in the queue, its record in the store, its task.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::ask::{Accepted, Ask, OnBusy, Refused};
use super::engine::{Inner, Turns};
use super::hub::{Hub, Stop};
use super::leave::OnLeave;
use super::prompt;
use super::queue::{Full, Position, Slot, TimedOut};
use super::run::{Job, guarded};
use crate::domain::conversation::Place;
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::rate::RateLeft;
use crate::domain::window::Budget;
use crate::metering::{ModelCall, StartCall};
use crate::store::{BeginTurn, Begun, CancelRequest, FIRST_FENCE, IdempotencyKey, KeyRole, Started, StoreError};
use crate::tasks::off_runtime;

/// What the store answered, and the call that a turn which began may make.
struct InStore {
    begun: Begun,
    call: Option<ModelCall>,
}

type Answer = oneshot::Sender<Result<Accepted, Refused>>;

impl Turns {
    /// Begins a turn, in its order, and leaves it running.
    ///
    /// # Errors
    /// [`Refused`]; nothing was spent and nothing stored.
    pub async fn ask(&self, ask: Ask) -> Result<Accepted, Refused> {
        // Taken before the look, so that a server that stops either sees this turn coming or has it refused.
        let admission = self.0.admissions.token();
        if self.0.tasks.stopping().is_cancelled() {
            return Err(Refused::Stopping);
        }
        let most = self.0.limits.history_max_tokens;
        let (ask, budget) = off_runtime(ask.request.instructions.len(), move || {
            let budget = prompt::budget(&ask.request, most);
            (ask, budget)
        })
        .await;
        let budget = budget.map_err(Refused::TooLong)?;
        // A client that leaves must not leave half a turn behind, so the rest is the server's own task.
        let (answer, begun) = oneshot::channel();
        self.0.tasks.spawn("turn", self.clone().admit(ask, budget, answer, admission));
        begun.await.unwrap_or_else(|_| Err(not_begun()))
    }

    async fn admit(self, ask: Ask, budget: Budget, answer: Answer, admission: TaskTrackerToken) {
        let _claim = self.0.claims.claim(&ask.turn);
        let deadline = Instant::now() + self.0.limits.max_wait;
        let admitting = AssertUnwindSafe(self.0.admit_one(&ask, budget, deadline, &answer)).catch_unwind().await;
        let (InStore { begun, call }, slot) = match admitting.unwrap_or_else(|_| Err(not_begun())) {
            Ok(admitted) => admitted,
            Err(refused) => {
                let unknown = matches!(refused, Refused::Store(_));
                tell(answer, Err(refused));
                if unknown {
                    self.disown(&ask).await;
                }
                return;
            }
        };
        let owner = ask.place.owner.clone();
        let accepted = |turn: &TurnId, conversation: ConversationId, rate: Option<RateLeft>| {
            let place = Place { owner: owner.clone(), conversation: conversation.clone() };
            let on_leave = self.on_leave(&ask, place, turn.clone());
            Accepted { conversation, reader: self.read(&owner, turn, 0), on_leave, rate }
        };
        let refused = match begun {
            Begun::Started(started) => {
                let rate = started.rate;
                let job = self.0.launch(&ask, budget, started, call, slot);
                drop(admission);
                if let Some(key) = &ask.idempotency {
                    self.0.wakeups.wake(&wakeup_of(&ask, key));
                }
                tell(answer, Ok(accepted(&ask.turn, ask.place.conversation.clone(), rate)));
                drop(ask);
                return guarded(self.0, job).await;
            }
            Begun::Duplicate { turn, conversation } => {
                return tell(answer, Ok(accepted(&turn, conversation, None)));
            }
            Begun::KeyReused => Refused::KeyReused,
            Begun::Moved => Refused::Moved,
            Begun::UnknownConversation => Refused::UnknownConversation,
            Begun::UnknownSession => Refused::UnknownSession,
            Begun::RateLimited { wait_ms } => ask.permit.rate_limited(wait_ms).into(),
            Begun::Busy { .. } if ask.on_busy == OnBusy::Reject => Refused::Busy,
            Begun::Busy { .. } => Refused::WaitedTooLong,
        };
        drop(slot);
        tell(answer, Err(refused));
    }

    /// What is to happen when the client of this turn, which `ask` began or joins, leaves.
    fn on_leave(&self, ask: &Ask, place: Place, turn: TurnId) -> Option<OnLeave> {
        if ask.drop_if_unheard {
            return Some(OnLeave::cancel(self.clone(), place, turn));
        }
        let tried = ask.idempotency.as_ref().filter(|key| key.role != KeyRole::Join)?;
        Some(OnLeave::expect_retry(self.clone(), place, turn, tried.key.clone()))
    }

    /// The store may have begun the turn and only its answer was lost: the turn is released, so that it is taken over. Its
    /// client was told that there is none, so nothing is spent on it then; with an idempotency key the client's next try
    /// joins it instead.
    async fn disown(&self, ask: &Ask) {
        let (store, owner) = (&self.0.store, &ask.place.owner);
        let has_begun = match ask.idempotency {
            None => store.request_cancel(owner, &ask.turn).await.map(|asked| asked == CancelRequest::Requested),
            Some(_) => store.turn(owner, &ask.turn).await.map(|record| record.is_some()),
        };
        match has_begun {
            Ok(true) => self.0.release(&ask.place, &ask.turn, FIRST_FENCE).await,
            Ok(false) => {}
            Err(error) => tracing::debug!(turn.id = %ask.turn, %error, "a turn that may have begun cannot be released"),
        }
    }
}

/// A defect; the log has its place.
fn not_begun() -> Refused {
    Refused::Store(StoreError::Broken("the turn could not be begun".into()))
}

fn tell(answer: Answer, what: Result<Accepted, Refused>) {
    // The client may have left. A turn that has begun runs all the same.
    let _ = answer.send(what);
}

impl Inner {
    async fn admit_one(
        &self,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
        answer: &Answer,
    ) -> Result<(InStore, Option<Slot>), Refused> {
        ask.permit.count_apart(&ask.place.owner).await?;
        match joined_key(ask) {
            Some(key) => self.admit_once(&key, ask, budget, deadline, answer).await,
            None => self.admit_in_order(ask, budget, deadline, answer).await,
        }
    }

    async fn admit_in_order(
        &self,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
        answer: &Answer,
    ) -> Result<(InStore, Option<Slot>), Refused> {
        let slot = self.enter_queue(ask, deadline).await?;
        Ok((self.begin(ask, budget, deadline, answer).await?, Some(slot)))
    }

    /// With an idempotency key the store is asked before the queue is joined, so that a repeated request joins the turn that
    /// it repeats instead of waiting behind it; and again while it waits, as soon as a turn with that key begins.
    async fn admit_once(
        &self,
        key: &str,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
        answer: &Answer,
    ) -> Result<(InStore, Option<Slot>), Refused> {
        let mut in_order = std::pin::pin!(self.admit_in_order(ask, budget, deadline, answer));
        loop {
            let key_used = self.wakeups.listen(key);
            let queue = queue_of(&ask.place);
            // Behind another turn nothing begins: the request can only join one, for which it needs no place.
            let tried = match self.queues.is_free(&queue) {
                true => Some(self.begin_in_store(ask, budget).await?),
                false => self.join_in_store(ask, budget).await?,
            };
            match tried {
                None | Some(InStore { begun: Begun::Busy { .. }, .. }) => {}
                Some(begun) => return Ok((begun, self.queues.enter_if_free(&queue))),
            }
            tokio::select! {
                biased;
                admitted = &mut in_order => return admitted,
                () = key_used.woken() => {}
            }
        }
    }

    async fn enter_queue(&self, ask: &Ask, deadline: Instant) -> Result<Slot, Refused> {
        let (name, most) = (&queue_of(&ask.place), self.limits.max_waiting);
        let full = |_: Full| Refused::QueueFull;
        let joined = match ask.on_busy {
            OnBusy::Queue => self.queues.join(name, Position::Back, most).map_err(full)?,
            OnBusy::Reject => return self.queues.enter_if_free(name).ok_or(Refused::Busy),
            OnBusy::Interrupt => {
                let joined = self.queues.join(name, Position::Front, most).map_err(full)?;
                let place = &ask.place;
                self.hubs.select(|hub| hub.place == *place).iter().for_each(|hub| hub.stop(Stop::Cancelled));
                joined
            }
        };
        // A server that stops begins none of the turns that wait, and says so at once.
        let slot = joined.slot(deadline.saturating_duration_since(Instant::now()));
        match self.tasks.stopping().run_until_cancelled(slot).await {
            Some(slot) => slot.map_err(|TimedOut| Refused::WaitedTooLong),
            None => Err(Refused::Stopping),
        }
    }

    /// Begins in the store. Where a turn of another instance is in the way: waits until `deadline`, gives up, or has it
    /// cancelled, as asked.
    async fn begin(&self, ask: &Ask, budget: Budget, deadline: Instant, answer: &Answer) -> Result<InStore, Refused> {
        let mut cancelled: Option<TurnId> = None;
        loop {
            if self.tasks.stopping().is_cancelled() {
                return Err(Refused::Stopping);
            }
            if ask.drop_if_unheard && answer.is_closed() {
                // The client has left; this only ends the task.
                return Err(Refused::Busy);
            }
            let wakeup = self.wakeups.listen(ask.place.conversation.as_str());
            let begun = self.begin_in_store(ask, budget).await?;
            let Begun::Busy { running, .. } = &begun.begun else { return Ok(begun) };
            if ask.on_busy == OnBusy::Reject || Instant::now() >= deadline {
                return Ok(begun);
            }
            if ask.on_busy == OnBusy::Interrupt && cancelled.as_ref() != Some(running) {
                self.store.request_cancel(&ask.place.owner, running).await?;
                self.stop_turn(running);
                cancelled = Some(running.clone());
            }
            drop(begun.call);
            wakeup.wait().await;
        }
    }

    /// Begins in the store, with a place among the calls to models. Where there is none, only a request that repeats an
    /// earlier one goes on: it joins that turn, and calls no model.
    async fn begin_in_store(&self, ask: &Ask, budget: Budget) -> Result<InStore, Refused> {
        let begin = self.begin_turn(ask, budget);
        let full = match ask.permit.start_turn() {
            Ok(call) => return Ok(InStore { begun: self.store.begin_turn(begin).await?, call: Some(call) }),
            Err(full) => full,
        };
        match joined_key(ask) {
            Some(_) => self.join_in_store(ask, budget).await?.ok_or(full.into()),
            None => Err(full.into()),
        }
    }

    /// What becomes of a request with an idempotency key as long as no turn may begin; `None` where it has to wait for one.
    async fn join_in_store(&self, ask: &Ask, budget: Budget) -> Result<Option<InStore>, Refused> {
        // No conversation has so many items, so that nothing can begin.
        let begin = BeginTurn { expected_items: Some(u64::from(u32::MAX)), ..self.begin_turn(ask, budget) };
        Ok(match self.store.begin_turn(begin).await? {
            Begun::Moved | Begun::Busy { .. } => None,
            begun => Some(InStore { begun, call: None }),
        })
    }

    fn begin_turn(&self, ask: &Ask, budget: Budget) -> BeginTurn {
        BeginTurn {
            place: ask.place.clone(),
            session: ask.session,
            create_conversation: ask.create_conversation,
            hidden: ask.hidden,
            expected_items: ask.expected_items,
            turn: ask.turn.clone(),
            request: ask.request.clone(),
            idempotency: ask.idempotency.clone(),
            rate: ask.permit.rate_of(&ask.place.owner),
            budget,
            holder: self.instance.clone(),
            lease_ms: self.lease_ms(),
            now_ms: self.clock.now_ms(),
        }
    }

    fn launch(&self, ask: &Ask, budget: Budget, started: Started, call: Option<ModelCall>, slot: Option<Slot>) -> Job {
        let hub = Arc::new(Hub::new(ask.place.clone()));
        // The store has this event already: it came with the turn.
        hub.publish([Numbered { seq: 1, event: Event::Started { attempt: 1 } }]);
        self.hubs.insert(ask.turn.clone(), hub.clone());
        Job {
            turn: ask.turn.clone(),
            fence: started.fence,
            attempt: 1,
            request: ask.request.clone(),
            model_call: call.map_or_else(|| StartCall::WhenFree(ask.permit.clone()), StartCall::Now),
            budget,
            history: started.history,
            hub,
            next_seq: 2,
            spent: None,
            slot,
        }
    }

    /// A slot for a turn that is taken over. Where other turns are queued already, the store keeps them in order.
    pub(super) fn slot_for(&self, place: &Place) -> Option<Slot> {
        self.queues.enter_if_free(&queue_of(place))
    }
}

/// What wakes requests with the same key when a turn with it begins.
fn wakeup_of(ask: &Ask, key: &IdempotencyKey) -> String {
    let kind = if key.role == KeyRole::Join { "key" } else { "try" };
    format!("{kind} {} {}", ask.place.owner.tag(), key.key)
}

/// The same for a request that can join a turn.
fn joined_key(ask: &Ask) -> Option<String> {
    let key = ask.idempotency.as_ref().filter(|key| key.role != KeyRole::FirstTry)?;
    Some(wakeup_of(ask, key))
}

/// Each owner has queues of their own: naming another owner's conversation neither shows whether it is busy nor keeps its
/// owner waiting.
fn queue_of(place: &Place) -> String {
    format!("conversation {} {}", place.owner.tag(), place.conversation)
}
