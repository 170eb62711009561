//! What a metered use costs, and how much use a payment covers: exact integer arithmetic.

use privatix_channel::{Amount, Usage};

use crate::Terms;

/// The price of a metered use, without regard to any deposit:
/// `setup_price + ceil(max(0, m - free) * unit_price / unit_size)`, where `m` is counted up to
/// `max_units` (what an agent delivers beyond its own limit is not for sale).
///
/// Rounded up once, on the whole, so that a channel's price never depends on how its use was cut
/// into reports. Saturates at `u128::MAX`, which is more than any deposit.
pub fn price(terms: &Terms, used: Usage) -> Amount {
    let priced = used.min(terms.max()).get().saturating_sub(terms.free().get());
    Amount::new(proportion(priced, terms).saturating_add(terms.setup_price().get()))
}

/// `ceil(measured * unit_price / unit_size)` without an intermediate overflow, saturating.
///
/// With `unit_price = q * size + r` it is `measured * q + ceil(measured * r / size)`, and
/// `measured * r` fits because both are below `2^64`.
fn proportion(measured: u64, terms: &Terms) -> u128 {
    let measured = u128::from(measured);
    let size = u128::from(terms.unit().size);
    let (whole, rest) = (terms.unit_price().get() / size, terms.unit_price().get() % size);
    measured
        .checked_mul(whole)
        .and_then(|amount| amount.checked_add((measured * rest).div_ceil(size)))
        .unwrap_or(u128::MAX)
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
    let units = u128::from(terms.as_draft().min_units).checked_mul(terms.unit_price().get())?;
    units.checked_add(terms.setup_price().get()).map(Amount::new)
}

/// The most use that a payment covers: the largest `m` up to `max_units` whose [`price`] is not
/// above `paid`; nothing while the setup price is unpaid.
pub fn covered(terms: &Terms, paid: Amount) -> Usage {
    if price(terms, Usage::ZERO) > paid {
        return Usage::ZERO;
    }
    let beyond = first_usage(Usage::ZERO, |used| price(terms, used) > paid);
    beyond.map_or(terms.max(), |used| Usage::new(used.get() - 1))
}

/// The use that a payment does not cover yet: the lag, in the measure.
pub fn unpaid(terms: &Terms, used: Usage, paid: Amount) -> Usage {
    Usage::new(used.get().saturating_sub(covered(terms, paid).get()))
}

/// Whether `paid` covers `used` under this deposit.
pub(crate) fn covers(terms: &Terms, used: Usage, paid: Amount, deposit: Amount) -> bool {
    due(terms, used, deposit) <= paid
}

/// The smallest use from `from` on at which a predicate that never turns false again holds.
pub(crate) fn first_usage(from: Usage, holds: impl Fn(Usage) -> bool) -> Option<Usage> {
    let (mut low, mut high) = (from.get(), u64::MAX);
    if !holds(Usage::new(high)) {
        return None;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(Usage::new(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(Usage::new(low))
}
