//! `OpenAi` against the fake upstream: answers, their ends, errors, retries, the breaker, secrets.

mod answers;
mod breaker;
mod check;
mod ends;
mod errors;
mod retries;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use fake_openai::FakeOpenAi;
use futures::StreamExt;
use openai_backend::domain::clock::SystemClock;
use openai_backend::domain::delta::Delta;
use openai_backend::domain::dialogue::PromptMessage;
use openai_backend::domain::ids::SeededIds;
use openai_backend::domain::item::Role;
use openai_backend::domain::provider::ProviderData;
use openai_backend::domain::reply::Piece;
use openai_backend::domain::turn::{Fault, Usage};
use openai_backend::upstream::health::{BreakerSettings, HealthSettings};
use openai_backend::upstream::openai::OpenAi;
use openai_backend::upstream::openai::settings::OpenAiSettings;
use openai_backend::upstream::{Call, Upstream};
use secrecy::SecretString;

/// A key that must turn up nowhere.
const KEY: &str = "sk-canary-0123456789abcdef";

/// What the person says, and must turn up nowhere either.
const PROMPT: &str = "canary prompt: tell me about lighthouses";

fn settings(fake: &FakeOpenAi) -> OpenAiSettings {
    let base_url = fake.base_url().parse().expect("a fake has an address");
    OpenAiSettings::new(base_url, Some(SecretString::from(KEY)), "compatible")
}

/// Deadlines that a test can wait for.
fn hasty(fake: &FakeOpenAi) -> OpenAiSettings {
    let short = Duration::from_millis(150);
    OpenAiSettings {
        connect_timeout: short,
        first_byte_timeout: short,
        idle_timeout: short,
        plain_timeout: short,
        finish_grace: short,
        ..settings(fake)
    }
}

/// Without retries and without the breaker, so that one reply is one answer.
fn once(settings: OpenAiSettings) -> OpenAi {
    open(OpenAiSettings { max_retries: 0, ..no_breaker(settings) })
}

/// For faults that are many and are not about the breaker.
fn no_breaker(settings: OpenAiSettings) -> OpenAiSettings {
    let breaker = BreakerSettings { min_attempts: u32::MAX, ..BreakerSettings::default() };
    OpenAiSettings { health: HealthSettings { breaker, ..settings.health }, ..settings }
}

fn open(settings: OpenAiSettings) -> OpenAi {
    OpenAi::new(settings, Arc::new(SystemClock), Arc::new(SeededIds::new(7))).expect("settings that work")
}

fn plain() -> Call {
    let message = |role, text: &str| PromptMessage::new(role, text);
    Call {
        model: "gpt-3.5-turbo".to_owned(),
        messages: vec![message(Role::System, "Be kind."), message(Role::User, PROMPT)],
        temperature: Some(0.95),
        max_tokens: Some(1000),
        stream: false,
        options: None,
    }
}

fn streamed() -> Call {
    Call { stream: true, ..plain() }
}

/// An answer read to its end.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    deltas: usize,
    /// Thoughts, refusals and calls, a line each.
    more: Vec<String>,
    /// What the server wants back.
    kept: ProviderData,
    model: String,
    finish: Option<String>,
    usage: Option<Usage>,
    fault: Option<Fault>,
}

async fn ask(upstream: &OpenAi, call: Call) -> Heard {
    let mut heard = Heard::default();
    match upstream.call(call).await {
        Err(fault) => heard.fault = Some(fault),
        Ok(mut pieces) => {
            while let Some(batch) = pieces.next().await {
                match batch {
                    Ok(batch) => batch.into_iter().for_each(|piece| heard.add(piece)),
                    Err(fault) => heard.fault = Some(fault),
                }
            }
        }
    }
    heard
}

impl Heard {
    fn add(&mut self, piece: Piece) {
        assert!(self.fault.is_none(), "nothing follows a fault");
        match piece {
            Piece::Delta(Delta::Text { delta }) => {
                self.text.push_str(&delta);
                self.deltas += 1;
            }
            Piece::Delta(Delta::Refusal { delta }) => self.more.push(format!("refusal {delta}")),
            Piece::Delta(Delta::Reasoning { delta }) => self.more.push(format!("reasoning {delta}")),
            Piece::Delta(Delta::Call { index, call_id, name, .. }) => {
                self.more.push(format!("call {index} {call_id} {name}"));
            }
            Piece::Delta(Delta::Arguments { index, delta }) => self.more.push(format!("arguments {index} {delta}")),
            Piece::Delta(Delta::Provider { data }) => self.kept.add(*data),
            Piece::Model(model) => self.model = model,
            Piece::Finish(reason) => self.finish = Some(reason),
            Piece::Usage(usage) => self.usage = Some(usage),
            Piece::Compacted { .. } | Piece::Delta(Delta::Compaction { .. }) => panic!("an upstream compacts nothing"),
        }
    }

    #[track_caller]
    fn whole(self) -> Self {
        assert_eq!(self.fault, None);
        self
    }

    #[track_caller]
    fn fault(self) -> Fault {
        self.fault.unwrap_or_else(|| panic!("no fault, but {:?}", self.text))
    }
}
