//! What a channel's vouchers are worth: [`Book`].

use privatix_channel::{Amount, OnChain, Phase};
use serde::{Deserialize, Serialize};

use crate::{Reply, Side};

/// The amount above which no voucher of a channel may be acknowledged, in base units, if there is one: that of the lowest of the
/// agent's closes that may still be mined, since nobody can promise that a better one overtakes it. What is paid on chain does not
/// raise it: a reorganisation may take that back. While a challenge runs, nothing above what is paid either: the client may end it
/// before a voucher is cashed. Nor after the end, as a voucher may be on its way to the disk.
///
/// Whoever stores vouchers compares with it in the transaction that stores them, so that a close that was stored a moment before
/// counts.
pub fn ceiling(chain: &OnChain, closes: impl IntoIterator<Item = Amount>) -> Option<Amount> {
    let paid = match chain.phase() {
        Phase::Closing { .. } | Phase::Closed { .. } => Some(chain.paid),
        Phase::Unopened | Phase::Open => None,
    };
    closes.into_iter().chain(paid).min()
}

/// What is known of a channel's vouchers, in base units: by the agent that received them, or by the client that signed them. The
/// best one replaces all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Book {
    /// The amount of the best voucher that is stored, whether the deposit covers it or not; zero without one.
    pub best: Amount,
    /// The highest amount that the agent has acknowledged: by its own answers, or as the client received them. Never above `best`.
    pub acknowledged: Amount,
}

impl Book {
    /// Everything that the client has paid beyond dispute: by voucher, as far as the deposit covers it, or on chain.
    pub fn proven(&self, chain: &OnChain) -> Amount {
        self.totals(chain.deposit, chain.paid, false).proven
    }

    /// What the vouchers come to in lists and totals, for a channel with this deposit, of which this is paid on chain.
    pub fn totals(&self, deposit: Amount, paid: Amount, is_closed: bool) -> BookTotals {
        let covered = self.best.min(deposit);
        BookTotals {
            proven: covered.max(paid),
            enforceable: if is_closed { Amount::ZERO } else { covered.saturating_sub(paid) },
        }
    }

    /// What one side counts as acknowledged, in lists: an agent what its best voucher proves, a client what its agent has said.
    pub fn acknowledged_to(&self, side: Side, deposit: Amount, paid: Amount) -> Amount {
        match side {
            Side::Agent => self.best.min(deposit).max(paid),
            Side::Client => self.acknowledged.max(paid),
        }
    }

    /// What the best voucher would still bring on chain, fee included; nothing unless the channel is open.
    pub fn claimable(&self, chain: &OnChain) -> Amount {
        if chain.phase().is_open() { Self::worth(self.best, chain) } else { Amount::ZERO }
    }

    /// What a voucher over `cumulative` brings beyond what is paid.
    pub(crate) fn worth(cumulative: Amount, chain: &OnChain) -> Amount {
        cumulative.min(chain.deposit).saturating_sub(chain.paid)
    }

    /// What may be acknowledged: the best voucher as far as the deposit covers it, but not more than the
    /// [`ceiling`].
    ///
    /// What was acknowledged before stays so: to repeat it promises nothing new.
    pub fn safe(&self, chain: &OnChain, ceiling: Option<Amount>) -> Amount {
        let ceiling = ceiling.unwrap_or(Amount::MAX);
        self.best.min(ceiling).max(self.acknowledged).min(chain.deposit)
    }

    /// The agent's answer to a verified voucher over `cumulative`, once it is in the book. No amount in it is above what is
    /// [safe](Self::safe), or already paid on chain.
    pub fn reply(
        &self,
        chain: &OnChain,
        ceiling: Option<Amount>,
        cumulative: Amount,
        service_ended: bool,
    ) -> Reply {
        let safe = self.safe(chain, ceiling);
        if ceiling.is_some_and(|ceiling| self.best > ceiling) {
            // What is above the ceiling is known to nobody outside: also not by the answer to a lower voucher. A client takes the
            // end as the acknowledgement of all that it signed, and the best of it is only kept.
            return if cumulative <= safe {
                Reply::Paid { acknowledged: safe, ended: false }
            } else {
                Reply::Kept { acknowledged: safe }
            };
        }
        if cumulative < self.best.max(chain.paid) {
            return Reply::Stale { acknowledged: safe.max(chain.paid) };
        }
        Reply::Paid { acknowledged: safe, ended: service_ended }
    }
}

/// What a channel's vouchers come to, in base units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookTotals {
    /// Paid beyond dispute: by voucher, as far as the deposit covers it, or on chain.
    pub proven: Amount,
    /// What the best voucher would bring beyond what is paid, if the channel is on chain; nothing once it is closed.
    pub enforceable: Amount,
}

#[cfg(test)]
mod tests {
    use privatix_channel::{Closure, Ending};

    use super::*;

    fn amounts(some: &[u128]) -> Vec<Amount> {
        some.iter().copied().map(Amount::new).collect()
    }

    #[test]
    fn a_ceiling_is_the_lowest_amount_that_may_be_paid_in_the_end() {
        let mut chain = OnChain { deposit: Amount::new(1_000), opened_at: Some(1), ..OnChain::default() };
        assert_eq!(ceiling(&chain, []), None);
        assert_eq!(ceiling(&chain, amounts(&[700, 600])), Some(Amount::new(600)));
        chain.paid = Amount::new(500);
        assert_eq!(
            ceiling(&chain, amounts(&[700, 0])),
            Some(Amount::ZERO),
            "a reorganisation may undo what is paid"
        );
        let closed = Ending { block: 9, refund: Amount::new(500), closure: Closure::ByBoth };
        let over = OnChain { closed: Some(closed), ..chain };
        assert_eq!(ceiling(&over, []), Some(Amount::new(500)), "also for a voucher that was accepted before");
        assert_eq!(
            ceiling(&OnChain::default(), amounts(&[700])),
            Some(Amount::new(700)),
            "not opened again yet"
        );
    }

    #[test]
    fn what_lists_show_as_paid_is_covered_by_the_deposit_or_on_chain() {
        // Best, acknowledged, deposit, paid on chain, closed: proven, enforceable, acknowledged to the agent and to the client.
        let rows = [
            ((0, 0, 100, 0, false), (0, 0, 0, 0)),
            ((60, 40, 100, 0, false), (60, 60, 60, 40)),
            ((60, 40, 100, 50, false), (60, 10, 60, 50)),
            ((140, 40, 100, 0, false), (100, 100, 100, 40)),
            ((60, 60, 100, 80, false), (80, 0, 80, 80)),
            ((60, 60, 100, 0, true), (60, 0, 60, 60)),
        ];
        let amount = Amount::new;
        for ((best, acknowledged, deposit, paid, closed), (proven, enforceable, to_agent, to_client)) in rows
        {
            let book = Book { best: amount(best), acknowledged: amount(acknowledged) };
            let (deposit, paid) = (amount(deposit), amount(paid));
            let expected = BookTotals { proven: amount(proven), enforceable: amount(enforceable) };
            assert_eq!(book.totals(deposit, paid, closed), expected, "{book:?}");
            for (side, known) in [(Side::Agent, to_agent), (Side::Client, to_client)] {
                assert_eq!(book.acknowledged_to(side, deposit, paid), amount(known), "{side:?} {book:?}");
            }
        }
    }

    #[test]
    fn no_answer_names_more_than_is_certain_to_be_paid() {
        // Best, acknowledged before, ceiling, voucher: the answer, with a deposit of 1,000 of which 300 are paid on chain.
        type Row = (u128, u128, Option<u128>, u128, Reply);
        let amount = Amount::new;
        let paid = |acknowledged| Reply::Paid { acknowledged: amount(acknowledged), ended: false };
        let kept = |acknowledged| Reply::Kept { acknowledged: amount(acknowledged) };
        let stale = |acknowledged| Reply::Stale { acknowledged: amount(acknowledged) };
        let rows: [Row; 10] = [
            (700, 700, None, 700, paid(700)),
            (700, 700, None, 600, stale(700)),
            (1_200, 1_000, None, 1_200, paid(1_000)),
            (200, 200, None, 250, stale(300)),
            // A close at 600 is on its way.
            (600, 600, Some(600), 600, paid(600)),
            (600, 600, Some(600), 500, stale(600)),
            (700, 600, Some(600), 700, kept(600)),
            (700, 600, Some(600), 500, paid(600)),
            // A challenge runs. What was acknowledged before it stays so.
            (700, 600, Some(300), 600, paid(600)),
            (700, 600, Some(300), 650, kept(600)),
        ];
        let chain =
            OnChain { deposit: amount(1_000), paid: amount(300), opened_at: Some(1), ..OnChain::default() };
        for (best, acknowledged, ceiling, voucher, expected) in rows {
            let book = Book { best: amount(best), acknowledged: amount(acknowledged) };
            let answer = book.reply(&chain, ceiling.map(amount), amount(voucher), false);
            assert_eq!(answer, expected, "{best} {acknowledged} {ceiling:?} {voucher}");
        }
        let book = Book { best: amount(700), acknowledged: amount(600) };
        let ended =
            |voucher, ceiling: Option<u128>| book.reply(&chain, ceiling.map(amount), amount(voucher), true);
        assert_eq!(ended(500, Some(600)), paid(600), "the service ended, but not everything is acknowledged");
        assert_eq!(ended(700, None), Reply::Paid { acknowledged: amount(700), ended: true });
    }
}
