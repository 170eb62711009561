//! Column types that mean the same in every backend.
//!
//! Hashes, addresses and amounts are fixed-size binary columns; amounts are big-endian, so that the database compares
//! them as numbers. Sums of amounts are made in code, not in SQL. Times are Unix microseconds.

use std::time::{Duration, SystemTime};

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::{BigInt, Binary};

macro_rules! binary_column {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
        #[diesel(sql_type = Binary)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The stored bytes.
            pub const fn bytes(self) -> [u8; $len] {
                self.0
            }
        }

        impl<DB: Backend> FromSql<Binary, DB> for $name
        where
            Vec<u8>: FromSql<Binary, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                let bytes = Vec::<u8>::from_sql(bytes)?;
                let found = bytes.len();
                let bytes = bytes.try_into().map_err(|_| {
                    format!("{} column holds {found} bytes instead of {}", stringify!($name), $len)
                })?;
                Ok(Self(bytes))
            }
        }

        impl<DB: Backend> ToSql<Binary, DB> for $name
        where
            [u8]: ToSql<Binary, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                <[u8] as ToSql<Binary, DB>>::to_sql(&self.0, out)
            }
        }
    };
}

binary_column!(
    /// A 32-byte hash or id.
    Bytes32,
    32
);
binary_column!(
    /// A 20-byte account address.
    Addr,
    20
);
binary_column!(
    /// An amount in a token's base units, 16 bytes big-endian.
    Amount128,
    16
);

// From whatever wraps such bytes, so that this crate needs no library of Ethereum types. Back by `bytes`.
impl<T: Into<[u8; 32]>> From<T> for Bytes32 {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}
impl<T: Into<[u8; 20]>> From<T> for Addr {
    fn from(value: T) -> Self {
        Self(value.into())
    }
}
impl From<u128> for Amount128 {
    fn from(value: u128) -> Self {
        Self(value.to_be_bytes())
    }
}
impl From<Amount128> for u128 {
    fn from(value: Amount128) -> Self {
        Self::from_be_bytes(value.0)
    }
}

impl std::fmt::Debug for Bytes32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex(f, &self.0)
    }
}
impl std::fmt::Debug for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex(f, &self.0)
    }
}
impl std::fmt::Debug for Amount128 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&u128::from(*self), f)
    }
}

fn hex(f: &mut std::fmt::Formatter<'_>, bytes: &[u8]) -> std::fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// A point in time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Micros(pub i64);

impl Micros {
    /// The system clock's time.
    pub fn now() -> Self {
        SystemTime::now().into()
    }
}

impl std::ops::Add<Duration> for Micros {
    type Output = Self;

    /// Saturates.
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl From<SystemTime> for Micros {
    /// Saturates some 290,000 years away from 1970.
    fn from(time: SystemTime) -> Self {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self(micros(after)),
            Err(before) => Self(-micros(before.duration())),
        }
    }
}

impl From<Micros> for SystemTime {
    fn from(time: Micros) -> Self {
        let distance = Duration::from_micros(time.0.unsigned_abs());
        if time.0 >= 0 { Self::UNIX_EPOCH + distance } else { Self::UNIX_EPOCH - distance }
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Micros
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Self)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Micros
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        <i64 as ToSql<BigInt, DB>>::to_sql(&self.0, out)
    }
}
