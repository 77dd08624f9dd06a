//! What it costs to read a streamed answer, per event: `cargo bench --bench sse`.
//!
//! First the pure part, bytes to pieces, in chunks of several sizes. Then the whole path from a socket, beside the same
//! bytes read and thrown away: the difference is what this server adds. All of it is CPU time of the reading thread,
//! which a busy machine disturbs less than the clock.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;

use fake_openai::{Bench, FakeOpenAi};
use futures::StreamExt;
use http_body_util::BodyExt;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::dialogue::PromptMessage;
use openai_backend::domain::ids::SystemIds;
use openai_backend::domain::item::Role;
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::answer::Answer;
use openai_backend::upstream::openai::calls::Mint;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use openai_backend::upstream::openai::sse::Parser;
use openai_backend::upstream::openai::wire;
use openai_backend::upstream::{Call, Upstream};

const TOKENS: usize = 200;
const ROUNDS: u32 = 2000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    pure("events, in chunks of 16 kB", 16 * 1024, false)?;
    pure("events, a chunk each", event(0).len(), false)?;
    pure("events, in chunks of 7 bytes", 7, false)?;
    pure("pieces, in chunks of 16 kB", 16 * 1024, true)?;
    pure("pieces, a chunk each", event(0).len(), true)?;
    network()
}

fn event(number: usize) -> String {
    let head = r#"data: {"id":"chatcmpl-fake1","object":"chat.completion.chunk","created":1764000000,"#;
    let rest = r#""model":"gpt-bench","service_tier":"default","system_fingerprint":"fp_fake","choices":[{"index":0,"delta":{"content":" word"#;
    let tail = r#""},"logprobs":null,"finish_reason":null}],"usage":null}"#;
    format!("{head}{rest}{:03}{tail}\n\n", number % 1000)
}

fn pure(what: &str, chunk_bytes: usize, pieces: bool) -> Result<(), Failure> {
    let stream: String = (0..TOKENS).map(event).collect();
    let started = cpu_nanos()?;
    for _ in 0..ROUNDS {
        let (mut parser, mut answer, mut batch) =
            (Parser::default(), Answer::new(Mint::new(Arc::new(SystemIds))), Vec::new());
        for chunk in stream.as_bytes().chunks(chunk_bytes) {
            let _ = parser.feed(chunk, |event| {
                if pieces {
                    black_box(answer.event(event, &mut batch).is_ok());
                } else {
                    black_box(event);
                }
                ControlFlow::Continue(())
            })?;
            black_box(std::mem::take(&mut batch));
        }
    }
    report(what, cpu_nanos()? - started);
    Ok(())
}

fn report(what: &str, nanos: u128) {
    let each = nanos / (u128::from(ROUNDS) * TOKENS as u128);
    println!("{what:<40} {each:>6} ns an event");
}

fn network() -> Result<(), Failure> {
    let (served, fake) = std::sync::mpsc::channel();
    let (_stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                let fake = FakeOpenAi::start().await;
                fake.set_bench(Bench { tokens: TOKENS, ..Bench::default() });
                if served.send(fake.base_url()).is_ok() {
                    let _ = stopped.await;
                }
            });
        }
    });
    let base_url: url::Url = fake.recv()?.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        copied(&base_url).await?;
        read(&base_url).await
    })
}

fn call() -> Call {
    let message = PromptMessage::new(Role::User, "Hello");
    Call {
        model: "gpt-4o".into(),
        messages: vec![message],
        temperature: None,
        max_tokens: Some(1000),
        stream: true,
        options: None,
    }
}

/// What a proxy does that only copies.
async fn copied(base_url: &url::Url) -> Result<(), Failure> {
    let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let url = format!("{base_url}/chat/completions");
    let body = wire::request(&call(), &wire::Takes { one_system: true, origin: None })?;
    let mut started = cpu_nanos()?;
    for round in 0..=ROUNDS {
        if round == 1 {
            started = cpu_nanos()?;
        }
        let response = client.post(&url).body(body.clone()).send().await?;
        let mut body = reqwest::Body::from(response);
        while let Some(frame) = body.frame().await {
            black_box(frame?);
        }
    }
    report("CPU, bytes from a socket", cpu_nanos()? - started);
    Ok(())
}

async fn read(base_url: &url::Url) -> Result<(), Failure> {
    let settings = OpenAiSettings::new(base_url.clone(), None, "compatible");
    let before = cpu_nanos()?;
    let upstream = OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SystemIds))?;
    println!("{:<40} {:>6} us once", "set-up of the client", (cpu_nanos()? - before) / 1000);
    let mut started = cpu_nanos()?;
    let mut batches = 0;
    for round in 0..=ROUNDS {
        if round == 1 {
            started = cpu_nanos()?;
        }
        let mut pieces = upstream.call(call()).await?;
        while let Some(batch) = pieces.next().await {
            batches += 1;
            black_box(batch?);
        }
    }
    report("CPU, pieces from a socket", cpu_nanos()? - started);
    println!("{:<40} {:>6} events a batch", "", ROUNDS as usize * TOKENS / batches);
    Ok(())
}

/// The CPU time of this thread.
fn cpu_nanos() -> Result<u128, Failure> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}
