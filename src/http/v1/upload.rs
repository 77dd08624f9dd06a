//! A body on its way through: passed on as it comes, within its size, while it keeps coming.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use futures::stream;
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::http::error::ApiError;
use crate::metering::{Upload, UploadState};

/// Why a body did not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    TooLarge(u64),
    Slow,
    Cut,
}

/// What went wrong with a body, once something has.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<OnceLock<Trouble>>);

impl Watched {
    /// What the client is told, where its body is to blame.
    #[must_use]
    pub fn failure(&self) -> Option<ApiError> {
        self.0.get().map(|trouble| match trouble {
            Trouble::TooLarge(most) => too_large(*most),
            Trouble::Slow => {
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body took too long to arrive.")
            }
            Trouble::Cut => ApiError::invalid("The body ended before it was whole."),
        })
    }
}

fn too_large(most: u64) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large.")
        .details(format!("At most {most} bytes are passed on (MAX_UPLOAD_BYTES)."))
}

/// The body for the upstream, its progress, and its fate.
///
/// # Errors
/// When the client announces more than may come.
pub fn upload(body: Body, most: u64, stall: Duration) -> Result<(reqwest::Body, Upload, Watched), ApiError> {
    if body.size_hint().lower() > most {
        return Err(too_large(most));
    }
    let watched = Watched::default();
    if body.is_end_stream() {
        let (_, upload) = watch::channel(UploadState::Whole);
        return Ok((reqwest::Body::default(), upload, watched));
    }
    let (progress, upload) = watch::channel(UploadState::Going(0));
    let coming = Coming { body, most, stall, sent: 0, progress, watched: watched.clone() };
    let chunks = stream::unfold(Some(coming), |coming| async {
        let mut coming = coming?;
        match coming.next().await {
            Ok(None) => {
                coming.progress.send_replace(UploadState::Whole);
                None
            }
            Ok(Some(bytes)) => Some((Ok(bytes), Some(coming))),
            Err(trouble) => {
                // The first trouble is the cause of the others.
                let _ = coming.watched.0.set(trouble);
                coming.progress.send_replace(UploadState::Failed);
                Some((Err(std::io::Error::other("the request's body did not come whole")), None))
            }
        }
    });
    Ok((reqwest::Body::wrap_stream(chunks), upload, watched))
}

struct Coming {
    body: Body,
    most: u64,
    stall: Duration,
    sent: u64,
    progress: watch::Sender<UploadState>,
    watched: Watched,
}

impl Coming {
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = match timeout(self.stall, self.body.frame()).await {
                Err(_late) => return Err(Trouble::Slow),
                Ok(Some(Err(_))) => return Err(Trouble::Cut),
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.sent += bytes.len() as u64;
            if self.sent > self.most {
                return Err(Trouble::TooLarge(self.most));
            }
            self.progress.send_replace(UploadState::Going(self.sent));
            return Ok(Some(bytes));
        }
    }
}
