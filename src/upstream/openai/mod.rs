//! OpenAI's Chat Completions, and the servers that speak the same.

pub mod answer;
pub mod attempt;
pub mod body;
mod call;
pub mod calls;
mod check;
pub mod client;
pub mod collect;
#[cfg(test)]
mod consumers;
pub mod course;
pub mod faults;
pub mod finish;
mod forward;
pub mod fresh;
pub mod halves;
pub mod inflate;
pub mod kept;
pub mod members;
pub mod mend;
pub mod pieces;
pub mod refusal;
pub mod relay;
pub mod retry;
pub mod settings;
pub mod sse;
pub mod streamed;
pub mod template;
pub mod think;
pub mod told;
mod turned;
pub mod wire;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::client::OpenAi;
use super::forward::{Ask, Completed, Passage, Passed, Rejected};
use super::{Call, Pieces, Upstream, UpstreamInfo};
use crate::domain::turn::Fault;

#[async_trait]
impl Upstream for OpenAi {
    fn info(&self) -> UpstreamInfo {
        UpstreamInfo { kind: self.settings.kind, location: self.settings.location() }
    }

    async fn call(&self, call: Call) -> Result<Pieces, Fault> {
        self.send_call(call).await
    }

    async fn complete(&self, ask: Ask) -> Result<Completed, Rejected> {
        self.forward_completion(ask).await
    }

    async fn models(&self) -> Result<Option<Bytes>, Rejected> {
        self.list_models().await
    }

    async fn pass(&self, passage: Passage) -> Result<Passed, Rejected> {
        self.pass_on(passage).await
    }

    async fn check(&self) -> Result<String, Fault> {
        self.check_server().await
    }
}
