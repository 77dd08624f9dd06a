//! What a contract case is given: a store of its own, time that can pass, and short ways to say common things.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use openai_backend::domain::clock::{Clock, ManualClock, SystemClock};
use openai_backend::domain::conversation::{Owner, Place};
use openai_backend::domain::delta::Delta;
use openai_backend::domain::event::{End, Event, Numbered};
use openai_backend::domain::ids::{ConversationId, Ids, InstanceId, ItemId, SeededIds, SessionKey, SystemIds, TurnId};
use openai_backend::domain::item::{Item, StoredItem, assistant_message, user_message};
use openai_backend::domain::output::Answer;
use openai_backend::domain::question;
use openai_backend::domain::tokens::Encoding;
use openai_backend::domain::turn::{TurnRecord, TurnRequest, TurnStatus, Usage};
use openai_backend::domain::window::Budget;
use openai_backend::store::conversations::{Created, NewConversation};
use openai_backend::store::{
    AdoptTurns, Adopted, AppendEvents, Appended, BeginTurn, Begun, EventsPage, FinishTurn, Finished, HistoryPage,
    IdempotencyKey, KeyRole, SessionUse, Started, Store,
};

/// Where a hand-moved clock starts.
pub const EPOCH_MS: i64 = 1_800_000_000_000;
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// A budget that nothing here fills.
pub const AMPLE: Budget = Budget { tokens: 1_000_000, fixed_tokens: 0, whole: false };

/// How time passes for a store.
pub enum Time {
    /// By hand.
    Manual(Arc<ManualClock>),
    /// By itself: the store expires things by a clock that tests cannot move. One [`Rig::unit_ms`] is this long.
    #[allow(dead_code, reason = "for stores that expire things by themselves")]
    Real { unit_ms: i64 },
}

/// Opens a store again, as the next run of a server would.
pub type Reopen = Box<dyn Fn() -> BoxFuture<'static, Arc<dyn Store>> + Send + Sync>;

/// One store for one case.
pub struct Rig {
    pub store: Arc<dyn Store>,
    /// The same data as another instance would reach it; the same handle where only one process may.
    pub peer: Arc<dyn Store>,
    time: Time,
    ids: SeededIds,
    holder: InstanceId,
    reopen: Option<Reopen>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Rig {
    pub fn new(store: Arc<dyn Store>, peer: Arc<dyn Store>, time: Time) -> Self {
        let holder = InstanceId::fresh(&SystemIds, &SystemClock);
        // Ids count up, so that the order of turns is known; from a random start, so that stores may be shared.
        let [a, b, c, d, ..] = SystemIds.secret();
        let ids = SeededIds::new(u64::from(u32::from_be_bytes([a, b, c, d])) << 31);
        Self { store, peer, time, ids, holder, reopen: None, kept: Vec::new() }
    }

    /// For a store that outlives its process: how the next one finds it.
    pub fn reopened_by(mut self, reopen: Reopen) -> Self {
        self.reopen = Some(reopen);
        self
    }

    /// Closes the store and opens it again; one that ends with its process is given as it is.
    pub async fn reopened(&self) -> Arc<dyn Store> {
        match &self.reopen {
            None => self.store.clone(),
            Some(reopen) => {
                self.store.close().await;
                reopen().await
            }
        }
    }

    /// Keeps `thing` (a folder, a server) for as long as the store is in use.
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(thing));
        self
    }

    pub fn now_ms(&self) -> i64 {
        match &self.time {
            Time::Manual(clock) => clock.now_ms(),
            Time::Real { .. } => SystemClock.now_ms(),
        }
    }

    /// The time step for cases in which something expires: long against a call, short enough to wait for.
    pub fn unit_ms(&self) -> i64 {
        match self.time {
            Time::Manual(_) => 1_000,
            Time::Real { unit_ms } => unit_ms,
        }
    }

    /// Lets `units` time steps pass.
    pub async fn pass(&self, units: f64) {
        let ms = (self.unit_ms() as f64 * units) as i64;
        match &self.time {
            Time::Manual(clock) => clock.advance(ms),
            Time::Real { .. } => tokio::time::sleep(Duration::from_millis(ms.unsigned_abs())).await,
        }
    }

    /// The hand-moved clock, where there is one.
    pub fn clock(&self) -> Option<Arc<ManualClock>> {
        match &self.time {
            Time::Manual(clock) => Some(clock.clone()),
            Time::Real { .. } => None,
        }
    }

    /// The instance that runs the turns of [`Rig::begin`].
    pub fn holder(&self) -> InstanceId {
        self.holder.clone()
    }

    /// An instance that has nothing to do with the first one's turns.
    pub fn stranger(&self) -> InstanceId {
        InstanceId::fresh(&SystemIds, &SystemClock)
    }

    /// A new instance's id for a second look at a live lease: where only one process may use the store, there is no
    /// other instance that could ask.
    pub fn other_live_holder(&self) -> InstanceId {
        if self.store.info().shared { self.stranger() } else { self.holder() }
    }

    /// Has `holder`, which has all of its own turns in hand, take over at most `limit` turns; all can be read.
    pub async fn adopted(store: &dyn Store, holder: &InstanceId, lease_ms: i64, limit: usize) -> Vec<TurnRecord> {
        let Adopted { turns, unreadable } = store.adopt_turns(adopt(holder, lease_ms, limit)).await.unwrap();
        assert_eq!(unreadable, []);
        turns
    }

    pub fn turn_id(&self) -> TurnId {
        TurnId::fresh(&self.ids, &ManualClock::at(self.now_ms()))
    }

    /// A turn of `who`, ready to begin.
    pub fn begin(&self, who: &Caller) -> BeginTurn {
        BeginTurn {
            place: who.place.clone(),
            session: who.session_use(),
            create_conversation: true,
            hidden: false,
            expected_items: None,
            turn: self.turn_id(),
            request: request("What is a joke?"),
            idempotency: None,
            rate: None,
            budget: AMPLE,
            holder: self.holder(),
            lease_ms: DAY_MS,
            now_ms: self.now_ms(),
        }
    }

    /// [`Rig::begin`] with an idempotency key.
    pub fn begin_with_key(&self, who: &Caller, key: &str, body: &str) -> BeginTurn {
        let idempotency =
            IdempotencyKey { key: key.into(), fingerprint: body.into(), role: KeyRole::Join, keep_ms: DAY_MS };
        BeginTurn { idempotency: Some(idempotency), ..self.begin(who) }
    }

    /// Begins, and expects that nothing stands in the way.
    pub async fn started(&self, begin: &BeginTurn) -> Started {
        match self.store.begin_turn(begin.clone()).await.unwrap() {
            Begun::Started(started) => started,
            other => panic!("not started: {other:?}"),
        }
    }

    /// Events for a turn that this began.
    pub fn append(&self, begun: &BeginTurn, fence: u64, events: Vec<Numbered>) -> AppendEvents {
        AppendEvents { place: begun.place.clone(), turn: begun.turn.clone(), fence, events, lease_ms: DAY_MS }
    }

    /// A proper end of a turn that this began: the question and `text` join the history.
    pub fn finish(&self, begun: &BeginTurn, fence: u64, end_seq: u64, text: &str) -> FinishTurn {
        let answer_id = begun.request.answer_id.clone();
        let answer = Item {
            id: answer_id.clone(),
            turn: Some(begun.turn.clone()),
            json: assistant_message(&answer_id, text, "", true),
            tokens: 7,
            encoding: Encoding::O200k,
        };
        let usage = Usage { input_tokens: 20, output_tokens: 7, ..Usage::default() };
        let end = End {
            status: TurnStatus::Completed,
            answer: Some(Answer {
                id: answer_id,
                text: text.into(),
                model: "demo-1".into(),
                finish_reason: Some("stop".into()),
                output: Vec::new(),
                provider: None,
            }),
            usage: Some(usage),
            fault: None,
            at_ms: 0,
        };
        let mut items = begun.request.input.clone();
        items.iter_mut().for_each(|item| item.turn = Some(begun.turn.clone()));
        items.push(answer);
        FinishTurn {
            place: begun.place.clone(),
            turn: begun.turn.clone(),
            fence,
            status: TurnStatus::Completed,
            items,
            usage: Some(usage),
            fault: None,
            answer: None,
            events: vec![Numbered { seq: end_seq, event: Event::Ended(Box::new(end)) }],
            keep_events_ms: DAY_MS,
            now_ms: self.now_ms(),
        }
    }

    /// One whole turn.
    pub async fn turn(&self, who: &Caller, answer: &str) -> BeginTurn {
        let begin = self.begin(who);
        let fence = self.started(&begin).await.fence;
        assert_eq!(self.store.finish_turn(self.finish(&begin, fence, 2, answer)).await.unwrap(), Finished::Stored);
        begin
    }

    /// A turn whose items have these many tokens.
    pub async fn turn_of_tokens(&self, who: &Caller, tokens: &[u32]) {
        let begin = self.begin(who);
        let fence = self.started(&begin).await.fence;
        let item = |&tokens: &u32| {
            let id = ItemId::fresh(&SystemIds, &SystemClock);
            let json = user_message(&id, "some words");
            Item { id, turn: Some(begin.turn.clone()), json, tokens, encoding: Encoding::O200k }
        };
        let items = tokens.iter().map(item).collect();
        let finish = FinishTurn { items, ..self.finish(&begin, fence, 2, "") };
        assert_eq!(self.store.finish_turn(finish).await.unwrap(), Finished::Stored);
    }

    /// A browser whose session lives and a program, each in a conversation that does not exist yet.
    pub async fn callers(&self) -> [Caller; 2] {
        let browser = Caller::browser();
        self.turn(&browser, "hi").await;
        [browser.elsewhere(), Caller::program()]
    }

    /// A conversation that is to be made by itself.
    pub fn new_conversation(&self, who: &Caller, items: &[Item]) -> NewConversation {
        NewConversation {
            place: who.place.clone(),
            hidden: false,
            metadata: "{}".into(),
            items: items.to_vec(),
            now_ms: self.now_ms(),
        }
    }

    /// Makes a conversation whose items have these many tokens.
    pub async fn created(&self, who: &Caller, tokens: &[u32]) -> Vec<Item> {
        let items = notes(tokens);
        let created = self.store.create_conversation(self.new_conversation(who, &items)).await.unwrap();
        assert_eq!(created, Created::Created);
        items
    }

    pub async fn history(&self, who: &Caller) -> Option<HistoryPage> {
        self.store.history(&who.place, None, 1_000, self.now_ms()).await.unwrap()
    }

    /// The history without what a running turn was asked.
    pub async fn settled(&self, who: &Caller) -> Vec<StoredItem> {
        let items = self.history(who).await.unwrap().items.into_iter();
        items.filter(|stored| question::standing(&stored.item) != Some(TurnStatus::Running)).collect()
    }

    /// All events of a turn that are stored, and how it stands.
    pub async fn events(&self, who: &Caller, turn: &TurnId) -> (Vec<Numbered>, TurnStatus) {
        match self.store.read_events(&who.place.owner, turn, 0, 1_000).await.unwrap() {
            EventsPage::Events { events, status } => (events, status),
            other => panic!("no events: {other:?}"),
        }
    }

    pub async fn append_stored(&self, append: AppendEvents) -> bool {
        match self.store.append_events(append).await.unwrap() {
            Appended::Stored { cancel_requested } => cancel_requested,
            Appended::Fenced => panic!("fenced"),
        }
    }
}

/// An owner with a conversation.
pub struct Caller {
    pub place: Place,
    session_minted: AtomicBool,
}

impl Caller {
    fn new(owner: Owner, conversation: ConversationId) -> Self {
        Self { place: Place { owner, conversation }, session_minted: AtomicBool::new(false) }
    }

    /// The owner and conversation of `place`.
    pub fn at(place: Place) -> Self {
        Self { place, session_minted: AtomicBool::new(false) }
    }

    /// A browser that was not here before.
    pub fn browser() -> Self {
        let key = SessionKey::of_secret(&SystemIds.secret());
        let conversation = key.main_conversation();
        Self::new(Owner::Session(key), conversation)
    }

    /// A program with an API key of its own.
    pub fn program() -> Self {
        let id = ConversationId::fresh(&SystemIds, &SystemClock);
        Self::new(Owner::ApiKey(format!("key of {id}")), id)
    }

    /// The same owner in another conversation.
    pub fn elsewhere(&self) -> Self {
        let id = ConversationId::fresh(&SystemIds, &SystemClock);
        let minted = AtomicBool::new(self.session_minted.load(Ordering::SeqCst));
        Self { place: Place { owner: self.place.owner.clone(), conversation: id }, session_minted: minted }
    }

    /// The same name, as if for the first time: where it is a browser, its session is to be minted.
    pub fn again(&self) -> Self {
        Self::at(self.place.clone())
    }

    /// This owner, with another's conversation id.
    pub fn intruding(&self, other: &Self) -> Self {
        let minted = AtomicBool::new(self.session_minted.load(Ordering::SeqCst));
        let place = Place { owner: self.place.owner.clone(), conversation: other.place.conversation.clone() };
        Self { place, session_minted: minted }
    }

    fn session_use(&self) -> SessionUse {
        match self.place.owner {
            Owner::ApiKey(_) => SessionUse::None,
            Owner::Session(_) if self.session_minted.swap(true, Ordering::SeqCst) => SessionUse::Renew(DAY_MS),
            Owner::Session(_) => SessionUse::Create(DAY_MS),
        }
    }
}

/// What a holder that has all of its own turns in hand says.
pub fn adopt(holder: &InstanceId, lease_ms: i64, limit: usize) -> AdoptTurns {
    AdoptTurns { holder: holder.clone(), lease_ms, limit, in_hand: Arc::new(|_| true) }
}

/// A question, as a turn stores it before it runs.
pub fn request(text: &str) -> TurnRequest {
    let id = ItemId::fresh(&SystemIds, &SystemClock);
    let json = user_message(&id, text);
    TurnRequest {
        model: "demo".into(),
        instructions: "You are a helpful AI assistant.".into(),
        input: vec![Item { id, turn: None, json, tokens: 9, encoding: Encoding::Cl100k }],
        answer_id: ItemId::fresh(&SystemIds, &SystemClock),
        temperature: Some(0.95),
        max_tokens: Some(1_000),
        stream: true,
        options: None,
        shown: None,
        whole_history: false,
        tools: Default::default(),
        aim: Default::default(),
    }
}

/// Items that came with no turn, of so many tokens each.
pub fn notes(tokens: &[u32]) -> Vec<Item> {
    let note = |&tokens: &u32| {
        let id = ItemId::fresh(&SystemIds, &SystemClock);
        let json = user_message(&id, "a \"note\" 👌");
        Item { id, turn: None, json, tokens, encoding: Encoding::O200k }
    };
    tokens.iter().map(note).collect()
}

/// Text events numbered on from `first`.
pub fn texts(first: u64, words: &[&str]) -> Vec<Numbered> {
    let event = |(seq, word): (u64, &&str)| Numbered { seq, event: Delta::text(*word).into() };
    (first..).zip(words).map(event).collect()
}
