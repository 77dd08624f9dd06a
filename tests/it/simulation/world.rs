//! One world: a store, an upstream, servers that come and go, and a book of what everybody saw.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use openai_backend::config::OnCrash;
use openai_backend::domain::clock::Clock;
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::event::{End, Event, Numbered};
use openai_backend::domain::ids::{ConversationId, ItemId, SeededIds, TurnId};
use openai_backend::domain::item::{Item, user_message};
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::TurnRequest;
use openai_backend::metering::Metering;
use openai_backend::store::memory::Memory;
use openai_backend::store::{EventsPage, Store};
use openai_backend::tasks::Tasks;
use openai_backend::turn::{TurnLimits, Turns};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::faults::{Sky, Way, Weather};
use super::upstream::Chance;
use crate::support::dice::Dice;
use crate::support::intercepted::Intercepted;
use crate::support::server::Setup;

const LEASE: Duration = Duration::from_secs(3);

const EPOCH_MS: i64 = 1_800_000_000_000;

/// What the seed makes of the world.
#[derive(Debug)]
pub struct Plan {
    pub servers: u64,
    pub clients: u64,
    pub conversations: u64,
    pub asks: u64,
    pub on_crash: OnCrash,
    pub weather: Weather,
    pub crashes: bool,
    pub stops: bool,
    pub stalls: bool,
}

impl Plan {
    fn of(dice: &mut Dice) -> Self {
        let calm = dice.throw(3) == 0;
        let at_most = |most: u64, dice: &mut Dice| if calm { 0 } else { dice.throw(most) };
        Self {
            servers: 1 + dice.throw(3),
            clients: 1 + dice.throw(6),
            conversations: 1 + dice.throw(3),
            asks: 1 + dice.throw(4),
            on_crash: if dice.throw(4) == 0 { OnCrash::Interrupt } else { OnCrash::Rerun },
            weather: Weather {
                slow: at_most(600, dice),
                fails_before: at_most(80, dice),
                fails_after: at_most(80, dice),
                loses_notices: if dice.throw(3) == 0 { dice.throw(1_001) } else { 0 },
            },
            crashes: dice.throw(3) > 0,
            stops: dice.throw(3) == 0,
            stalls: dice.throw(3) == 0,
        }
    }

    /// Whether nothing stands between a server and the store but lost notices.
    pub fn is_swift(&self) -> bool {
        self.weather.slow + self.weather.fails_before + self.weather.fails_after == 0 && !self.stalls
    }
}

/// Virtual time, as a wall clock.
pub struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        EPOCH_MS + i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

/// One run of a server process.
pub struct Server {
    pub name: String,
    pub turns: Turns,
    pub tasks: Tasks,
    pub crash: CancellationToken,
    pub stalled: Arc<Mutex<Option<Instant>>>,
}

impl Server {
    /// `None` where the server crashes meanwhile.
    pub async fn alive<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.crash.cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// What readers saw of a turn.
pub struct Story {
    pub place: Place,
    pub prompt: String,
    pub events: BTreeMap<u64, Event>,
    pub end: Option<End>,
    /// A client was told that it is cancelled.
    pub cancelled: bool,
}

pub struct World {
    pub plan: Plan,
    pub store: Arc<Memory>,
    pub upstream: Arc<Chance>,
    pub metering: Metering,
    pub clock: Arc<VirtualClock>,
    pub ids: SeededIds,
    pub sky: Sky,
    pub dice: Mutex<Dice>,
    pub stories: Mutex<BTreeMap<TurnId, Story>>,
    slots: Mutex<Vec<Option<Arc<Server>>>>,
    starts: Mutex<u64>,
    trace: Mutex<Vec<String>>,
    wrongs: Mutex<Vec<String>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::of(&mut dice);
        let clock = Arc::new(VirtualClock(Instant::now()));
        let upstream = Arc::new(Chance::new(dice.throw(u64::MAX)));
        let store = Arc::new(Memory::new(clock.clone()));
        let metering = Metering::new(upstream.clone(), store.clone(), clock.clone(), &Setup::default().config());
        let world = Self {
            store,
            metering,
            upstream,
            ids: SeededIds::new(1),
            sky: Sky::new(plan.weather, dice.throw(u64::MAX)),
            slots: Mutex::new((0..plan.servers).map(|_| None).collect()),
            clock,
            plan,
            dice: Mutex::new(dice),
            stories: Mutex::default(),
            starts: Mutex::default(),
            trace: Mutex::default(),
            wrongs: Mutex::default(),
        };
        world.say(format!("{:?}", world.plan));
        (0..world.slots()).for_each(|slot| world.start(slot));
        world
    }

    pub fn slots(&self) -> usize {
        self.slots.lock().unwrap().len()
    }

    pub fn slot(&self, slot: usize) -> Option<Arc<Server>> {
        self.slots.lock().unwrap()[slot].clone()
    }

    pub fn start(&self, slot: usize) {
        let (crash, stalled) = (CancellationToken::new(), Arc::<Mutex<Option<Instant>>>::default());
        let tasks = Tasks::that_may_crash(crash.clone());
        let way = Way { sky: self.sky.clone(), tasks: tasks.clone(), stalled: stalled.clone() };
        let limits = TurnLimits {
            history_max_tokens: 8_000,
            max_waiting: 8,
            max_wait: Duration::from_secs(20),
            lease: LEASE,
            keep_events: Duration::from_secs(24 * 60 * 60),
            store_patience: Duration::from_secs(2),
            on_crash: self.plan.on_crash,
        };
        let store = Intercepted::new(self.store.clone(), way);
        let turns = Turns::new(store, self.metering.clone(), self.clock.clone(), &self.ids, limits, tasks.clone());
        tasks.spawn("notices", turns.clone().heed_notices());
        tasks.spawn("adopt", turns.clone().adopt_orphans());
        let number = {
            let mut starts = self.starts.lock().unwrap();
            *starts += 1;
            *starts
        };
        let name = format!("server {slot}.{number}");
        self.say(format!("{name} starts"));
        let server = Server { name, turns, tasks, crash, stalled };
        self.slots.lock().unwrap()[slot] = Some(Arc::new(server));
    }

    /// Everything in it ends where it stands.
    pub fn crash(&self, slot: usize) {
        let server = self.slots.lock().unwrap()[slot].take();
        if let Some(server) = server {
            self.say(format!("{} is gone", server.name));
            server.crash.cancel();
        }
    }

    /// Any server that is there.
    pub async fn any(&self, dice: &mut Dice) -> Arc<Server> {
        loop {
            let up: Vec<Arc<Server>> = self.slots.lock().unwrap().iter().flatten().cloned().collect();
            if !up.is_empty() {
                return up[usize::try_from(dice.throw(up.len() as u64)).unwrap()].clone();
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn place(&self, conversation: u64) -> Place {
        let id = ConversationId::parse(&format!("conv_{conversation}")).unwrap();
        Place { owner: Owner::ApiKey(format!("owner-of-{conversation}")), conversation: id }
    }

    pub fn request(&self, turn: &TurnId, prompt: &str) -> TurnRequest {
        let id = ItemId::fresh(&self.ids, &*self.clock);
        let json = user_message(&id, prompt);
        TurnRequest {
            model: "demo".into(),
            instructions: "Be of help.".into(),
            input: vec![Item { id, turn: Some(turn.clone()), json, tokens: 9, encoding: Encoding::Cl100k }],
            answer_id: ItemId::fresh(&self.ids, &*self.clock),
            temperature: None,
            max_tokens: Some(1_000),
            stream: true,
            options: None,
            shown: None,
            whole_history: false,
            tools: Default::default(),
            aim: Default::default(),
        }
    }

    /// A client was shown this event: it must be what every client sees, and be stored.
    pub fn shown(&self, who: &str, turn: &TurnId, numbered: &Numbered) {
        let mut stories = self.stories.lock().unwrap();
        let story = stories.get_mut(turn).expect("a turn that was accepted");
        let known = story.events.entry(numbered.seq).or_insert_with(|| numbered.event.clone());
        if *known != numbered.event {
            self.wrong(&format!("P4: {who} sees another event {} of {turn}", numbered.seq));
        }
        if let Event::Ended(end) = &numbered.event {
            story.end = Some((**end).clone());
        }
        let owner = story.place.owner.clone();
        drop(stories);
        let stored = self.store.read_events(&owner, turn, numbered.seq - 1, 1).now_or_never();
        match stored {
            Some(Ok(EventsPage::Events { events, .. })) if events.first() == Some(numbered) => {}
            other => self.wrong(&format!("P1: {who} sees {numbered:?} of {turn}, and stored is {other:?}")),
        }
    }

    pub fn say(&self, what: String) {
        let at = self.clock.now_ms() - EPOCH_MS;
        self.trace.lock().unwrap().push(format!("{at:>8} ms  {what}"));
    }

    pub fn wrong(&self, what: &str) {
        self.say(format!("WRONG: {what}"));
        self.wrongs.lock().unwrap().push(what.to_owned());
    }

    pub fn verdict(&self) -> (Vec<String>, Result<(), String>) {
        let wrongs = self.wrongs.lock().unwrap();
        let verdict = if wrongs.is_empty() { Ok(()) } else { Err(wrongs.join("\n")) };
        (self.trace.lock().unwrap().clone(), verdict)
    }
}
