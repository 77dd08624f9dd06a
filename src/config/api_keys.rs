//! API keys by name, held as their SHA-256 only.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::ConfigError;
use crate::domain::hex;

/// The least a key must have, in characters.
const MIN_KEY_CHARS: usize = 20;

/// The owner of requests without a key while `/v1` is open. No key may have this name.
pub const LOCAL: &str = "local";

/// Completes an error about a name that is not allowed.
pub const KEY_NAMES: &str = "up to 64 letters, digits, - or _, and not with \"local\"";

#[must_use]
pub fn is_key_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    (1..=64).contains(&name.len()) && plain && name != LOCAL
}

/// What is kept of a key in place of its text.
#[must_use]
pub fn key_hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Keys, by `API_KEYS` or made by the server. The texts themselves are not kept.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Vec<ApiKey>);

#[derive(Debug, Clone)]
struct ApiKey {
    id: String,
    hash: [u8; 32],
}

impl ApiKeys {
    /// Reads `name:key` or bare keys. Two keys of one name are one owner, so that a key can be changed without a gap.
    ///
    /// # Errors
    /// When a part is not a key. The error quotes none of them.
    pub(super) fn read<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let mut keys: Vec<ApiKey> = Vec::new();
        for part in parts {
            let key = ApiKey::read(part)?;
            if keys.iter().any(|known| known.hash == key.hash) {
                return Err(refusal("must not hold the same key twice"));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The id of the key with this text, in a time that does not depend on how much of it is right.
    #[must_use]
    #[cfg(any(test, feature = "testing"))]
    pub fn id_of(&self, text: &[u8]) -> Option<&str> {
        self.owner_of(&key_hash(text))
    }

    /// Whether a key of this owner is among them.
    #[must_use]
    pub fn has_owner(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id == id)
    }

    /// The id of the key with this hash, in a time that does not depend on how much of it is right.
    #[must_use]
    pub fn owner_of(&self, hash: &[u8; 32]) -> Option<&str> {
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.hash.ct_eq(hash)) {
                found = Some(key.id.as_str());
            }
        }
        found
    }
}

impl FromIterator<(String, [u8; 32])> for ApiKeys {
    /// Keys by their owner's id and their hash.
    fn from_iter<I: IntoIterator<Item = (String, [u8; 32])>>(keys: I) -> Self {
        Self(keys.into_iter().map(|(id, hash)| ApiKey { id, hash }).collect())
    }
}

impl ApiKey {
    fn read(part: &str) -> Result<Self, ConfigError> {
        let (name, key) = match part.split_once(':') {
            Some((name, key)) => (Some(name.trim()), key.trim()),
            None => (None, part),
        };
        if key.len() < MIN_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refusal(
                "must hold keys of at least 20 visible ASCII characters, as `openssl rand -hex 24` makes them",
            ));
        }
        if name.is_some_and(|name| !is_key_name(name)) {
            return Err(refusal(&format!("must name keys, as in name:key, with {KEY_NAMES}")));
        }
        let hash = key_hash(key.as_bytes());
        // The dot keeps it apart from every name.
        let id = name.map_or_else(|| format!("key.{}", hex::encode(&hash[..8])), str::to_owned);
        Ok(Self { id, hash })
    }
}

fn refusal(why: &str) -> ConfigError {
    ConfigError(format!("API_KEYS {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "one-0123456789abcdefghij";
    const TWO: &str = "two-0123456789abcdefghij";

    fn read(list: &str) -> Result<ApiKeys, String> {
        ApiKeys::read(list.split(',')).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_has_its_name_or_the_first_digits_of_its_hash() {
        let keys = read(&format!("web:{ONE},{TWO}")).unwrap();
        assert_eq!(keys.id_of(ONE.as_bytes()), Some("web"));
        let bare = keys.id_of(TWO.as_bytes()).unwrap();
        assert!(bare.starts_with("key.") && bare.len() == 20, "{bare}");
        for wrong in ["", "web", &ONE[1..], &format!("web:{ONE}"), &format!("{ONE} "), &ONE.to_uppercase()] {
            assert_eq!(keys.id_of(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert!(!format!("{keys:?}").contains("0123456789abcdefghij"));
    }

    #[test]
    fn two_keys_of_one_name_are_one_owner() {
        let keys = read(&format!("web:{ONE},web:{TWO}")).unwrap();
        assert_eq!(keys.id_of(ONE.as_bytes()), keys.id_of(TWO.as_bytes()));
    }

    #[test]
    fn an_invalid_key_is_refused_and_not_quoted() {
        let canary = "canary-canary-canary-canary";
        for wrong in [
            "short-canary".to_owned(),
            "web:short-canary".to_owned(),
            format!("{canary}\u{e9}"),
            format!("{canary} x"),
            format!("local:{canary}"),
            format!(":{canary}"),
            format!("a b:{canary}"),
            format!("{}:{canary}", "n".repeat(65)),
            format!("{canary},other:{canary}"),
        ] {
            let sentence = read(&wrong).err().unwrap_or_else(|| panic!("{wrong} was accepted"));
            assert!(sentence.starts_with("API_KEYS must ") && !sentence.contains("canary"), "{sentence}");
        }
    }
}
