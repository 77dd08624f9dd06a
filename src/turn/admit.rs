//! How a turn begins: its place in line, its record in the store, its task.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hub::{Hub, Stop};
use super::line::{self, NoPlace, Stand};
use super::run::Job;
use super::{Accepted, Ask, Inner, OnBusy, Refused, Turns, guarded, prompt};
use crate::domain::event::{Event, Numbered};
use crate::domain::ids::{ConversationId, TurnId};
use crate::domain::window::Budget;
use crate::store::{BeginTurn, Begun, Started, StoreError};

type Answer = oneshot::Sender<Result<Accepted, Refused>>;

impl Turns {
    /// Begins a turn, in its order, and leaves it running.
    ///
    /// # Errors
    /// [`Refused`]; nothing was spent and nothing stored.
    pub async fn ask(&self, ask: Ask) -> Result<Accepted, Refused> {
        if self.0.tasks.stopping().is_cancelled() {
            return Err(Refused::Stopping);
        }
        let budget = prompt::budget(&ask.request, self.0.limits.history_max_tokens).map_err(Refused::TooLong)?;
        // A client that leaves must not leave half a turn behind, so the rest is the server's own task.
        let (answer, begun) = oneshot::channel();
        self.0.tasks.spawn("turn", self.clone().admit(ask, budget, answer));
        begun.await.unwrap_or_else(|_| Err(Refused::Store(StoreError::Broken("the turn could not be begun".into()))))
    }

    async fn admit(self, ask: Ask, budget: Budget, answer: Answer) {
        let deadline = Instant::now() + self.0.limits.max_wait;
        let admitted = match ask.idempotency.is_some() {
            true => self.0.admit_once(&ask, budget, deadline).await,
            false => self.0.admit_in_order(&ask, budget, deadline, &answer).await,
        };
        let (begun, line) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return tell(answer, Err(refused)),
        };
        let owner = ask.place.owner.clone();
        let refused = match begun {
            Begun::Started(started) => {
                let conversation = ask.place.conversation.clone();
                let turn = ask.turn.clone();
                let job = self.0.launch(ask, budget, started, line);
                tell(answer, Ok(Accepted { conversation, reader: self.read(&owner, &turn, 0) }));
                return guarded(self.0, job).await;
            }
            Begun::Duplicate { turn, conversation } => {
                return tell(answer, Ok(Accepted { conversation, reader: self.read(&owner, &turn, 0) }));
            }
            Begun::KeyReused => Refused::KeyReused,
            Begun::UnknownConversation => Refused::UnknownConversation,
            Begun::UnknownSession => Refused::UnknownSession,
            Begun::Busy { .. } if ask.on_busy == OnBusy::Reject => Refused::Busy,
            Begun::Busy { .. } => Refused::WaitedTooLong,
        };
        drop(line);
        tell(answer, Err(refused));
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
    ) -> Result<(Begun, Option<line::Place>), Refused> {
        let line = self.enter_line(ask, deadline).await?;
        if ask.drop_if_unheard && answer.is_closed() {
            // Nobody hears this either; it only ends the task.
            return Err(Refused::Busy);
        }
        Ok((self.begin(ask, budget, deadline).await?, Some(line)))
    }

    /// With an idempotency key the store is asked first, so that a repeated request joins the turn that it repeats
    /// instead of waiting in line behind it. Requests with the same key go one by one.
    async fn admit_once(
        &self,
        ask: &Ask,
        budget: Budget,
        deadline: Instant,
    ) -> Result<(Begun, Option<line::Place>), Refused> {
        let key = ask.idempotency.as_ref().map_or("", |key| key.key.as_str());
        let name = format!("{} {key}", ask.place.owner.tag());
        let wait = deadline.saturating_duration_since(Instant::now());
        let _in_key_order = self.lines.enter(&name, Stand::Last, usize::MAX, wait).await.map_err(refused)?;
        match self.store.begin_turn(self.begin_turn(ask, budget)).await? {
            Begun::Busy { .. } => {
                let line = self.enter_line(ask, deadline).await?;
                Ok((self.begin(ask, budget, deadline).await?, Some(line)))
            }
            begun => Ok((begun, self.lines.enter_if_free(ask.place.conversation.as_str()))),
        }
    }

    async fn enter_line(&self, ask: &Ask, deadline: Instant) -> Result<line::Place, Refused> {
        let name = ask.place.conversation.as_str();
        let wait = deadline.saturating_duration_since(Instant::now());
        match ask.on_busy {
            OnBusy::Queue => self.lines.enter(name, Stand::Last, self.limits.max_waiting, wait).await.map_err(refused),
            OnBusy::Reject => self.lines.enter_if_free(name).ok_or(Refused::Busy),
            OnBusy::Interrupt => {
                let place = &ask.place;
                self.hubs.select(|hub| hub.place == *place).iter().for_each(|hub| hub.stop(Stop::Cancelled));
                self.lines.enter(name, Stand::First, usize::MAX, wait).await.map_err(refused)
            }
        }
    }

    /// Begins in the store. Where a turn of another instance is in the way: waits until `deadline`, gives up, or has it
    /// cancelled, as asked.
    async fn begin(&self, ask: &Ask, budget: Budget, deadline: Instant) -> Result<Begun, StoreError> {
        let mut cancelled: Option<TurnId> = None;
        loop {
            let bell = self.bells.listen(ask.place.conversation.as_str());
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
            bell.wait().await;
        }
    }

    fn begin_turn(&self, ask: &Ask, budget: Budget) -> BeginTurn {
        BeginTurn {
            place: ask.place.clone(),
            session: ask.session,
            create_conversation: ask.create_conversation,
            turn: ask.turn.clone(),
            request: ask.request.clone(),
            idempotency: ask.idempotency.clone(),
            budget,
            holder: self.instance.clone(),
            lease_ms: self.lease_ms(),
            now_ms: self.clock.now_ms(),
        }
    }

    fn launch(&self, ask: Ask, budget: Budget, started: Started, line: Option<line::Place>) -> Job {
        let hub = Arc::new(Hub::new(ask.place));
        // The store has this event already: it came with the turn.
        hub.publish([Numbered { seq: 1, event: Event::Started { attempt: 1 } }]);
        self.hubs.insert(ask.turn.clone(), hub.clone());
        Job {
            turn: ask.turn,
            fence: started.fence,
            attempt: 1,
            request: ask.request,
            budget,
            history: started.history,
            hub,
            next_seq: 2,
            spent: None,
            line,
        }
    }

    /// A place for a turn that is taken over; where somebody waits already, the store keeps them in order.
    pub(super) fn place_for(&self, conversation: &ConversationId) -> Option<line::Place> {
        self.lines.enter_if_free(conversation.as_str())
    }
}

fn refused(no_place: NoPlace) -> Refused {
    match no_place {
        NoPlace::Full => Refused::LineFull,
        NoPlace::TooLong => Refused::WaitedTooLong,
    }
}
