//! How a turn begins: its place in line, its record in the store, its task.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::ask::{Accepted, Ask, OnBusy, Refused};
use super::engine::{Inner, Turns};
use super::hub::{Hub, Stop};
use super::prompt;
use super::queue::{NotEntered, Position, Slot};
use super::run::{Job, guarded};
use crate::domain::conversation::Place;
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::TurnId;
use crate::domain::window::Budget;
use crate::store::{BeginTurn, Begun, KeyRole, Started, StoreError};

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
        let budget = prompt::budget(&ask.request, self.0.limits.history_max_tokens).map_err(Refused::TooLong)?;
        // A client that leaves must not leave half a turn behind, so the rest is the server's own task.
        let (answer, begun) = oneshot::channel();
        self.0.tasks.spawn("turn", self.clone().admit(ask, budget, answer, admission));
        begun.await.unwrap_or_else(|_| Err(Refused::Store(StoreError::Broken("the turn could not be begun".into()))))
    }

    async fn admit(self, ask: Ask, budget: Budget, answer: Answer, admission: TaskTrackerToken) {
        let deadline = Instant::now() + self.0.limits.max_wait;
        let joins = ask.idempotency.as_ref().is_some_and(|key| key.role == KeyRole::Join);
        let admitted = match joins {
            true => self.0.admit_once(&ask, budget, deadline, &answer).await,
            false => self.0.admit_in_order(&ask, budget, deadline, &answer).await,
        };
        let (begun, slot) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => {
                let unknown = matches!(refused, Refused::Store(_)) && ask.idempotency.is_none();
                tell(answer, Err(refused));
                if unknown {
                    self.disown(&ask).await;
                }
                return;
            }
        };
        let owner = ask.place.owner.clone();
        let accepted = |turn: &TurnId, conversation| Accepted {
            conversation,
            reader: self.read(&owner, turn, 0),
            on_leave: ask.drop_if_unheard.then(|| self.cancel_on_leave(owner.clone(), turn.clone())),
        };
        let refused = match begun {
            Begun::Started(started) => {
                let job = self.0.launch(&ask, budget, started, slot);
                drop(admission);
                tell(answer, Ok(accepted(&ask.turn, ask.place.conversation.clone())));
                drop(ask);
                return guarded(self.0, job).await;
            }
            Begun::Duplicate { turn, conversation } => {
                return tell(answer, Ok(accepted(&turn, conversation)));
            }
            Begun::KeyReused => Refused::KeyReused,
            Begun::Moved => Refused::Moved,
            Begun::UnknownConversation => Refused::UnknownConversation,
            Begun::UnknownSession => Refused::UnknownSession,
            Begun::Busy { .. } if ask.on_busy == OnBusy::Reject => Refused::Busy,
            Begun::Busy { .. } => Refused::WaitedTooLong,
        };
        drop(slot);
        tell(answer, Err(refused));
    }

    /// The store may have begun the turn and only its answer was lost. Its client was told that there is none, so nothing
    /// is to be spent on it when it is found; with an idempotency key the client's next try joins it instead.
    async fn disown(&self, ask: &Ask) {
        if let Err(error) = self.0.store.request_cancel(&ask.place.owner, &ask.turn).await {
            tracing::debug!(turn.id = %ask.turn, %error, "a turn that may have begun could not be cancelled");
        }
    }
}

fn tell(answer: Answer, what: Result<Accepted, Refused>) {
    // Nobody may be waiting any more. A turn that has begun runs all the same.
    let _ = answer.send(what);
}

impl Inner {
    async fn admit_in_order(
        &self,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
        answer: &Answer,
    ) -> Result<(Begun, Option<Slot>), Refused> {
        let slot = self.enter_queue(ask, deadline).await?;
        Ok((self.begin(ask, budget, deadline, answer).await?, Some(slot)))
    }

    /// With an idempotency key the store is asked first, so that a repeated request joins the turn that it repeats
    /// instead of waiting in line behind it. Requests with the same key go one by one.
    async fn admit_once(
        &self,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
        answer: &Answer,
    ) -> Result<(Begun, Option<Slot>), Refused> {
        let key = ask.idempotency.as_ref().map_or("", |key| key.key.as_str());
        let name = format!("key {} {key}", ask.place.owner.tag());
        let _in_key_order = self.wait_in(&name, Position::Back, usize::MAX, deadline).await?;
        match self.store.begin_turn(self.begin_turn(ask, budget)).await? {
            Begun::Busy { .. } => {
                let slot = self.enter_queue(ask, deadline).await?;
                Ok((self.begin(ask, budget, deadline, answer).await?, Some(slot)))
            }
            begun => Ok((begun, self.queues.enter_if_free(&queue_of(&ask.place)))),
        }
    }

    async fn enter_queue(&self, ask: &Ask, deadline: Instant) -> Result<Slot, Refused> {
        let name = &queue_of(&ask.place);
        match ask.on_busy {
            OnBusy::Queue => self.wait_in(name, Position::Back, self.limits.max_waiting, deadline).await,
            OnBusy::Reject => self.queues.enter_if_free(name).ok_or(Refused::Busy),
            OnBusy::Interrupt => {
                let place = &ask.place;
                self.hubs.select(|hub| hub.place == *place).iter().for_each(|hub| hub.stop(Stop::Cancelled));
                self.wait_in(name, Position::Front, usize::MAX, deadline).await
            }
        }
    }

    /// Waits in a line; a server that stops begins none of those who wait, and tells them at once.
    async fn wait_in(&self, queue: &str, position: Position, most: usize, until: Instant) -> Result<Slot, Refused> {
        let wait = until.saturating_duration_since(Instant::now());
        let entering = self.queues.enter(queue, position, most, wait);
        match self.tasks.stopping().run_until_cancelled(entering).await {
            Some(Ok(slot)) => Ok(slot),
            Some(Err(NotEntered::Full)) => Err(Refused::QueueFull),
            Some(Err(NotEntered::TimedOut)) => Err(Refused::WaitedTooLong),
            None => Err(Refused::Stopping),
        }
    }

    /// Begins in the store. Where a turn of another instance is in the way: waits until `deadline`, gives up, or has it
    /// cancelled, as asked.
    async fn begin(&self, ask: &Ask, budget: Budget, deadline: Instant, answer: &Answer) -> Result<Begun, Refused> {
        let mut cancelled: Option<TurnId> = None;
        loop {
            if self.tasks.stopping().is_cancelled() {
                return Err(Refused::Stopping);
            }
            if ask.drop_if_unheard && answer.is_closed() {
                // Nobody hears this either; it only ends the task.
                return Err(Refused::Busy);
            }
            let wakeup = self.wakeups.listen(ask.place.conversation.as_str());
            let begun = self.store.begin_turn(self.begin_turn(ask, budget)).await?;
            let Begun::Busy { running, .. } = &begun else { return Ok(begun) };
            if ask.on_busy == OnBusy::Reject || Instant::now() >= deadline {
                return Ok(begun);
            }
            if ask.on_busy == OnBusy::Interrupt && cancelled.as_ref() != Some(running) {
                self.store.request_cancel(&ask.place.owner, running).await?;
                self.stop_turn(running);
                cancelled = Some(running.clone());
            }
            wakeup.wait().await;
        }
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
            budget,
            holder: self.instance.clone(),
            lease_ms: self.lease_ms(),
            now_ms: self.clock.now_ms(),
        }
    }

    fn launch(&self, ask: &Ask, budget: Budget, started: Started, slot: Option<Slot>) -> Job {
        let hub = Arc::new(Hub::new(ask.place.clone()));
        // The store has this event already: it came with the turn.
        hub.publish([Numbered { seq: 1, event: Event::Started { attempt: 1 } }]);
        self.hubs.insert(ask.turn.clone(), hub.clone());
        Job {
            turn: ask.turn.clone(),
            fence: started.fence,
            attempt: 1,
            request: ask.request.clone(),
            model_call: ask.permit.start(),
            budget,
            history: started.history,
            hub,
            next_seq: 2,
            spent: None,
            slot,
        }
    }

    /// A place for a turn that is taken over; where somebody waits already, the store keeps them in order.
    pub(super) fn slot_for(&self, place: &Place) -> Option<Slot> {
        self.queues.enter_if_free(&queue_of(place))
    }
}

/// Each owner has lines of their own: who stands in a stranger's, by naming a conversation that is not theirs, would see
/// that it is busy and keep others out.
fn queue_of(place: &Place) -> String {
    format!("conversation {} {}", place.owner.tag(), place.conversation)
}
