//! A client that asks, listens, leaves, comes back anywhere, cancels, and asks again when there was no answer.

use std::sync::Arc;
use std::time::Duration;

use openai_backend::domain::clock::Clock as _;
use openai_backend::domain::conversation::Place;
use openai_backend::domain::event::Event;
use openai_backend::domain::ids::TurnId;
use openai_backend::domain::turn::TurnStatus;
use openai_backend::metering::{Route, Wish};
use openai_backend::store::{IdempotencyKey, KeyRole, SessionUse, Store as _};
use openai_backend::turn::cancel::Cancelled;
use openai_backend::turn::reader::{Next, Reader};
use openai_backend::turn::{Accepted, Ask, OnBusy, Refused};
use tokio::time::{sleep, timeout};

use super::world::{Server, Story, World};
use crate::support::dice::Dice;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How often a request with a key is repeated.
const TRIES: u32 = 12;

struct Person<'a> {
    name: String,
    world: &'a World,
    dice: Dice,
}

/// One question, however often it is asked.
#[derive(Clone)]
struct Question {
    place: Place,
    prompt: String,
    key: Option<String>,
    on_busy: OnBusy,
    on_disconnect_cancel: bool,
}

pub async fn play(world: &World, number: u64) {
    let mut dice = Dice::new(world.dice.lock().unwrap().throw(u64::MAX));
    for ask in 0..world.plan.asks {
        sleep(Duration::from_millis(dice.throw(3_000))).await;
        let prompt = format!("c{number}a{ask}");
        let question = Question {
            place: world.place(dice.throw(world.plan.conversations)),
            key: (dice.throw(3) > 0).then(|| format!("key-{prompt}")),
            on_busy: [OnBusy::Queue, OnBusy::Queue, OnBusy::Reject, OnBusy::Interrupt][dice.throw(4) as usize],
            on_disconnect_cancel: dice.throw(5) == 0,
            prompt,
        };
        let copies = if question.key.is_some() && dice.throw(4) == 0 { 2 } else { 1 };
        let people = (0..copies).map(|copy| {
            let name = format!("{}{}", question.prompt, ["", "'"][copy]);
            let mut person = Person { name, world, dice: Dice::new(dice.throw(u64::MAX)) };
            let question = question.clone();
            async move { person.asks(&question).await }
        });
        futures::future::join_all(people).await;
    }
}

impl Person<'_> {
    fn say(&self, what: String) {
        self.world.say(format!("{}: {what}", self.name));
    }

    async fn pause(&mut self, below_ms: u64) {
        sleep(Duration::from_millis(self.dice.throw(below_ms))).await;
    }

    async fn asks(&mut self, question: &Question) {
        for _ in 0..TRIES {
            let server = self.world.any(&mut self.dice).await;
            let ask = self.ask(question);
            self.say(format!("asks {} for {} with key {:?}", server.name, ask.turn, question.key));
            // Some do not wait for the answer's beginning.
            let patience = if self.dice.throw(8) == 0 { self.dice.throw(1_000) } else { 60_000 };
            let asked = server.alive(timeout(Duration::from_millis(patience), server.turns.ask(ask))).await;
            match asked {
                Some(Ok(Ok(accepted))) => return self.follows(question, server, accepted).await,
                Some(Ok(Err(refused))) => {
                    self.say(format!("is refused: {refused}"));
                    match refused {
                        Refused::Stopping | Refused::Store(_) => {}
                        Refused::Busy | Refused::QueueFull | Refused::WaitedTooLong => {}
                        other => self.world.wrong(&format!("P2: {} is refused: {other}", self.name)),
                    }
                }
                Some(Err(_)) => self.say("does not wait".into()),
                None => self.say("is cut off".into()),
            }
            if question.key.is_none() {
                return;
            }
            self.pause(2_000).await;
        }
    }

    fn ask(&self, question: &Question) -> Ask {
        let turn = TurnId::fresh(&self.world.ids, &*self.world.clock);
        let idempotency = question.key.as_ref().map(|key| IdempotencyKey {
            key: key.clone(),
            fingerprint: question.prompt.clone(),
            role: KeyRole::Join,
            keep_ms: DAY_MS,
        });
        Ask {
            place: question.place.clone(),
            session: SessionUse::None,
            create_conversation: true,
            hidden: false,
            expected_items: None,
            permit: self.world.metering.permit(&question.place.owner, &Wish::of(Route::Chat)).unwrap(),
            request: self.world.request(&turn, &question.prompt),
            turn,
            idempotency,
            on_busy: question.on_busy,
            drop_if_unheard: question.on_disconnect_cancel,
        }
    }

    /// Reads a turn, through whatever comes, mostly to its end.
    async fn follows(&mut self, question: &Question, mut server: Arc<Server>, accepted: Accepted) {
        let turn = accepted.reader.turn().clone();
        self.say(format!("follows {turn}"));
        self.world.stories.lock().unwrap().entry(turn.clone()).or_insert_with(|| Story {
            place: question.place.clone(),
            prompt: question.prompt.clone(),
            events: Default::default(),
            end: None,
            cancelled: false,
        });
        let (mut reader, mut on_leave, mut after) = (accepted.reader, accepted.on_leave, 0);
        loop {
            let waits_since = self.world.clock.now_ms();
            let ended = match server.alive(reader.next()).await {
                None => {
                    self.say(format!("loses {} after {after}", server.name));
                    false
                }
                Some(Next::Events(events)) => {
                    for event in events {
                        if event.seq != after + 1 {
                            self.world.wrong(&format!("P4: {} gets {} after {after}", self.name, event.seq));
                        }
                        after = event.seq;
                        self.world.shown(&self.name, &turn, &event);
                        if matches!(event.event, Event::Ended(_)) {
                            self.say(format!("hears the end of {turn}, {after}"));
                            self.was_told_soon(question, &turn, waits_since).await;
                            on_leave.take().into_iter().for_each(|on_leave| on_leave.told(true));
                            return;
                        }
                    }
                    match self.dice.throw(24) {
                        0 => self.pause(4_000).await,
                        1 => self.cancels(question, &turn).await,
                        2 => {
                            self.say(format!("leaves {turn} after {after}"));
                            if question.on_disconnect_cancel || self.dice.throw(4) == 0 {
                                return;
                            }
                            self.pause(3_000).await;
                            (server, reader) = self.comes_back(question, &turn, after).await;
                        }
                        _ => {}
                    }
                    continue;
                }
                Some(Next::Done) => true,
                Some(other @ (Next::Expired | Next::Unknown | Next::Gone)) => {
                    self.world.wrong(&format!("P4: {} is told {other:?} of {turn}", self.name));
                    return;
                }
                Some(other) => {
                    self.say(format!("is told {other:?} of {turn}"));
                    false
                }
            };
            if ended {
                self.world.wrong(&format!("P4: {} never got the end of {turn}", self.name));
                return;
            }
            // A disconnect ends such a turn; a client that comes back would only hear of it.
            on_leave = None;
            self.pause(800).await;
            (server, reader) = self.comes_back(question, &turn, after).await;
        }
    }

    async fn comes_back(&mut self, question: &Question, turn: &TurnId, after: u64) -> (Arc<Server>, Reader) {
        let server = self.world.any(&mut self.dice).await;
        self.say(format!("comes back to {} for {turn} after {after}", server.name));
        let reader = server.turns.read(&question.place.owner, turn, after);
        (server, reader)
    }

    async fn cancels(&mut self, question: &Question, turn: &TurnId) {
        let server = self.world.any(&mut self.dice).await;
        let cancelled = server.alive(server.turns.cancel(&question.place.owner, turn)).await;
        self.say(format!("cancels {turn} at {}", server.name));
        if let Some(Ok(Cancelled::Stopped(record))) = cancelled
            && record.status == TurnStatus::Cancelled
        {
            self.world.stories.lock().unwrap().get_mut(turn).unwrap().cancelled = true;
        }
    }

    /// P5, where nothing but lost notices stands between the end and its readers.
    async fn was_told_soon(&self, question: &Question, turn: &TurnId, waits_since_ms: i64) {
        let now_ms = self.world.clock.now_ms();
        let record = self.world.store.turn(&question.place.owner, turn).await.unwrap();
        let ended_ms = record.and_then(|record| record.ended_at_ms).unwrap_or(now_ms);
        let waited_ms = now_ms - ended_ms.max(waits_since_ms);
        if self.world.plan.is_swift() && waited_ms > 2_000 {
            self.world.wrong(&format!("P5: {} hears of the end of {turn} after {waited_ms} ms", self.name));
        }
    }
}
