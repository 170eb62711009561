//! What a channel's vouchers are worth: [`Book`].

use privatix_channel::{Amount, OnChain};
use serde::{Deserialize, Serialize};

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
        self.best.min(chain.deposit).max(chain.paid)
    }

    /// What the best voucher would still bring on chain, fee included; nothing unless the channel is open.
    pub fn claimable(&self, chain: &OnChain) -> Amount {
        if chain.phase().is_open() { Self::worth(self.best, chain) } else { Amount::ZERO }
    }

    /// What a voucher over `cumulative` brings beyond what is paid.
    pub(crate) fn worth(cumulative: Amount, chain: &OnChain) -> Amount {
        cumulative.min(chain.deposit).saturating_sub(chain.paid)
    }

    /// What may be acknowledged: the best voucher as far as the deposit covers it, but not more than `ceiling`; see
    /// [`AgentState::ceiling`](crate::AgentState::ceiling).
    ///
    /// What was acknowledged before stays so: to repeat it promises nothing new.
    pub fn safe(&self, chain: &OnChain, ceiling: Option<Amount>) -> Amount {
        let ceiling = ceiling.unwrap_or(Amount::MAX);
        self.best.min(ceiling).max(self.acknowledged).min(chain.deposit)
    }
}
