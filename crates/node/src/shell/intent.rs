//! The terms of a transaction, as the transactor knows them.

use privatix_chain::{Deadline, Intent, Priority, Wei};
use privatix_market::{Bid, EffectId};

/// The intent of an effect: the call with the effect's key and the bid's terms.
pub(crate) fn intent(effect: EffectId, call: Intent, bid: &Bid) -> Intent {
    let mut intent = on_terms(call, bid);
    intent.key = effect.to_string();
    intent
}

/// A call on the terms of a bid.
pub fn on_terms(call: Intent, bid: &Bid) -> Intent {
    let mut intent = call;
    intent.priority = match bid.priority {
        privatix_market::Priority::Background => Priority::Background,
        privatix_market::Priority::Urgent => Priority::Urgent,
        _ => Priority::Normal,
    };
    intent.deadline =
        bid.deadline.map(|deadline| Deadline::new(deadline.at.seconds(), deadline.window.seconds()));
    intent.stake = bid.stake.map(|stake| Wei(stake.get()));
    intent.repeatable = bid.repeatable;
    intent
}
