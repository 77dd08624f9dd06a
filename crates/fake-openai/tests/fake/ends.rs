//! Ends that no HTTP framework makes: torn, reset, silent, garbled; and the client's own leaving.

use std::io::ErrorKind;

use fake_openai::{FakeOpenAi, Gate, Outcome, Reply, Step};

use crate::client::{Client, SOON, prompt};

async fn asked(fake: &FakeOpenAi, stream: bool) -> Client {
    let mut client = Client::connect(fake).await;
    client.chat(&prompt("hi", stream)).await;
    client
}

#[tokio::test]
async fn a_cut_stream_lacks_its_last_chunk() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("one").then(Step::FinInsideEvent));
    fake.push(Reply::text("one").then(Step::FinInsideChunk));
    fake.push(Reply::text("one").then(Step::Fin));
    for number in 0..3 {
        let error = asked(&fake, true).await.response().await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        fake.wait_until_idle(SOON).await;
        assert_eq!(fake.outcome(number), Some(Outcome::Cut));
    }
}

#[tokio::test]
async fn half_an_event_is_sent_before_the_cut() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::stream([Step::FinInsideEvent]));
    let mut client = asked(&fake, true).await;
    client.head().await.unwrap();
    assert!(client.event().await.starts_with("data: {"));
    assert_eq!(client.chunk().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_reset_is_seen_as_one_after_what_was_sent() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::text("one").then_wait(&gate).then(Step::Reset));
    let mut client = asked(&fake, true).await;
    client.head().await.unwrap();
    client.event().await;
    assert!(client.event().await.contains("one"));
    gate.open();
    assert_eq!(client.chunk().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_can_end_before_any_byte() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::reset());
    fake.push(Reply::no_answer());
    let reset = asked(&fake, true).await.response().await.err().unwrap();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    let closed = asked(&fake, false).await.response().await.err().unwrap();
    assert_eq!(closed.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_plain_answer_is_cut_in_its_middle() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::text("one").then(Step::Fin));
    let mut client = asked(&fake, false).await;
    let length: usize = client.head().await.unwrap().header("content-length").unwrap().parse().unwrap();
    assert_eq!(client.rest().await.unwrap().len(), length / 2);
}

#[tokio::test]
async fn garbage_is_no_http() {
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::garbage("nonsense\r\n"));
    fake.push(Reply::text("one").then(Step::Garbage("zz\r\n".into())));
    assert_eq!(asked(&fake, true).await.rest().await.unwrap(), b"nonsense\r\n");
    let error = asked(&fake, true).await.response().await.err().unwrap();
    assert_eq!(error.to_string(), r#"size "zz""#);
}

#[tokio::test]
async fn a_huge_line_arrives_whole() {
    let size = 3_000_001;
    let fake = FakeOpenAi::start().await;
    fake.push(Reply::stream([Step::HugeLine(size), Step::Done]));
    let body = asked(&fake, true).await.response().await.unwrap().body;
    let line = body.split(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(line.len() as u64, size + "data: ".len() as u64);
    assert!(body.ends_with(b"\n\ndata: [DONE]\n\n"));
}

#[tokio::test]
async fn leaving_is_noticed_wherever_the_answer_stands() {
    let fake = FakeOpenAi::start().await;
    let gate = Gate::new();
    fake.push(Reply::hang());
    fake.push(Reply::hang_after_headers());
    fake.push(Reply::text("one").then(Step::Hang));
    fake.push(Reply::text("one").then_wait(&gate));
    fake.push(Reply::stream([Step::HugeLine(1_000_000_000_000)]));
    for number in 0..5 {
        let client = asked(&fake, true).await;
        fake.wait_for_calls(number + 1, SOON).await;
        assert_eq!(fake.outcome(number), Some(Outcome::Running));
        drop(client);
        let left = fake.wait_for_aborts(number + 1, SOON).await;
        assert_eq!(left[number].index, number);
        assert_eq!(fake.outcome(number), Some(Outcome::Aborted));
    }
    fake.wait_for_connections(0, SOON).await;
    assert_eq!(fake.in_flight(), 0);
}

#[tokio::test]
async fn an_answer_that_was_read_is_no_abort() {
    let fake = FakeOpenAi::start().await;
    asked(&fake, true).await.response().await.unwrap();
    fake.wait_for_connections(0, SOON).await;
    assert_eq!(fake.outcome(0), Some(Outcome::Finished));
    assert!(fake.aborted().is_empty());
}

#[tokio::test]
#[should_panic(expected = "waited 0ns for 1 chat calls; there are 0 calls and 0 in flight")]
async fn waiting_in_vain_says_what_for() {
    let fake = FakeOpenAi::start().await;
    fake.wait_for_calls(1, std::time::Duration::ZERO).await;
}
