//! A model of chance: how much it says, how fast, and whether it gets to its end.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use openai_backend::domain::delta::Delta;
use openai_backend::domain::reply::Piece;
use openai_backend::domain::turn::{Fault, FaultKind, Usage};
use openai_backend::upstream::{Call, Pieces, Upstream, UpstreamInfo};
use tokio::time::sleep;

use crate::support::dice::Dice;
use crate::support::script::prompt_of;

/// What one call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    pub ends: bool,
}

pub struct Chance {
    dice: Mutex<Dice>,
    calls: Mutex<BTreeMap<String, Vec<Said>>>,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { dice: Mutex::new(Dice::new(seed)), calls: Mutex::default() }
    }

    /// The answers to this prompt's calls.
    pub fn said(&self, prompt: &str) -> Vec<Said> {
        self.calls.lock().unwrap().get(prompt).cloned().unwrap_or_default()
    }

    fn throw(&self, below: u64) -> u64 {
        self.dice.lock().unwrap().throw(below)
    }
}

#[async_trait]
impl Upstream for Chance {
    fn info(&self) -> UpstreamInfo {
        UpstreamInfo { kind: "compatible", location: "chance".into() }
    }

    async fn call(&self, call: Call) -> Result<Pieces, Fault> {
        let prompt = prompt_of(&call).into_owned();
        let fails_at = match self.throw(10) {
            0 => Some(0),
            1 => Some(self.throw(8)),
            _ => None,
        };
        let words = fails_at.unwrap_or_else(|| self.throw(16));
        let number = self.said(&prompt).len();
        let (mut text, mut acts) = (String::new(), Vec::new());
        for n in 0..words {
            let pause = match self.throw(12) {
                0 | 1 => self.throw(5_000),
                2..5 => self.throw(200),
                _ => 0,
            };
            let word = format!("{prompt}/{number}.{n} ");
            text.push_str(&word);
            acts.push((pause, Ok(vec![Delta::text(word).into()])));
        }
        let said = Said { text, ends: fails_at.is_none() };
        self.calls.lock().unwrap().entry(prompt).or_default().push(said);
        let fault = || Fault::new(FaultKind::UpstreamCut, "chance had it so");
        let end = match fails_at {
            Some(_) => Err(fault()),
            None if self.throw(2) == 0 => {
                let usage = Usage { input_tokens: 10, output_tokens: words, ..Usage::default() };
                Ok(vec![Piece::Usage(usage), Piece::Finish("stop".into())])
            }
            None => Ok(vec![Piece::Finish("stop".into())]),
        };
        acts.push((self.throw(50), end));
        sleep(Duration::from_millis(self.throw(300))).await;
        if fails_at == Some(0) {
            return Err(fault());
        }
        let pieces = stream::iter(acts).then(|(pause, piece)| async move {
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
            piece
        });
        Ok(pieces.boxed())
    }

    async fn check(&self) -> Result<String, Fault> {
        Ok("chance answers".into())
    }
}
