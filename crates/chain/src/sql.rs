//! Numbers between Rust and SQL.

use privatix_db::DbError;

/// A height, nonce, gas or id for a BIGINT column. Saturates at 2^63 - 1, which none of them reaches.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The same, read back.
pub(crate) fn number(what: &'static str, value: i64) -> Result<u64, DbError> {
    u64::try_from(value).map_err(|_| DbError::Corrupt { what, reason: format!("{value} is negative") })
}
