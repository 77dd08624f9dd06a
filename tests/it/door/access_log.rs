//! The access log: one line for each request, by the setting, with its route and its owner and nothing that was said.

use fake_openai::{FakeOpenAi, Gate, Reply};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::captured_log::CapturedLog;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::{Setup, TestServer};
use crate::v1::sdk::over;

const KEY: &str = "canary-key-1-of-enough-characters-000000";

struct Logged {
    fake: FakeOpenAi,
    server: TestServer,
    log: CapturedLog,
}

impl Logged {
    async fn start(change: impl FnOnce(Setup) -> Setup) -> Self {
        let fake = FakeOpenAi::start().await;
        let setup = change(over(&fake).set("LOG_FORMAT", "json"));
        let log = CapturedLog::start(&setup.config().log);
        Self { server: setup.start().await, fake, log }
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.log.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"] == "openai_backend::access").collect()
    }

    /// The line of the next request, which must come.
    async fn line(&self, before: usize) -> Value {
        eventually("the request is logged", async || self.lines().len() > before).await;
        let mut lines = self.lines();
        assert_eq!(lines.len(), before + 1, "{lines:?}");
        lines.pop().unwrap()
    }
}

fn ask_for_stream() -> Value {
    json!({"prompt": "x", "stream": true})
}

fn all(setup: Setup) -> Setup {
    setup.set("ACCESS_LOG", "all").set("API_KEYS", &format!("web:{KEY}")).set("TRUSTED_PROXIES", "127.0.0.1")
}

#[tokio::test]
async fn a_line_has_the_route_the_answer_and_whose_it_is() {
    let logged = Logged::start(all).await;
    let browser = Client::new(&logged.server.url);
    let mut lines = Vec::new();
    let plain = browser.say("canary-text").await;
    lines.push(logged.line(0).await);
    let line = &lines[0];
    assert_eq!((&line["request.method"], &line["request.path"]), (&json!("POST"), &json!("/chat")));
    assert_eq!((&line["response.status"], &line["response.whole"]), (&json!(200), &json!(true)));
    assert_eq!(line["request.id"], plain.header("x-request-id").unwrap());
    assert_eq!((&line["client.address"], &line["owner.kind"]), (&json!("127.0.0.1"), &json!("session")));
    assert_eq!(line["owner.id"].as_str().unwrap().len(), 8);
    assert!(line["turn.id"].as_str().unwrap().starts_with("turn_") && line["duration_ms"].is_u64());

    // The turn and the owner are found again; the address is that of the proxy's client; the query is left out.
    let turn = line["turn.id"].as_str().unwrap().to_owned();
    let request = browser.request(Method::GET, &format!("/chat/turns/{turn}/events?after=1&_=canary"));
    browser.send(request.header("x-forwarded-for", "192.0.2.7")).await;
    lines.push(logged.line(1).await);
    let line = &lines[1];
    assert_eq!((&line["request.path"], &line["turn.id"]), (&json!("/chat/turns/{turn}/events"), &json!(turn)));
    assert_eq!((&line["client.address"], &line["owner.id"]), (&json!("192.0.2.7"), &lines[0]["owner.id"]));

    let stranger = Client::new(&logged.server.url);
    let ask = |key: &str| {
        let body = json!({"model": "m", "input": "canary-text"});
        stranger.json("/v1/responses", &body).bearer_auth(key)
    };
    stranger.send(ask(KEY)).await.ok();
    stranger.send(ask("canary-key-2")).await;
    stranger.send(stranger.request(Method::GET, "/canary/path?canary=query")).await;
    eventually("all are logged", async || logged.lines().len() == 5).await;
    lines = logged.lines();
    assert_eq!((&lines[2]["owner.kind"], &lines[2]["owner.id"]), (&json!("key"), &json!("web")));
    assert!(lines[2]["turn.id"].as_str().unwrap().starts_with("turn_"), "{}", lines[2]);
    assert_eq!((&lines[3]["response.status"], &lines[3]["owner.kind"]), (&json!(401), &Value::Null));
    assert_eq!((&lines[4]["response.status"], &lines[4]["request.path"]), (&json!(404), &json!("-")));
    assert!(!logged.log.text().contains("canary"), "{}", logged.log.text());
}

#[tokio::test]
async fn a_stream_is_logged_at_its_end_and_a_client_that_leaves_is_told_apart() {
    let logged = Logged::start(all).await;
    let browser = Client::new(&logged.server.url);
    browser.say("hello").await;
    let gate = Gate::new();
    logged.fake.push(Reply::text("Half").then_wait(&gate));
    let mut stream = browser.stream(&ask_for_stream()).await;
    stream.expect("started").await;
    stream.expect("delta").await;
    assert_eq!(logged.lines().len(), 1, "it is under way");
    gate.open();
    stream.rest().await;
    let line = logged.line(1).await;
    assert_eq!((&line["response.status"], &line["response.whole"]), (&json!(200), &json!(true)));

    let gate = Gate::new();
    logged.fake.push(Reply::text("Half").then_wait(&gate));
    let mut stream = browser.stream(&ask_for_stream()).await;
    stream.expect("started").await;
    drop(stream);
    assert_eq!(logged.line(2).await["response.whole"], false);
    gate.open();

    // Before there is an answer at all, there is no status.
    let gate = Gate::new();
    logged.fake.push(Reply::text("never").wait_first(&gate));
    let leaving = crate::turn::spawned(browser.json("/chat", &json!({"prompt": "x"})));
    logged.fake.wait_for_calls(4, crate::support::SOON).await;
    drop(leaving);
    let line = logged.line(3).await;
    assert_eq!((&line["response.status"], &line["response.whole"]), (&Value::Null, &json!(false)));
    gate.open();
}

#[tokio::test]
async fn without_the_setting_only_errors_of_the_server_are_logged_and_off_is_off() {
    for (setting, wanted) in [(None, vec![json!(502)]), (Some("off"), vec![])] {
        let logged = Logged::start(|setup| match setting {
            None => setup,
            Some(value) => setup.set("ACCESS_LOG", value),
        })
        .await;
        let browser = Client::new(&logged.server.url);
        browser.say("hello").await.ok();
        browser.get("/nowhere").await;
        logged.fake.push(Reply::server_error());
        browser.say("x").await;
        let statuses: Vec<Value> = logged.lines().into_iter().map(|line| line["response.status"].clone()).collect();
        assert_eq!(statuses, wanted);
    }
}
