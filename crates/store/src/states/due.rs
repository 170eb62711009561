//! When a state is to be looked at.

use diesel::prelude::*;
use privatix_channel::ChainTime;
use privatix_market::{Env, Party, State, Uptime, Wake};

use super::Unreadable;
use crate::StoreError;
use crate::columns::unsigned;

/// When a state is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// At these times, at each start, and when something happens.
    At(Wake),
    /// When something happens: the state is final.
    Final,
}

impl Due {
    /// When a state is to be looked at that was decided just now.
    pub fn of<P: Party>(state: &State<P>, env: &Env<'_, P>) -> Self {
        if P::owners(state, env).is_empty() { Self::Final } else { Self::At(P::wake(state, env)) }
    }
}

/// The columns of a [`Due`]. A time that does not fit is the latest that does, and never comes.
#[derive(Clone, Copy, PartialEq, Eq, Queryable)]
pub(super) struct Times(pub(super) Option<i64>, pub(super) Option<i64>, pub(super) bool);

impl Times {
    pub(super) fn of(due: Due) -> Self {
        match due {
            Due::At(wake) => Self(wake.uptime.map(milliseconds), wake.chain.map(seconds), false),
            Due::Final => Self(None, None, true),
        }
    }

    pub(super) fn read(self) -> Result<Due, Unreadable> {
        let Self(uptime, chain, is_final) = self;
        if is_final {
            return Ok(Due::Final);
        }
        let read = || -> Result<Wake, StoreError> {
            Ok(Wake {
                uptime: uptime.map(|at| unsigned("wake time", at).map(Uptime::new)).transpose()?,
                chain: chain.map(|at| unsigned("wake time", at).map(ChainTime::new)).transpose()?,
            })
        };
        read().map(Due::At).map_err(|error| Unreadable::Row { reason: error.to_string() })
    }
}

pub(crate) fn milliseconds(at: Uptime) -> i64 {
    i64::try_from(at.milliseconds()).unwrap_or(i64::MAX)
}

pub(crate) fn seconds(at: ChainTime) -> i64 {
    i64::try_from(at.seconds()).unwrap_or(i64::MAX)
}
