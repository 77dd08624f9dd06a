//! What an owner may do at most with one request.

use super::{Metering, ModelCall};
use crate::domain::conversation::Owner;

/// Which kind of request goes to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `/chat`.
    Chat,
    /// `/v1/responses`, and what is cut down for them.
    Responses,
    /// `/v1/chat/completions`.
    Completions,
    /// The list of models.
    Models,
    /// Everything that is passed on as bytes.
    Passage,
}

/// Why an owner gets no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {}

/// What one request may do. It costs nothing to hold; a call begins with [`Permit::start`].
#[derive(Clone)]
pub struct Permit {
    metering: Metering,
    owner: Owner,
    route: Route,
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Permit").field("route", &self.route).finish_non_exhaustive()
    }
}

impl Permit {
    pub(super) fn new(metering: Metering, owner: Owner, route: Route) -> Self {
        Self { metering, owner, route }
    }

    /// Who pays for what is done with it.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Begins a call, which counts until it is dropped.
    #[must_use]
    pub fn start(&self) -> ModelCall {
        ModelCall::new(self.metering.clone())
    }
}
