//! What an owner may do at most with one request.

use bytes::Bytes;

use super::policy::Policy;
use super::{AtCapacity, Metering, ModelCall, OwnerKind};
use crate::config::ChatConfig;
use crate::domain::conversation::Owner;
use crate::domain::model;
use crate::domain::rate::Rate;
use crate::store::StoreError;
use crate::upstream::forward::Rejected;

/// The longest name of a model that is looked at, in bytes.
const MAX_MODEL_NAME: usize = 200;

/// Which kind of request goes to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/chat`.
    Chat,
    /// `/v1/responses`, and the summaries that stand for their history.
    Responses,
    /// `/v1/chat/completions`.
    Completions,
    /// The list of models.
    Models,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/moderations`.
    Moderations,
    /// `/v1/audio/...`.
    Audio,
    /// `/v1/images/...`.
    Images,
    /// `/v1/files...`: the model's server has one list of them for all who use this server.
    Files,
}

impl Route {
    pub(super) const ALL: [Self; 9] = [
        Self::Chat,
        Self::Responses,
        Self::Completions,
        Self::Models,
        Self::Embeddings,
        Self::Moderations,
        Self::Audio,
        Self::Images,
        Self::Files,
    ];

    /// The route of a request that is passed on as bytes, by its path below `/v1`; `None` where nothing is passed on.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        match path.split('/').nth(1)? {
            "embeddings" => Some(Self::Embeddings),
            "moderations" => Some(Self::Moderations),
            "audio" => Some(Self::Audio),
            "images" => Some(Self::Images),
            "files" => Some(Self::Files),
            _ => None,
        }
    }

    /// What a person calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Responses => "responses",
            Self::Completions => "chat completions",
            Self::Models => "models",
            Self::Embeddings => "embeddings",
            Self::Moderations => "moderations",
            Self::Audio => "audio",
            Self::Images => "images",
            Self::Files => "files",
        }
    }
}

/// What a request asks for, as far as it matters to what it may cost.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Where it goes.
    pub route: Route,
    /// The model that it names.
    pub model: Option<&'a str>,
    /// The most tokens that an answer may have, where it says a number.
    pub max_tokens: Option<u64>,
    /// How many answers it wants.
    pub choices: u64,
}

impl Wish<'_> {
    /// One answer of the default model, or whatever else the route gives.
    #[must_use]
    pub const fn of(route: Route) -> Self {
        Self { route, model: None, max_tokens: None, choices: 1 }
    }
}

/// Why an owner gets no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The route needs a key.
    #[error("{} need an API key", .0.name())]
    Route(Route),
    /// The model is not one that this owner may use.
    #[error("this model is not allowed")]
    Model {
        /// What is, for a person.
        allowed: String,
    },
    /// An answer may not have so many tokens.
    #[error("an answer may have {most} tokens at most")]
    Tokens {
        /// How many it may have.
        most: u32,
    },
    /// A request may not have so many answers.
    #[error("more than {most} answers to one request need an API key")]
    Choices {
        /// How many it may have.
        most: u64,
    },
    /// A field of a chat completion needs a key.
    #[error("a field needs an API key")]
    Field(String),
}

/// An owner has made as many requests as its rate lets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the owner may make {most} requests in {per_ms} ms, and the next one in {wait_ms} ms")]
pub struct RateLimited {
    /// How many it may make.
    pub most: u32,
    /// In how many milliseconds.
    pub per_ms: i64,
    /// In how many milliseconds it may make the next one.
    pub wait_ms: i64,
}

/// Why a call does not begin.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// There is no place for it.
    #[error(transparent)]
    AtCapacity(#[from] AtCapacity),
    /// The owner has to wait.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The store cannot count it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one request may do. It costs nothing to hold; a call begins with [`Permit::start`].
#[derive(Clone)]
pub struct Permit {
    metering: Metering,
    owner: Owner,
    kind: OwnerKind,
    route: Route,
    model: String,
    max_tokens: Option<u32>,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, route, max_tokens, .. } = self;
        formatter
            .debug_struct("Permit")
            .field("kind", kind)
            .field("route", route)
            .field("max_tokens", max_tokens)
            .finish()
    }
}

impl Permit {
    /// Holds a wish against the table.
    pub(super) fn new(metering: &Metering, owner: &Owner, wish: &Wish<'_>) -> Result<Self, NotAllowed> {
        let (kind, rules) = (OwnerKind::of(owner), metering.rules());
        let policy = kind.policy();
        if !policy.allows_route(wish.route) {
            return Err(NotAllowed::Route(wish.route));
        }
        let model = wish.model.unwrap_or(&rules.default_model);
        if !metering.allows_model(kind, model) {
            return Err(NotAllowed::Model { allowed: rules.allowed_models.patterns().join(", ") });
        }
        if let Some(most) = policy.most_choices.filter(|most| wish.choices > *most) {
            return Err(NotAllowed::Choices { most });
        }
        let most = match policy.always_capped {
            true => Some(rules.visitor_tokens_limit()),
            false => rules.max_tokens_limit,
        };
        let asked = wish.max_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX));
        // A cap is the most that the client takes, not what it needs.
        let lowered = asked.map(|asked| most.map_or(asked, |most| asked.min(most)));
        let max_tokens = match (lowered, wish.route) {
            // The page that asks is the operator's: a wish beyond the limit is a mistake to be told.
            (Some(most), Route::Chat) if lowered != asked => return Err(NotAllowed::Tokens { most }),
            (Some(lowered), _) => Some(lowered),
            (None, Route::Chat) => Some(rules.max_tokens),
            (None, Route::Completions) if !policy.always_capped => None,
            (None, Route::Responses | Route::Completions) => default_cap(policy, rules, model),
            (None, _) => None,
        };
        let (metering, owner, model) = (metering.clone(), owner.clone(), model.to_owned());
        Ok(Self { metering, owner, kind, route: wish.route, model, max_tokens })
    }

    /// The same for another owner of the same kind.
    #[must_use]
    pub fn for_owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    /// The model to be asked: the one that was named, or the default.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The most tokens that an answer may have: as asked, within the owner's limit; `None` where there is neither.
    #[must_use]
    pub fn answer_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// Whether requests may name this model.
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        self.metering.allows_model(self.kind, name)
    }

    /// The models that the settings name, for an upstream that has no list.
    #[must_use]
    pub fn named_models(&self) -> Vec<String> {
        let rules = self.metering.rules();
        // A pattern is no name.
        let named = rules.allowed_models.patterns().iter();
        let named = named.filter(|name| !name.contains(['*', '?', '[', ']', '{', '}', '!']) && self.allows_model(name));
        let mut names: Vec<String> = named.chain([&rules.default_model]).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the fields of a chat completion have to be allowed one by one, and its caps set anew.
    #[must_use]
    pub fn vets_fields(&self) -> bool {
        self.kind.policy().vets_fields()
    }

    /// Allows a field of a chat completion, by its name and its value's JSON.
    ///
    /// # Errors
    /// [`NotAllowed::Field`].
    pub fn allow_field(&self, name: &str, value: &str) -> Result<(), NotAllowed> {
        match self.kind.policy().allows_field(name, value) {
            true => Ok(()),
            false => Err(NotAllowed::Field(name.chars().take(64).collect())),
        }
    }

    fn rate(&self) -> Option<Rate> {
        match self.kind {
            OwnerKind::Visitor => self.metering.rules().visitor_rate,
            OwnerKind::Key | OwnerKind::Local => None,
        }
    }

    /// How often the owner may begin a turn, for the store that counts it as it begins a turn of `place_owner`; `None` where
    /// there is no limit, and where the turn is in a store of its own and was counted by [`Permit::count_apart`].
    #[must_use]
    pub fn rate_of(&self, place_owner: &Owner) -> Option<Rate> {
        self.rate().filter(|_| *place_owner == self.owner)
    }

    /// Counts a turn that is not kept, and so belongs to `place_owner` in a store of its own.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub async fn count_apart(&self, place_owner: &Owner) -> Result<(), NotStarted> {
        match *place_owner == self.owner {
            true => Ok(()),
            false => self.count().await,
        }
    }

    async fn count(&self) -> Result<(), NotStarted> {
        let Some(rate) = self.rate() else { return Ok(()) };
        let inner = &self.metering.0;
        let taken = inner.store.take_rate(&self.owner.tag(), rate, inner.clock.now_ms()).await?;
        taken.map(drop).map_err(|wait_ms| self.rate_limited(wait_ms).into())
    }

    /// What is said to an owner that has to wait so many milliseconds.
    #[must_use]
    pub fn rate_limited(&self, wait_ms: i64) -> RateLimited {
        let Rate { most, per_ms } = self.rate().unwrap_or(Rate { most: 0, per_ms: 0 });
        RateLimited { most, per_ms, wait_ms }
    }

    /// Begins a call outside any turn. It counts like a turn: against the owner's rate, and among the calls at once until it
    /// ends.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub async fn start(&self) -> Result<ModelCall, NotStarted> {
        let call = self.start_turn()?;
        self.count().await?;
        Ok(call)
    }

    /// Begins the call of a turn, whose rate the store counts in the step that begins it.
    ///
    /// # Errors
    /// [`AtCapacity`].
    pub fn start_turn(&self) -> Result<ModelCall, AtCapacity> {
        Ok(ModelCall::new(self.metering.clone(), self.metering.0.places.take(&self.owner)?))
    }

    /// The upstream's list of models, in whatever shape it has it; `None` where it has none. No model works for it, so it
    /// takes no place among the calls at once.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn models(&self) -> Result<Option<Bytes>, Rejected> {
        self.metering.0.upstream.models().await
    }

    /// Begins a call as soon as there is a place for it.
    pub(super) async fn start_when_free(&self) -> Result<ModelCall, AtCapacity> {
        Ok(ModelCall::new(self.metering.clone(), self.metering.0.places.wait(&self.owner).await?))
    }
}

/// The cap of an answer for which the request sets no number: the owner's limit, and no more than half of a context whose
/// size is known, so that the other half is left for what is asked. A visitor's answer of a model of unknown size
/// has the operator's number for answers without one, as on `/chat`.
fn default_cap(policy: &Policy, rules: &ChatConfig, model: &str) -> Option<u32> {
    let profile = model::profile(model);
    let limit = match (rules.max_tokens_limit, policy.always_capped) {
        (Some(limit), _) => limit,
        (None, true) if profile.estimated => rules.max_tokens,
        (None, true) => rules.visitor_tokens_limit(),
        (None, false) => return None,
    };
    Some(if profile.estimated { limit } else { limit.min(profile.context_tokens / 2) })
}

/// Whether this can be the name of a model at all.
pub(super) fn is_model_name(name: &str) -> bool {
    (1..=MAX_MODEL_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}
