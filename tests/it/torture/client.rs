//! A client that wants answers, whatever happens, and remembers what it was told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;
use tokio::time::sleep;

use super::Counts;
use super::servers::Urls;
use crate::support::client::Client;
use crate::support::dice::Dice;
use crate::support::sse::{Event, EventStream};

/// A request is repeated, and a turn come back to, for so long.
const PATIENCE: Duration = Duration::from_secs(50);

/// How a question ended, as its client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Completed(String),
    /// `error`, for this reason.
    Failed(String),
    /// Never heard of again.
    Nothing,
}

/// A question and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub prompt: String,
    pub turn: Option<String>,
    /// What was shown of the answer's last attempt.
    pub shown: String,
    pub told: Told,
}

pub struct Person {
    pub client: Client,
    pub exchanges: Vec<Exchange>,
    pub wrong: Vec<String>,
    number: usize,
    dice: Dice,
    urls: Urls,
    counts: Arc<Counts>,
}

impl Person {
    /// With a session, from before the trouble begins: a first request whose answer is lost would leave one behind.
    pub async fn arrive(number: usize, dice: Dice, urls: Urls, counts: Arc<Counts>) -> Self {
        let url = {
            let urls = urls.lock().unwrap();
            urls[number % urls.len()].clone()
        };
        let client = Client::new(&url.expect("all are up in the beginning"));
        let prompt = format!("hello from {number}");
        let answer = client.say(&prompt).await.ok();
        let shown = answer["content"].as_str().unwrap().to_owned();
        let turn = Some(answer["turn"].as_str().unwrap().to_owned());
        let exchanges = vec![Exchange { prompt, turn, told: Told::Completed(shown.clone()), shown }];
        Self { client, exchanges, wrong: Vec::new(), number, dice, urls, counts }
    }

    pub async fn lives_until(mut self, until: Instant) -> Self {
        while Instant::now() < until {
            self.pause(1_200).await;
            let prompt = format!("p{}-{}", self.number, self.exchanges.len());
            let exchange = Exchange { prompt, turn: None, shown: String::new(), told: Told::Nothing };
            Counts::count(&self.counts.asked);
            let streamed = self.dice.throw(4) > 0;
            let exchange = if streamed { self.streams(exchange).await } else { self.asks(exchange).await };
            match exchange.told {
                Told::Completed(_) => Counts::count(&self.counts.completed),
                Told::Failed(_) => Counts::count(&self.counts.ended_otherwise),
                Told::Nothing => Counts::count(&self.counts.given_up),
            }
            self.exchanges.push(exchange);
        }
        self
    }

    async fn pause(&mut self, below_ms: u64) {
        sleep(Duration::from_millis(self.dice.throw(below_ms))).await;
    }

    /// The same browser at any server that is up.
    async fn anywhere(&mut self) -> Client {
        loop {
            let up: Vec<String> = self.urls.lock().unwrap().iter().flatten().cloned().collect();
            if !up.is_empty() {
                return self.client.at(&up[usize::try_from(self.dice.throw(up.len() as u64)).unwrap()]);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn request(&self, client: &Client, prompt: &str, streamed: bool) -> RequestBuilder {
        client.json("/chat", &json!({"prompt": prompt, "stream": streamed})).header("idempotency-key", prompt)
    }

    /// A plain question, until there is an answer.
    async fn asks(&mut self, mut exchange: Exchange) -> Exchange {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let client = self.anywhere().await;
            let answer = match self.request(&client, &exchange.prompt, false).send().await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    response.text().await.ok().map(|text| (status, text))
                }
                Err(_) => None,
            };
            let body = answer.map(|(status, text)| (status, serde_json::from_str(&text).unwrap_or(json!({}))));
            match body {
                Some((200, body)) => {
                    exchange.shown = body["content"].as_str().unwrap_or_default().to_owned();
                    exchange.turn = body["turn"].as_str().map(str::to_owned);
                    exchange.told = Told::Completed(exchange.shown.clone());
                    return exchange;
                }
                // Not begun, or not ended: to be asked again.
                Some((409 | 503, body)) if body["code"] != "server_stopped" => {}
                Some((status, body)) => {
                    exchange.told = Told::Failed(format!("{status} {}", body["code"]));
                    return exchange;
                }
                None => {}
            }
            Counts::count(&self.counts.repeated);
            self.pause(1_000).await;
        }
        exchange
    }

    /// A streamed one: dropped, resumed, sometimes cancelled.
    async fn streams(&mut self, mut exchange: Exchange) -> Exchange {
        let (since, mut after) = (Instant::now(), 0);
        while since.elapsed() < PATIENCE {
            let client = self.anywhere().await;
            let request = match &exchange.turn {
                None => self.request(&client, &exchange.prompt, true),
                Some(turn) => {
                    Counts::count(&self.counts.resumed);
                    client.request(Method::GET, &format!("/chat/turns/{turn}/events?after={after}"))
                }
            };
            match request.send().await {
                Ok(response) if is_stream(&response) => {
                    let mut stream = EventStream::new(response);
                    if self.reads(&mut stream, &mut exchange, &mut after).await {
                        return exchange;
                    }
                }
                Ok(response) => {
                    let status = response.status().as_u16();
                    let body = response.text().await.unwrap_or_default();
                    if let Some(told) = refused(status, &body) {
                        exchange.told = told;
                        return exchange;
                    }
                }
                Err(_) => {}
            }
            if exchange.turn.is_none() {
                Counts::count(&self.counts.repeated);
            }
            self.pause(700).await;
        }
        exchange
    }

    /// Reads for a while; whether the end has come.
    async fn reads(&mut self, stream: &mut EventStream, exchange: &mut Exchange, after: &mut u64) -> bool {
        loop {
            match self.dice.throw(40) {
                0 => return false,
                1 => self.pause(1_000).await,
                2 if exchange.turn.is_some() => self.cancels(exchange).await,
                _ => {}
            }
            let Some(event) = stream.next().await else { return false };
            let Some(id) = event.id else {
                // `reconnect`, or a reader's own trouble: neither is the turn's end.
                return false;
            };
            // A repeated request is told everything from the beginning.
            if event.name == "started" && id == 1 {
                (*after, exchange.shown) = (0, String::new());
            }
            if id != *after + 1 {
                self.wrong.push(format!("{}: event {id} after {after}", exchange.prompt));
            }
            *after = id;
            if self.takes(event, exchange) {
                return true;
            }
        }
    }

    fn takes(&mut self, event: Event, exchange: &mut Exchange) -> bool {
        let text = |name: &str| event.data[name].as_str().unwrap_or_default().to_owned();
        match event.name.as_str() {
            "started" => exchange.turn = Some(text("turn")),
            "restarted" => {
                Counts::count(&self.counts.restarted);
                exchange.shown.clear();
            }
            "delta" => exchange.shown.push_str(&text("content")),
            "completed" => {
                if text("content") != exchange.shown {
                    self.wrong.push(format!(
                        "{}: shown {:?}, told {:?}",
                        exchange.prompt,
                        exchange.shown,
                        text("content")
                    ));
                }
                exchange.told = Told::Completed(text("content"));
                return true;
            }
            "error" => {
                exchange.told = Told::Failed(text("code"));
                return true;
            }
            other => self.wrong.push(format!("{}: an event {other:?}", exchange.prompt)),
        }
        false
    }

    async fn cancels(&mut self, exchange: &Exchange) {
        let Some(turn) = &exchange.turn else { return };
        let client = self.anywhere().await;
        let answer = client.json(&format!("/chat/turns/{turn}/cancel"), &json!({})).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            Counts::count(&self.counts.cancelled);
        }
    }
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// What a refusal means for the question; `None` where it is to be tried again.
fn refused(status: u16, body: &str) -> Option<Told> {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    match status {
        409 | 503 if body["code"] != "server_stopped" => None,
        _ => Some(Told::Failed(format!("{status} {}", body["code"]))),
    }
}
