//! What proxies do to connections and streams, and what clients have all the same: every word, once.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Gate, Reply};
use reqwest::Method;
use serde_json::json;

use super::{Proxy, address};
use crate::process::{resume, turn_of};
use crate::support::process::Program;
use crate::support::sse::text_of;

/// An nginx in front of this server, with these further directives.
fn plain(server: &str, more: &str) -> String {
    format!("server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass {server}; proxy_http_version 1.1; {more} }} }}")
}

/// Every proxy sends requests on connections that were idle for a while; one that closes just then is a 502 to its client.
#[tokio::test]
async fn a_pool_of_connections_meets_none_that_was_just_closed() {
    let fake = FakeOpenAi::start().await;
    fake.set_default(Reply::text("Hello"));
    let server = Program::towards(&fake.base_url()).set("HEADER_TIMEOUT", "300ms").start().await;
    let proxy = Proxy::nginx(&format!(
        "upstream pool {{ server {}; keepalive 4; }}\nserver {{ listen 127.0.0.1:PORT; location / {{ proxy_pass \
         http://pool; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}",
        address(&server.url)
    ))
    .await;
    let browser = proxy.client();
    browser.say("Hi").await.ok();
    for pause in (270..330).step_by(4) {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let answer = browser.say("Hi").await;
        assert_eq!(answer.status.as_u16(), 200, "after {pause} ms: {}", answer.text);
    }
}

#[tokio::test]
async fn a_proxy_that_buffers_delays_a_stream_and_loses_none_of_it() {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).start().await;
    let buffering = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;";
    let proxy = Proxy::nginx(&plain(&server.url, buffering)).await;
    let browser = proxy.client();
    let words = "word ".repeat(2_000);
    fake.push(Reply::text(&words));
    let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
    let events = stream.rest().await;
    assert_eq!(text_of(&events), words);
    assert_eq!(events.last().unwrap().name, "completed");
    assert_eq!(browser.history().await[1].1, words);
}

#[tokio::test]
async fn a_proxy_that_cuts_a_long_silence_costs_no_word() {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).start().await;
    let proxy = Proxy::nginx(&plain(&server.url, "proxy_read_timeout 5s;")).await;
    let browser = proxy.client();
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
    let turn = turn_of(&stream.expect("started").await);
    let mut last = stream.expect("delta").await.id.unwrap();
    let since = Instant::now();
    assert_eq!(stream.next().await, None, "the proxy cuts it");
    assert!(since.elapsed() < Duration::from_secs(14), "it was not the proxy");
    let mut again = resume(&browser, &turn, last).await;
    assert_eq!(again.next().await, None, "and again");
    gate.open();
    let rest = resume(&browser, &turn, last).await.rest().await;
    for event in &rest {
        assert_eq!(event.id, Some(last + 1));
        last += 1;
    }
    assert_eq!((text_of(&rest).as_str(), rest.last().unwrap().name.as_str()), (" and half", "completed"));
}

#[tokio::test]
async fn a_stream_goes_on_after_its_proxy_was_restarted() {
    let fake = FakeOpenAi::start().await;
    let server = Program::towards(&fake.base_url()).start().await;
    let config = plain(&server.url, "");
    let proxy = Proxy::nginx(&config).await;
    let browser = proxy.client();
    let gate = Gate::new();
    fake.push(Reply::text("Half").then_wait(&gate).then_text(" and half"));
    let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
    let turn = turn_of(&stream.expect("started").await);
    let last = stream.expect("delta").await.id.unwrap();
    let proxy = proxy.restarted(&config).await;
    assert_eq!(stream.next().await, None);
    gate.open();
    let rest = resume(&browser, &turn, last).await.rest().await;
    assert_eq!(text_of(&rest), " and half");
    assert_eq!(rest.last().unwrap().data["content"], "Half and half");
    let history = proxy.client().at(&proxy.url);
    history.set_cookie(browser.cookie());
    assert_eq!(history.send(history.request(Method::GET, "/chat")).await.ok().as_array().unwrap().len(), 2);
    assert_eq!(fake.calls(), 1);
}
