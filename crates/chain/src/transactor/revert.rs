use std::sync::Arc;

use alloy::primitives::Bytes;
use alloy::sol_types::{Panic, Revert, SolError};

use crate::rpc::Fault;

/// Reads a contract's custom errors: revert data to words. `None` if it does not know them; then plain `require`
/// messages and panics are still reported.
#[derive(Clone)]
pub struct RevertDecoder(Arc<Read>);

type Read = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

impl RevertDecoder {
    /// A decoder that asks `read`.
    pub fn new(read: impl Fn(&[u8]) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl std::fmt::Debug for RevertDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RevertDecoder")
    }
}

/// Why a call reverts, in words; `None` if the refusal is not a revert.
pub(super) fn reason(fault: &Fault, decode: Option<&RevertDecoder>) -> Option<String> {
    let Fault::Refused { message, data, .. } = fault else { return None };
    if !fault.is_revert() {
        return None;
    }
    let decoded = data.as_ref().and_then(|data| words(data, decode));
    Some(decoded.unwrap_or_else(|| message.clone()))
}

/// Revert data in words: a custom error, a message, a panic, or at least its bytes.
pub(super) fn words(data: &Bytes, decode: Option<&RevertDecoder>) -> Option<String> {
    if data.is_empty() {
        return None;
    }
    if let Some(known) = decode.and_then(|decode| (decode.0)(data)) {
        return Some(known);
    }
    if let Ok(revert) = Revert::abi_decode(data) {
        return Some(revert.reason);
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return Some(panic.to_string());
    }
    Some(format!("unknown error {data}"))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{U256, hex};

    use super::*;

    fn refused(code: i64, message: &str, data: Option<Bytes>) -> Fault {
        Fault::Refused { code, message: message.to_owned(), data }
    }

    #[test]
    fn messages_panics_and_custom_errors_are_told_in_words() {
        let message = Revert { reason: "too early".to_owned() }.abi_encode().into();
        assert_eq!(reason(&refused(3, "execution reverted", Some(message)), None).unwrap(), "too early");
        let panic = Panic { code: U256::from(0x11) }.abi_encode().into();
        assert!(reason(&refused(3, "execution reverted", Some(panic)), None).unwrap().contains("overflow"));
        let custom: Bytes = hex!("deadbeef").into();
        let decode =
            RevertDecoder::new(|data| (data == hex!("deadbeef")).then(|| "SupplyExhausted".to_owned()));
        assert_eq!(reason(&refused(3, "x", Some(custom.clone())), Some(&decode)).unwrap(), "SupplyExhausted");
        assert_eq!(reason(&refused(3, "x", Some(custom)), None).unwrap(), "unknown error 0xdeadbeef");
        assert_eq!(
            reason(&refused(-32000, "VM Exception: revert", None), None).unwrap(),
            "VM Exception: revert"
        );
    }

    #[test]
    fn other_refusals_are_not_reverts() {
        assert_eq!(reason(&refused(-32000, "nonce too low", None), None), None);
        assert_eq!(reason(&Fault::RateLimited { retry_after: None }, None), None);
    }
}
