//! How a chain charges for transactions, beside gas at the price of its blocks.

use alloy::consensus::SignableTransaction;
use alloy::primitives::{Address, Bytes, U256, address};
use alloy::sol_types::SolCall;

use super::memory::Now;
use super::signing::Draft;
use super::{FeePolicy, Fees, Inner, TxRecord};
use crate::ChainError;
use crate::rpc::{Call, Fault};

alloy::sol! {
    /// Of Arbitrum's ArbGasInfo.
    function getMinimumGasPrice() external view returns (uint256);
    function getMaxTxGasLimit() external view returns (uint256);
    /// Of the OP stack's GasPriceOracle.
    function getL1Fee(bytes memory tx) external view returns (uint256);
    function getOperatorFee(uint256 gasUsed) external view returns (uint256);
}

const ARB_GAS_INFO: Address = address!("0x000000000000000000000000000000000000006c");
const GAS_PRICE_ORACLE: Address = address!("0x420000000000000000000000000000000000000f");
/// For calls of these contracts.
const GAS: u64 = 5_000_000;
/// Gas that Arbitrum's estimates are raised by, in percent: they contain the price of the data on the other chain, which moves.
const ARBITRUM_MARGIN: u32 = 50;

/// How a chain charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeeModel {
    /// Gas at the base fee and a tip (EIP-1559), or, by its blocks, at one price.
    Plain,
    /// Transactions are ordered by arrival and tips are not collected; the gas contains the data on the other chain.
    Arbitrum {
        /// The most gas of a transaction, if it is known.
        gas_cap: Option<u64>,
    },
    /// The data on the other chain costs something beside the gas, which no field of the transaction bounds.
    OpStack,
}

impl FeeModel {
    /// The operator's policy on such a chain.
    pub(super) fn policy(self, policy: FeePolicy) -> FeePolicy {
        match self {
            Self::Plain | Self::OpStack => policy,
            Self::Arbitrum { gas_cap } => FeePolicy {
                min_priority_fee: 0,
                max_priority_fee: 0,
                gas_margin_percent: policy.gas_margin_percent.max(ARBITRUM_MARGIN),
                tx_gas_cap: policy.tx_gas_cap.or(gas_cap),
                ..policy
            },
        }
    }
}

/// What to set aside for fees that were `l1` and `operator` a moment ago: the first one moves with the other chain.
fn with_margin(l1: U256, operator: U256) -> u128 {
    let most = l1.saturating_add(l1 / U256::from(2)).saturating_add(operator);
    u128::try_from(most).unwrap_or(u128::MAX)
}

impl Inner {
    /// How the chain charges, by the contracts that it has.
    pub(super) async fn fee_model(&self, head: u64) -> Result<FeeModel, ChainError> {
        if self.number(ARB_GAS_INFO, getMinimumGasPriceCall {}, head).await?.is_some() {
            let cap = self.number(ARB_GAS_INFO, getMaxTxGasLimitCall {}, head).await?;
            let gas_cap = cap.and_then(|cap| u64::try_from(cap).ok()).filter(|cap| *cap > 0);
            return Ok(FeeModel::Arbitrum { gas_cap });
        }
        let sample = getL1FeeCall { tx: Bytes::from_static(&[0xff; 100]) };
        Ok(match self.number(GAS_PRICE_ORACLE, sample, head).await? {
            Some(_) => FeeModel::OpStack,
            None => FeeModel::Plain,
        })
    }

    /// The operator's policy, on a chain that charges like this.
    pub(super) fn policy(&self, now: Now) -> FeePolicy {
        now.model.policy(self.options.fees)
    }

    /// The most that a transaction for a record costs beside its gas, in wei.
    pub(super) async fn fee_beside(&self, now: Now, record: &TxRecord, gas: u64) -> Result<u128, ChainError> {
        if now.model != FeeModel::OpStack {
            return Ok(0);
        }
        // The size counts: as long as it can be.
        let policy = self.policy(now);
        let (nonce, fees) = (u64::from(u32::MAX), Fees::new(policy.max_fee_cap, policy.max_priority_fee));
        let (seen, gas_limit) = (record.clone(), gas);
        let draft = Draft { seen, gas_limit, nonce, fees, displaces: None, signed: None };
        let mut tx = Vec::new();
        self.transaction(now, &draft).encode_for_signing(&mut tx);
        let l1 = self.number(GAS_PRICE_ORACLE, getL1FeeCall { tx: tx.into() }, now.head).await?;
        // Older chains have none.
        let operator = getOperatorFeeCall { gasUsed: U256::from(gas) };
        let operator = self.number(GAS_PRICE_ORACLE, operator, now.head).await?;
        Ok(with_margin(l1.unwrap_or_default(), operator.unwrap_or_default()))
    }

    /// The number that a contract gives, if there is such a contract.
    async fn number(&self, to: Address, call: impl SolCall, at: u64) -> Result<Option<U256>, ChainError> {
        let input = Bytes::from(call.abi_encode());
        let call = Call { from: Address::ZERO, to, value: 0, input: &input };
        match self.rpc.call(call, GAS, at).await {
            Ok(answer) if answer.len() == 32 => Ok(Some(U256::from_be_slice(&answer))),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.fault, Fault::Refused { .. } | Fault::Garbage(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_arbitrum_nothing_is_tipped_and_the_gas_has_a_wide_margin() {
        let policy = FeeModel::Arbitrum { gas_cap: Some(32) }.policy(FeePolicy::default());
        let expected = (0, 0, 50, Some(32));
        let found = (policy.min_priority_fee, policy.max_priority_fee, policy.gas_margin_percent);
        assert_eq!((found.0, found.1, found.2, policy.tx_gas_cap), expected);
        for model in [FeeModel::Plain, FeeModel::OpStack] {
            assert_eq!(model.policy(FeePolicy::default()), FeePolicy::default());
        }
    }

    #[test]
    fn half_as_much_again_is_set_aside_for_the_fee_of_the_other_chain() {
        assert_eq!(with_margin(U256::from(100), U256::from(7)), 157);
        assert_eq!(with_margin(U256::MAX, U256::MAX), u128::MAX);
    }
}
