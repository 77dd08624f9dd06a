//! The official Python SDK against the real program: over the fake model server, and over the demo.

use std::path::PathBuf;
use std::process::Stdio;

use fake_openai::{FakeOpenAi, Reply, magic};
use tokio::process::Command;

use super::{KEY, SERVERS_KEY};
use crate::support::process::Program;

/// Where `scripts/openai-python` puts the SDK.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let python = cache.expect("HOME is set").join("openai-backend/openai-python/bin/python");
    assert!(python.exists(), "The openai Python SDK is missing: scripts/openai-python --install installs it.");
    python
}

async fn run(url: &str, key: &str, over: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python_openai.py");
    let mut command = Command::new(python());
    command.arg(script).arg(over).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.env("OPENAI_BASE_URL", format!("{url}/v1")).env("OPENAI_API_KEY", key);
    let output = command.output().await.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_over_the_fake() {
    let fake = FakeOpenAi::start().await;
    fake.require_key(SERVERS_KEY);
    fake.set_responder(|request| magic(request).unwrap_or_else(|| Reply::text("Hello from the fake.")));
    let server = Program::towards(&fake.base_url())
        .set("OPENAI_API_KEY", SERVERS_KEY)
        .set("API_KEYS", &format!("web:{KEY}"))
        .set("UPSTREAM_MAX_RETRIES", "0")
        .start()
        .await;
    run(&server.url, KEY, "fake").await;
    assert!(fake.chat_requests().iter().all(|request| request.key() == Some(SERVERS_KEY)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_sdk_over_the_demo() {
    let server = Program::bare().set("DEMO_WORD_DELAY", "0").start().await;
    run(&server.url, "anything", "demo").await;
    server.stop().await;
}
