//! How a chain charges for transactions, beside gas at the price of its blocks.

use alloy::consensus::SignableTransaction;
use alloy::primitives::{Address, Bytes, U256, address};
use alloy::sol_types::SolCall;

use super::memory::Now;
use super::signing::Draft;
use super::{FeePolicy, Fees, Inner, TxRecord};
use crate::ChainError;
use crate::RpcError;
use crate::rpc::{Call, Fault, Rpc};

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
    /// What is paid beside the gas, as far as the chain charges so.
    pub(super) fn l1_fee(self, beside: u128) -> Option<u128> {
        (self == Self::OpStack).then_some(beside)
    }

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

/// What holds for every transaction of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) model: FeeModel,
    /// The most gas of a transaction.
    pub(super) gas_cap: u64,
    /// The head at which they were asked for.
    pub(super) head: u64,
    /// Whether that was answered, so that it need not be asked again.
    pub(super) is_certain: bool,
}

/// The most gas of a transaction where neither the operator nor the chain sets another bound (EIP-7825).
const TX_GAS_CAP: u64 = 1 << 24;

/// What one endpoint shows of the chain's rules; `None` where it has not answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    model: Option<FeeModel>,
    gas_cap: Option<Cap>,
}

/// What an endpoint answers to the question for the gas cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cap {
    Reported(u64),
    NotServed,
}

/// A question to which an endpoint gave no answer.
struct Unanswered;

/// What two endpoints show alike, and whether it is certain. While only one of them answers, its word counts until then.
fn agreed(seen: &[Seen]) -> (Seen, bool) {
    match seen {
        [first, second] => {
            let model = first.model.filter(|model| second.model == Some(*model));
            let gas_cap = first.gas_cap.filter(|cap| second.gas_cap == Some(*cap));
            (Seen { model, gas_cap }, true)
        }
        [only] => (*only, false),
        _ => (Seen::default(), false),
    }
}

/// Asks one endpoint for the chain's rules, by the contracts that the chain has.
async fn look(rpc: &Rpc, head: u64) -> Seen {
    let gas_cap = match rpc.tx_gas_limit_cap().await {
        Ok(0) => Some(Cap::NotServed),
        Ok(cap) => Some(Cap::Reported(cap)),
        Err(error) if matches!(error.fault, Fault::Refused { .. }) => Some(Cap::NotServed),
        Err(_) => None,
    };
    Seen { model: model(rpc, head).await.ok(), gas_cap }
}

async fn model(rpc: &Rpc, head: u64) -> Result<FeeModel, Unanswered> {
    if one_number(rpc, ARB_GAS_INFO, getMinimumGasPriceCall {}, head).await?.is_some() {
        let cap = one_number(rpc, ARB_GAS_INFO, getMaxTxGasLimitCall {}, head).await?;
        let gas_cap = cap.and_then(|cap| u64::try_from(cap).ok()).filter(|cap| *cap > 0);
        return Ok(FeeModel::Arbitrum { gas_cap });
    }
    let sample = getL1FeeCall { tx: Bytes::from_static(&[0xff; 100]) };
    Ok(match one_number(rpc, GAS_PRICE_ORACLE, sample, head).await? {
        Some(_) => FeeModel::OpStack,
        None => FeeModel::Plain,
    })
}

/// The number that a contract gives, if there is such a contract. A revert is an answer: another contract may be at that
/// address.
async fn one_number(rpc: &Rpc, to: Address, call: impl SolCall, at: u64) -> Result<Option<U256>, Unanswered> {
    let input = Bytes::from(call.abi_encode());
    let call = Call { from: Address::ZERO, to, value: 0, input: &input };
    match rpc.call(call, GAS, at).await {
        Ok(answer) if answer.len() == 32 => Ok(Some(U256::from_be_slice(&answer))),
        Ok(_) => Ok(None),
        Err(error) if error.fault.is_about_the_call() => Ok(None),
        Err(_) => Err(Unanswered),
    }
}

/// What to set aside for fees that were `l1` and `operator` a moment ago: the first one moves with the other chain.
fn with_margin(l1: U256, operator: U256) -> u128 {
    let most = l1.saturating_add(l1 / U256::from(2)).saturating_add(operator);
    u128::try_from(most).unwrap_or(u128::MAX)
}

impl Inner {
    /// The chain's rules as of a head. Nothing is held up by them: what is not certain is asked again at the next head, and
    /// taken for the usual meanwhile. Anything unusual needs two endpoints where there are several.
    pub(super) async fn rules(&self, head: u64) -> Rules {
        let cap = self.options.fees.tx_gas_cap;
        let ask = |rpc: Rpc| async move { Ok::<_, RpcError>(look(&rpc, head).await) };
        let (seen, is_confirmed) = if self.rpc.are_several() {
            agreed(&self.rpc.of_two(ask).await)
        } else {
            (self.rpc.read(ask).await.unwrap_or_default(), true)
        };
        let model = seen.model.unwrap_or(FeeModel::Plain);
        let of_chain = match model {
            FeeModel::Arbitrum { gas_cap } => gas_cap,
            FeeModel::Plain | FeeModel::OpStack => None,
        };
        let reported = match seen.gas_cap {
            Some(Cap::Reported(cap)) => Some(cap),
            Some(Cap::NotServed) | None => None,
        };
        let gas_cap = cap.or(of_chain).or(reported).unwrap_or(TX_GAS_CAP);
        let is_answered = seen.model.is_some() && (cap.or(of_chain).is_some() || seen.gas_cap.is_some());
        let is_certain = is_confirmed && is_answered;
        Rules { model, gas_cap, head, is_certain }
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
        let draft = Draft { counterpart: None, seen, gas_limit, nonce, fees, displaces: None, signed: None };
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
    fn unusual_rules_need_two_endpoints_where_two_answer() {
        let plain = Seen { model: Some(FeeModel::Plain), gas_cap: Some(Cap::NotServed) };
        let lie =
            Seen { model: Some(FeeModel::Arbitrum { gas_cap: None }), gas_cap: Some(Cap::Reported(30_000)) };
        let silent = Seen::default();
        assert_eq!(agreed(&[plain, plain]), (plain, true));
        assert_eq!(agreed(&[lie, plain]), (silent, true), "and nothing is certain by it");
        assert_eq!(agreed(&[lie, silent]), (silent, true));
        assert_eq!(agreed(&[lie]), (lie, false));
        assert_eq!(agreed(&[]), (silent, false));
    }

    #[test]
    fn half_as_much_again_is_set_aside_for_the_fee_of_the_other_chain() {
        assert_eq!(with_margin(U256::from(100), U256::from(7)), 157);
        assert_eq!(with_margin(U256::MAX, U256::MAX), u128::MAX);
    }
}
