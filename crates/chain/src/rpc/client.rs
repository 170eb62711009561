use std::time::{Duration, SystemTime};

use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::primitives::{Address, B256, Bloom, Bytes, TxKind, U64, U256};
use alloy::providers::Provider;
use alloy::rpc::json_rpc::{RpcRecv, RpcSend};
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use alloy::transports::TransportError;
use serde_json::Value;

use super::pending::{Tagged, may_be_about_the_tag};
use super::reply::{BlockTransactions, FeeHistory, HIGHEST_BLOCK, Receipt, ReceiptLogs};
use crate::rpc::{Endpoint, Fault, RpcError};
use crate::step::OnAnswer;
use crate::{ChainError, Inconsistency};

/// Whether the endpoint can be used: it answers, serves `chain_id`, and has code at each of `contracts`.
///
/// One bounded try, for `config check` and the like; `run` of the monitor makes the same checks, patiently.
///
/// # Errors
/// [`ChainError::Rpc`], [`ChainError::WrongChain`], [`ChainError::NoContract`].
pub async fn check(endpoint: &Endpoint, chain_id: u64, contracts: &[Address]) -> Result<(), ChainError> {
    Rpc::new(endpoint.clone()).check(chain_id, contracts).await
}

/// The id of the chain that the endpoint serves.
///
/// # Errors
/// [`ChainError::Rpc`].
pub async fn chain_id(endpoint: &Endpoint) -> Result<u64, ChainError> {
    Ok(Rpc::new(endpoint.clone()).chain_id().await?)
}

/// What we use of a block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockHeader {
    /// Its height.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it.
    pub parent: B256,
    /// Its time, in seconds since the Unix epoch.
    pub timestamp: u64,
    /// The base fee per gas in wei; none on a chain without EIP-1559.
    pub base_fee: Option<u64>,
    /// The bloom filter of its logs; empty if the endpoint does not give it.
    pub bloom: Bloom,
    /// Whether it is known to hold no transaction.
    pub is_empty: bool,
}

pub(crate) fn block_time(timestamp: u64) -> SystemTime {
    // Saturated: no honest chain has blocks beyond the year 36,000,000.
    SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp.min(1 << 50))
}

/// A call or an estimate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) value: u128,
    pub(crate) input: &'a Bytes,
}

impl Call<'_> {
    fn request(self) -> TransactionRequest {
        TransactionRequest {
            from: Some(self.from),
            to: Some(TxKind::Call(self.to)),
            value: Some(U256::from(self.value)),
            input: self.input.clone().into(),
            ..Default::default()
        }
    }
}

/// The calls we make, each with the endpoint's timeout and its failure understood.
#[derive(Debug, Clone)]
pub(crate) struct Rpc {
    endpoint: Endpoint,
    on_answer: Option<OnAnswer>,
}

impl Rpc {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, on_answer: None }
    }

    /// The same endpoint; each request that ends is reported.
    pub(crate) fn reporting(self, on_answer: Option<OnAnswer>) -> Self {
        Self { on_answer, ..self }
    }

    pub(crate) fn label(&self) -> &str {
        self.endpoint.label()
    }

    async fn timed<T>(
        &self,
        method: &'static str,
        call: impl IntoFuture<Output = Result<T, TransportError>>,
    ) -> Result<T, RpcError> {
        let timeout = self.endpoint.request_timeout();
        let answer = tokio::time::timeout(timeout, call.into_future()).await;
        if let Some(on_answer) = &self.on_answer {
            on_answer.call();
        }
        let fault = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.endpoint.fault(&error),
            Err(_) => Fault::Timeout(timeout),
        };
        Err(RpcError { method, endpoint: self.endpoint.label().to_owned(), fault })
    }

    /// Asks for what we read ourselves.
    async fn ask<P: RpcSend, T: RpcRecv>(&self, method: &'static str, params: P) -> Result<T, RpcError> {
        let provider = self.endpoint.provider();
        self.timed(method, async { provider.raw_request(method.into(), params).await }).await
    }

    async fn chain_id(&self) -> Result<u64, RpcError> {
        self.timed("eth_chainId", self.endpoint.provider().get_chain_id()).await
    }

    pub(crate) async fn check(&self, chain_id: u64, contracts: &[Address]) -> Result<(), ChainError> {
        let found = self.chain_id().await?;
        if found != chain_id {
            return Err(ChainError::WrongChain {
                endpoint: self.endpoint.label().to_owned(),
                expected: chain_id,
                found,
            });
        }
        for &address in contracts {
            let code = self.timed("eth_getCode", self.endpoint.provider().get_code_at(address)).await?;
            if code.is_empty() {
                return Err(ChainError::NoContract { address, chain_id });
            }
        }
        Ok(())
    }

    pub(crate) async fn head(&self) -> Result<u64, RpcError> {
        let head = self.timed("eth_blockNumber", self.endpoint.provider().get_block_number()).await?;
        if head > HIGHEST_BLOCK {
            return Err(RpcError {
                method: "eth_blockNumber",
                endpoint: self.endpoint.label().to_owned(),
                fault: Fault::Garbage(format!("its newest block is {head}, which no chain has")),
            });
        }
        Ok(head)
    }

    /// The header at a height; none if the endpoint does not have it.
    pub(crate) async fn find_header(&self, number: u64) -> Result<Option<BlockHeader>, ChainError> {
        let header: Option<BlockHeader> =
            self.ask("eth_getBlockByNumber", (BlockNumberOrTag::Number(number), false)).await?;
        match header {
            Some(header) if header.number != number => {
                let what = Inconsistency::HeaderOfOtherBlock { asked: number, got: header.number };
                Err(ChainError::Inconsistent { from: number, to: number, what })
            }
            header => Ok(header),
        }
    }

    /// The header at a height that the endpoint must have.
    pub(crate) async fn header(&self, number: u64) -> Result<BlockHeader, ChainError> {
        self.find_header(number).await?.ok_or(ChainError::Inconsistent {
            from: number,
            to: number,
            what: Inconsistency::HeaderMissing(number),
        })
    }

    pub(crate) async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        self.timed("eth_getLogs", self.endpoint.provider().get_logs(filter)).await
    }

    /// The logs of all transactions of a block, from its receipts at once.
    pub(crate) async fn block_receipts(&self, hash: B256) -> Result<Vec<Log>, RpcError> {
        let receipts: Vec<ReceiptLogs> = self.ask("eth_getBlockReceipts", (hash,)).await?;
        Ok(receipts.into_iter().flat_map(|receipt| receipt.logs).collect())
    }

    /// Hash and transactions of the block at a height; none if the endpoint does not have it.
    pub(crate) async fn block_at(&self, number: u64) -> Result<Option<(B256, Vec<B256>)>, RpcError> {
        let block: Option<BlockTransactions> =
            self.ask("eth_getBlockByNumber", (BlockNumberOrTag::Number(number), false)).await?;
        Ok(block.map(|block| (block.hash, block.transactions)))
    }

    /// The transactions of a block.
    pub(crate) async fn transactions(&self, hash: B256) -> Result<Vec<B256>, RpcError> {
        let block: BlockTransactions = self.ask("eth_getBlockByHash", (hash, false)).await?;
        Ok(block.transactions)
    }

    /// The logs of a mined transaction.
    pub(crate) async fn receipt_logs(&self, hash: B256) -> Result<Vec<Log>, RpcError> {
        let receipt: ReceiptLogs = self.ask("eth_getTransactionReceipt", (hash,)).await?;
        Ok(receipt.logs)
    }

    /// How many transactions of `account` the chain holds at the head: the next nonce.
    pub(crate) async fn nonce(&self, account: Address) -> Result<u64, RpcError> {
        let call = self.endpoint.provider().get_transaction_count(account);
        self.timed("eth_getTransactionCount", call.latest()).await
    }

    /// The next nonce after those that wait in the endpoint's pool; where the endpoint does not show its pool, the next
    /// after those in the chain, so that what we have sent ourselves must be remembered by us.
    pub(crate) async fn pending_nonce(&self, account: Address) -> Result<u64, RpcError> {
        self.pending_or_latest(Tagged::Nonce, "eth_getTransactionCount", |at| {
            self.endpoint.provider().get_transaction_count(account).block_id(at)
        })
        .await
    }

    /// The next nonce as of the end of block `at`.
    pub(crate) async fn nonce_at(&self, account: Address, at: u64) -> Result<u64, RpcError> {
        let call = self.endpoint.provider().get_transaction_count(account).block_id(BlockId::number(at));
        self.timed("eth_getTransactionCount", call).await
    }

    pub(crate) async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.timed("eth_getBalance", self.endpoint.provider().get_balance(account).latest()).await
    }

    /// Gas that a call needs, with the account's waiting transactions counted as done where the endpoint can do that.
    pub(crate) async fn estimate(&self, call: Call<'_>) -> Result<u64, RpcError> {
        self.pending_or_latest(Tagged::Estimate, "eth_estimateGas", |at| {
            self.endpoint.provider().estimate_gas(call.request()).block(at)
        })
        .await
    }

    /// Gas that a call needs as of the head.
    pub(crate) async fn estimate_latest(&self, call: Call<'_>) -> Result<u64, RpcError> {
        let estimate = self.endpoint.provider().estimate_gas(call.request()).block(BlockId::latest());
        self.timed("eth_estimateGas", estimate).await
    }

    /// Asks about the `pending` block, or about the `latest` where the endpoint does not serve that tag.
    async fn pending_or_latest<T, F>(
        &self,
        tagged: Tagged,
        method: &'static str,
        ask: impl Fn(BlockId) -> F,
    ) -> Result<T, RpcError>
    where
        F: IntoFuture<Output = Result<T, TransportError>>,
    {
        let learned = self.endpoint.pending_tag().of(tagged);
        if learned.is_refused() {
            return self.timed(method, ask(BlockId::latest())).await;
        }
        let refusal = match self.timed(method, ask(BlockId::pending())).await {
            Err(error) if may_be_about_the_tag(&error.fault) => error,
            answered => {
                if answered.as_ref().err().is_none_or(|error| error.fault.is_about_the_call()) {
                    learned.served();
                }
                return answered;
            }
        };
        match self.timed(method, ask(BlockId::latest())).await {
            // Not answered either way, so the tag is not to blame.
            Err(error) if !error.fault.is_about_the_call() => Err(refusal),
            answered => {
                if learned.failed(&refusal.fault) {
                    tracing::warn!(
                        endpoint = self.endpoint.label(),
                        method,
                        refusal = %refusal.fault,
                        "endpoint does not serve the block tag `pending`; asking for `latest` from now on"
                    );
                }
                answered
            }
        }
    }

    /// Runs a call at the end of block `at`.
    pub(crate) async fn call(&self, call: Call<'_>, gas: u64, at: u64) -> Result<Bytes, RpcError> {
        let mut request = call.request();
        request.gas = Some(gas);
        let call = self.endpoint.provider().call(request).block(BlockId::number(at));
        self.timed("eth_call", call).await
    }

    /// Runs a call at the end of a block: by its hash (EIP-1898), or by its number where the endpoint does not take hashes.
    pub(crate) async fn call_at(&self, call: Call<'_>, hash: B256, number: u64) -> Result<Bytes, RpcError> {
        let ask =
            |at: BlockId| self.timed("eth_call", self.endpoint.provider().call(call.request()).block(at));
        match ask(BlockId::hash(hash)).await {
            Err(error)
                if matches!(error.fault, Fault::Refused { .. }) && !error.fault.is_about_the_call() =>
            {
                ask(BlockId::number(number)).await
            }
            answered => answered,
        }
    }

    /// The number of the block that bears a tag; none if there is none yet.
    pub(crate) async fn tagged_block(&self, tag: &'static str) -> Result<Option<u64>, RpcError> {
        let header: Option<BlockHeader> = self.ask("eth_getBlockByNumber", (tag, false)).await?;
        Ok(header.map(|header| header.number))
    }

    /// The tip that recent transactions paid, in wei per gas.
    pub(crate) async fn suggested_tip(&self) -> Result<u128, RpcError> {
        let provider = self.endpoint.provider();
        self.timed("eth_maxPriorityFeePerGas", provider.get_max_priority_fee_per_gas()).await
    }

    /// The tips that recent transactions paid: for each of the newest `blocks`, those that these shares of its transactions,
    /// in percent, did not exceed.
    pub(crate) async fn fee_history(&self, blocks: u64, percentiles: &[f64]) -> Result<FeeHistory, RpcError> {
        self.ask("eth_feeHistory", (U64::from(blocks), BlockNumberOrTag::Latest, percentiles.to_vec())).await
    }

    /// What gas usually costs, in wei, on a chain without base fees.
    pub(crate) async fn gas_price(&self) -> Result<u128, RpcError> {
        self.timed("eth_gasPrice", self.endpoint.provider().get_gas_price()).await
    }

    /// The most gas that the chain lets a transaction have (EIP-7825), where nodes report it.
    pub(crate) async fn tx_gas_limit_cap(&self) -> Result<u64, RpcError> {
        let cap: U64 = self.ask("eth_txGasLimitCap", ()).await?;
        Ok(cap.to())
    }

    pub(crate) async fn send_raw(&self, raw: &[u8]) -> Result<(), RpcError> {
        // Whatever is answered that is no refusal: the hash is known to us, and some nodes give none.
        let _: Option<Value> = self.ask("eth_sendRawTransaction", (Bytes::copy_from_slice(raw),)).await?;
        Ok(())
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<Receipt>, RpcError> {
        self.ask("eth_getTransactionReceipt", (hash,)).await
    }

    /// Whether the endpoint knows a transaction, mined or waiting.
    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, RpcError> {
        let found: Option<Value> = self.ask("eth_getTransactionByHash", (hash,)).await?;
        Ok(found.is_some())
    }
}
