//! The control API: JSON-RPC 2.0 over HTTP with token authentication.
