//! An endpoint behind a SOCKS5 proxy.

use std::net::SocketAddr;

use privatix_chain::{ChainError, Endpoint, ProxyUrl, check};
use privatix_testkit::{Anvil, SocksServer, free_port};

use crate::support::{NEVER, Running, Seen, emit, emitter, fresh, monitor, synced};

/// A name that no name server knows (RFC 6761), so whoever reaches it did not look it up.
const NAME: &str = "rpc.invalid";

fn endpoint(scheme: &str, proxy: &ProxyUrl) -> Endpoint {
    let url = format!("{scheme}://{NAME}:8545").parse().unwrap();
    Endpoint::through(&url, proxy).unwrap()
}

fn socket(anvil: &Anvil) -> SocketAddr {
    anvil.url().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoints_name_is_looked_up_by_the_proxy_alone() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let to = socket(&anvil);
    let socks = SocksServer::start(move |_| Ok(to)).await.unwrap();
    let proxy = ProxyUrl::with_login(socks.address(), "user", "password").unwrap();
    for scheme in ["http", "ws"] {
        check(&endpoint(scheme, &proxy), anvil.chain_id(), &[contract]).await.unwrap();
    }
    let direct = Endpoint::new(&format!("http://{NAME}:8545")).unwrap();
    check(&direct, anvil.chain_id(), &[]).await.unwrap_err();

    // Subscriptions, too: with a poll once in an hour, nothing else can report the block.
    let (_dir, db) = fresh().await;
    let monitor =
        monitor(&db, endpoint("ws", &proxy), &anvil, contract).poll_interval(NEVER).build(Seen::default());
    let running = Running::monitor(&monitor);
    synced(&monitor, &anvil, 0).await;
    emit(&anvil, contract, b"heard").await;
    synced(&monitor, &anvil, 0).await;
    running.stop().await.unwrap();

    let asked = socks.asked();
    assert!(asked.len() >= 4, "each of them connected: {asked:?}");
    for asked in asked {
        assert_eq!((&*asked.host, asked.is_name, asked.port), (NAME, true, 8545));
        assert_eq!(asked.login, Some(("user".to_owned(), "password".to_owned())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_refuses_or_is_away_is_named_in_the_failure() {
    let refusing = SocksServer::start(|_| Err(5)).await.unwrap();
    let away = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    for (proxy, told) in [(refusing.address(), "refused"), (away, "error connecting to socks proxy")] {
        let proxy: ProxyUrl = format!("socks5h://{proxy}").parse().unwrap();
        for scheme in ["http", "https", "ws", "wss"] {
            let refusal = check(&endpoint(scheme, &proxy), 1, &[]).await.unwrap_err();
            assert!(matches!(refusal, ChainError::Rpc(_)), "{refusal}");
            let text = refusal.to_string();
            assert!(text.contains(&proxy.to_string()) && text.contains(told), "{scheme}: {text}");
        }
    }
}
