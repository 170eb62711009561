//! What an endpoint means when it does not take a transaction. Nodes agree on the meanings only, not on the words.

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
    /// The pool holds too much, of this account or of all.
    PoolFull,
    /// Its gas limit is above what a transaction or a block may have.
    GasCap,
    /// The chain does not know transactions of this type.
    NotSupported,
    /// Anything else: the node's settings, the provider's rules, or a transaction that no node takes.
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
    (
        BroadcastRefusal::InsufficientFunds,
        &[
            "insufficient funds",
            "insufficient balance",
            "overdraws from account",
            "upfront cost exceeds",
            "not enough funds",
            "outoffund",
            "out of funds",
        ],
    ),
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
];

impl BroadcastRefusal {
    /// Reads a message.
    pub(super) fn of(message: &str) -> Self {
        let message = message.to_ascii_lowercase();
        let meant = |texts: &&[&str]| texts.iter().any(|text| message.contains(text));
        TEXTS.iter().find(|(_, texts)| meant(texts)).map_or(Self::Other, |(meaning, _)| *meaning)
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
            ("tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Other),
            ("invalid sender", Other),
        ] {
            assert_eq!(BroadcastRefusal::of(message), meaning, "{message}");
        }
    }
}
