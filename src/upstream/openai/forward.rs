//! What is passed on to the model's server: chat completions, the list of models, and everything else as bytes.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use memchr::memmem;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep_until, timeout};
use url::Url;

use super::attempt::{self, Failed, MAX_ERROR_BYTES, verdict_of};
use super::body::{AnswerBody, BodyKind};
use super::client::{CHAT_COMPLETIONS, OpenAi, breaker_open, log_failure};
use super::course::{Course, Names};
use super::faults::{cut, garbage, never_began, not_in_time, stalled};
use super::mend;
use super::refusal::{self, Private, Prompt, UpstreamError};
use super::relay::Relay;
use super::retry::asked_pause;
use super::streamed::Streamed;
use super::turned;
use super::wire::instructions;
use crate::domain::turn::{Fault, FaultKind};
use crate::upstream::forward::{Ask, Chunks, Completed, Passage, Passed, Rejected, Upload, UploadState};
use crate::upstream::health::Target;

impl OpenAi {
    pub(super) async fn forward_completion(&self, ask: Ask) -> Result<Completed, Rejected> {
        let deadline = self.deadline(ask.stream);
        let led = self.settings.takes_one_system().then(|| instructions::led(&ask.body)).flatten();
        let ask = Ask { body: led.unwrap_or(ask.body), ..ask };
        let target = Target { route: CHAT_COMPLETIONS, model: &ask.model };
        Ok(self.attempts(target, deadline, || self.completion(&ask, deadline)).await?)
    }

    /// One attempt, up to the first event or the whole answer.
    async fn completion(&self, ask: &Ask, deadline: Instant) -> Result<Completed, Failed> {
        let request = self.request(Method::POST, &self.chat_url, Some(ask.body.clone()));
        let private = Private { key: self.settings.api_key.as_ref(), prompt: Prompt::Body(&ask.body) };
        let response = attempt::send(&self.client, request, deadline, private, || self.clock.now_ms()).await?;
        let status = Some(response.status().as_u16());
        let completed = self.completed(ask, response, deadline).await;
        completed.map_err(|fault| Failed { status, ..Failed::from(fault) })
    }

    async fn completed(&self, ask: &Ask, response: Response, deadline: Instant) -> Result<Completed, Fault> {
        let late = if ask.stream { never_began } else { not_in_time };
        let mut body = AnswerBody::new(response);
        Ok(match (body.kind(ask.stream, deadline, late).await?, ask.stream) {
            (BodyKind::Else, _) => return Err(garbage("neither JSON nor an event stream")),
            (BodyKind::Json, stream) => {
                let whole = mend::plain(attempt::whole_body(body, deadline).await?, self.mint())?;
                match stream {
                    false => Completed::Plain(whole),
                    true => {
                        Completed::Events(stream::iter(turned::streamed(&whole, self.course(ask))?.map(Ok)).boxed())
                    }
                }
            }
            (BodyKind::Events, stream) => {
                let relay = Relay::new(self.course(ask));
                let events = Streamed::new(body, relay, self.deadlines(deadline)).begin().await?;
                match stream {
                    true => Completed::Events(Box::pin(events)),
                    false => Completed::Plain(mend::plain(
                        turned::whole(events, &ask.model, self.mint()).await?,
                        self.mint(),
                    )?),
                }
            }
        })
    }

    fn course(&self, ask: &Ask) -> Course {
        let names = Names::new(&ask.model, self.clock.now_ms().div_euclid(1000), self.mint());
        let older = memmem::find(&ask.body, br#""functions""#).is_some();
        Course::new(ask.choices, names, self.mint()).older(older)
    }

    pub(super) async fn list_models(&self) -> Result<Option<Bytes>, Rejected> {
        let deadline = self.deadline(false);
        let target = Target { route: "models", model: "" };
        let listed = self.attempts(target, deadline, || async {
            let request = self.request(Method::GET, &self.models_url, None);
            let private = Private { key: self.settings.api_key.as_ref(), prompt: Prompt::Unknown };
            let sent = attempt::send(&self.client, request, deadline, private, || self.clock.now_ms()).await;
            match sent {
                Ok(response) => Ok(Some(attempt::whole_body(AnswerBody::new(response), deadline).await?)),
                Err(Failed { status: Some(404 | 405 | 501), .. }) => Ok(None),
                Err(failed) => Err(failed),
            }
        });
        Ok(listed.await?)
    }

    /// One attempt and no more: the body is gone once it has been sent.
    pub(super) async fn pass_on(&self, passage: Passage) -> Result<Passed, Rejected> {
        let route = format!("{} {}", passage.method, kind_of(&passage.path));
        let mut request = Request::new(passage.method, self.address_of(&passage.path, passage.query.as_deref())?);
        *request.headers_mut() = passage.headers;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = Some(passage.body);
        let target = Target { route: &route, model: passage.model.as_deref().unwrap_or_default() };
        let mut leave = self.health.admit(target).await.map_err(breaker_open)?;
        let answered = self.answered(request, passage.upload).await;
        leave.tell(match &answered {
            Ok(response) => verdict_of(response.status()),
            Err(failed) => failed.verdict,
        });
        match answered {
            Ok(response) => self.passed(response).await,
            Err(failed) => {
                log_failure(&failed, 1);
                Err(failed.into())
            }
        }
    }

    /// An address below the server's, and nowhere else: what `..` and its like make of a path is not what was asked for.
    fn address_of(&self, path: &str, query: Option<&str>) -> Result<Url, Rejected> {
        let mut url = self.settings.base_url.clone();
        let whole = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        url.set_query(query);
        url.set_fragment(None);
        match url.path() == whole {
            true => Ok(url),
            false => Err(Fault::new(FaultKind::UpstreamRefused, "this address cannot be passed on").into()),
        }
    }

    /// Waits for the answer's head, from when the request's body is there, or does not go on.
    async fn answered(&self, request: Request, mut upload: Upload) -> Result<Response, Failed> {
        let patience = self.settings.plain_timeout;
        let mut sent = std::pin::pin!(self.client.execute(request));
        let mut deadline = Instant::now() + patience;
        loop {
            tokio::select! {
                sent = &mut sent => return sent.map_err(|error| attempt::no_response(&error, true)),
                Ok(()) = upload.changed() => deadline = Instant::now() + patience,
                () = sleep_until(deadline) => return Err(Failed::late()),
            }
            if *upload.borrow() == UploadState::Failed {
                return Err(Fault::new(FaultKind::UpstreamRefused, "the request's body did not come whole").into());
            }
        }
    }

    async fn passed(&self, response: Response) -> Result<Passed, Rejected> {
        let (status, headers) = (response.status(), response.headers().clone());
        let is_ours = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let leads_away = status.is_redirection() && status != StatusCode::NOT_MODIFIED;
        if is_ours || leads_away {
            return Err(self.hidden(status, &headers));
        }
        if status.is_client_error() || status.is_server_error() {
            let by = Instant::now() + self.settings.plain_timeout;
            let body = AnswerBody::new(response).whole(MAX_ERROR_BYTES, by, not_in_time).await?;
            // It is decoded, since it may quote the key.
            let mut headers = headers;
            if headers.remove(CONTENT_ENCODING).is_some() {
                headers.remove(CONTENT_LENGTH);
            }
            if self.quotes_key(&body) {
                return Err(self.hidden(status, &headers));
            }
            return Ok(Passed { status, headers, body: stream::iter([Ok(body)]).boxed() });
        }
        Ok(Passed { status, headers, body: bytes_of(response.into(), self.settings.idle_timeout) })
    }

    fn quotes_key(&self, body: &[u8]) -> bool {
        let key = self.settings.api_key.as_ref().map(ExposeSecret::expose_secret).filter(|key| !key.is_empty());
        key.is_some_and(|key| memmem::find(body, key.as_bytes()).is_some())
    }

    /// Our own words for an answer that says more than it should.
    fn hidden(&self, status: StatusCode, headers: &HeaderMap) -> Rejected {
        let private = Private { key: None, prompt: Prompt::Unknown };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let pause = asked_pause(header("retry-after-ms"), header(RETRY_AFTER.as_str()), self.clock.now_ms());
        let mut fault = refusal::fault(status.as_u16(), &UpstreamError::default(), private);
        fault.retry_after_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let failed = Failed { status: Some(status.as_u16()), ..Failed::from(fault) };
        log_failure(&failed, 1);
        failed.into()
    }
}

/// The kind of route that a path is of: its first two words, of which the second may not be an id.
fn kind_of(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    let first = path.find('/').unwrap_or(path.len());
    let second = path.get(first + 1..).unwrap_or_default();
    let second = second.find('/').map_or(path.len(), |end| first + 1 + end);
    // What these do for each of their second words is done by another model.
    match path.get(..first) {
        Some("audio" | "images") => path.get(..second).unwrap_or(path),
        Some(word) => word,
        None => path,
    }
}

/// A body as it comes; one that stands still ends in a fault.
fn bytes_of(body: reqwest::Body, idle: Duration) -> Chunks {
    let frames = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            let fault = match timeout(idle, body.frame()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => return Some((Ok(bytes), Some(body))),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(_))) => cut(),
                Err(_late) => stalled(),
            };
            return Some((Err(fault), None));
        }
    });
    frames.boxed()
}
