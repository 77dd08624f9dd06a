//! Ids that carry their kind (`conv_`, `msg_`, `turn_`) and where fresh ones come from.
//!
//! Public ids are UUIDv7: they sort by age in a database page, and nothing depends on them being hard to guess. What must
//! be hard to guess, the session's secret, is 256 bits from [`Ids::secret`].

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clock::Clock;

/// Where ids and secrets come from.
pub trait Ids: Send + Sync + 'static {
    /// 128 bits for a public id minted at `now_ms`.
    fn public(&self, now_ms: i64) -> u128;
    /// 256 bits that nobody can guess.
    fn secret(&self) -> [u8; 32];
}

/// Ids from the operating system's random source.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn public(&self, now_ms: i64) -> u128 {
        let mut random = [0u8; 10];
        fill(&mut random);
        let millis = u64::try_from(now_ms).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128()
    }

    fn secret(&self) -> [u8; 32] {
        let mut bytes = [0u8; 32];
        fill(&mut bytes);
        bytes
    }
}

fn fill(bytes: &mut [u8]) {
    // Without a random source no session can be minted safely; there is nothing better to do than to stop.
    getrandom::fill(bytes).expect("the operating system's random source answers");
}

/// Ids that count up from a seed: the same seed gives the same run.
#[derive(Debug)]
pub struct SeededIds(AtomicU64);

impl SeededIds {
    /// Counts up from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Ids for SeededIds {
    fn public(&self, now_ms: i64) -> u128 {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        (u128::from(now_ms.unsigned_abs()) << 80) | u128::from(count)
    }

    fn secret(&self) -> [u8; 32] {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        Sha256::digest(count.to_be_bytes()).into()
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A fresh id.
            #[must_use]
            pub fn fresh(ids: &dyn Ids, clock: &dyn Clock) -> Self {
                Self(format!(concat!($prefix, "{:032x}"), ids.public(clock.now_ms())))
            }

            /// Reads an id that a client sent: the prefix, then 1 to 64 ASCII letters, digits, `-` or `_`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix($prefix)?;
                let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                ((1..=64).contains(&rest.len()) && plain).then(|| Self(text.to_owned()))
            }

            /// The id as it goes over the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// A conversation: an append-only list of items.
    ConversationId,
    "conv_"
);
id_type!(
    /// An item of type `message`.
    ItemId,
    "msg_"
);
id_type!(
    /// One exchange: what was asked, and the answer to it.
    TurnId,
    "turn_"
);
id_type!(
    /// One run of a server process; holds leases on turns.
    InstanceId,
    "inst_"
);

/// A browser session as the store knows it: the SHA-256 of its secret, in hex. Whoever reads the store cannot make a
/// cookie out of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(String);

impl SessionKey {
    /// The key of the session with this secret.
    #[must_use]
    pub fn of_secret(secret: &[u8; 32]) -> Self {
        Self(hex(&Sha256::digest(secret)))
    }

    /// The conversation that a session's requests belong to when they name none. It follows from the key, so that
    /// finding it costs no look-up.
    #[must_use]
    pub fn main_conversation(&self) -> ConversationId {
        let digest = Sha256::new().chain_update(b"main conversation of ").chain_update(&self.0).finalize();
        ConversationId(format!("conv_{}", hex(&digest[..16])))
    }

    /// 64 hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first digits are enough to tell sessions apart in a log.
        write!(f, "session:{}", &self.0[..8])
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;

    #[test]
    fn fresh_ids_parse_and_sort_by_age() {
        let clock = ManualClock::at(1_000);
        let first = TurnId::fresh(&SystemIds, &clock);
        clock.advance(5);
        let second = TurnId::fresh(&SystemIds, &clock);
        assert!(first < second);
        assert_eq!(TurnId::parse(first.as_str()), Some(first));
    }

    #[test]
    fn foreign_shapes_are_not_ids() {
        for bad in ["", "turn_", "conv_1", "turn_a/b", "turn_ä", "turn_a\n", "xturn_1"] {
            assert_eq!(TurnId::parse(bad), None, "{bad:?}");
        }
        assert_eq!(TurnId::parse(&format!("turn_{}", "a".repeat(65))), None);
    }

    #[test]
    fn a_session_always_has_the_same_main_conversation() {
        let key = SessionKey::of_secret(&[7; 32]);
        assert_eq!(key.main_conversation(), key.main_conversation());
        assert_ne!(key.main_conversation(), SessionKey::of_secret(&[8; 32]).main_conversation());
        assert!(ConversationId::parse(key.main_conversation().as_str()).is_some());
    }
}
