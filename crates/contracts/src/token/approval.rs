//! Which approvals a payment out of the wallet needs, and which tokens cannot be paid with at all.

use alloy::primitives::{Address, U256};
use privatix_channel::Amount;

/// A token that the service contract cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// Less arrives than was sent.
    #[error(
        "token {token} takes a fee from transfers ({arrived} of {sent} base units arrive), so the service contract would owe \
         more than it holds: use a service contract over a token without such a fee"
    )]
    TakesFee {
        /// The token.
        token: Address,
        /// What was sent.
        sent: Amount,
        /// What arrived of it.
        arrived: Amount,
    },
    /// A trial of the deposit reverts.
    #[error("token {token} does not let the service contract take tokens: {reason}")]
    DepositReverts {
        /// The token.
        token: Address,
        /// What it said.
        reason: String,
    },
    /// `approve` fails, whatever the allowance.
    #[error("token {token} refuses `approve`: {reason}")]
    NoApproval {
        /// The token.
        token: Address,
        /// What it said.
        reason: String,
    },
}

/// What a trial of a deposit and of its withdrawal moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialTransfer {
    /// What was sent each way.
    pub sent: Amount,
    /// What the service contract has more after the deposit.
    pub arrived: U256,
    /// What the wallet has more after the withdrawal, which is tried only when all arrived.
    pub returned: U256,
}

impl TrialTransfer {
    /// Refuses a token that keeps something for itself.
    ///
    /// # Errors
    /// [`TokenRefusal::TakesFee`].
    pub fn judge(self, token: Address) -> Result<(), TokenRefusal> {
        // Beyond 128 bits is more than was sent.
        let [arrived, returned] =
            [self.arrived, self.returned].map(|moved| Amount::try_from(moved).unwrap_or(Amount::MAX));
        if arrived < self.sent {
            return Err(TokenRefusal::TakesFee { token, sent: self.sent, arrived });
        }
        if returned < self.sent {
            return Err(TokenRefusal::TakesFee { token, sent: self.sent, arrived: returned });
        }
        Ok(())
    }
}

/// The approvals before a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approvals {
    /// None: the allowance suffices.
    None,
    /// The amount.
    Amount,
    /// Zero, then the amount: the token does not change an allowance that is not zero (USDT).
    ZeroThenAmount,
}

impl Approvals {
    /// The allowances to set, in this order.
    pub fn amounts(self, needed: Amount) -> impl Iterator<Item = Amount> {
        let (zero, amount) = match self {
            Self::None => (None, None),
            Self::Amount => (None, Some(needed)),
            Self::ZeroThenAmount => (Some(Amount::ZERO), Some(needed)),
        };
        zero.into_iter().chain(amount)
    }
}

/// Decides from the allowance on chain and a trial call of `approve(needed)`: `Err` is what the token said against it.
///
/// # Errors
/// [`TokenRefusal::NoApproval`] when the allowance is zero already and the token refuses all the same.
pub fn approvals(
    token: Address,
    allowance: U256,
    needed: Amount,
    trial: Result<(), String>,
) -> Result<Approvals, TokenRefusal> {
    if allowance >= U256::from(needed.get()) {
        return Ok(Approvals::None);
    }
    match trial {
        Ok(()) => Ok(Approvals::Amount),
        Err(_) if !allowance.is_zero() => Ok(Approvals::ZeroThenAmount),
        Err(reason) => Err(TokenRefusal::NoApproval { token, reason }),
    }
}

/// Whether what a call of ERC-20 returned means success: true, or nothing at all, as many tokens do.
pub fn returned_true(answer: &[u8]) -> bool {
    answer.is_empty() || (answer.len() >= 32 && U256::from_be_slice(&answer[..32]) == U256::ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Address = Address::repeat_byte(0x70);
    const NEEDED: Amount = Amount::new(1_000);

    fn decide(allowance: u64, trial: Result<(), &str>) -> Result<Approvals, TokenRefusal> {
        approvals(TOKEN, U256::from(allowance), NEEDED, trial.map_err(str::to_owned))
    }

    #[test]
    fn approvals_follow_from_the_allowance_and_what_the_token_says() {
        assert_eq!(decide(1_000, Err("not asked")), Ok(Approvals::None));
        assert_eq!(decide(u64::MAX, Ok(())), Ok(Approvals::None));
        assert_eq!(decide(0, Ok(())), Ok(Approvals::Amount));
        assert_eq!(decide(999, Ok(())), Ok(Approvals::Amount), "most tokens change an allowance");
        assert_eq!(decide(999, Err("not zero")), Ok(Approvals::ZeroThenAmount), "USDT does not");
        assert!(matches!(decide(0, Err("paused")), Err(TokenRefusal::NoApproval { .. })));
    }

    #[test]
    fn exactly_what_is_needed_is_approved() {
        assert_eq!(Approvals::None.amounts(NEEDED).count(), 0);
        assert_eq!(Approvals::Amount.amounts(NEEDED).collect::<Vec<_>>(), [NEEDED]);
        let through_zero: Vec<_> = Approvals::ZeroThenAmount.amounts(NEEDED).collect();
        assert_eq!(through_zero, [Amount::ZERO, NEEDED]);
    }

    #[test]
    fn a_token_that_keeps_something_on_either_way_is_refused() {
        let judged = |arrived: u64, returned: u64| {
            TrialTransfer { sent: NEEDED, arrived: U256::from(arrived), returned: U256::from(returned) }
                .judge(TOKEN)
        };
        assert_eq!(judged(1_000, 1_000), Ok(()));
        assert_eq!(judged(2_000, 1_000), Ok(()));
        assert!(matches!(judged(990, 1_000), Err(TokenRefusal::TakesFee { .. })));
        assert!(matches!(judged(1_000, 0), Err(TokenRefusal::TakesFee { .. })));
        let Err(TokenRefusal::TakesFee { arrived, .. }) = judged(990, 0) else { panic!("not refused") };
        assert_eq!(arrived, Amount::new(990), "what arrived, not what was not even sent back");
        let most = TrialTransfer { sent: Amount::MAX, arrived: U256::MAX, returned: U256::MAX };
        assert_eq!(most.judge(TOKEN), Ok(()));
    }

    #[test]
    fn nothing_returned_counts_as_success_and_false_does_not() {
        let word = |value: u8| U256::from(value).to_be_bytes::<32>();
        assert!(returned_true(&[]));
        assert!(returned_true(&word(1)));
        assert!(!returned_true(&word(0)));
        assert!(!returned_true(&word(2)));
        assert!(!returned_true(&[1]));
    }
}
