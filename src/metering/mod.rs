//! The only way to a model. Who may use what, and how much at most, is decided here (`permit`); a call to a model is made
//! by what a permit gives (`call`), which is counted until it ends. Nothing else in the server holds the upstream.

mod call;
mod permit;

use std::sync::Arc;

pub use self::call::ModelCall;
pub use self::permit::{NotAllowed, Permit, Route};
use crate::domain::conversation::Owner;
use crate::domain::turn::{Fault, TurnRequest};
use crate::upstream::Upstream;
pub use crate::upstream::forward::{Ask, Chunks, Completed, Passage, Passed, Rejected, Upload, UploadState};
pub use crate::upstream::{Call, Pieces, UpstreamInfo};

/// Permits and the calls that they allow; one for each server.
#[derive(Clone)]
pub struct Metering(Arc<Inner>);

struct Inner {
    upstream: Arc<dyn Upstream>,
}

impl Metering {
    /// The way to the models of `upstream`.
    #[must_use]
    pub fn new(upstream: Arc<dyn Upstream>) -> Self {
        Self(Arc::new(Inner { upstream }))
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

    /// What `owner` may do on this route. Decides from settings alone: it asks no store and takes no place.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn permit(&self, owner: &Owner, route: Route) -> Result<Permit, NotAllowed> {
        Ok(Permit::new(self.clone(), owner.clone(), route))
    }

    /// A permit for a turn that was allowed before, and runs again after its server went away.
    ///
    /// # Errors
    /// [`NotAllowed`], where the settings have changed since.
    pub fn permit_again(&self, owner: &Owner, _request: &TurnRequest) -> Result<Permit, NotAllowed> {
        self.permit(owner, Route::Responses)
    }
}
