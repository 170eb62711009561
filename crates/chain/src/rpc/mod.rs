//! Talking to an endpoint: where it is, calls with timeouts, and what their failures mean.

mod client;
mod endpoint;
mod fault;
mod names;
mod pending;
mod proxy;
mod reply;
mod secrets;
mod transport;
mod url;

pub use client::{BlockHeader, chain_id, check};
pub(crate) use client::{Call, Rpc, block_time};
pub use endpoint::Endpoint;
pub(crate) use fault::says_insufficient_funds;
pub use fault::{Fault, RpcError};
pub use proxy::ProxyUrl;
pub(crate) use reply::{FeeHistory, Receipt};
pub use url::EndpointUrl;
