//! What tests are made of: a server on a free port, a client that keeps cookies, a reader of event streams.

pub mod captured_log;
pub mod client;
pub mod dice;
pub mod documents;
pub mod faulty;
pub mod instance;
pub mod intercepted;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis_server;
pub mod schema;
pub mod script;
pub mod scripted;
pub mod server;
pub mod socket;
pub mod sse;

use std::time::Duration;

/// Longer than anything here takes unless it is broken.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `holds`; fails the test when it does not come true.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = std::time::Instant::now() + SOON;
        while !holds().await {
            assert!(std::time::Instant::now() < deadline, "never came true at {caller}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
