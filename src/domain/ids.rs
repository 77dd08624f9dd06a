//! Ids that carry their kind (`conv_`, `msg_`, `turn_`) and where fresh ones come from.
//!
//! Public ids are UUIDv7: they sort by age in a database page, and nothing depends on them being hard to guess. What must
//! be hard to guess, the session's secret, is 256 bits from [`Ids::secret`].

use std::fmt;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::clock::Clock;
use super::hex;

/// Where ids and secrets come from.
pub trait Ids: Send + Sync + 'static {
    /// 128 bits for a public id minted at `now_ms`.
    fn public(&self, now_ms: i64) -> u128;
    /// 256 bits that cannot be guessed.
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
#[cfg(feature = "testing")]
#[derive(Debug)]
pub struct SeededIds(AtomicU64);

#[cfg(feature = "testing")]
impl SeededIds {
    /// Counts up from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

#[cfg(feature = "testing")]
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
            const PREFIX: &'static str = $prefix;

            /// A fresh id.
            #[must_use]
            pub fn fresh(ids: &dyn Ids, clock: &dyn Clock) -> Self {
                Self(format!("{}{:032x}", Self::PREFIX, ids.public(clock.now_ms())))
            }

            /// Reads an id that a client sent: the prefix, then 1 to 64 ASCII letters, digits, `-` or `_`.
            #[must_use]
            #[allow(dead_code, reason = "no client sends an instance's id")]
            pub fn parse(text: &str) -> Option<Self> {
                let rest = text.strip_prefix(Self::PREFIX)?;
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
    /// One exchange: what was asked, and the answer to it.
    TurnId,
    "turn_"
);
id_type!(
    /// One run of a server process; holds leases on turns.
    InstanceId,
    "inst_"
);

impl TurnId {
    /// The turn as OpenAI's Responses name it: another prefix before the same digits.
    #[must_use]
    pub fn response_id(&self) -> String {
        format!("{RESPONSE_PREFIX}{}", self.digits())
    }

    /// The turn behind a response's id; `None` where `text` is no such id.
    #[must_use]
    pub fn of_response(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(RESPONSE_PREFIX)?;
        Self::parse(&format!("{}{digits}", Self::PREFIX))
    }

    /// When it was minted, in milliseconds since the Unix epoch: the first 48 bits of a fresh id.
    #[must_use]
    pub fn minted_at_ms(&self) -> Option<i64> {
        let digits = self.digits();
        i64::from_str_radix(digits.get(..12).filter(|_| digits.len() == 32)?, 16).ok()
    }

    fn digits(&self) -> &str {
        self.0.strip_prefix(Self::PREFIX).unwrap_or(&self.0)
    }
}

/// What a response's id starts with.
const RESPONSE_PREFIX: &str = "resp_";

/// An item of a conversation: `msg_...` and the like, by its kind.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(String);

/// The kinds of items, by what their ids start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemKind {
    /// Something said.
    Message,
    /// The model asks for a function to be called.
    Call,
    /// What a function gave.
    CallOutput,
    /// What the model thought.
    Reasoning,
    /// What is left of a longer history.
    Compaction,
    /// An item of a type that this server only keeps.
    Other,
}

impl ItemKind {
    const ALL: [Self; 6] =
        [Self::Message, Self::Call, Self::CallOutput, Self::Reasoning, Self::Compaction, Self::Other];

    /// What ids of this kind start with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Message => "msg_",
            Self::Call => "fc_",
            Self::CallOutput => "fco_",
            Self::Reasoning => "rs_",
            Self::Compaction => "cmp_",
            Self::Other => "item_",
        }
    }
}

impl ItemId {
    /// A fresh id for a message.
    #[must_use]
    pub fn fresh(ids: &dyn Ids, clock: &dyn Clock) -> Self {
        Self::fresh_of(ItemKind::Message, ids, clock)
    }

    /// A fresh id for an item of this kind.
    #[must_use]
    pub fn fresh_of(kind: ItemKind, ids: &dyn Ids, clock: &dyn Clock) -> Self {
        Self(format!("{}{:032x}", kind.prefix(), ids.public(clock.now_ms())))
    }

    /// The id of an answer's message at the SDK door: it has its turn's digits, so that the turn is found by it.
    #[must_use]
    pub fn answer_of(turn: &TurnId) -> Self {
        Self(format!("{}{}", ItemKind::Message.prefix(), turn.digits()))
    }

    /// The id of the item at `place` of what a turn at the SDK door was asked.
    #[must_use]
    pub fn input_of(turn: &TurnId, kind: ItemKind, place: usize) -> Self {
        Self(format!("{}{}_in{place}", kind.prefix(), turn.digits()))
    }

    /// The turn that an item of the SDK door came with, by its digits.
    #[must_use]
    pub fn turn(&self) -> Option<TurnId> {
        let (_, rest) = self.0.split_once('_')?;
        let digits = rest.split_once('_').map_or(rest, |(digits, _)| digits);
        TurnId::parse(&format!("{}{digits}", TurnId::PREFIX))
    }

    /// The same id with a mark of where its item came from.
    #[must_use]
    pub fn marked(self, mark: Option<&str>) -> Self {
        mark.map_or(self.clone(), |mark| Self(format!("{self}_{mark}")))
    }

    /// The id of the same message where it is said anew, after a crash: what was shown before is another item.
    #[must_use]
    pub fn of_attempt(&self, attempt: u32) -> Self {
        if attempt <= 1 { self.clone() } else { Self(format!("{self}_again{attempt}")) }
    }

    /// The id of another item of the same answer: it follows from the answer's own id and the item's place, so that every
    /// instance gives it the same one.
    #[must_use]
    pub fn beside(&self, kind: ItemKind, place: usize) -> Self {
        let digits = self.0.split_once('_').map_or(self.0.as_str(), |(_, digits)| digits);
        Self(format!("{}{digits}_{place}", kind.prefix()))
    }

    /// Reads an id that a client sent: the prefix of a kind, then 1 to 80 ASCII letters, digits, `-` or `_`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = ItemKind::ALL.iter().find_map(|kind| text.strip_prefix(kind.prefix()))?;
        let plain = rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        ((1..=80).contains(&rest.len()) && plain).then(|| Self(text.to_owned()))
    }

    /// The id as it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A browser session as the store knows it: the SHA-256 of its secret, in hex. A reader of the store cannot make a
/// cookie out of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionKey(String);

impl SessionKey {
    /// The key of the session with this secret.
    #[must_use]
    pub fn of_secret(secret: &[u8; 32]) -> Self {
        Self(hex::encode(&Sha256::digest(secret)))
    }

    /// The conversation that a session's requests belong to when they name none. It follows from the key, so that
    /// finding it costs no look-up.
    #[must_use]
    pub fn main_conversation(&self) -> ConversationId {
        let digest = Sha256::new().chain_update(b"main conversation of ").chain_update(&self.0).finalize();
        ConversationId(format!("conv_{}", hex::encode(&digest[..16])))
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
        assert_eq!(second.minted_at_ms(), Some(1_005));
        assert_eq!(TurnId::parse("turn_x").unwrap().minted_at_ms(), None);
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
    fn a_response_is_a_turn_by_another_name() {
        let turn = TurnId::parse("turn_0a1b").unwrap();
        assert_eq!(turn.response_id(), "resp_0a1b");
        assert_eq!(TurnId::of_response("resp_0a1b"), Some(turn));
        for bad in ["turn_0a1b", "resp_", "resp_a/b", ""] {
            assert_eq!(TurnId::of_response(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn items_of_one_answer_have_ids_that_follow_from_it() {
        let answer = ItemId::parse("msg_0a1b").unwrap();
        assert_eq!(answer.beside(ItemKind::Call, 2).as_str(), "fc_0a1b_2");
        for kind in ItemKind::ALL {
            let fresh = ItemId::fresh_of(kind, &SystemIds, &ManualClock::at(1));
            assert_eq!(ItemId::parse(fresh.beside(kind, 3).as_str()), Some(fresh.beside(kind, 3)));
        }
        let turn = TurnId::parse("turn_0a1b").unwrap();
        let (said, asked) = (ItemId::answer_of(&turn), ItemId::input_of(&turn, ItemKind::CallOutput, 3));
        assert_eq!((said.as_str(), asked.as_str()), ("msg_0a1b", "fco_0a1b_in3"));
        for item in [&said, &asked, &said.beside(ItemKind::Reasoning, 1)] {
            assert_eq!(item.turn().as_ref(), Some(&turn));
        }
        let again = said.of_attempt(2);
        assert_eq!((said.of_attempt(1), again.as_str()), (said.clone(), "msg_0a1b_again2"));
        assert_eq!((again.turn().as_ref(), ItemId::parse(again.as_str()).as_ref()), (Some(&turn), Some(&again)));
        for bad in ["", "msg_", "xyz_1", "msg_a b", "fc", "resp_1"] {
            assert_eq!(ItemId::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_session_always_has_the_same_main_conversation() {
        let key = SessionKey::of_secret(&[7; 32]);
        assert_eq!(key.main_conversation(), key.main_conversation());
        assert_ne!(key.main_conversation(), SessionKey::of_secret(&[8; 32]).main_conversation());
        assert!(ConversationId::parse(key.main_conversation().as_str()).is_some());
    }
}
