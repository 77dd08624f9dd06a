//! Notices between instances: one pub/sub connection a process, one channel a prefix.
//!
//! A message is `<server> <kind> <what>`. What a server itself has done it tells its own receivers at once, and leaves out
//! when it comes back over the channel. A lost connection loses notices, which the contract allows.

use std::time::Duration;

use futures::StreamExt as _;
use redis::aio::PubSub;
use redis::{Client, RedisResult};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::faults;
use crate::domain::ids::{ConversationId, TurnId};
use crate::store::{Notice, StoreError};

/// How many notices a slow receiver may be behind.
const BACKLOG: usize = 4096;
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(250);
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Notices {
    sender: broadcast::Sender<Notice>,
    listener: AbortHandle,
}

impl Notices {
    /// Subscribes, and stays subscribed from then on. `server` is how this process signs its own messages.
    pub(super) async fn open(
        client: Client,
        channel: String,
        server: String,
        deadline: Duration,
    ) -> Result<Self, StoreError> {
        let first = match timeout(deadline.max(CONNECT_WITHIN), subscribe(&client, &channel)).await {
            Ok(subscribed) => subscribed.map_err(|error| faults::of(&error))?,
            Err(_) => return Err(faults::no_answer_within(deadline)),
        };
        let sender = broadcast::channel(BACKLOG).0;
        let listener = Listener { client, channel, server, sender: sender.clone(), deadline };
        #[expect(
            clippy::disallowed_methods,
            reason = "the store owns this task: it ends with the store, by its handle"
        )]
        let listener = tokio::spawn(listener.run(first)).abort_handle();
        Ok(Self { sender, listener })
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.sender.subscribe()
    }

    /// Tells this process's own receivers.
    pub(super) fn tell(&self, notice: Notice) {
        // Without a receiver there is nothing to tell.
        let _ = self.sender.send(notice);
    }

    pub(super) fn close(&self) {
        self.listener.abort();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.close();
    }
}

async fn subscribe(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

struct Listener {
    client: Client,
    channel: String,
    server: String,
    sender: broadcast::Sender<Notice>,
    deadline: Duration,
}

impl Listener {
    async fn run(self, first: PubSub) {
        self.listen(first).await;
        loop {
            tracing::debug!("the notices' connection to redis is lost");
            if let Ok(Ok(connection)) = timeout(CONNECT_WITHIN, subscribe(&self.client, &self.channel)).await {
                self.listen(connection).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Passes on what comes, until the connection ends or a probe is not answered.
    async fn listen(&self, connection: PubSub) {
        let (mut sink, mut messages) = connection.split();
        loop {
            let probe = async {
                tokio::time::sleep(PROBE_EVERY).await;
                timeout(self.deadline, sink.ping::<redis::Value>()).await
            };
            tokio::pin!(probe);
            loop {
                tokio::select! {
                    message = messages.next() => match message {
                        Some(message) => self.pass_on(message.get_payload_bytes()),
                        None => return,
                    },
                    answer = &mut probe => match answer {
                        Ok(Ok(_)) => break,
                        Ok(Err(_)) | Err(_) => return,
                    },
                }
            }
        }
    }

    fn pass_on(&self, message: &[u8]) {
        // Another version may say what this one does not know.
        for notice in read(message, &self.server).into_iter().flatten() {
            let _ = self.sender.send(notice);
        }
    }
}

/// The notices in a message; none in one of this server's own.
fn read(message: &[u8], own: &str) -> Option<Vec<Notice>> {
    let text = std::str::from_utf8(message).ok()?;
    let (server, text) = text.split_once(' ')?;
    let (kind, what) = text.split_once(' ')?;
    if server == own {
        return None;
    }
    match kind {
        "e" => Some(vec![Notice::Events(TurnId::parse(what)?)]),
        "c" => Some(vec![Notice::Cancel(TurnId::parse(what)?)]),
        "f" => {
            let (turn, conversation) = what.split_once(' ')?;
            Some(vec![Notice::Events(TurnId::parse(turn)?), Notice::Free(ConversationId::parse(conversation)?)])
        }
        "o" => Some(vec![Notice::OwnerGone(what.to_owned())]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_servers_messages_are_notices() {
        let turn = TurnId::parse("turn_1").unwrap();
        let free = Notice::Free(ConversationId::parse("conv_1").unwrap());
        assert_eq!(read(b"b f turn_1 conv_1", "a"), Some(vec![Notice::Events(turn.clone()), free]));
        assert_eq!(read(b"b e turn_1", "a"), Some(vec![Notice::Events(turn.clone())]));
        assert_eq!(read(b"b c turn_1", "a"), Some(vec![Notice::Cancel(turn)]));
        assert_eq!(read(b"b o k:x y", "a"), Some(vec![Notice::OwnerGone("k:x y".into())]));
    }

    #[test]
    fn own_and_unknown_messages_are_left_out() {
        for message in [&b"a e turn_1"[..], b"b z turn_1", b"b e conv_1", b"", b"\xff \xff \xff"] {
            assert_eq!(read(message, "a"), None);
        }
    }
}
