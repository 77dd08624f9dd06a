//! One request to the model's server: sent, and what came of it if not an answer.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Request, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::body::AnswerBody;
use super::faults::{cause, garbage, never_began, not_in_time};
use super::fresh;
use super::refusal::{self, Private, UpstreamError};
use super::retry::{Again, asked_pause};
use super::sse::MAX_EVENT_BYTES;
use crate::domain::turn::{Fault, FaultKind, UpstreamWords};
use crate::upstream::forward::Rejected;
use crate::upstream::health::Verdict;

/// The most bytes of a plain answer: as many as one event of a streamed one, since either may hold a picture.
pub const MAX_PLAIN_BYTES: usize = MAX_EVENT_BYTES;

/// The most bytes of an error that are looked at, and the longest they are waited for.
pub(super) const MAX_ERROR_BYTES: usize = 64 * 1024;
const ERROR_TIMEOUT: Duration = Duration::from_secs(2);

/// An attempt that failed before its answer began.
#[derive(Debug)]
pub struct Failed {
    /// What the client is told if this was the last attempt.
    pub fault: Fault,
    /// Whether another attempt may do better.
    pub again: Again,
    /// What it says of the model's server.
    pub verdict: Verdict,
    /// The status, where one came.
    pub status: Option<u16>,
    /// The upstream's own code, where it is a plain word.
    pub code: Option<String>,
    /// Why no answer came, in the system's own words, for the operator.
    pub cause: Option<String>,
    /// The parameter that the upstream refused, where it is a plain path.
    pub param: Option<String>,
}

impl Failed {
    fn new(kind: FaultKind, message: &str, again: Again, verdict: Verdict) -> Self {
        Self { fault: Fault::new(kind, message), again, verdict, status: None, code: None, cause: None, param: None }
    }

    /// Nothing came before the deadline.
    #[must_use]
    pub fn late() -> Self {
        never_began().into()
    }
}

/// Sends a request; gives the response when its status says that an answer follows.
///
/// # Errors
/// When none follows.
pub async fn send(
    client: &Client,
    request: Request,
    deadline: Instant,
    private: Private<'_>,
    now_ms: impl Fn() -> i64,
) -> Result<Response, Failed> {
    let sent = timeout_at(deadline, fresh::watch(client.execute(request))).await;
    let response = match sent {
        Err(_late) => return Err(Failed::late()),
        Ok((Err(error), is_fresh)) => return Err(no_response(&error, is_fresh)),
        Ok((Ok(response), _)) => response,
    };
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    Err(refused(response, deadline, private, now_ms()).await)
}

pub(super) async fn refused(response: Response, deadline: Instant, private: Private<'_>, now_ms: i64) -> Failed {
    let (status, verdict) = (response.status().as_u16(), verdict_of(response.status()));
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let asked = asked_pause(header("retry-after-ms"), header(RETRY_AFTER.as_str()), now_ms);
    let forbidden = header("x-should-retry") == Some("false");
    if response.status().is_success() {
        return Failed { status: Some(status), ..Failed::from(garbage("no answer")) };
    }
    let by = deadline.min(Instant::now() + ERROR_TIMEOUT);
    let body = AnswerBody::new(response).whole(MAX_ERROR_BYTES, by, not_in_time).await.unwrap_or_default();
    let told = UpstreamError::read(&body);
    let mut fault = refusal::fault(status, &told, private);
    fault.retry_after_ms = asked.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    let again = match fault.kind {
        _ if forbidden => Again::Never,
        FaultKind::RateLimited => Again::Later(asked),
        // What is not down says that it cannot, and would say so again.
        FaultKind::UpstreamUnavailable | FaultKind::UpstreamTimeout if verdict != Verdict::Refused => {
            Again::Later(asked)
        }
        _ => Again::Never,
    };
    let code = told.plain_code().map(str::to_owned);
    let param = told.plain_param(private.prompt).map(str::to_owned);
    fault.upstream = Some(Box::new(UpstreamWords { code: code.clone(), param: param.clone() }));
    Failed { fault, again, verdict, status: Some(status), code, cause: None, param }
}

/// What an answer's beginning, or the lack of it, says of the model's server.
pub(super) fn verdict<T>(outcome: &Result<T, Failed>) -> Verdict {
    outcome.as_ref().map_or_else(|failed| failed.verdict, |_| Verdict::Answered)
}

/// What a status says of the model's server.
pub(super) fn verdict_of(status: StatusCode) -> Verdict {
    match status {
        // It does not have the function, and never will.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Verdict::Refused,
        StatusCode::REQUEST_TIMEOUT => Verdict::Down,
        _ if status.is_server_error() => Verdict::Down,
        _ if status.is_success() => Verdict::Answered,
        _ => Verdict::Refused,
    }
}

/// What went wrong in an answer that had come as far as its status.
impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        let verdict = match fault.kind {
            FaultKind::UpstreamCut | FaultKind::UpstreamUnavailable => Verdict::Down,
            FaultKind::UpstreamTimeout => Verdict::Late,
            // An answer that is too large, or of another type than this server takes: the model's server does answer.
            _ => Verdict::Refused,
        };
        Self { fault, again: Again::Never, verdict, status: None, code: None, cause: None, param: None }
    }
}

impl From<Failed> for Rejected {
    fn from(failed: Failed) -> Self {
        let Failed { fault, status, code, param, .. } = failed;
        Self { fault, status, code, param }
    }
}

/// No byte of a response came, or none that HTTP has.
pub(super) fn no_response(error: &reqwest::Error, is_fresh: bool) -> Failed {
    // What a request cannot be made of may be in the words of the last kind.
    let cause = if error.is_builder() { None } else { cause(error) };
    Failed { cause, ..without_response(error, is_fresh) }
}

fn without_response(error: &reqwest::Error, is_fresh: bool) -> Failed {
    use FaultKind::{UpstreamTimeout, UpstreamUnavailable};
    if error.is_connect() {
        return match error.is_timeout() {
            true => Failed::new(
                UpstreamTimeout,
                "the model's server did not accept a connection in time",
                Again::Later(None),
                Verdict::Late,
            ),
            false => Failed::new(
                UpstreamUnavailable,
                "the model's server cannot be reached",
                Again::Later(None),
                Verdict::Down,
            ),
        };
    }
    if error.is_builder() {
        let message = "the request to the model's server could not be made";
        return Failed::new(FaultKind::Internal, message, Again::Never, Verdict::Refused);
    }
    if is_garbled(error) {
        return Failed { verdict: Verdict::Down, ..garbage("what is not HTTP").into() };
    }
    // A pooled connection may have been closed for having been idle.
    let (again, verdict) = match is_fresh {
        true => (Again::Later(None), Verdict::Down),
        false => (Again::AtOnce, Verdict::Refused),
    };
    Failed::new(UpstreamUnavailable, "the model's server closed the connection without an answer", again, verdict)
}

fn is_garbled(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads a plain answer's body.
///
/// # Errors
/// When it does not end by itself in time and within [`MAX_PLAIN_BYTES`], or cannot be decoded.
pub async fn whole_body(body: AnswerBody, deadline: Instant) -> Result<Bytes, Fault> {
    body.whole(MAX_PLAIN_BYTES, deadline, not_in_time).await
}
