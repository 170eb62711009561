//! Whether the account's ether suffices for the closes of its channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::primitives::utils::format_ether;
use parking_lot::Mutex;
use privatix_channel::ChannelStatus;
use privatix_market::{AffordsNew, Gas, Reserve, Runway, Spending, Wei};
use privatix_store::channels;
use tokio_util::sync::CancellationToken;

use crate::{Money, Node, NodeError};

const PART: &str = "reserve";
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What a close uses at most: 58,500 with a plain signature (`contracts/GAS.md`), and more where a contract checks it.
const GAS_OF_A_CLOSE: u64 = 100_000;
/// Days that the ether should last, so that there is time to send more.
const ENOUGH_DAYS: u64 = 7;

/// What the account keeps for closes, and whether it serves new channels.
pub struct GasReserve {
    node: Arc<Node>,
    started: Instant,
    /// For how long it was spent before that, too.
    before: Duration,
    /// None until it is known for the first time.
    known: Mutex<Option<Known>>,
}

/// As of the last look.
#[derive(Clone, Copy, Debug)]
struct Known {
    affords: AffordsNew,
    price: Wei,
    close_cost: Wei,
}

impl std::fmt::Debug for GasReserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GasReserve").field("known", &self.known.lock()).finish_non_exhaustive()
    }
}

impl GasReserve {
    /// That of the node's account. It is looked at while [`watch`](Self::watch) runs.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, started: Instant::now(), before: Duration::ZERO, known: Mutex::default() }
    }

    /// Counts what the node has spent as spent over this time, too: for a reserve that is made after the node has run for it.
    #[must_use]
    pub fn spent_over(mut self, before: Duration) -> Self {
        self.before = before;
        self
    }

    /// What gas costs, as of the last look, and what a token is worth.
    pub fn gas(&self) -> Gas {
        let known = *self.known.lock();
        let mut gas = Gas::default();
        if let Some(Known { affords, price, close_cost }) = known {
            (gas.affords_new, gas.price, gas.close_cost) = (affords.get(), Some(price), Some(close_cost));
        }
        gas.rate = self.node.rate();
        gas
    }

    /// Looks at the balance and the price of gas: whether new channels are served, and what an operator should know.
    async fn look(&self) -> Result<(AffordsNew, Option<String>), NodeError> {
        let open = match self.node.money() {
            Some(money) => unclosed(&money),
            None => channels::unclosed(&mut *self.node.db().read().await?).await?.len() as u64,
        };
        let (balance, price) = self.node.gas_funds().await?;
        let close_cost = price.saturating_mul(U256::from(GAS_OF_A_CLOSE));
        let reserve = Reserve { open, close_cost: Wei::new(close_cost.saturating_to()) };
        let balance = Wei::new(balance.saturating_to());
        let over = self.before.saturating_add(self.started.elapsed());
        let spending = Spending { wei: Wei::new(self.node.gas_spent()), over };
        let mut known = self.known.lock();
        let mut affords = known.map(|known| known.affords).unwrap_or_default();
        let changed = affords.look(balance, reserve);
        let price = Wei::new(price.saturating_to());
        *known = Some(Known { affords, price, close_cost: reserve.close_cost });
        drop(known);
        let trouble = trouble(balance, reserve, spending, affords);
        if changed {
            if let Some(trouble) = &trouble {
                tracing::warn!("{trouble}");
            } else {
                tracing::info!("the account's ether suffices again; new channels are served");
            }
        }
        Ok((affords, trouble))
    }

    /// Looks now and then, and shows in the node's notices what an operator should know, until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match stop.run_until_cancelled(self.look()).await {
                Some(Ok((_, trouble))) => self.node.notices().set(PART, trouble),
                // What is known stays: an endpoint that does not answer is an alarm of its own.
                Some(Err(error)) => tracing::debug!(%error, "it is not known whether the ether suffices"),
                None => {}
            }
        }
    }
}

/// How many channels are to be closed yet.
fn unclosed(money: &Money) -> u64 {
    let closed = [ChannelStatus::ClosedCoop, ChannelStatus::ClosedUncoop].map(ChannelStatus::as_str);
    let unclosed = money.totals.channels.iter().filter(|((status, _), _)| !closed.contains(status));
    unclosed.map(|(_, count)| *count).fold(0, u64::saturating_add)
}

/// What an operator should know of the account's ether.
fn trouble(balance: Wei, reserve: Reserve, spending: Spending, affords: AffordsNew) -> Option<String> {
    let ether = |wei: Wei| format_ether(wei.get());
    let Reserve { open, .. } = reserve;
    let unserved = "new channels are not served until the account has more";
    match Runway::of(balance, reserve, spending) {
        Runway::Short { missing } => Some(format!(
            "{} ether are missing for the closes of {open} open channels at the present price of gas; send the account ether: \
             {unserved}",
            ether(missing)
        )),
        _ if !affords.get() => Some(format!(
            "the account's {} ether are just enough for the closes of {open} open channels; send it ether: {unserved}",
            ether(balance)
        )),
        Runway::Days(days) if days < ENOUGH_DAYS => Some(format!(
            "the account's ether lasts for about {days} days, once the closes of {open} open channels are paid; send it ether"
        )),
        Runway::Days(_) | Runway::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_warned_before_the_ether_is_gone() {
        const DAY: Duration = Duration::from_hours(24);
        let reserve = Reserve { open: 9, close_cost: Wei::new(10) };
        // The balance, what was spent in a day, whether new channels were served before; what the warning names.
        for (balance, spent, served, expected) in [
            (1_000, 10, true, None),
            (1_000, 0, true, None),
            (159, 10, true, Some("about 6 days")),
            (160, 10, true, None),
            (130, 10, false, Some("about 4 days")), // served again
            (110, 10, false, Some("just enough")),
            (99, 10, true, Some("just enough")),
            (89, 10, true, Some("0.000000000000000001 ether are missing for the closes of 9")),
        ] {
            let mut affords = AffordsNew::default();
            if !served {
                affords.look(Wei::new(0), reserve);
            }
            let balance = Wei::new(balance);
            affords.look(balance, reserve);
            let spending = Spending { wei: Wei::new(spent), over: DAY };
            let found = trouble(balance, reserve, spending, affords);
            assert_eq!(found.is_some(), expected.is_some(), "{balance:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{balance:?}");
        }
    }
}
