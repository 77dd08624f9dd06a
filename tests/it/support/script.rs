//! A model that is told what to say for each call, by a function of the call; counts calls, and those that were left
//! before their end.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use fake_openai::Gate;
use futures::{StreamExt, stream};
use openai_backend::domain::delta::Delta;
use openai_backend::domain::dialogue::PromptMessage;
use openai_backend::domain::item::Role;
use openai_backend::domain::reply::Piece;
use openai_backend::domain::turn::{Fault, FaultKind, Usage};
use openai_backend::upstream::{Call, Pieces, Upstream, UpstreamInfo};
use tokio::sync::watch;

/// One thing that the model does in an answer.
#[derive(Clone)]
pub enum Act {
    Say(String),
    Wait(Gate),
    Fail(FaultKind),
    Count(Usage),
}

pub fn say(text: impl Into<String>) -> Act {
    Act::Say(text.into())
}

pub fn wait(gate: &Gate) -> Act {
    Act::Wait(gate.clone())
}

type Answers = dyn Fn(usize, &str) -> Vec<Act> + Send + Sync;

pub struct Script {
    answers: Box<Answers>,
    calls: watch::Sender<Vec<Call>>,
    left: Arc<AtomicUsize>,
}

/// What the last message of a call says.
pub fn prompt_of(call: &Call) -> Cow<'_, str> {
    let newest = call.messages.iter().rev().find(|message| message.role() == Role::User);
    newest.map_or(Cow::Borrowed(""), PromptMessage::text)
}

impl Script {
    /// `answers` is given the call's number, from 0, and its prompt.
    pub fn new(answers: impl Fn(usize, &str) -> Vec<Act> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answers: Box::new(answers), calls: watch::Sender::default(), left: Arc::default() })
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// How many calls had this prompt.
    pub fn calls_for(&self, prompt: &str) -> usize {
        self.calls.borrow().iter().filter(|call| prompt_of(call) == prompt).count()
    }

    /// How many calls were left before the end of their answer.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// Waits for so many calls in all.
    pub async fn called(&self, count: usize) {
        let mut calls = self.calls.subscribe();
        let called = calls.wait_for(|calls| calls.len() >= count);
        let called = tokio::time::timeout(Duration::from_secs(20), called).await;
        assert!(called.is_ok(), "the model was not called {count} times");
    }
}

/// Counts an answer that is dropped before its end.
struct Open(Arc<AtomicUsize>, bool);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

#[async_trait]
impl Upstream for Script {
    fn info(&self) -> UpstreamInfo {
        UpstreamInfo { kind: "compatible", location: "a script in this process".into() }
    }

    async fn call(&self, call: Call) -> Result<Pieces, Fault> {
        let mut number = 0;
        let prompt = prompt_of(&call).into_owned();
        self.calls.send_modify(|calls| {
            number = calls.len();
            calls.push(call);
        });
        let acts = (self.answers)(number, &prompt).into_iter().map(Some).chain([None]);
        let open = Open(self.left.clone(), false);
        Ok(stream::unfold((acts, open), |(mut acts, mut open)| async move {
            loop {
                let piece = match acts.next() {
                    Some(Some(Act::Wait(gate))) => {
                        gate.wait().await;
                        continue;
                    }
                    Some(Some(Act::Say(text))) => Ok(vec![Delta::text(text).into()]),
                    Some(Some(Act::Count(usage))) => Ok(vec![Piece::Usage(usage)]),
                    Some(Some(Act::Fail(kind))) => {
                        open.1 = true;
                        Err(Fault::new(kind, "the scripted model failed"))
                    }
                    Some(None) => {
                        open.1 = true;
                        Ok(vec![Piece::Finish("stop".into())])
                    }
                    None => return None,
                };
                return Some((piece, (acts, open)));
            }
        })
        .boxed())
    }

    async fn check(&self) -> Result<String, Fault> {
        Ok("the scripted model answers".into())
    }
}
