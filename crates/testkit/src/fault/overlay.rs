//! The manners of other chains over a node that has none of them.

use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Bytes, U256};
use alloy::sol_types::{SolCall as _, SolValue as _};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::Overlay;
use super::act::{Node, Reply, Request};
use super::view::{hex, number};

alloy::sol! {
    function getMinimumGasPrice() external view returns (uint256);
    function getMaxTxGasLimit() external view returns (uint256);
    function getL1Fee(bytes memory tx) external view returns (uint256);
    function getOperatorFee(uint256 gasUsed) external view returns (uint256);
}

const ARB_GAS_INFO: &str = "0x000000000000000000000000000000000000006c";
const GAS_PRICE_ORACLE: &str = "0x420000000000000000000000000000000000000f";
/// EIP-7825.
const TX_GAS_CAP: u64 = 1 << 24;
/// Gas of Arbitrum's transactions, at most.
const ARBITRUM_GAS_CAP: u64 = 32_000_000;

pub(super) async fn act<'a>(
    overlay: Overlay,
    node: &Node,
    request: Request,
    go: impl Fn(Request) -> BoxFuture<'a, Reply>,
) -> Reply {
    let sent = request.is(&["eth_sendRawTransaction"]).then(|| decoded(&request.params[0])).flatten();
    match overlay {
        Overlay::Arbitrum { minimum_gas_price } => {
            if let Some(answer) = predeploy(&request, ARB_GAS_INFO, |input| {
                if input.starts_with(&getMinimumGasPriceCall::SELECTOR) {
                    return Some(U256::from(minimum_gas_price));
                }
                input.starts_with(&getMaxTxGasLimitCall::SELECTOR).then(|| U256::from(ARBITRUM_GAS_CAP))
            }) {
                return answer;
            }
            if sent.is_some_and(|tx| tx.max_fee_per_gas() < u128::from(minimum_gas_price)) {
                return Reply::error(-32_000, "max fee per gas less than block base fee");
            }
            let is_estimate = request.is(&["eth_estimateGas"]);
            go(request).await.map(|gas| match number(&gas) {
                Some(gas) if is_estimate => hex(gas + gas / 3),
                _ => gas,
            })
        }
        Overlay::OpStack { l1_fee } => {
            if let Some(answer) = predeploy(&request, GAS_PRICE_ORACLE, |input| {
                if input.starts_with(&getL1FeeCall::SELECTOR) {
                    return Some(U256::from(l1_fee));
                }
                input.starts_with(&getOperatorFeeCall::SELECTOR).then_some(U256::ZERO)
            }) {
                return answer;
            }
            match sent {
                Some(tx) => match unaffordable(node, &tx, l1_fee).await {
                    Some(refusal) => refusal,
                    None => go(request).await,
                },
                None => go(request).await,
            }
        }
        Overlay::Legacy => match request.method.as_str() {
            "eth_feeHistory" | "eth_maxPriorityFeePerGas" => Reply::error(
                -32_601,
                &format!("the method {} does not exist/is not available", request.method),
            ),
            "eth_sendRawTransaction" if sent.is_some_and(|tx| !tx.is_legacy()) => {
                Reply::error(-32_000, "transaction type not supported")
            }
            "eth_getBlockByNumber" | "eth_getBlockByHash" => go(request).await.map(|mut block| {
                if let Value::Object(fields) = &mut block {
                    fields.remove("baseFeePerGas");
                }
                block
            }),
            _ => go(request).await,
        },
        Overlay::Osaka => match sent {
            Some(tx) if tx.gas_limit() > TX_GAS_CAP => Reply::error(
                -32_000,
                &format!("transaction gas limit too high (cap: {TX_GAS_CAP}, tx: {})", tx.gas_limit()),
            ),
            _ => go(request).await,
        },
    }
}

/// The answer of a predeployed contract, if the request is about it.
fn predeploy(request: &Request, address: &str, answer: impl Fn(&[u8]) -> Option<U256>) -> Option<Reply> {
    let is_it = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(address));
    let first = &request.params[0];
    match request.method.as_str() {
        // STOP: any code.
        "eth_getCode" if is_it(first) => Some(Reply::Result("0x00".into())),
        "eth_call" if is_it(&first["to"]) => {
            let input = first.get("input").or_else(|| first.get("data")).and_then(Value::as_str)?;
            let input: Bytes = input.parse().ok()?;
            Some(match answer(&input) {
                Some(value) => Reply::Result(Bytes::from(value.abi_encode()).to_string().into()),
                None => Reply::error(3, "execution reverted"),
            })
        }
        _ => None,
    }
}

fn decoded(raw: &Value) -> Option<TxEnvelope> {
    let raw: Bytes = raw.as_str()?.parse().ok()?;
    TxEnvelope::decode_2718(&mut raw.as_ref()).ok()
}

/// The refusal of a transaction whose sender cannot pay the L1 fee besides gas and value, in the words of op-geth.
async fn unaffordable(node: &Node, tx: &TxEnvelope, l1_fee: u64) -> Option<Reply> {
    let sender = tx.recover_signer().ok()?;
    let Reply::Result(balance) = node.ask("eth_getBalance", json!([sender, "latest"])).await else {
        return None;
    };
    let balance = U256::from_str_radix(balance.as_str()?.strip_prefix("0x")?, 16).ok()?;
    let gas = U256::from(tx.gas_limit()) * U256::from(tx.max_fee_per_gas());
    let cost = gas + tx.value() + U256::from(l1_fee);
    (cost > balance).then(|| {
        let overshot = cost - balance;
        let words = "insufficient funds for gas * price + value: balance";
        Reply::error(-32_000, &format!("{words} {balance}, tx cost {cost}, overshot {overshot}"))
    })
}
