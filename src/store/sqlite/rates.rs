//! Rates: how much of them each account has used.

use rusqlite::{Connection, params};

use super::fail::Fail;
use super::rows::{execute, find_value};
use super::sql;
use super::writer::Operation;
use crate::domain::rate::{Rate, RateLeft, Taken};

/// Takes one of an account's rate; `Err` has the milliseconds to wait.
pub(super) fn take(db: &Connection, account: &str, rate: Rate, now_ms: i64) -> Result<Result<RateLeft, i64>, Fail> {
    let full_at_us = find_value(db, sql::FIND_RATE, [account])?;
    match rate.take(full_at_us, now_ms) {
        Taken::No { wait_ms } => Ok(Err(wait_ms)),
        Taken::Yes { full_at_us, left } => {
            execute(db, sql::PUT_RATE, params![account, full_at_us])?;
            Ok(Ok(left))
        }
    }
}

/// `take_rate`.
pub(super) struct TakeRate {
    pub(super) account: String,
    pub(super) rate: Rate,
    pub(super) now_ms: i64,
}

impl Operation for TakeRate {
    type Answer = Result<RateLeft, i64>;

    fn apply(&self, db: &Connection) -> Result<Result<RateLeft, i64>, Fail> {
        take(db, &self.account, self.rate, self.now_ms)
    }
}
