//! The faults that were measured in the Node service that this one takes the place of: one test each, named after it.

mod bills;
mod hangs;
mod history;
mod leftovers;
mod parameters;
mod prompts;

use std::sync::Arc;
use std::time::Duration;

use fake_openai::{FakeOpenAi, RecordedRequest};
use openai_backend::boot;
use tempfile::TempDir;

use crate::support::redis_server::RedisServer;
use crate::support::server::{Setup, TestServer};

/// A server that was put together as the program puts itself together, towards a fake upstream.
pub struct Rig {
    pub fake: FakeOpenAi,
    pub server: TestServer,
    pub folder: TempDir,
    pub redis: Option<Arc<RedisServer>>,
}

/// The stores that outlive a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Sqlite,
    Redis,
}

pub const BOTH: [Kept; 2] = [Kept::Sqlite, Kept::Redis];

impl Rig {
    /// On SQLite.
    pub async fn new() -> Self {
        Self::with(Kept::Sqlite, &[]).await
    }

    /// With these settings more.
    pub async fn with(kept: Kept, settings: &[(&str, &str)]) -> Self {
        let fake = FakeOpenAi::start().await;
        let folder = tempfile::tempdir().unwrap();
        let redis = (kept == Kept::Redis).then(|| Arc::new(RedisServer::start()));
        let mut setup =
            Setup::default().set("OPENAI_BASE_URL", &fake.base_url()).set("DATA_DIR", folder.path().to_str().unwrap());
        if let Some(redis) = &redis {
            setup = setup.set("REDIS_URL", &redis.url());
        }
        for (name, value) in settings {
            setup = setup.set(name, value);
        }
        let parts = boot::parts(&setup.config()).await.unwrap();
        let server = setup.store(parts.store).metering(parts.metering).start().await;
        Self { fake, server, folder, redis }
    }
}

/// The texts of what went upstream, without the system prompt.
pub fn spoken(request: &RecordedRequest) -> Vec<(String, String)> {
    request.conversation().into_iter().filter(|(role, _)| role != "system").collect()
}

/// The Node service waited 10 s where this one must not; far less than that, and ample on a busy machine.
pub const FAR_LESS_THAN_BEFORE: Duration = Duration::from_secs(5);
