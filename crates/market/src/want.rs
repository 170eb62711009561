//! What a side wants about a channel's money: [`Want`].

use crate::{Bid, Owner};

/// What is wanted, or what is waited for until something is. `X` is the purpose, of those that the side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want<X> {
    /// Nothing: transactions that are on their way for it are not needed any more.
    Nothing,
    /// Nothing yet: what is on its way may go on.
    Wait(Owner),
    /// A transaction at once.
    Now(X, Bid),
    /// A transaction in the next batch; alone once the owner is there, if there is one.
    Collect(X, Option<Owner>),
}
