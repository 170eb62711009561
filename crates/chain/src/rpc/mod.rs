//! Talking to an endpoint: where it is, calls with timeouts, and what their failures mean.

mod client;
mod endpoint;
mod endpoints;
mod fault;
mod names;
mod pending;
mod proxy;
mod reply;
mod second;
mod secrets;
mod standing;
mod transport;
mod url;

pub use client::{BlockHeader, chain_id, check};
pub(crate) use client::{Call, Rpc, block_time};
pub use endpoint::Endpoint;
pub(crate) use endpoints::Heard;
pub use endpoints::{EndpointStatus, Endpoints};
pub(crate) use fault::INSUFFICIENT_FUNDS;
pub use fault::{Fault, RpcError};
pub use proxy::ProxyUrl;
pub(crate) use reply::{FeeHistory, Receipt};
pub(crate) use second::{Backing, Shown};
pub(crate) use standing::BEHIND;
pub use standing::{Evidence, Standing};
pub use url::EndpointUrl;
