//! Refused orders in the words of the user's settings.

use alloy::primitives::Address;
use privatix_channel::Amount;
use privatix_market::{Budget, Refused};
use privatix_node::shell::NotApplied;
use privatix_node::{Limited, NodeError};

/// Why an order about a channel with this agent is refused, where `budget` is what was left. It names the limit that is exceeded: the
/// least of them, and of equal ones the first.
pub(crate) fn refused(refused: Refused, agent: Address, budget: &Budget) -> NodeError {
    match refused {
        Refused::NotAllowed { agent } => Limited::Agent { agent }.into(),
        Refused::Fee { fee, accepted } => Limited::Fee { fee, accepted }.into(),
        Refused::Budget { needed, .. } => match least(budget) {
            Some((Limit::Overall, left)) => Limited::Overall { needed, left }.into(),
            Some((Limit::Daily, left)) => Limited::Daily { needed, left }.into(),
            Some((Limit::PerAgent, left)) => Limited::PerAgent { agent, needed, left }.into(),
            Some((Limit::Balance, available)) => NodeError::Insufficient {
                what: "the order",
                needed,
                available,
                remedy: "send tokens to the account, or `deposit` what is in the wallet (one payment is made from one place); what \
                         other orders have reserved is not counted: if there are such, wait for them",
            },
            None => NotApplied::Refused(refused).into(),
        },
        _ => NotApplied::Refused(refused).into(),
    }
}

/// What limits spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Overall,
    Daily,
    PerAgent,
    Balance,
}

fn least(budget: &Budget) -> Option<(Limit, Amount)> {
    let limits = [
        (Limit::Overall, budget.overall),
        (Limit::Daily, budget.today),
        (Limit::PerAgent, budget.of_agent),
        (Limit::Balance, budget.free_balance),
    ];
    limits.into_iter().filter_map(|(limit, left)| Some((limit, left?))).min_by_key(|(_, left)| *left)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use privatix_channel::{ChainTime, Fee};
    use privatix_market::ClockSkew;

    use super::*;

    const AGENT: Address = Address::repeat_byte(0xa9);

    const fn a(units: u128) -> Amount {
        Amount::new(units)
    }

    fn says(left: [Option<u128>; 4]) -> String {
        let mut budget = Budget::default();
        let [overall, today, of_agent, balance] = left.map(|left| left.map(a));
        (budget.overall, budget.today, budget.of_agent, budget.free_balance) =
            (overall, today, of_agent, balance);
        refused(Refused::Budget { needed: a(9), left: budget.left() }, AGENT, &budget).to_string()
    }

    #[test]
    fn a_refusal_names_the_limit_that_is_exceeded_and_its_setting() {
        for (left, named) in [
            ([Some(8), None, None, None], "the 8 that budget.overall"),
            ([Some(8), Some(7), None, Some(100)], "the 7 that budget.daily"),
            ([Some(8), Some(8), Some(3), Some(4)], "the 3 that budget.per_agent"),
            ([Some(8), Some(8), Some(8), Some(8)], "the 8 that budget.overall"),
            ([Some(8), Some(8), Some(8), Some(2)], "2 are there"),
        ] {
            let said = says(left);
            assert!(said.contains(named) && said.contains('9'), "{left:?}: {said}");
        }
        let none = Budget::default();
        let said = refused(Refused::NotAllowed { agent: AGENT }, AGENT, &none).to_string();
        assert!(said.contains("budget.allowed_agents") && said.contains(&AGENT.to_string()), "{said}");
        let fee = Refused::Fee { fee: Fee::new(500).expect("a fee"), accepted: Fee::ZERO };
        let said = refused(fee, AGENT, &none).to_string();
        assert!(said.contains("chain.accept_fee") && said.contains("0.5 %"), "{said}");
        let said = refused(Refused::StaleView, AGENT, &none);
        assert!(matches!(said, NodeError::Refused(_)), "{said}");
        let skew = ClockSkew { wall: SystemTime::UNIX_EPOCH, chain: ChainTime::new(7_200) };
        let said = refused(Refused::Clock(skew), AGENT, &none);
        assert!(matches!(said, NodeError::Clock(found) if found == skew), "{said}");
        assert!(said.to_string().contains(&skew.to_string()), "{said}");
    }
}
