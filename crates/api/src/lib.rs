//! The control API of a daemon: JSON-RPC 2.0 over HTTP.
//!
//! What it owns: the [requests](Request) and their answers ([`node`], [`agent`], [`client`]), the [server](ApiServer) over a role's
//! handle, and the [client](ApiClient). It decides nothing: every method is a few lines between a request and the handle.
//!
//! - `POST /` takes JSON-RPC, parameters by name. Every request carries `Authorization: Bearer <token>`.
//! - `GET /health` needs no token: 200 when ready, 503 with the reasons otherwise.
//! - `GET /metrics` is for Prometheus.
//!
//! Requests whose `Host` is neither an address nor a configured name are refused, and no page of another site gets to read
//! an answer: there are no CORS headers.
//!
//! An error object's `data.code` is an [`ErrorCode`], its message names cause and remedy:
//!
//! ```json
//! {"code": -32001, "message": "no channel 0x...; list the known ones with `channels`", "data": {"code": "not_found"}}
//! ```
//!
//! ```no_run
//! # async fn example(agent: privatix_agent::Agent) -> Result<(), Box<dyn std::error::Error>> {
//! use privatix_api::{ApiClient, ApiServer, ServerSettings, node};
//! use tokio_util::sync::CancellationToken;
//!
//! let shutdown = CancellationToken::new();
//! let server = ApiServer::bind("127.0.0.1:9520".parse()?, ServerSettings::new("a long random token".into())).await?;
//! let serving = tokio::spawn(server.serve_agent(agent.handle(), shutdown.clone()));
//! let running = tokio::spawn(agent.run(shutdown.clone()));
//!
//! let api = ApiClient::new("http://127.0.0.1:9520", "a long random token".into())?;
//! println!("{:?}", api.call(&node::GetBalances {}).await?);
//!
//! shutdown.cancel();
//! running.await??;
//! serving.await??;
//! # Ok(()) }
//! ```

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod agent;
pub mod client;
mod error;
mod http_client;
pub mod node;
mod request;
mod server;

pub use alloy::primitives::Address;
pub use error::{ErrorCode, Failure};
pub use http_client::{ApiClient, ApiError};
pub use privatix_jobs::JobId;
pub use request::Request;
pub use server::{ApiServer, Operator, ServeError, ServerSettings};
