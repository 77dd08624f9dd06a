//! `--check`: whether the model's server answers at the address of the settings, and which address it may have instead.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use tokio::time::Instant;
use url::Url;

use super::attempt::{self, Failed};
use super::body::{AnswerBody, BodyKind};
use super::client::{OpenAi, below, is_loopback, log_failure};
use super::faults::not_in_time;
use super::refusal::{Private, Prompt};
use crate::domain::turn::{Fault, FaultKind};

/// For all of it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// What people put behind the address that the routes are below.
const ROUTES: [&str; 7] =
    ["/chat/completions", "/completions", "/responses", "/embeddings", "/models", "/chat", "/openapi.json"];

/// What there was where the list of models should be.
enum Found {
    Models,
    /// The server answers, and has nothing there: the status.
    Nothing(u16),
}

impl OpenAi {
    /// A few cheap requests: one where all is well.
    pub(super) async fn check_server(&self) -> Result<String, Fault> {
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let status = match self.models_at(&self.models_url, deadline).await {
            Ok(Found::Models) if self.authorization.is_some() => {
                return Ok("the model's server answers and takes the key".to_owned());
            }
            Ok(Found::Models) => return Ok("the model's server answers".to_owned()),
            Ok(Found::Nothing(status)) => status,
            Err(failed) => return Err(self.told(failed)),
        };
        for base in others(&self.settings.base_url) {
            let Ok(models) = below(&base, &["models"]) else { continue };
            if matches!(self.models_at(&models, deadline).await, Ok(Found::Models)) {
                let message = format!("there is nothing at this address ({status}): set OPENAI_BASE_URL to {base}");
                return Err(Fault::new(FaultKind::UpstreamMisaddressed, message));
            }
        }
        self.has_chat(deadline).await?;
        Ok("the model's server can be reached; it has no list of models".to_owned())
    }

    async fn models_at(&self, url: &Url, deadline: Instant) -> Result<Found, Failed> {
        let request = self.request(Method::GET, url, None);
        let private = Private { key: self.settings.api_key.as_ref(), prompt: Prompt::Messages(&[]) };
        match attempt::send(&self.client, request, deadline, private, || self.clock.now_ms()).await {
            // A site of another kind answers every address with its page.
            Ok(response) => match AnswerBody::new(response).kind(false, deadline, not_in_time).await? {
                BodyKind::Json => Ok(Found::Models),
                BodyKind::Events | BodyKind::Else => Ok(Found::Nothing(200)),
            },
            Err(Failed { status: Some(status @ (300..400 | 404 | 405 | 501)), .. }) => Ok(Found::Nothing(status)),
            Err(failed) => Err(failed),
        }
    }

    /// Asks for a completion of nothing, which a server with completions refuses for what is missing.
    async fn has_chat(&self, deadline: Instant) -> Result<(), Fault> {
        let request = self.request(Method::POST, &self.chat_url, Some(Bytes::from_static(b"{}")));
        let private = Private { key: self.settings.api_key.as_ref(), prompt: Prompt::Messages(&[]) };
        match attempt::send(&self.client, request, deadline, private, || self.clock.now_ms()).await {
            Err(failed) if failed.fault.kind == FaultKind::UpstreamMisaddressed => {
                let mut fault = self.told(failed);
                fault
                    .message
                    .push_str(": OPENAI_BASE_URL is what comes before /chat/completions, and often ends in /v1");
                Err(fault)
            }
            _ => Ok(()),
        }
    }

    /// What the operator is told, with the cause.
    fn told(&self, failed: Failed) -> Fault {
        log_failure(&failed, 1);
        let mut fault = failed.fault;
        if let Some(cause) = failed.cause {
            fault.message = format!("{}: {cause}", fault.message);
            if let Some(variable) = self.settings.proxy.filter(|_| !is_loopback(&self.settings.base_url)) {
                fault.message.push_str(&format!(" (by the proxy that {variable} names, unless NO_PROXY excludes it)"));
            }
        }
        fault
    }
}

/// Other addresses at the same server, the likeliest first.
fn others(base: &Url) -> Vec<Url> {
    let mut path = base.path().to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    let mut path = path.trim_end_matches('/');
    while let Some(shorter) = ROUTES.iter().find_map(|route| path.strip_suffix(route)) {
        path = shorter;
    }
    let without_version = path.strip_suffix("/v1").unwrap_or(path);
    let paths = [path.to_owned(), format!("{path}/v1"), without_version.to_owned(), "/v1".to_owned()];
    let mut urls: Vec<Url> = Vec::new();
    for path in paths {
        let mut url = base.clone();
        url.set_path(&path);
        let is_new = url.path().trim_end_matches('/') != base.path().trim_end_matches('/') && !urls.contains(&url);
        if is_new {
            urls.push(url);
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_leads_to_the_address() {
        for (wrong, right) in [
            ("http://localhost:11434", "http://localhost:11434/v1"),
            ("http://localhost:11434/", "http://localhost:11434/v1"),
            ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
            ("http://localhost:8000//v1", "http://localhost:8000/v1"),
            ("http://localhost:8000//v1//models/", "http://localhost:8000/v1"),
            ("http://localhost:8000/v1/v1", "http://localhost:8000/v1"),
            ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
            ("http://localhost:8000/v1", "http://localhost:8000/"),
        ] {
            let others = others(&wrong.parse().unwrap());
            assert!(others.iter().any(|url| url.as_str() == right), "{wrong}: {others:?}");
            assert!(others.len() <= 4 && others.iter().all(|url| url.as_str() != wrong), "{wrong}: {others:?}");
        }
    }
}
