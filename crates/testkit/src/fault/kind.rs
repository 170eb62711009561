use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fault {
    /// The request is passed on later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Nothing is passed on, nothing is ever answered.
    Silence,
    /// The connection is lost in the middle of the answer; nothing is passed on.
    Cut,
    /// A plain HTTP answer. Over WebSocket, where there is none, the connection is closed.
    Http {
        /// Its status.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Its body.
        #[serde(default)]
        body: String,
    },
    /// A JSON-RPC error; nothing is passed on. With `eth_sendRawTransaction` it is a refused broadcast, with code
    /// -32601 a method that is not served.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data, such as a revert reason.
        #[serde(default)]
        data: Option<Value>,
    },
    /// The node does what it is asked to, but the answer is this error.
    ActThenError {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// The node does what it is asked to, but the answer never comes.
    ActThenSilence,
    /// A false result, such as a balance or a nonce; nothing is passed on.
    Result(Value),
    /// Fields of the node's result are replaced, or removed by `null` (RFC 7386): base fees of a header, the status of
    /// a receipt.
    Merge(Value),

    /// The endpoint serves another chain.
    WrongChain {
        /// Its id.
        id: u64,
    },
    /// The chain stands still at the head of the first request.
    FrozenHead,
    /// The endpoint is behind its chain.
    Lag {
        /// By this many blocks.
        blocks: u64,
    },
    /// Blocks from a height on have other hashes: the endpoint follows a branch of its own.
    OtherFork {
        /// The first block of the branch.
        from: u64,
    },

    /// Logs are left out of answers.
    OmitLogs {
        /// Those of this block and later ones.
        #[serde(default)]
        from: u64,
        /// Those of this block and earlier ones.
        #[serde(default)]
        to: Option<u64>,
        /// Only those with this topic, at any position.
        #[serde(default)]
        topic: Option<String>,
        /// Out of receipts, too.
        #[serde(default)]
        receipts: bool,
        /// The headers of these blocks get an empty bloom filter.
        #[serde(default)]
        bloom: bool,
    },
    /// A log that the chain does not have is added to answers that cover its block and its contract.
    InventLog {
        /// Its block.
        block: u64,
        /// Its contract.
        address: String,
        /// Its topics.
        topics: Vec<String>,
        /// Its data.
        data: String,
    },
    /// Each log comes twice.
    DuplicateLogs,

    /// Answers with more logs are refused.
    AtMostLogs {
        /// This many are served.
        logs: usize,
    },
    /// Requests for logs of more blocks are refused.
    AtMostBlocks {
        /// This many are served.
        blocks: u64,
    },
    /// Longer answers are refused.
    AtMostBytes {
        /// This many are served.
        bytes: usize,
    },
    /// Requests beyond a rate get HTTP 429.
    AtMostRequests {
        /// This many are served within one second.
        per_second: u32,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },

    /// A broadcast transaction is kept back: lost, unless it is sent later.
    KeepBack {
        /// When it is sent, in milliseconds; without it only [`FaultProxy::release`](super::FaultProxy::release)
        /// sends it.
        #[serde(default)]
        after_ms: Option<u64>,
        /// The error that is answered; without it the transaction's hash is, as if it had been accepted.
        #[serde(default)]
        refusal: Option<String>,
    },
    /// Estimates and calls revert.
    Revert {
        /// On this many heads, counted from the first request.
        heads: u64,
        /// The reason.
        message: String,
    },
    /// The endpoint is one of another kind of chain.
    Overlay(Overlay),
}

/// The manners of other chains, as far as clients see them: predeployed contracts, missing methods, and refusals in the
/// words of their nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Overlay {
    /// `ArbGasInfo` at 0x6c; estimates contain the part of L1.
    Arbitrum {
        /// What `getMinimumGasPrice` returns, in wei.
        minimum_gas_price: u64,
    },
    /// `GasPriceOracle` at 0x420..0F; a transaction costs an L1 fee besides its gas.
    OpStack {
        /// What `getL1Fee` returns, in wei.
        l1_fee: u64,
    },
    /// No base fees, no tips, no transactions of type 2.
    Legacy,
    /// A transaction's gas is limited to 2^24 (EIP-7825).
    Osaka,
}
