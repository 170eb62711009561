//! Slow operations and strangers of one kind leave room for everybody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use privatix_adapter::{Host, Role};
use privatix_net::{Resolver, ResolverLimits};
use privatix_plugin_proxy::ProxyServer;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::support::origin::Origin;
use crate::support::program::{self, Outcome};
use crate::support::{PASSWORD, Side, address, agent_settings, channel, soon, with};

/// Lookups under way at a time, in all and of one channel.
fn lookups(in_all: usize, per_channel: usize, within: Duration) -> ResolverLimits {
    let mut limits = ResolverLimits::default();
    (limits.lookups, limits.lookups_per_share, limits.within) = (in_all, per_channel, within);
    limits
}

async fn agent(resolver: Resolver) -> Side {
    let host = Host::new(Arc::new(ProxyServer::with_resolver(resolver))).unwrap();
    Side::new(host, Role::Agent, agent_settings()).await.unwrap()
}

/// Both ways to ask for a connection; what each is answered.
async fn ask(proxy: SocketAddr, name: &str, host: &str, port: u16) -> [Outcome; 2] {
    let login = Some((name, PASSWORD));
    [program::socks(proxy, login, host, port).await, program::connect(proxy, login, host, port).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_asks_for_names_nobody_answers_for_holds_up_no_other() {
    let origin = Origin::start().await;
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let limits = lookups(4, 2, Duration::from_mins(1));
    let side = agent(Resolver::with_name_servers(&[silent.local_addr().unwrap()], limits)).await;
    let (flooding, other) = (channel(1).to_string(), channel(2).to_string());
    let sold_at = address(&side.sell(channel(1)).await);
    side.sell(channel(2)).await;

    let mut flood = JoinSet::new();
    for number in 0..100 {
        let name = flooding.clone();
        flood.spawn(async move {
            program::socks(sold_at, Some((&name, PASSWORD)), &format!("slow{number}.test"), 80).await
        });
    }
    let mut question = [0; 512];
    soon("the first lookup", silent.recv_from(&mut question)).await.unwrap();

    for outcome in ask(sold_at, &other, "localhost", origin.address.port()).await {
        outcome.connected();
    }
    flood.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_answers_for_is_an_answer_of_its_own() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let limits = lookups(4, 2, Duration::from_millis(200));
    let side = agent(Resolver::with_name_servers(&[silent.local_addr().unwrap()], limits)).await;
    let sold_at = address(&side.sell(channel(1)).await);
    let [socks, connect] = ask(sold_at, &channel(1).to_string(), "slow.test", 80).await;
    assert_eq!((socks.refused(), connect.refused()), (6, 504), "as a destination that does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_does_not_log_in_keeps_no_buyer_out_and_closes_no_buyers_connection() {
    let origin = Origin::start().await;
    let port = origin.address.port();
    let limits =
        json!({"limits": {"connections_before_login": 8, "connections_before_login_per_address": 4}});
    let side = Side::agent(with(agent_settings(), &limits)).await;
    let sold_at = address(&side.sell(channel(1)).await);
    let name = channel(1).to_string();
    let login = Some((name.as_str(), PASSWORD));
    let mut early = program::socks(sold_at, login, "127.0.0.1", port).await.connected();

    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(sold_at).await.unwrap());
    }
    for _ in 0..10 {
        program::socks(sold_at, login, "127.0.0.1", port).await.connected();
        program::connect(sold_at, login, "127.0.0.1", port).await.connected();
    }
    // The oldest of the crowd had to go.
    assert_eq!(soon("its end", crowd[0].read(&mut [0])).await.unwrap_or(0), 0);
    let open = tokio::time::timeout(Duration::from_millis(100), early.read(&mut [0])).await;
    assert!(open.is_err(), "a tunnel ended: {open:?}");
}
