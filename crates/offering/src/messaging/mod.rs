//! What is signed for the messaging channel itself: an agent's key of a session, a client's proof of a channel within a
//! session, and an agent's receipt.

mod key;
mod proof;
mod receipt;

use alloy::sol_types::{Eip712Domain, eip712_domain};
use privatix_channel::Domain;

pub use key::{BindingError, ExpectedKey, KeyBinding, SessionKey};
pub use proof::{ChannelProof, LeaveProof, ProofError, SessionId};
pub use receipt::{Receipt, SignedReceipt};

/// The EIP-712 domain of these signatures. Its name differs from those of vouchers and of access, so no signature of one
/// can be taken for another.
fn eip712(domain: &Domain) -> Eip712Domain {
    eip712_domain! {
        name: "Privatix Messaging",
        version: "1",
        chain_id: domain.chain_id(),
        verifying_contract: domain.contract(),
    }
}
