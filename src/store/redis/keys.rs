//! Which key holds what, and which keys share a cluster slot.
//!
//! `P` is the prefix. What stands in braces decides the slot: a session's keys all share one, and each conversation of
//! an API key has its own, so that one busy key is not one slot.
//!
//! | key | type | what |
//! |---|---|---|
//! | `B` = `P{s:<session>}` or `P{k:<api key>/<conversation>}` | | what the next ones begin with |
//! | `B:session` | string | until when the session lasts (caller's clock), until when its keys are kept (Redis's) |
//! | `B:list` | sorted set | the session's conversations by their age |
//! | `B:hidden` | set | the session's conversations that no list shows |
//! | `B:c:<conversation>` | hash | the head, and the state of the turn that is running |
//! | `B:c:<conversation>:i` | list | the items by their numbers, oldest first; of one that was removed among others a gap is left |
//! | `B:c:<conversation>:t` | list | the turns, in the order in which they began |
//! | `B:turns` | hash | a turn: `<turn>` place and age, `<turn>?` request, `<turn>+` end, `<turn>!` answer, `<turn>#` idempotency key |
//! | `B:t:<turn>:e` | list | the turn's events; event 1 is the first |
//! | `B:k:<key>` | string | a session's idempotency key |
//! | `B:r:<key>` | sorted set | the tries of a session's key: see `tries.lua` |
//! | `B:docs` | hash | a session's documents: `<kind> <id>` place, age, JSON |
//! | `B:docs:o` | sorted set | the same in order: `<kind> <place> <id>`, all with one score |
//! | `P{k:<api key>/d}:docs`, `P{k:<api key>/d}:docs:o` | | an API key's documents, likewise |
//! | `P{k:<api key>/k/<key>}` | string | an API key's idempotency key |
//! | `P{k:<api key>/r/<key>}` | sorted set | the tries of an API key's key |
//! | `P{k:<api key>/t/<turn>}` | string | the conversation of an API key's turn |
//! | `P{k:<api key>}:list` | sorted set | an API key's conversations by their age; may name some that were never made |
//! | `P{k:<api key>}:hidden` | set | those that no list shows, likewise |
//! | `Pleases` | sorted set | running turns by the end of their lease; only says where to look |
//! | `Pping` | string | nothing, for a millisecond |
//! | `Pnotices` | channel | |

use std::fmt::Write as _;

use crate::domain::conversation::{Owner, Place};
use crate::domain::ids::{ConversationId, SessionKey, TurnId};

/// Makes keys with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// What the keys of one slot begin with.
#[derive(Debug, Clone)]
pub(super) struct Base(String);

impl Keys {
    /// `None` where the prefix would decide the slot by itself.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        (!prefix.contains(['{', '}'])).then(|| Self { prefix: prefix.to_owned() })
    }

    pub(super) fn base(&self, owner: &Owner, conversation: &ConversationId) -> Base {
        match owner {
            Owner::Session(key) => self.of_session(key),
            Owner::ApiKey(id) => Base(format!("{}{{k:{}/{conversation}}}", self.prefix, Escaped(id))),
        }
    }

    fn of_session(&self, key: &SessionKey) -> Base {
        Base(format!("{}{{s:{}}}", self.prefix, key.as_str()))
    }

    pub(super) fn base_of(&self, place: &Place) -> Base {
        self.base(&place.owner, &place.conversation)
    }

    /// The base of a session, whose conversations share it.
    pub(super) fn session_base(&self, owner: &Owner) -> Option<Base> {
        match owner {
            Owner::Session(key) => Some(self.of_session(key)),
            Owner::ApiKey(_) => None,
        }
    }

    pub(super) fn idempotency(&self, base: &Base, owner: &Owner, key: &str) -> String {
        self.of_key(base, owner, 'k', key)
    }

    pub(super) fn tries(&self, base: &Base, owner: &Owner, key: &str) -> String {
        self.of_key(base, owner, 'r', key)
    }

    fn of_key(&self, base: &Base, owner: &Owner, kind: char, key: &str) -> String {
        match owner {
            Owner::Session(_) => format!("{}:{kind}:{key}", base.0),
            Owner::ApiKey(id) => format!("{}{{k:{}/{kind}/{}}}", self.prefix, Escaped(id), Escaped(key)),
        }
    }

    /// How much an account has used of its rate. A session's lies with the session, where its `base` is told.
    pub(super) fn rate(&self, account: &str, base: Option<&Base>) -> String {
        match base.filter(|_| account.starts_with("s:")) {
            Some(base) => base.with(&[":rate"]),
            None => format!("{}{{rate:{}}}", self.prefix, Escaped(account)),
        }
    }

    /// Where to find the conversation of an API key's turn.
    pub(super) fn pointer(&self, api_key: &str, turn: &str) -> String {
        format!("{}{{k:{}/t/{turn}}}", self.prefix, Escaped(api_key))
    }

    /// What the keys of an owner's documents begin with.
    pub(super) fn documents_base(&self, owner: &Owner) -> Base {
        match owner {
            Owner::Session(key) => self.of_session(key),
            Owner::ApiKey(id) => Base(format!("{}{{k:{}/d}}", self.prefix, Escaped(id))),
        }
    }

    /// What the keys that lead to an owner's conversations begin with.
    pub(super) fn lists_base(&self, owner: &Owner) -> Base {
        match owner {
            Owner::Session(key) => self.of_session(key),
            Owner::ApiKey(id) => Base(format!("{}{{k:{}}}", self.prefix, Escaped(id))),
        }
    }

    pub(super) fn leases(&self) -> String {
        format!("{}leases", self.prefix)
    }

    pub(super) fn ping(&self) -> String {
        format!("{}ping", self.prefix)
    }

    pub(super) fn channel(&self) -> String {
        format!("{}notices", self.prefix)
    }
}

impl Base {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn session(&self) -> String {
        self.with(&[":session"])
    }

    pub(super) fn list(&self) -> String {
        self.with(&[":list"])
    }

    pub(super) fn hidden(&self) -> String {
        self.with(&[":hidden"])
    }

    pub(super) fn documents(&self) -> String {
        self.with(&[":docs"])
    }

    pub(super) fn documents_order(&self) -> String {
        self.with(&[":docs:o"])
    }

    pub(super) fn turns(&self) -> String {
        self.with(&[":turns"])
    }

    pub(super) fn head(&self, conversation: &ConversationId) -> String {
        self.with(&[":c:", conversation.as_str()])
    }

    pub(super) fn items(&self, conversation: &ConversationId) -> String {
        self.with(&[":c:", conversation.as_str(), ":i"])
    }

    pub(super) fn order(&self, conversation: &ConversationId) -> String {
        self.with(&[":c:", conversation.as_str(), ":t"])
    }

    pub(super) fn events(&self, turn: &TurnId) -> String {
        self.with(&[":t:", turn.as_str(), ":e"])
    }

    fn with(&self, parts: &[&str]) -> String {
        let mut key = String::with_capacity(self.0.len() + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push_str(&self.0);
        parts.iter().for_each(|part| key.push_str(part));
        key
    }
}

/// A text that may hold anything, so that no brace or slash in it can be taken for one of the layout's.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => f.write_char(byte.into())?,
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str) -> &str {
        let (_, rest) = key.split_once('{').unwrap();
        rest.split_once('}').unwrap().0
    }

    #[test]
    fn a_brace_in_an_id_moves_no_slot() {
        let keys = Keys::new("ob:").unwrap();
        let conversation = ConversationId::parse("conv_1").unwrap();
        let owner = Owner::ApiKey("a}b{c/d".into());
        let base = keys.base(&owner, &conversation);
        assert_eq!(tag(&base.head(&conversation)), "k:a%7Db%7Bc%2Fd/conv_1");
        assert_eq!(tag(&keys.idempotency(&base, &owner, "}{")), "k:a%7Db%7Bc%2Fd/k/%7D%7B");
        assert!(Keys::new("a{b}").is_none());
    }
}
