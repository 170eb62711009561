//! What a metered use costs, and how much use a payment covers: exact integer arithmetic.

use std::num::NonZeroU128;

use privatix_channel::{Amount, Usage};

use crate::Terms;

/// The price of a metered use, without regard to any deposit:
/// `setup_price + ceil(max(0, m - free) * unit_price / unit_size)`, where `m` is counted up to
/// `max_units` (what an agent delivers beyond its own limit is not for sale).
///
/// Rounded up once, on the whole, so that a channel's price never depends on how its use was cut
/// into reports. Saturates at [`Amount::MAX`], which is more than any deposit.
pub fn price(terms: &Terms, used: Usage) -> Amount {
    let priced = used.min(terms.max()).saturating_sub(terms.free());
    let size = NonZeroU128::new(terms.unit().size.into()).unwrap_or(NonZeroU128::MIN); // never zero in `Terms`
    let for_use = terms.unit_price().checked_mul_div_ceil(priced.get().into(), size).unwrap_or(Amount::MAX);
    for_use.saturating_add(terms.setup_price())
}

/// What is owed for a metered use: its [`price`], capped at the deposit.
pub fn due(terms: &Terms, used: Usage, deposit: Amount) -> Amount {
    price(terms, used).min(deposit)
}

/// The smallest deposit that a client may open a channel with: `setup_price + min_units *
/// unit_price`. Validation proved that it fits the chain.
pub fn min_deposit(terms: &Terms) -> Amount {
    checked_min_deposit(terms).unwrap_or(Amount::MAX_ON_CHAIN)
}

pub(crate) fn checked_min_deposit(terms: &Terms) -> Option<Amount> {
    terms.unit_price().checked_mul(terms.as_draft().min_units.into())?.checked_add(terms.setup_price())
}

/// The most use that a payment covers: the largest `m` up to `max_units` whose [`price`] is not
/// above `paid`; nothing while the setup price is unpaid.
pub fn covered(terms: &Terms, paid: Amount) -> Usage {
    if price(terms, terms.max()) <= paid {
        return terms.max();
    }
    let Some(for_use) = paid.checked_sub(terms.setup_price()) else { return Usage::ZERO };
    let Some(unit_price) = NonZeroU128::new(terms.unit_price().get()) else { return terms.max() };
    // A price is rounded up, so this is rounded down.
    let priced = for_use.checked_mul_div_floor(terms.unit().size.into(), unit_price);
    let priced = priced.and_then(|priced| u64::try_from(priced.get()).ok()).unwrap_or(u64::MAX);
    terms.free().saturating_add(Usage::new(priced)).min(terms.max())
}

/// The least use that costs a payment: what a client has used at least that has signed for it. Nothing where that is no more than the setup price.
pub fn signed_for(terms: &Terms, paid: Amount) -> Usage {
    let Some(less) = paid.checked_sub(Amount::new(1)) else { return Usage::ZERO };
    if paid <= terms.setup_price() {
        return Usage::ZERO;
    }
    covered(terms, less).saturating_add(Usage::new(1)).min(terms.max())
}

/// The use that a payment does not cover yet: the lag, in the measure.
pub fn unpaid(terms: &Terms, used: Usage, paid: Amount) -> Usage {
    used.saturating_sub(covered(terms, paid))
}

/// Whether `paid` covers `used` under this deposit.
pub(crate) fn covers(terms: &Terms, used: Usage, paid: Amount, deposit: Amount) -> bool {
    due(terms, used, deposit) <= paid
}

/// The smallest use from `from` on at which a predicate that never turns false again holds.
pub(crate) fn first_usage(from: Usage, holds: impl Fn(Usage) -> bool) -> Option<Usage> {
    if !holds(Usage::new(u64::MAX)) {
        return None;
    }
    // It is usually near: ever longer steps find out where to search.
    let (mut low, mut high, mut step) = (from.get(), from.get(), 1_u64);
    while !holds(Usage::new(high)) {
        low = high.saturating_add(1); // it holds at the highest
        high = high.saturating_add(step);
        step = step.saturating_mul(2);
    }
    while low < high {
        let middle = low.midpoint(high);
        if holds(Usage::new(middle)) {
            high = middle;
        } else {
            low = middle.saturating_add(1); // below `high`
        }
    }
    Some(Usage::new(low))
}
