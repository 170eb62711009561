//! Typed bindings of the token (PTC) and service (PSC) contracts.
