//! Sessions: minted, renewed, and looked at before anything that they own is.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::rows::{execute, find_value};
use super::sql;
use super::writer::Operation;
use crate::domain::conversation::Owner;
use crate::domain::ids::SessionKey;
use crate::store::SessionUse;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// The hour in which something expires.
pub(super) fn hour(expires_at_ms: i64) -> i64 {
    expires_at_ms.div_euclid(HOUR_MS)
}

/// Does what `session` asks; false where the session is unknown or has expired.
pub(super) fn use_session(db: &Connection, owner: &Owner, session: SessionUse, now_ms: i64) -> Result<bool, Fail> {
    match (session, owner) {
        (SessionUse::None, _) => session_lives(db, owner, now_ms),
        (SessionUse::Create(_), Owner::ApiKey(_)) => Ok(true),
        (SessionUse::Renew(_) | SessionUse::OfKey(_), Owner::ApiKey(_)) => Ok(false),
        (SessionUse::Renew(max_age_ms), Owner::Session(key)) => renew(db, key, max_age_ms, now_ms),
        (SessionUse::Create(max_age_ms) | SessionUse::OfKey(max_age_ms), Owner::Session(key)) => {
            let until_ms = now_ms.saturating_add(max_age_ms);
            execute(db, sql::CREATE_SESSION, params![key.as_str(), until_ms, hour(until_ms)])?;
            Ok(true)
        }
    }
}

fn renew(db: &Connection, key: &SessionKey, max_age_ms: i64, now_ms: i64) -> Result<bool, Fail> {
    let until_ms = now_ms.saturating_add(max_age_ms);
    let params = params![key.as_str(), until_ms, now_ms, hour(until_ms)];
    Ok(execute(db, sql::RENEW_SESSION_IN_ITS_HOUR, params)? > 0 || execute(db, sql::RENEW_SESSION, params)? > 0)
}

/// When the owner's session expires: `None` where it is unknown or has expired, `Some(None)` where the owner needs none.
pub(super) fn session_expiry(db: &Connection, owner: &Owner, now_ms: i64) -> Result<Option<Option<i64>>, Fail> {
    let Owner::Session(key) = owner else {
        return Ok(Some(None));
    };
    let until_ms: Option<i64> = find_value(db, sql::SESSION_EXPIRY, [key.as_str()])?;
    Ok(until_ms.filter(|&until_ms| until_ms > now_ms).map(Some))
}

/// Whether the owner may see anything at all.
pub(super) fn session_lives(db: &Connection, owner: &Owner, now_ms: i64) -> Result<bool, Fail> {
    Ok(session_expiry(db, owner, now_ms)?.is_some())
}

/// The key of the session that must live for a write, as statements take it: none where the owner is no session.
pub(super) fn key_of(owner: &Owner) -> Option<&str> {
    match owner {
        Owner::Session(key) => Some(key.as_str()),
        Owner::ApiKey(_) => None,
    }
}

/// `create_session`.
pub(super) struct CreateSession {
    pub(super) owner: Owner,
    pub(super) max_age_ms: i64,
    pub(super) now_ms: i64,
}

impl Operation for CreateSession {
    type Answer = ();

    fn apply(&self, db: &Connection) -> Result<(), Fail> {
        use_session(db, &self.owner, SessionUse::Create(self.max_age_ms), self.now_ms).map(drop)
    }
}

/// `renew_session`.
pub(super) struct Renew {
    pub(super) owner: Owner,
    pub(super) max_age_ms: i64,
    pub(super) now_ms: i64,
}

impl Operation for Renew {
    type Answer = bool;

    fn apply(&self, db: &Connection) -> Result<bool, Fail> {
        use_session(db, &self.owner, SessionUse::Renew(self.max_age_ms), self.now_ms)
    }
}
