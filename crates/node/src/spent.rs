//! What was paid for gas, counted with the outcomes of transactions.

use std::collections::HashMap;

use parking_lot::Mutex;
use privatix_chain::{TxChange, TxId, TxRecord};

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Spent(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// What each transaction counts with that can still be taken back.
    counted: HashMap<TxId, u128>,
    total: u128,
}

/// What the change of a transaction means for the gas that was paid. It counts once it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spending {
    tx: TxId,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Wei.
    Paid(u128),
    TakenBack,
    Final,
}

impl Spending {
    /// `None` for a change that costs nothing.
    pub(crate) fn of(record: &TxRecord, change: TxChange) -> Option<Self> {
        let cost = record.inclusion.as_ref().map(privatix_chain::Inclusion::cost);
        Some(Self { tx: record.id, what: what(change, cost)? })
    }
}

const fn what(change: TxChange, cost: Option<u128>) -> Option<What> {
    match (change, cost) {
        (TxChange::Mined | TxChange::Reverted, Some(cost)) => Some(What::Paid(cost)),
        (TxChange::Reinstated, _) => Some(What::TakenBack),
        (TxChange::Final, _) => Some(What::Final),
        _ => None,
    }
}

impl Spent {
    pub(crate) fn count(&self, Spending { tx, what }: Spending) {
        let mut counts = self.0.lock();
        let Counts { counted, total } = &mut *counts;
        match what {
            What::Paid(cost) => {
                let before = counted.insert(tx, cost).unwrap_or_default();
                *total = total.saturating_sub(before).saturating_add(cost);
            }
            What::TakenBack => *total = total.saturating_sub(counted.remove(&tx).unwrap_or_default()),
            What::Final => drop(counted.remove(&tx)),
        }
    }

    pub(crate) fn total(&self) -> u128 {
        self.0.lock().total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_counts_once_and_is_taken_back_with_its_block() {
        let spent = Spent::default();
        let step = |tx: i64, change, cost, total: u128| {
            if let Some(what) = what(change, cost) {
                spent.count(Spending { tx: TxId(tx), what });
            }
            assert_eq!(spent.total(), total, "{change:?} of {tx}");
        };
        step(1, TxChange::Mined, Some(10), 10);
        step(2, TxChange::Reverted, Some(5), 15);
        step(3, TxChange::Failed, None, 15);
        step(1, TxChange::Reinstated, None, 5);
        step(1, TxChange::Mined, Some(12), 17);
        step(1, TxChange::Final, Some(12), 17);
        // A final one counts for good.
        step(2, TxChange::Final, Some(5), 17);
    }
}
