//! The only way to a model. Who may use what, and for how much at most, is decided here (`policy`, `permit`); a call to a
//! model is made by what a permit gives (`call`). Nothing else in the server holds the upstream.

mod at_once;
mod call;
mod permit;
mod policy;

use std::sync::Arc;

pub use self::at_once::AtCapacity;
use self::at_once::Places;
pub use self::call::{ModelCall, StartCall};
pub use self::permit::{NotAllowed, NotStarted, Permit, RateLimited, Route, Wish};
pub use self::policy::OwnerKind;
use crate::config::{ChatConfig, Config};
use crate::domain::clock::Clock;
use crate::domain::conversation::Owner;
use crate::domain::model;
use crate::domain::turn::{Fault, TurnRequest};
use crate::store::Store;
use crate::upstream::Upstream;
pub use crate::upstream::forward::{Ask, Chunks, Completed, Passage, Passed, Rejected, Upload, UploadState};
pub use crate::upstream::{Call, Pieces, UpstreamInfo};

/// Permits and the calls that they allow; one for each server.
#[derive(Clone)]
pub struct Metering(Arc<Inner>);

struct Inner {
    upstream: Arc<dyn Upstream>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    rules: ChatConfig,
    places: Places,
}

impl Metering {
    /// The way to the models of `upstream`. What each owner has used of its rate is counted in `store`.
    #[must_use]
    pub fn new(upstream: Arc<dyn Upstream>, store: Arc<dyn Store>, clock: Arc<dyn Clock>, config: &Config) -> Self {
        let (rules, places) = (config.chat.clone(), Places::new(config.model_calls));
        Self(Arc::new(Inner { upstream, store, clock, rules, places }))
    }

    /// What the models are behind, for start-up lines and for requests whose form depends on it.
    #[must_use]
    pub fn upstream(&self) -> UpstreamInfo {
        self.0.upstream.info()
    }

    /// Whether the upstream answers and takes the server's key: one cheap request, for `--check`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self) -> Result<String, Fault> {
        self.0.upstream.check().await
    }

    /// What `owner` may do with this request. Decides from settings alone: it asks no store and takes no place.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn permit(&self, owner: &Owner, wish: &Wish<'_>) -> Result<Permit, NotAllowed> {
        Permit::new(self, owner, wish)
    }

    /// A permit for a turn that was allowed before, and runs again after its server went away.
    ///
    /// # Errors
    /// [`NotAllowed`], where the settings have changed since.
    pub fn permit_again(&self, owner: &Owner, request: &TurnRequest) -> Result<Permit, NotAllowed> {
        let route = if request.shown.is_some() { Route::Responses } else { Route::Chat };
        let (model, max_tokens) = (Some(request.model.as_str()), request.max_tokens.map(u64::from));
        self.permit(owner, &Wish { model, max_tokens, ..Wish::of(route) })
    }

    fn rules(&self) -> &ChatConfig {
        &self.0.rules
    }

    /// The default model is the operator's own choice, whatever it is called.
    fn allows_model(&self, kind: OwnerKind, name: &str) -> bool {
        let rules = self.rules();
        let is_allowed = permit::is_model_name(name) && rules.allowed_models.allows(name);
        is_allowed && (!kind.policy().text_models_only || name == rules.default_model || model::is_for_text(name))
    }
}
