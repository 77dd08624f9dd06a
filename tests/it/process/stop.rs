//! SIGTERM (P12): not ready at once, no new turns, running ones finish or end so that they can be resumed, exit 0.

use std::time::{Duration, Instant};

use fake_openai::{FakeOpenAi, Gate, Reply};
use futures::future::join_all;
use serde_json::json;

use super::{on_both_stores, resume, turn_of};
use crate::support::client::Client;
use crate::support::process::Program;
use crate::support::sse::text_of;
use crate::support::{SOON, eventually};

/// How much longer than the grace period an orderly end may take on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

async fn takes_no_more_work(browser: &Client) {
    eventually("it says that it is not ready", async || browser.get("/health/ready").await.status == 503).await;
    assert_eq!(browser.get("/health/ready").await.failed(503), "server_stopping");
    assert_eq!(browser.say("One more?").await.failed(503), "server_stopping");
    assert_eq!(browser.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn a_running_stream_finishes_within_the_grace_period() {
    let fake = FakeOpenAi::start().await;
    for (store, program, _redis) in on_both_stores(|| Program::towards(&fake.base_url())) {
        let (gate, calls) = (Gate::new(), fake.calls());
        fake.push(Reply::text("Hello").then_wait(&gate).then_text(" world"));
        let mut server = program.start().await;
        let browser = server.client();
        let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
        stream.expect("started").await;
        stream.expect("delta").await;
        server.signal("TERM");
        takes_no_more_work(&server.client()).await;
        gate.open();
        let rest = stream.rest().await;
        assert_eq!(rest.last().unwrap().name, "completed", "{store}: {rest:?}");
        assert_eq!(rest.last().unwrap().data["content"], "Hello world");
        assert!(server.ended().await.success(), "{store}: {}", server.stderr());

        let server = program.start().await;
        assert_eq!(browser.at(&server.url).history().await[1].1, "Hello world", "{store}");
        assert_eq!(fake.calls(), calls + 1, "nothing was spent on the refused turn");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_hanging_turn_is_released_and_its_readers_come_back_for_the_answer() {
    let fake = FakeOpenAi::start().await;
    for (store, program, _redis) in on_both_stores(|| Program::towards(&fake.base_url()).set("SHUTDOWN_GRACE", "1s")) {
        fake.push(Reply::text("Half an").then_wait(&Gate::new()));
        let mut server = program.start().await;
        let browser = server.client();
        let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
        let turn = turn_of(&stream.expect("started").await);
        let shown = stream.expect("delta").await;
        server.signal("TERM");
        let rest = stream.rest().await;
        let names: Vec<&str> = rest.iter().map(|event| event.name.as_str()).filter(|name| *name != "delta").collect();
        assert_eq!(names, ["reconnect"], "{store}: {rest:?}");
        assert!(stream.raw.contains("retry: "), "an EventSource is told when to come back");
        assert!(server.ended().await.success(), "{store}: {}", server.stderr());

        fake.push(Reply::text("A whole answer"));
        let server = program.start().await;
        let browser = browser.at(&server.url);
        let last = rest.iter().rev().find_map(|event| event.id).or(shown.id).unwrap();
        let events = resume(&browser, &turn, last).await.rest().await;
        assert_eq!(events[0].name, "restarted", "{store}: {events:?}");
        assert_eq!(events[0].id, Some(last + 1), "{store}");
        assert_eq!(text_of(&events), "A whole answer", "{store}");
        assert_eq!(events.last().unwrap().name, "completed", "{store}: {events:?}");
        assert_eq!(browser.history().await.len(), 2, "{store}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_hanging_turn_ends_with_what_was_shown_where_that_is_wanted() {
    let fake = FakeOpenAi::start().await;
    let interrupting = || Program::towards(&fake.base_url()).set("SHUTDOWN_GRACE", "1s").set("ON_CRASH", "interrupt");
    for (store, program, _redis) in on_both_stores(interrupting) {
        fake.push(Reply::text("Half an").chunked(fake_openai::Chunking::Whole).then_wait(&Gate::new()));
        let mut server = program.start().await;
        let browser = server.client();
        let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
        stream.expect("started").await;
        assert_eq!(stream.expect("delta").await.data["content"], "Half an");
        server.signal("TERM");
        assert_eq!(stream.expect("error").await.data["code"], "server_stopped", "{store}");
        assert!(server.ended().await.success(), "{store}: {}", server.stderr());
        let calls = fake.calls();
        let server = program.start().await;
        let browser = browser.at(&server.url);
        let turns = browser.get("/chat/turns").await.ok();
        assert_eq!(turns[0]["status"], "interrupted", "{store}: {turns}");
        assert_eq!(browser.history().await[1].1, "Half an", "{store}");
        assert_eq!(fake.calls(), calls, "{store}: no second charge");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_plain_turn_that_hangs_is_told_and_answered_after_the_restart() {
    let fake = FakeOpenAi::start().await;
    for (store, program, _redis) in on_both_stores(|| Program::towards(&fake.base_url()).set("SHUTDOWN_GRACE", "1s")) {
        let calls = fake.calls();
        let mut server = program.start().await;
        let browser = server.client();
        fake.push(Reply::text("First"));
        browser.say("Hello").await.ok();
        fake.push(Reply::hang());
        let (answer, ()) = futures::join!(browser.say("Again"), async {
            fake.wait_for_calls(calls + 2, SOON).await;
            server.signal("TERM");
        });
        assert_eq!(answer.failed(503), "server_stopping", "{store}");
        assert!(server.ended().await.success(), "{store}: {}", server.stderr());

        fake.push(Reply::text("Second"));
        let server = program.start().await;
        let browser = browser.at(&server.url);
        eventually("the turn is run again", async || browser.history().await.len() == 4).await;
        assert_eq!(browser.history().await[3].1, "Second", "{store}");
        server.stop().await;
    }
}

/// So many streams whose words come too slowly to end within the grace period, all open when the server is stopped.
async fn many_open_streams(count: usize) {
    let program = Program::bare().set("DEMO_WORD_DELAY", "10s").set("SHUTDOWN_GRACE", "1s");
    let mut server = program.start().await;
    let mut streams = join_all((0..count).map(|_| async {
        let browser = server.client();
        let mut stream = browser.stream(&json!({"prompt": "Slowly, please"})).await;
        stream.expect("started").await;
        (browser, stream)
    }))
    .await;
    let stopped = Instant::now();
    server.signal("TERM");
    let (rests, status) = futures::join!(join_all(streams.iter_mut().map(|(_, stream)| stream.rest())), server.ended());
    let took = stopped.elapsed();
    assert!(status.success(), "{}", server.stderr());
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    for events in rests {
        assert_eq!(events.last().unwrap().name, "reconnect", "{events:?}");
    }
    // None is lost: the next start has them all, and goes on with them.
    let server = program.set("DEMO_WORD_DELAY", "0ms").start().await;
    for (browser, _) in streams.iter().step_by(count / 10) {
        let browser = browser.at(&server.url);
        eventually("the turn ends", async || browser.get("/chat/turns").await.ok()[0]["status"] == "completed").await;
        assert_eq!(browser.history().await.len(), 2);
    }
}

#[tokio::test]
async fn two_hundred_open_streams_end_in_order() {
    many_open_streams(200).await;
}

#[tokio::test]
async fn nine_hundred_open_streams_end_in_order() {
    many_open_streams(900).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_the_next_start_goes_on() {
    let fake = FakeOpenAi::start().await;
    for (first, second) in [("TERM", "INT"), ("INT", "INT"), ("INT", "TERM")] {
        for (store, program, _redis) in on_both_stores(|| Program::towards(&fake.base_url())) {
            fake.push(Reply::text("Half an").then_wait(&Gate::new()));
            let mut server = program.start().await;
            let browser = server.client();
            let mut stream = browser.stream(&json!({"prompt": "Hi"})).await;
            let turn = turn_of(&stream.expect("started").await);
            stream.expect("delta").await;
            server.signal(first);
            takes_no_more_work(&server.client()).await;
            let since = Instant::now();
            server.signal(second);
            let status = server.ended().await;
            assert!(since.elapsed() < Duration::from_secs(5), "{store}: {:?}", since.elapsed());
            assert_eq!(status.code(), Some(1), "{store}: {}", server.stderr());
            assert!(server.stderr().contains("second signal"), "{store}: {}", server.stderr());
            let rest = stream.rest().await;
            assert_eq!(rest.last().map(|event| event.name.as_str()), Some("reconnect"), "{store}: {rest:?}");

            fake.push(Reply::text("A whole answer"));
            let since = Instant::now();
            let server = program.start().await;
            let events = resume(&browser.at(&server.url), &turn, 0).await.rest().await;
            assert_eq!(events.last().unwrap().data["content"], "A whole answer", "{store}: {events:?}");
            assert!(since.elapsed() < Duration::from_secs(8), "{store}: its lease was given back");
            server.stop().await;
        }
    }
}
