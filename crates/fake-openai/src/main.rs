//! The binary: a fake upstream to point a server at, with its faults by flag or by magic prompt.

mod cli;

use std::io::Write;
use std::process::ExitCode;

use fake_openai::{Bench, FakeOpenAi, KeepAlive, RecordedRequest, Reply, assistant, magic};

use crate::cli::{Asked, Options};

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(options)) => *options,
        Ok(Asked::Help) => {
            print!("{}", cli::help());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}; see --help");
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fake-openai: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> std::io::Result<()> {
    let mut runtime = match options.threads {
        // One thread, so that it takes as little as possible from the server that is measured.
        1 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    runtime.enable_all().build()?.block_on(async {
        let fake = FakeOpenAi::start_on(options.address).await?;
        set_up(&fake, options);
        let mut out = std::io::stdout();
        writeln!(out, "{}", fake.base_url())?;
        out.flush()?;
        tokio::signal::ctrl_c().await
    })
}

fn set_up(fake: &FakeOpenAi, options: Options) {
    if let Some(key) = &options.require_key {
        fake.require_key(key);
    }
    fake.set_keep_alive(KeepAlive {
        close_idle_after: options.idle_close,
        close_after_requests: options.close_after,
        stale_after_requests: options.stale_after,
    });
    match options.bench {
        true => fake.set_bench(Bench { tokens: options.tokens, delay: options.delay, flush_each: options.flush_each }),
        false => fake.set_responder(responder(options)),
    }
}

/// The magic prompt's reply, the flagged fault's for every so many calls, the assistant's, or the default.
fn responder(options: Options) -> impl FnMut(&RecordedRequest) -> Reply + Send {
    let default = match &options.reply {
        Some(text) => Reply::text(text),
        None => Reply::tokens(options.tokens),
    };
    let default = default.delay_each(options.delay);
    let mut assistant = options.assistant.then(assistant);
    let mut calls = 0;
    move |request| {
        calls += 1;
        let flagged = || options.fault.filter(|_| calls % options.fault_every == 0);
        let reply = match (flagged(), &mut assistant) {
            (Some(fault), _) => magic(request).or_else(|| Some(fault.reply())),
            (None, Some(assistant)) => Some(assistant(request)),
            (None, None) => magic(request),
        };
        if !options.quiet {
            let (stream, messages) = (request.wants_stream(), request.messages().len());
            let (model, prompt) = (request.model(), request.last_prompt());
            eprintln!("call {calls}: model={model} stream={stream} messages={messages} last={prompt:?}");
        }
        reply.unwrap_or_else(|| default.clone())
    }
}
