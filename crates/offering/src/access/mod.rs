//! Access messages: asked for with a signed request, sealed to its key, signed by the agent.

mod described;
mod key;
mod message;
mod request;
mod sealed;

pub use described::{DescribedAccessRequest, MAX_ACCESS_DATA};
pub use key::{AccessKey, RecipientKey};
pub use message::{AccessMessage, Endpoint, Password};
pub use request::{AccessRequest, ReplayGuard, RequestError};
pub use sealed::{AccessContext, AccessError, MAX_ACCESS_SIZE, SealedAccess};

use alloy::sol_types::{Eip712Domain, eip712_domain};
use privatix_channel::Domain;

/// The EIP-712 domain of both signatures about access. Its name differs from the vouchers', so no
/// signature of one can be taken for the other.
fn eip712(domain: &Domain) -> Eip712Domain {
    eip712_domain! {
        name: "Privatix Access",
        version: "1",
        chain_id: domain.chain_id(),
        verifying_contract: domain.contract(),
    }
}
