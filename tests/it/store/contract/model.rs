//! Any store gives the answers that the reference model gives, whatever is asked of it.

mod answers;
mod ops;

use std::collections::HashMap;
use std::sync::Arc;

use openai_backend::domain::clock::{Clock, ManualClock};
use openai_backend::domain::conversation::Owner;
use openai_backend::domain::ids::{InstanceId, TurnId};
use openai_backend::domain::item::{Item, StoredItem};
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::{TurnRecord, TurnStatus};
use openai_backend::domain::window::Budget;
use openai_backend::store::memory::Memory;
use openai_backend::store::{
    AppendEvents, Appended, BeginTurn, Begun, FinishTurn, IdempotencyKey, KeyRole, SessionUse, Started, Store, Try,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use tokio::runtime::Handle;

use self::ops::{Op, Role, Use, ops};
use super::responses::answer;
use crate::store::rig::{AMPLE, Caller, DAY_MS, Rig, notes, texts};

/// Which owner names a conversation that is another's.
const INTRUDER: usize = 1;
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// `PROPTEST_CASES=10000` looks longer.
fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |more| more.parse().unwrap());
    let persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    TestRunner::new(Config { cases, failure_persistence: persistence, max_shrink_iters: 2_000, ..Config::default() })
}

/// Operations at random, some of them nonsense; every answer is compared.
pub fn any_sequence_gives_the_same_answers(fresh: impl AsyncFn() -> Rig) {
    let play = |ops: Vec<Op>| {
        Handle::current().block_on(async {
            let mut play = Play::new(fresh().await);
            for op in &ops {
                play.step(op).await;
            }
            play.rig.store.close().await;
        });
        Ok(())
    };
    tokio::task::block_in_place(|| runner(64).run(&ops(), play)).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A store and its model, side by side.
struct Play {
    rig: Rig,
    model: Memory,
    model_clock: Arc<ManualClock>,
    people: Vec<Caller>,
    turns: Vec<Known>,
    heir: InstanceId,
}

/// A turn that was asked for, whether it began or not.
struct Known {
    begin: BeginTurn,
    fences: Vec<(u64, u64)>,
    next_event: u64,
}

impl Play {
    fn new(rig: Rig) -> Self {
        let model_clock = rig.clock().unwrap_or_else(|| Arc::new(ManualClock::at(rig.now_ms())));
        let model = Memory::new(model_clock.clone());
        let (one, two, program) = (Caller::browser(), Caller::browser(), Caller::program());
        let people = vec![one.elsewhere(), two.intruding(&one), program.elsewhere(), one, two];
        let heir = rig.holder();
        Self { rig, model, model_clock, people, turns: Vec::new(), heir }
    }

    fn now_ms(&self) -> i64 {
        self.model_clock.now_ms()
    }

    async fn step(&mut self, op: &Op) {
        match *op {
            Op::Begin { .. } => self.begin(op).await,
            Op::Append { turn, events, old_fence } => self.append(turn, events, old_fence).await,
            Op::Finish { .. } => self.finish(op).await,
            Op::Release { turn } => self.release(turn).await,
            Op::LeaveTry { turn, key } => self.leave_try(turn, key).await,
            Op::Adopt => self.adopt().await,
            // Whether an id that another owner has can be minted anew is left open.
            Op::Create { who: INTRUDER, .. } => {}
            Op::Pass { hours } => {
                // A store that goes by its own time is asked the same without the waiting.
                if self.rig.clock().is_some() {
                    self.model_clock.advance(hours * HOUR_MS);
                }
            }
            _ => self.ask(op).await,
        }
    }

    async fn begin(&mut self, op: &Op) {
        let Op::Begin { who, session, create_conversation, hidden, expected_items, key, budget } = *op else {
            return;
        };
        let create_conversation = create_conversation && who != INTRUDER;
        let who = &self.people[who];
        let session = match (&who.place.owner, session) {
            (Owner::ApiKey(_), _) | (_, Use::Leave) => SessionUse::None,
            (_, Use::Create) => SessionUse::Create(10 * HOUR_MS),
            (_, Use::Renew) => SessionUse::Renew(10 * HOUR_MS),
            (_, Use::OfKey) => SessionUse::OfKey(10 * HOUR_MS),
        };
        let key = key.map(|(key, body, role)| IdempotencyKey {
            key: key.to_string(),
            fingerprint: body.to_string(),
            role: self.role(role),
            keep_ms: 7 * HOUR_MS,
        });
        let begin = BeginTurn {
            session,
            create_conversation,
            hidden,
            expected_items,
            idempotency: key,
            budget: Budget { tokens: budget.0, fixed_tokens: budget.1, whole: false },
            lease_ms: 10_000 * DAY_MS,
            // One turn is newer than another.
            now_ms: self.now_ms() + self.turns.len() as i64,
            ..self.rig.begin(who)
        };
        let wanted = self.model.begin_turn(begin.clone()).await.unwrap();
        let given = self.rig.store.begin_turn(begin.clone()).await.unwrap();
        let fences = match (&wanted, &given) {
            (Begun::Started(wanted), Begun::Started(given)) => vec![(wanted.fence, given.fence)],
            _ => vec![],
        };
        assert_eq!(without_fence(given), without_fence(wanted));
        self.turns.push(Known { begin, fences, next_event: 2 });
    }

    fn role(&self, role: Role) -> KeyRole {
        let replaced = |turn| {
            let begin = &self.turns[self.known(turn)?].begin;
            Some(Try { turn: begin.turn.clone(), conversation: begin.place.conversation.clone() })
        };
        match role {
            Role::Join => KeyRole::Join,
            Role::FirstTry => KeyRole::FirstTry,
            Role::Retry => KeyRole::Retry { instead_of: None },
            Role::InsteadOf(turn) => KeyRole::Retry { instead_of: replaced(turn) },
        }
    }

    async fn leave_try(&self, turn: usize, key: u8) {
        let Some(i) = self.known(turn) else { return };
        let begin = &self.turns[i].begin;
        self.model.leave_try(&begin.place, &begin.turn, &key.to_string()).await.unwrap();
        self.rig.store.leave_try(&begin.place, &begin.turn, &key.to_string()).await.unwrap();
    }

    /// The newest turns are the interesting ones.
    fn known(&self, turn: usize) -> Option<usize> {
        self.turns.len().checked_sub(turn + 1)
    }

    fn turn_id(&self, turn: usize) -> TurnId {
        self.known(turn).map_or_else(|| self.rig.turn_id(), |i| self.turns[i].begin.turn.clone())
    }

    fn fences(&self, i: usize, old: bool) -> (u64, u64) {
        let fences = &self.turns[i].fences;
        let at = fences.len().checked_sub(if old { 2 } else { 1 });
        at.map_or((0, 0), |at| fences[at])
    }

    async fn append(&mut self, turn: usize, events: usize, old_fence: bool) {
        let Some(i) = self.known(turn) else { return };
        let fences = self.fences(i, old_fence);
        let known = &self.turns[i];
        let events = texts(known.next_event, &["a ", "b \u{0}", "👌"][..events]);
        let append =
            AppendEvents { lease_ms: 10_000 * DAY_MS, ..self.rig.append(&known.begin, fences.0, events.clone()) };
        let wanted = self.model.append_events(append.clone()).await.unwrap();
        let given = self.rig.store.append_events(AppendEvents { fence: fences.1, ..append }).await.unwrap();
        assert_eq!(given, wanted);
        if matches!(wanted, Appended::Stored { .. }) {
            self.turns[i].next_event += events.len() as u64;
        }
    }

    async fn finish(&mut self, op: &Op) {
        let Op::Finish { turn, ref tokens, status, with_answer, old_fence } = *op else { return };
        let Some(i) = self.known(turn) else { return };
        let fences = self.fences(i, old_fence);
        let known = &self.turns[i];
        let status =
            [TurnStatus::Completed, TurnStatus::Failed, TurnStatus::Cancelled, TurnStatus::Interrupted][status];
        let mut items = notes(tokens);
        for item in &mut items {
            *item = Item { turn: Some(known.begin.turn.clone()), encoding: Encoding::Cl100k, ..item.clone() };
        }
        let finish = FinishTurn {
            status,
            items,
            answer: with_answer.then(|| answer(&known.begin)),
            keep_events_ms: 5 * HOUR_MS,
            now_ms: self.now_ms(),
            ..self.rig.finish(&known.begin, fences.0, known.next_event, "answer")
        };
        let wanted = self.model.finish_turn(finish.clone()).await.unwrap();
        let given = self.rig.store.finish_turn(FinishTurn { fence: fences.1, ..finish }).await.unwrap();
        assert_eq!(given, wanted);
    }

    async fn release(&mut self, turn: usize) {
        let Some(i) = self.known(turn) else { return };
        let (fences, begin) = (self.fences(i, false), &self.turns[i].begin);
        self.model.release_turn(&begin.place, &begin.turn, fences.0).await.unwrap();
        self.rig.store.release_turn(&begin.place, &begin.turn, fences.1).await.unwrap();
    }

    async fn adopt(&mut self) {
        let mut wanted = Rig::adopted(&self.model, &self.heir, 10_000 * DAY_MS, 1_000).await;
        let mut given = Rig::adopted(&*self.rig.store, &self.heir, 10_000 * DAY_MS, 1_000).await;
        // A shared store may hold turns of others; those are not this play's.
        given.retain(|record| self.turns.iter().any(|known| known.begin.turn == record.id));
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        given.sort_by(|a, b| a.id.cmp(&b.id));
        let fences: HashMap<TurnId, (u64, u64)> =
            wanted.iter().zip(&given).map(|(wanted, given)| (wanted.id.clone(), (wanted.fence, given.fence))).collect();
        assert_eq!(bare(given), bare(wanted));
        for known in &mut self.turns {
            known.fences.extend(fences.get(&known.begin.turn));
        }
    }

    async fn ask(&self, op: &Op) {
        let meant = self.meant(op).await;
        let (model, store) = (&self.model as &dyn Store, &*self.rig.store);
        let (wanted, given) = (self.answer(model, op, &meant).await, self.answer(store, op, &meant).await);
        assert_eq!(given, wanted, "{op:?}");
    }
}

fn without_fence(begun: Begun) -> Begun {
    match begun {
        Begun::Started(started) => Begun::Started(Started { fence: 0, ..started }),
        other => other,
    }
}

fn bare(records: impl IntoIterator<Item = TurnRecord>) -> Vec<TurnRecord> {
    records.into_iter().map(|record| TurnRecord { fence: 0, ..record }).collect()
}

/// Histories and budgets at random: the store's cut and the domain's are the same.
pub fn any_window_is_the_same(fresh: impl AsyncFn() -> Rig) {
    let tokens = prop::collection::vec(prop::collection::vec(0u32..400, 1..4), 0..25);
    let budgets = prop::collection::vec((1u32..3_000).prop_flat_map(|all| (Just(all), 0..=all)), 1..6);
    let play = |(turns, budgets): (Vec<Vec<u32>>, Vec<(u32, u32)>)| {
        Handle::current().block_on(async {
            let rig = fresh().await;
            let who = Caller::browser();
            for tokens in &turns {
                rig.turn_of_tokens(&who, tokens).await;
            }
            for (tokens, fixed_tokens) in budgets {
                assert_window(&rig, &who, Budget { tokens, fixed_tokens, whole: false }).await;
            }
            rig.store.close().await;
        });
        Ok(())
    };
    tokio::task::block_in_place(|| runner(24).run(&(tokens, budgets), play))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

async fn assert_window(rig: &Rig, who: &Caller, budget: Budget) {
    let all = rig.store.window(&who.place, AMPLE).await.unwrap().items;
    let total = all.iter().map(|item| u64::from(item.item.tokens)).sum();
    let cut = budget.cut(total);
    let loaded = rig.store.window(&who.place, budget).await.unwrap().items;
    let expected: Vec<StoredItem> = all.iter().filter(|item| item.tokens_before >= cut).cloned().collect();
    assert_eq!(loaded, expected, "{budget:?}");
}
