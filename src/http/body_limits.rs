//! How large a JSON body may be at each door, and how much all of them may have at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::error::{ApiError, is_sdk_path};
use crate::config::ServerLimits;

/// The largest body of a door, and the setting that says so.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit {
    /// In bytes.
    pub bytes: usize,
    setting: &'static str,
}

impl BodyLimit {
    fn too_large(self) -> ApiError {
        let Self { bytes, setting } = self;
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large.")
            .details(format!("At most {bytes} bytes are read ({setting})."))
    }
}

/// How large a body may be, and all bodies together.
pub struct BodyLimits {
    chat: BodyLimit,
    /// Of `/v1`.
    pub v1: BodyLimit,
    /// What all large bodies may have, in units of [`UNIT`], from before they are read until the request is done with them.
    room: Arc<Semaphore>,
    /// How long a client may take to send its body, the wait for its room included.
    pub timeout: Duration,
}

/// The room for bodies is given out in so many bytes. A body within one unit needs none of it: there are never more of them
/// than connections.
const UNIT: usize = 16 * 1024;

impl BodyLimits {
    /// As the settings say.
    #[must_use]
    pub fn new(limits: &ServerLimits) -> Self {
        let v1 = BodyLimit { bytes: limits.max_body_bytes, setting: "MAX_BODY_BYTES" };
        let chat = BodyLimit { bytes: limits.max_chat_body_bytes, setting: "MAX_CHAT_BODY_BYTES" };
        let room = Arc::new(Semaphore::new(units(limits.max_bodies_bytes) as usize));
        Self { chat: if chat.bytes < v1.bytes { chat } else { v1 }, v1, room, timeout: limits.body_timeout }
    }

    /// The body of a request.
    ///
    /// # Errors
    /// When it is too large, or too slow, or there is no room for it.
    pub async fn read(&self, request: Request) -> Result<Bytes, ApiError> {
        let limit = if is_sdk_path(request.uri().path()) { self.v1 } else { self.chat };
        self.read_within(limit, request.into_body()).await
    }

    /// A body that may be as large as `limit` says.
    ///
    /// # Errors
    /// As [`BodyLimits::read`].
    pub async fn read_within(&self, limit: BodyLimit, body: Body) -> Result<Bytes, ApiError> {
        // A client that says how much it will send is refused before it has sent it.
        if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > limit.bytes {
            return Err(limit.too_large());
        }
        let deadline = Instant::now() + self.timeout;
        let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        let room = self.room_for(length.unwrap_or(limit.bytes), deadline).await?;
        match timeout_at(deadline, Limited::new(body, limit.bytes).collect()).await {
            Ok(Ok(collected)) => Ok(counted(collected.to_bytes(), room)),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(limit.too_large()),
            Ok(Err(_)) => Err(ApiError::invalid("The body ended before it was whole.")),
            Err(_) => {
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The body took too long to arrive."))
            }
        }
    }

    /// Waits for room: for as much as the client says, or for the largest body where it says nothing. Unread, a body waits
    /// with its client.
    async fn room_for(&self, length: usize, deadline: Instant) -> Result<Option<Room>, ApiError> {
        if length <= UNIT {
            return Ok(None);
        }
        match timeout_at(deadline, self.room.clone().acquire_many_owned(units(length))).await {
            Ok(Ok(room)) => Ok(Some(room)),
            _ => Err(no_room()),
        }
    }

    /// Waits for room for a message of a socket. The message itself is in memory already; what is made of it takes more.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn room_of_message(&self, length: usize) -> Result<Option<Room>, ApiError> {
        self.room_for(length, Instant::now() + self.timeout).await
    }

    /// The same without a wait.
    ///
    /// # Errors
    /// When there is none.
    pub fn room_of_message_now(&self, length: usize) -> Result<Option<Room>, ApiError> {
        if length <= UNIT {
            return Ok(None);
        }
        self.room.clone().try_acquire_many_owned(units(length)).map(Some).map_err(|_| no_room())
    }
}

fn no_room() -> ApiError {
    let text = "The server is reading too many large bodies.";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_overloaded", text).retry_after(Duration::from_secs(1))
}

/// A part of the room for bodies; it is free again when this is dropped.
pub type Room = OwnedSemaphorePermit;

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// The bytes, with their room for as long as there are any of them.
fn counted(bytes: Bytes, room: Option<Room>) -> Bytes {
    struct Counted {
        bytes: Bytes,
        _room: Room,
    }

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    let Some(mut room) = room else { return bytes };
    // What was kept for more than came is free again.
    let surplus = room.num_permits().saturating_sub(units(bytes.len()) as usize);
    drop(room.split(surplus));
    Bytes::from_owner(Counted { bytes, _room: room })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize) -> BodyLimits {
        let v1 = BodyLimit { bytes: 4 * UNIT, setting: "MAX_BODY_BYTES" };
        let chat = BodyLimit { bytes: 2 * UNIT, setting: "MAX_CHAT_BODY_BYTES" };
        BodyLimits { chat, v1, room: Arc::new(Semaphore::new(all)), timeout: Duration::from_secs(30) }
    }

    fn request(path: &str, body: Body) -> Request {
        Request::post(path).body(body).unwrap()
    }

    fn of(length: usize) -> Body {
        Body::from(vec![b' '; length])
    }

    fn of_unknown(length: usize) -> Body {
        Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; length]))]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_waits_for_its_room_until_another_is_done_with() {
        let limits = limits(4);
        let first = limits.read(request("/v1/responses", of(3 * UNIT))).await.unwrap();
        let late = limits.read(request("/v1/responses", of(2 * UNIT))).await.unwrap_err();
        assert_eq!((late.status, late.body.code.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "server_overloaded"));
        limits.read(request("/v1/responses", of(UNIT))).await.expect("a small one needs no room");
        let part = first.slice(1..2);
        let (waiting, ()) = tokio::join!(limits.read(request("/v1/responses", of_unknown(2 * UNIT))), async {
            tokio::task::yield_now().await;
            drop((first, part));
        });
        let waiting = waiting.unwrap();
        assert_eq!((waiting.len(), limits.room.available_permits()), (2 * UNIT, 2), "the surplus is given back");
        drop(waiting);
        assert_eq!(limits.room.available_permits(), 4);
    }

    #[tokio::test]
    async fn each_door_has_its_limit_and_names_the_setting() {
        let limits = limits(100);
        for (path, most, setting) in [("/chat", 2, "MAX_CHAT_BODY_BYTES"), ("/v1/responses", 4, "MAX_BODY_BYTES")] {
            assert_eq!(limits.read(request(path, of(most * UNIT))).await.unwrap().len(), most * UNIT);
            for body in [of(most * UNIT + 1), of_unknown(most * UNIT + 1)] {
                let refused = limits.read(request(path, body)).await.unwrap_err();
                assert!(format!("{refused:?}").contains(setting), "{refused:?}");
            }
        }
        assert_eq!(limits.room.available_permits(), 100);
    }
}
