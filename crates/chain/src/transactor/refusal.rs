//! What an endpoint means when it does not take a transaction. Nodes agree on the meanings only, not on the words.

use crate::rpc::{Fault, Heard, INSUFFICIENT_FUNDS};

/// Why a broadcast was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BroadcastRefusal {
    /// It has it already: as good as accepted.
    AlreadyKnown,
    /// The nonce is used on the chain.
    NonceTooLow,
    /// Lower nonces are missing.
    NonceTooHigh,
    /// Another transaction waits with the nonce, and offers too much to be replaced by this one.
    ReplacementUnderpriced,
    /// It offers too little to be waited for.
    Underpriced,
    /// The account cannot pay.
    InsufficientFunds,
    /// The account cannot pay for the data on the other chain, beside gas and value (OP stack and alike).
    L1Fee,
    /// The pool holds too much, of this account or of all.
    PoolFull,
    /// Its gas limit is above what a transaction or a block may have.
    GasCap,
    /// The chain does not know transactions of this type.
    NotSupported,
    /// It does not send this one, by its provider's rules or its node's settings. Another endpoint may.
    Policy,
    /// Anything else, such as a transaction that no node takes.
    Other,
}

/// In this order: the first meaning with a text that is part of the message counts.
const TEXTS: &[(BroadcastRefusal, &[&str])] = &[
    // Before `existing tx`: Erigon's "could not replace existing tx".
    (
        BroadcastRefusal::ReplacementUnderpriced,
        &[
            "replacement transaction underpriced",
            "could not replace",
            "insufficient gas price to replace",
            "too low to replace",
            "replacement_underpriced",
            "replacementnotallowed",
        ],
    ),
    (
        BroadcastRefusal::AlreadyKnown,
        &[
            "already known",
            "alreadyknown",
            "already imported",
            "already exists",
            "already in mempool",
            "existing tx with same hash",
            "txn with same hash",
        ],
    ),
    // Before those of Besu's "known transaction".
    (
        BroadcastRefusal::NotSupported,
        &["type not supported", "not supported by this pool", "unknown transaction type"],
    ),
    (BroadcastRefusal::AlreadyKnown, &["known transaction"]),
    (
        BroadcastRefusal::NonceTooLow,
        &[
            "nonce too low",
            "nonce is too low",
            "noncetoolow",
            "nonce has already been used",
            "oldnonce",
            "old nonce",
        ],
    ),
    (
        BroadcastRefusal::NonceTooHigh,
        &[
            "nonce too high",
            "noncegap",
            "nonce too far in future",
            "nonce is too distant",
            "gapped-nonce",
            // geth: the pool is full, and this one would push out others although it cannot be mined yet itself.
            "tries to replace pending",
        ],
    ),
    (
        BroadcastRefusal::PoolFull,
        &[
            "txpool is full",
            "pool is full",
            "account limit exceeded",
            "in-flight transaction limit",
            "discarded outright",
            "spammer",
            "queue full",
        ],
    ),
    (
        BroadcastRefusal::Underpriced,
        &[
            "underpriced",
            "fee too low",
            "feetoolow",
            "less than block base fee",
            "below minimum",
            "below chain minimum",
            "below configured minimum",
            "gas price too low",
        ],
    ),
    // Before those that speak of funds alone.
    (BroadcastRefusal::L1Fee, &["l1fee", "l1 fee", "l1 data fee", "l1 gas", "l1 cost"]),
    (BroadcastRefusal::InsufficientFunds, INSUFFICIENT_FUNDS),
    (
        BroadcastRefusal::GasCap,
        &[
            "gas limit too high",
            "gas limit is too high",
            "max transaction gas limit",
            "exceeds block gas limit",
            "exceeds block's gas limit",
            "gas limit reached",
            "intrinsic gas too high",
        ],
    ),
    // The last, because its words are the commonest.
    (
        BroadcastRefusal::Policy,
        &[
            // Caps on what a transaction may pay in all: of geth and those that follow it, and of Besu.
            "exceeds the configured cap",
            "fee cap exceeded",
            "whitelist",
            "allowlist",
            "blacklist",
            "blocklist",
            "blocked",
            "sanction",
            "ofac",
            "forbidden",
            "not allowed",
            "not permitted",
            "not authorized",
            "not authorised",
            "unauthorized",
            "unauthorised",
            "unsupported method",
            "method not supported",
            "method not found",
            "does not exist/is not available",
            "limit exceeded",
        ],
    ),
];

/// Codes of a method that is not served, or not to us (JSON-RPC, EIP-1474, EIP-1193), where the words say nothing.
const POLICY_CODES: &[i64] = &[-32_601, -32_004, -32_005, 4_100, 4_200];

impl BroadcastRefusal {
    /// Reads a message.
    pub(super) fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let meant = |texts: &&[&str]| texts.iter().any(|text| message.contains(text));
        TEXTS.iter().find(|(_, texts)| meant(texts)).map_or(Self::Other, |(meaning, _)| *meaning)
    }

    /// Reads the refusal of a broadcast.
    pub(super) fn of_broadcast(fault: &Fault) -> Self {
        match (Self::of(&fault.to_string()), fault) {
            (Self::Other, Fault::Refused { code, .. }) if POLICY_CODES.contains(code) => Self::Policy,
            // A limit of the provider's: pools have words of their own for a transaction that is too large.
            (Self::Other, Fault::TooLarge(_)) => Self::Policy,
            (meaning, _) => meaning,
        }
    }

    /// How much it says about the transaction, beside what other endpoints answer.
    pub(super) fn heard(self) -> Heard {
        match self {
            Self::AlreadyKnown => Heard::HasIt,
            Self::Policy => Heard::NotServed,
            _ => Heard::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_well_known_nodes_are_understood() {
        use BroadcastRefusal::*;
        for (message, meaning) in [
            ("already known", AlreadyKnown),
            ("transaction already imported", AlreadyKnown),
            ("Known transaction", AlreadyKnown),
            ("existing tx with same hash", AlreadyKnown),
            ("could not replace existing tx", ReplacementUnderpriced),
            ("replacement transaction underpriced", ReplacementUnderpriced),
            ("replacement transaction underpriced: new tx gas fee cap 7 < 8 queued", ReplacementUnderpriced),
            ("transaction underpriced: tip needed 1, tip permitted 0", Underpriced),
            ("transaction gas price below minimum: gas tip cap 0, minimum needed 1", Underpriced),
            ("max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1", Underpriced),
            ("FeeTooLow, MaxFeePerGas too low", Underpriced),
            ("nonce too low: next nonce 5, tx nonce 4", NonceTooLow),
            ("OldNonce, Current nonce: 4", NonceTooLow),
            ("nonce too high", NonceTooHigh),
            ("NonceGap", NonceTooHigh),
            ("transaction nonce is too distant from current sender nonce", NonceTooHigh),
            ("future transaction tries to replace pending", NonceTooHigh),
            ("txpool is full", PoolFull),
            ("in-flight transaction limit reached for delegated accounts", PoolFull),
            ("insufficient funds for gas * price + value: balance 0, tx cost 1", InsufficientFunds),
            ("Insufficient funds for gas * price + value: overdraws from account", InsufficientFunds),
            ("upfront cost exceeds account balance", InsufficientFunds),
            ("transaction gas limit too high (cap: 16777216, tx: 30000000)", GasCap),
            ("exceeds block gas limit", GasCap),
            ("transaction type not supported", NotSupported),
            ("unknown transaction type 2", NotSupported),
            ("invalid transaction: insufficient funds for l1Fee + l2Fee + value", L1Fee),
            ("insufficient funds for l1fee + gas * price + value", L1Fee),
            ("Insufficient funds for L1 gas: 7, account balance: 3", L1Fee),
            ("not enough funds for L1 fee", L1Fee),
            ("lack of funds (3) for max fee (7)", InsufficientFunds),
            ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Policy),
            ("Transaction fee cap exceeded", Policy),
            ("rpc method is not whitelisted", Policy),
            ("Blocked by 1RPC: invalid address", Policy),
            ("sender address is sanctioned", Policy),
            ("You are not authorized to make this request", Policy),
            ("Unsupported method: eth_sendRawTransaction", Policy),
            ("the method eth_sendRawTransaction does not exist/is not available", Policy),
            ("account limit exceeded: pooled 16 txs", PoolFull),
            ("invalid sender", Other),
            ("blob sidecar missing", Other),
        ] {
            assert_eq!(BroadcastRefusal::of(message), meaning, "{message}");
        }
    }

    #[test]
    fn a_code_counts_where_the_words_say_nothing() {
        for (code, message, meaning) in [
            (-32_601, "unknown", BroadcastRefusal::Policy),
            (-32_005, "limit exceeded", BroadcastRefusal::Policy),
            (-32_005, "transaction underpriced", BroadcastRefusal::Underpriced),
            (4_200, "no", BroadcastRefusal::Policy),
            (-32_000, "invalid sender", BroadcastRefusal::Other),
            (-32_003, "account limit exceeded", BroadcastRefusal::PoolFull),
        ] {
            let fault = Fault::of_response(code, message, None);
            assert_eq!(BroadcastRefusal::of_broadcast(&fault), meaning, "{fault}");
        }
    }
}
