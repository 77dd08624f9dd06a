//! Requests that are passed on as the client made them: what goes in, and what comes back.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method, StatusCode};

use crate::domain::turn::{Fault, FaultKind, UpstreamWords};

/// A chat completion to be passed on.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The request's JSON.
    pub body: Bytes,
    /// The model that it asks for.
    pub model: String,
    /// Whether it asks for a stream.
    pub stream: bool,
    /// How many choices it asks for.
    pub choices: u32,
}

/// The answer to an [`Ask`].
pub enum Completed {
    /// One JSON object.
    Plain(Bytes),
    /// Server-sent events; whole ones only.
    Events(Chunks),
}

/// Bytes as they come. A fault is the last item. Dropping the stream closes the request.
pub type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Fault>> + Send>>;

/// A request that goes on as bytes.
pub struct Passage {
    /// Its method.
    pub method: Method,
    /// Its path below the upstream's address, with a slash in front, as it was encoded.
    pub path: String,
    /// Its query, as it was encoded.
    pub query: Option<String>,
    /// The model that it asks for, where that is known.
    pub model: Option<String>,
    /// The headers that may go upstream; neither credentials nor cookies.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Body,
    /// Its body's progress.
    pub upload: Upload,
}

/// How far a body has come on its way up: the answer is not waited for before it is there.
pub type Upload = tokio::sync::watch::Receiver<UploadState>;

/// See [`Upload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// So many bytes have gone up.
    Going(u64),
    /// All of them have.
    Whole,
    /// The client sent too much, too slowly, or not all.
    Failed,
}

/// The answer to a [`Passage`].
pub struct Passed {
    /// The upstream's status.
    pub status: StatusCode,
    /// All of the upstream's headers; the door chooses.
    pub headers: HeaderMap,
    /// The upstream's body.
    pub body: Chunks,
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// What the client is told.
    pub fault: Fault,
    /// The upstream's status, where there was one.
    pub status: Option<u16>,
    /// The upstream's own code, where it is a plain word.
    pub code: Option<String>,
    /// The parameter that the upstream refused, where it is a plain path.
    pub param: Option<String>,
}

impl Rejected {
    /// For what an upstream does not do at all.
    #[must_use]
    pub fn not_offered() -> Self {
        let fault = Fault::new(FaultKind::UpstreamRefused, "the model behind this server does not offer this");
        Self { status: Some(404), ..Self::from(fault) }
    }
}

impl From<Fault> for Rejected {
    fn from(fault: Fault) -> Self {
        let UpstreamWords { code, param } = fault.upstream.as_deref().cloned().unwrap_or_default();
        Self { fault, status: None, code, param }
    }
}
