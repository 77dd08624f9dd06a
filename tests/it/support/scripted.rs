//! A model in this process that does as it is told: says words, waits at gates, fails, panics.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use fake_openai::Gate;
use futures::{StreamExt, stream};
use openai_backend::domain::delta::Delta;
use openai_backend::domain::reply::Piece;
use openai_backend::domain::turn::{Fault, FaultKind};
use openai_backend::upstream::{Call, Pieces, Upstream, UpstreamInfo};

/// One thing that the model does in an answer.
#[derive(Clone)]
pub enum Act {
    Say(&'static str),
    Wait(Gate),
    Fail(FaultKind),
    Panic(&'static str),
}

/// Plays one list of acts a call; after the last list it says `ok`.
#[derive(Default)]
pub struct Scripted {
    script: Mutex<VecDeque<Vec<Act>>>,
    calls: Mutex<Vec<Call>>,
    panics_at_once: Mutex<bool>,
}

impl Scripted {
    pub fn new(script: impl IntoIterator<Item = Vec<Act>>) -> Self {
        Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() }
    }

    /// Every call panics before there is any answer.
    pub fn panicking() -> Self {
        Self { panics_at_once: Mutex::new(true), ..Self::default() }
    }

    pub fn recover(&self) {
        *self.panics_at_once.lock().unwrap() = false;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Upstream for Scripted {
    fn info(&self) -> UpstreamInfo {
        UpstreamInfo { kind: "compatible", location: "scripted, in process".into() }
    }

    async fn call(&self, call: Call) -> Result<Pieces, Fault> {
        self.calls.lock().unwrap().push(call);
        let panics = *self.panics_at_once.lock().unwrap();
        assert!(!panics, "the scripted model panics");
        let acts = self.script.lock().unwrap().pop_front().unwrap_or_else(|| vec![Act::Say("ok")]);
        let pieces = stream::iter(acts).filter_map(|act| async move {
            match act {
                Act::Say(text) => Some(Ok(vec![Delta::text(text).into()])),
                Act::Wait(gate) => {
                    gate.wait().await;
                    None
                }
                Act::Fail(kind) => Some(Err(Fault::new(kind, "the scripted model failed"))),
                Act::Panic(with) => panic!("{with}"),
            }
        });
        Ok(pieces.chain(stream::iter([Ok(vec![Piece::Finish("stop".into())])])).boxed())
    }

    async fn check(&self) -> Result<String, Fault> {
        Ok("the scripted model answers".into())
    }
}
