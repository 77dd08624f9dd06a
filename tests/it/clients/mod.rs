//! Real clients of OpenAI's API against the real program, over the fake model server's assistant and over the demo: a
//! script of `tests/clients/` each, with what `scripts/clients` installs.

mod cutter;
mod examples;
mod languages;

mod retries;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fake_openai::{FakeOpenAi, assistant};
use tokio::process::Command;

use crate::real_model::RealModel;
use crate::support::process::{Process, Program};

/// The keys of two clients, and the server's.
const KEY: &str = "canary-client-key-0123456789";
const OTHER_KEY: &str = "canary-other-client-key-0123456789";
const SERVERS_KEY: &str = "canary-server-key-0123456789";

/// Longer than any script takes, on a machine that does much else.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// A server with the fake behind it, and two clients' keys.
struct Rig {
    fake: FakeOpenAi,
    server: Process,
}

impl Rig {
    async fn start() -> Self {
        Self::start_with(|program| program).await
    }

    /// With further settings.
    async fn start_with(change: impl FnOnce(Program) -> Program) -> Self {
        let fake = FakeOpenAi::start().await;
        fake.require_key(SERVERS_KEY);
        fake.set_responder(assistant());
        let program = change(Program::towards(&fake.base_url()));
        let program = program.set("OPENAI_API_KEY", SERVERS_KEY).set("UPSTREAM_MAX_RETRIES", "0");
        let server = program.set("API_KEYS", &format!("web:{KEY},other:{OTHER_KEY}")).start().await;
        Self { fake, server }
    }

    async fn stop(self) {
        assert!(self.fake.chat_requests().iter().all(|request| request.key() == Some(SERVERS_KEY)));
        let (said, logged) = (self.server.stdout(), self.server.stderr());
        assert!(!said.contains("canary") && !logged.contains("canary"), "{said}{logged}");
        assert!(!logged.contains("ERROR") && !logged.contains("panicked"), "{logged}");
        self.server.stop().await;
    }
}

/// Where programs keep what they can get again.
fn cache_home() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).expect("HOME is set")
}

/// Where `scripts/clients` installs.
fn cache() -> PathBuf {
    cache_home().join("openai-backend/clients")
}

/// A script over the fake.
async fn over_the_fake(script: &str, settings: &[(&str, &str)]) {
    let rig = Rig::start().await;
    run(script, &rig.server.url, KEY, &[&[("OVER", "fake")], settings].concat()).await;
    rig.stop().await;
}

/// A script over the demo, with nothing set, as a newcomer would.
async fn over_the_demo(script: &str) {
    let server = Program::bare().set("DEMO_WORD_DELAY", "0").start().await;
    run(script, &server.url, "anything", &[("OVER", "demo")]).await;
    server.stop().await;
}

/// A script over a real, small model.
async fn over_a_real_model(script: &str) {
    let model = RealModel::start().await;
    let server = model.program().start().await;
    run(script, &server.url, "anything", &[("OVER", "real")]).await;
    server.stop().await;
}

/// Runs a script to its end, which must be a good one, and gives what it printed. It sees nothing of this process's
/// environment but where its clients are installed.
async fn run(script: &str, url: &str, key: &str, settings: &[(&str, &str)]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let home = tempfile::tempdir().unwrap();
    let mut words = script.split(' ');
    let file = words.next().unwrap_or_default();
    let mut command = Command::new(format!("{root}/scripts/clients"));
    command.arg(format!("tests/clients/{file}")).args(words).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("HOME", home.path()).env("XDG_CACHE_HOME", cache_home()).env("OTHER_API_KEY", OTHER_KEY);
    command.env("OPENAI_BASE_URL", format!("{url}/v1")).env("OPENAI_API_KEY", key).envs(settings.iter().copied());
    let output = tokio::time::timeout(ENDS_WITHIN, command.output()).await.expect("the script ends").unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{script}:\n{stdout}{stderr}");
    assert!(stdout.lines().any(|line| line.starts_with("ok ")), "{script} has checked nothing:\n{stdout}{stderr}");
    stdout
}
