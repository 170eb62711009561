//! The service offering messaging channel: message protocol, server and client over a transport.
