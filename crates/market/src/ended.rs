//! Why a service ends: [`Ended`].

use serde::{Deserialize, Serialize};

use crate::Uptime;

/// Why a service ends, and since when that is decided. `E` is the reason, of those that the side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended<E> {
    /// The first reason; an order to close replaces it, and so does an opening that was undone for good.
    pub why: E,
    /// When it was decided.
    pub since: Uptime,
}
