//! What was paid for gas, counted with the outcomes of transactions.

use std::collections::HashMap;

use parking_lot::Mutex;
use privatix_chain::{TxChange, TxId, TxRecord};

/// Counts since the start of the process. Changes count once their commit is known, and each of them once.
#[derive(Debug, Default)]
pub(crate) struct Spent(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Changes whose commit is not known yet. One that was rolled back is repeated, and replaced.
    staged: HashMap<TxId, Staged>,
    /// What each transaction counts with that can still be taken back.
    counted: HashMap<TxId, u128>,
    total: u128,
}

#[derive(Clone, Copy, Debug)]
enum Staged {
    Paid(u128),
    TakenBack,
    Final,
}

impl Spent {
    pub(crate) fn changed(&self, record: &TxRecord, change: TxChange) {
        let cost = record.inclusion.as_ref().map(privatix_chain::Inclusion::cost);
        self.stage(record.id, change, cost);
    }

    fn stage(&self, id: TxId, change: TxChange, cost: Option<u128>) {
        let staged = match (change, cost) {
            (TxChange::Mined | TxChange::Reverted, Some(cost)) => Staged::Paid(cost),
            (TxChange::Reinstated, _) => Staged::TakenBack,
            (TxChange::Final, _) => Staged::Final,
            _ => return,
        };
        self.0.lock().staged.insert(id, staged);
    }

    pub(crate) fn committed(&self) {
        let mut counts = self.0.lock();
        let Counts { staged, counted, total } = &mut *counts;
        for (id, change) in staged.drain() {
            match change {
                Staged::Paid(cost) => {
                    let before = counted.insert(id, cost).unwrap_or_default();
                    *total = total.saturating_sub(before).saturating_add(cost);
                }
                Staged::TakenBack => {
                    *total = total.saturating_sub(counted.remove(&id).unwrap_or_default());
                }
                Staged::Final => drop(counted.remove(&id)),
            }
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
        let step = |id: i64, change, cost, total: u128| {
            spent.stage(TxId(id), change, cost);
            spent.stage(TxId(id), change, cost); // repeated after a commit that failed
            spent.committed();
            assert_eq!(spent.total(), total, "{change:?} of {id}");
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
