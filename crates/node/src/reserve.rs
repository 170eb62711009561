//! Whether the account's ether suffices for the closes of its channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::primitives::utils::format_ether;
use parking_lot::Mutex;
use privatix_channel::ChannelStatus;
use privatix_market::{AffordsNew, Danger, Gas, Reserve, Runway, Spending, Wei};
use privatix_store::channels;
use tokio_util::sync::CancellationToken;

use crate::{Money, Node, NodeError, Part};

const PART: Part = Part::Reserve;
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What a close uses at most: 58,500 with a plain signature (`contracts/GAS.md`), and more where a contract checks it.
const GAS_OF_A_CLOSE: u64 = 100_000;
/// How an account's ether stands to the closes of its channels, at the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveStanding {
    /// For how long it lasts.
    pub runway: Runway,
    /// How much money is in danger.
    pub danger: Option<Danger>,
    /// What an operator should know, where money is in danger.
    pub trouble: Option<String>,
}

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
    async fn look(&self) -> Result<ReserveStanding, NodeError> {
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
        let standing = standing(balance, reserve, spending, affords);
        if changed {
            if let Some(trouble) = &standing.trouble {
                tracing::warn!("{trouble}");
            } else {
                tracing::info!("the account's ether suffices again; new channels are served");
            }
        }
        Ok(standing)
    }

    /// Looks now and then, and shows in the node's notices what an operator should know, until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            match stop.run_until_cancelled(self.look()).await {
                Some(Ok(standing)) => {
                    let trouble = standing.trouble.clone();
                    self.node.reserve.send_replace(Some(standing));
                    self.node.notices().set(PART, trouble);
                }
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

/// Whether the account's ether suffices, and what an operator should know of it.
fn standing(balance: Wei, reserve: Reserve, spending: Spending, affords: AffordsNew) -> ReserveStanding {
    let ether = |wei: Wei| format_ether(wei.get());
    let Reserve { open, .. } = reserve;
    let unserved = "new channels are not served until the account has more";
    let runway = Runway::of(balance, reserve, spending);
    let danger = runway.danger(affords);
    let trouble = danger.map(|_| match runway {
        Runway::Short { missing } => format!(
            "{} ether are missing for the closes of {open} open channels at the present price of gas; send the account ether: \
             {unserved}",
            ether(missing)
        ),
        Runway::Days(days) if affords.get() => format!(
            "the account's ether lasts for about {days} days, once the closes of {open} open channels are paid; send it ether"
        ),
        Runway::Days(_) | Runway::Unknown => format!(
            "the account's {} ether are just enough for the closes of {open} open channels; send it ether: {unserved}",
            ether(balance)
        ),
    });
    ReserveStanding { runway, danger, trouble }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_warned_before_the_ether_is_gone() {
        const DAY: Duration = Duration::from_hours(24);
        let reserve = Reserve { open: 9, close_cost: Wei::new(10) };
        let (risk, loss) = (Some(Danger::Risk), Some(Danger::Loss));
        // The balance, what was spent in a day, whether new channels were served before; how much is in danger, what the warning names.
        for (balance, spent, served, danger, expected) in [
            (1_000, 10, true, None, None),
            (1_000, 0, true, None, None),
            (159, 10, true, risk, Some("about 6 days")),
            (160, 10, true, None, None),
            (130, 10, false, risk, Some("about 4 days")), // served again
            (110, 10, false, risk, Some("just enough")),
            (99, 10, true, risk, Some("just enough")),
            (89, 10, true, loss, Some("0.000000000000000001 ether are missing for the closes of 9")),
        ] {
            let mut affords = AffordsNew::default();
            if !served {
                affords.look(Wei::new(0), reserve);
            }
            let balance = Wei::new(balance);
            affords.look(balance, reserve);
            let spending = Spending { wei: Wei::new(spent), over: DAY };
            let found = standing(balance, reserve, spending, affords);
            assert_eq!(found.danger, danger, "{balance:?}: {found:?}");
            assert_eq!(found.trouble.is_some(), expected.is_some(), "{balance:?}: {found:?}");
            assert!(found.trouble.unwrap_or_default().contains(expected.unwrap_or_default()), "{balance:?}");
        }
    }
}
