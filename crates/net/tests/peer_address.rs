//! Addresses of peers before and after they are wished for. One test, as that holds for the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use privatix_net::{PeerAddress, show_peer_addresses};

fn peer(text: &str) -> PeerAddress {
    text.parse::<SocketAddr>().unwrap().into()
}

#[test]
fn an_address_is_shown_only_where_that_is_wished_for() {
    let hidden = format!("{0} {0:?}", peer("192.0.2.7:4711"));
    assert!(!hidden.contains("192.0.2") && !hidden.contains("4711"), "{hidden}");
    let name = peer("192.0.2.7:4711").to_string();
    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    assert_eq!(name, peer("192.0.2.7:1").to_string());
    assert_ne!(name, peer("192.0.2.8:4711").to_string());
    show_peer_addresses();
    assert_eq!(format!("{0} {0:?}", peer("192.0.2.7:4711")), "192.0.2.7:4711 192.0.2.7:4711");
}
