//! The built-in model for a first try: offline, free, and honest about being a demo.

mod forward;

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};

use super::forward::{Ask, Completed, Rejected};
use super::{Call, Pieces, Upstream, UpstreamInfo};
use crate::domain::delta::Delta;
use crate::domain::dialogue::PromptMessage;
use crate::domain::item::Role;
use crate::domain::model;
use crate::domain::reply::Piece;
use crate::domain::tokens::REQUEST_OVERHEAD;
use crate::domain::turn::{Fault, Usage};
use crate::tasks::off_runtime;

/// What the demo calls itself in every answer.
pub const DEMO_MODEL: &str = "demo";

/// Says what it was told, so that a newcomer sees the memory work before there is a key.
#[derive(Debug, Clone)]
pub struct Demo {
    word_delay: Duration,
}

impl Demo {
    /// Streams a word every `word_delay`.
    #[must_use]
    pub fn new(word_delay: Duration) -> Self {
        Self { word_delay }
    }
}

#[async_trait]
impl Upstream for Demo {
    fn info(&self) -> UpstreamInfo {
        UpstreamInfo { kind: "demo", location: "built in, offline".into() }
    }

    async fn call(&self, call: Call) -> Result<Pieces, Fault> {
        let stream = call.stream;
        let (answer, usage) = answered(call).await;
        let words: Vec<String> = match stream {
            true => answer.split_inclusive(' ').map(str::to_owned).collect(),
            false => vec![answer],
        };
        let delay = if stream { self.word_delay } else { Duration::ZERO };
        let spoken = stream::iter(words).then(move |word| async move {
            tokio::time::sleep(delay).await;
            Ok(vec![Delta::text(word).into()])
        });
        let opening = vec![Piece::Model(DEMO_MODEL.into())];
        let closing = vec![Piece::Usage(usage), Piece::Finish("stop".into())];
        Ok(stream::iter([Ok(opening)]).chain(spoken).chain(stream::iter([Ok(closing)])).boxed())
    }

    async fn complete(&self, ask: Ask) -> Result<Completed, Rejected> {
        self.completed(&ask).await
    }

    async fn models(&self) -> Result<Option<Bytes>, Rejected> {
        Ok(Some(Bytes::from_static(forward::MODELS.as_bytes())))
    }

    async fn check(&self) -> Result<String, Fault> {
        Ok("the demo model answers".into())
    }
}

fn answer(call: &Call) -> String {
    let from_user = call.messages.iter().filter(|message| message.role() == Role::User);
    let said: Vec<Cow<'_, str>> = from_user.map(PromptMessage::text).collect();
    let now = said.last().map_or("", |text| text);
    let turn = said.len();
    let memory = match said.len().checked_sub(2) {
        None => "This is the first thing you have said to me.".to_owned(),
        Some(last) => format!(
            "This is turn {turn} that I can see. Before this you said \"{}\", and it all began with \"{}\".",
            excerpt(&said[last]),
            excerpt(&said[0])
        ),
    };
    format!(
        "[demo] You said: \"{}\". {memory} I am the built-in demo model, with no language model behind me: set \
         OPENAI_API_KEY, or OPENAI_BASE_URL, and restart to talk to a real one.",
        excerpt(now)
    )
}

/// Enough of a text to recognise it.
fn excerpt(text: &str) -> String {
    const CHARS: usize = 80;
    match text.char_indices().nth(CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// The answer and what it costs; a long prompt's tokens are counted off the runtime.
async fn answered(call: Call) -> (String, Usage) {
    let size = call.messages.iter().map(|message| message.text().len()).sum();
    off_runtime(size, move || {
        let answer = answer(&call);
        let usage = usage(&call, &answer);
        (answer, usage)
    })
    .await
}

fn usage(call: &Call, answer: &str) -> Usage {
    let encoding = model::profile(DEMO_MODEL).encoding;
    let prompt: u32 = call.messages.iter().map(|message| encoding.count_message(&message.text())).sum();
    Usage {
        input_tokens: u64::from(prompt + REQUEST_OVERHEAD),
        output_tokens: u64::from(encoding.count(answer)),
        ..Usage::default()
    }
}
