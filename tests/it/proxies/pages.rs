//! The page of docs/chat.md in a real browser behind nginx: it comes back from whatever ends its stream.

use std::process::Stdio;
use std::time::{Duration, Instant};

use fake_openai::{Chunking, FakeOpenAi, Gate, Reply};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Proxy, free_port};
use crate::support::documents::{blocks, pages};
use crate::support::process::Program;
use crate::support::redis_server::RedisServer;

/// The script of docs/chat.md that follows a turn.
fn documented() -> String {
    let pages = pages();
    let (_, page) = pages.iter().find(|(name, _)| name == "docs/chat.md").expect("docs/chat.md");
    let found: Vec<&str> = blocks(page, "js").into_iter().filter(|block| block.contains("EventSource")).collect();
    assert_eq!(found.len(), 1, "scripts with an EventSource");
    found[0].to_owned()
}

/// A page that asks, and then follows its turn as a page does that was reloaded. What it shows, it reports.
fn page() -> String {
    format!(
        r#"<!doctype html><title>Chat</title><script type="module">
let text = "";
const report = (what) => fetch(`/report?${{encodeURIComponent(what)}}`);
const show = (piece) => report(text += piece);
const clear = () => report(text = "");
const stopButton = {{}};
const body = JSON.stringify({{ prompt: "Hi", stream: true }});
const asked = await fetch("/chat", {{ method: "POST", headers: {{ "content-type": "application/json" }}, body }});
await asked.body.getReader().read();
{}
</script>"#,
        documented()
    )
}

/// Serves the page, and the server at this port beside it; keeps what the page reports, and how its streams were answered.
async fn nginx(port: u16, more: &str) -> Proxy {
    let proxy = Proxy::nginx(&format!(
        "log_format reports '$args'; log_format streams '$status';\nserver {{ listen 127.0.0.1:PORT;\n\
         location = /page.html {{ root FOLDER; default_type text/html; }}\n\
         location = /report {{ access_log FOLDER/reports reports; return 204; }}\n\
         location ~ ^/chat/turns/.*/events$ {{ access_log FOLDER/streams streams; proxy_pass http://127.0.0.1:{port}; {more} }}\n\
         location / {{ proxy_pass http://127.0.0.1:{port}; }} }}"
    ))
    .await;
    proxy.write("page.html", &page());
    proxy
}

/// A browser that shows the page; dropping it ends it.
struct Browser {
    _process: Child,
    _profile: TempDir,
}

fn open(proxy: &Proxy) -> Browser {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    command.args(["--no-proxy-server", "--disable-background-networking", "--remote-debugging-port=0"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).arg(format!("{}/page.html", proxy.url));
    command.env("HOME", profile.path());
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let process = process.expect("Chromium starts; ./scripts/test installs it");
    Browser { _process: process, _profile: profile }
}

/// Waits until `holds`, for as long as a browser may take on a busy machine.
async fn in_time(what: &str, proxy: &Proxy, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        let (reports, streams) = (proxy.file("reports"), proxy.file("streams"));
        assert!(Instant::now() < deadline, "never: {what}\n{reports}\n{streams}\n{}", proxy.file("error.log"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until this is all that the page shows.
async fn shows(proxy: &Proxy, text: &str) {
    let wanted = text.replace(' ', "%20");
    in_time(text, proxy, || proxy.file("reports").lines().last() == Some(wanted.as_str())).await;
}

/// Waits until the page's streams were answered with this status, `times` times.
async fn answered(proxy: &Proxy, status: &str, times: usize) {
    in_time(status, proxy, || proxy.file("streams").lines().filter(|line| *line == status).count() >= times).await;
}

#[tokio::test]
async fn it_comes_back_from_a_restart_of_the_server() {
    let fake = FakeOpenAi::start().await;
    let port = free_port();
    let program = Program::towards(&fake.base_url()).set("PORT", &port.to_string()).set("SHUTDOWN_GRACE", "0s");
    let server = program.start().await;
    let proxy = nginx(port, "").await;
    fake.push(Reply::text("Half").chunked(Chunking::Whole).then_wait(&Gate::new()));
    let _browser = open(&proxy);
    shows(&proxy, "Half").await;
    server.stop().await;
    // An EventSource ends for good at the first of these.
    answered(&proxy, "502", 2).await;
    fake.push(Reply::text("A whole answer"));
    let _server = program.start().await;
    shows(&proxy, "A whole answer").await;
    assert!(proxy.file("reports").lines().any(|line| line == "-"), "what was shown before was cleared");
}

#[tokio::test]
async fn it_comes_back_from_an_outage_of_the_store() {
    let fake = FakeOpenAi::start().await;
    let port = free_port();
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let program = Program::towards(&fake.base_url()).set("PORT", &port.to_string()).set("REDIS_URL", &redis.url());
    let _server = program.start().await;
    // The proxy ends each stream after a second without a word.
    let proxy = nginx(port, "proxy_read_timeout 1s;").await;
    let gate = Gate::new();
    // Should the outage outlast the turn's lease, it runs again.
    fake.set_default(Reply::text("Half and half"));
    fake.push(Reply::text("Half").chunked(Chunking::Whole).then_wait(&gate).then_text(" and half"));
    let _browser = open(&proxy);
    shows(&proxy, "Half").await;
    redis.kill();
    let before = proxy.file("streams").lines().count();
    answered(&proxy, "200", before + 3).await;
    redis.restart();
    gate.open();
    shows(&proxy, "Half and half").await;
    let streams = proxy.file("streams");
    assert!(!streams.contains("503"), "{streams}");
}
