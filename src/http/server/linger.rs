//! Closes a connection so that the last answer arrives.
//!
//! An answer may go out while its request still comes in: a body that is too large, a key that is wrong. A connection that is
//! closed then is reset by the next bytes of the client, which loses the answer by that, or never looks for it, because its
//! sending has failed. So only this side is closed at first, and what the client still sends is read and thrown away, until
//! it ends or a limit is reached.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// The longest that closing takes.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the client may send nothing meanwhile.
const SILENCE: Duration = Duration::from_secs(2);

/// The most that is thrown away, in bytes.
const MOST: usize = 32 * 1024 * 1024;

/// How one connection is closed.
pub(super) struct Linger {
    closing: CancellationToken,
    client_has_ended: bool,
    longest: Duration,
    rest: Option<Rest>,
}

/// What is still taken in of the client's, once this side is closed.
struct Rest {
    bytes: usize,
    until: Instant,
    silence: Pin<Box<Sleep>>,
}

impl Linger {
    /// Waits for no client once `closing` fires.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { closing, client_has_ended: false, longest: LONGEST, rest: None }
    }

    /// The client has sent all that it will ever send.
    pub(super) fn client_has_ended(&mut self) {
        self.client_has_ended = true;
    }

    /// The client has had its time already: only what it sends at once is still taken in.
    pub(super) fn shorten(&mut self) {
        self.longest = SILENCE;
    }

    /// Closes `io`; to be called until it is done.
    pub(super) fn poll_close<T>(&mut self, io: &mut T, context: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            None => {
                ready!(Pin::new(&mut *io).poll_shutdown(context))?;
                self.rest.insert(Rest::new(self.longest))
            }
        };
        if self.client_has_ended || self.closing.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        rest.poll_read(io, context).map(Ok)
    }
}

impl Rest {
    fn new(longest: Duration) -> Self {
        let now = Instant::now();
        Self { bytes: MOST, until: now + longest, silence: Box::pin(sleep_until(now + SILENCE)) }
    }

    /// Reads until the client ends, or has sent or waited too much.
    fn poll_read(&mut self, io: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let mut read = ReadBuf::new(&mut buffer);
            match Pin::new(&mut *io).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.bytes = self.bytes.saturating_sub(read.filled().len());
                    if self.bytes == 0 {
                        return Poll::Ready(());
                    }
                    self.silence.as_mut().reset(self.until.min(Instant::now() + SILENCE));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.silence.as_mut().poll(context),
            }
        }
    }
}
