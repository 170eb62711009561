//! A channel's local port is its own, for its life and for a while after it.

use std::net::SocketAddr;

use privatix_adapter::{Access, AdapterError, AdapterRefusal, Health, LocalEndpoints, Provision};
use privatix_channel::ChannelId;
use privatix_plugin_proxy::Endpoint;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Side, address, channel, client_settings, credentials, with};

/// Provisions a channel at a client that knows these local endpoints.
async fn buy(client: &Side, channel: ChannelId, local: LocalEndpoints) -> Result<Value, AdapterError> {
    let endpoint = json!({"host": "127.0.0.1", "port": 1});
    let access = Access { endpoint, credentials: credentials(channel) };
    Ok(client.host.provision(Provision::Buy { channel, access, local }).await?.endpoint)
}

fn at(endpoint: &Value) -> SocketAddr {
    address(&Endpoint::parse(endpoint).unwrap())
}

/// A client whose ports begin at one that was free a moment ago.
async fn client() -> (Side, u16) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let first = free.min(u16::MAX - 1000);
    (Side::client(with(client_settings(), &json!({"port": first, "port_count": 1000}))).await, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_client_gives_each_channel_its_port_again_in_any_order() {
    let (client, _) = client().await;
    let one = buy(&client, channel(1), LocalEndpoints::default()).await.unwrap();
    let two = buy(&client, channel(2), LocalEndpoints::default()).await.unwrap();
    client.host.shutdown().await.unwrap();
    // The operator has set other ports since; the channels' programs have not.
    let (restarted, _) = self::client().await;
    for (number, own) in [(2, &two), (1, &one)] {
        let local = LocalEndpoints { own: Some(own.clone()), ..LocalEndpoints::default() };
        assert_eq!(buy(&restarted, channel(number), local).await.unwrap(), *own);
    }
    assert_eq!(restarted.host.health().await, Health::Well);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_took_is_an_error_that_health_shows_until_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let (client, _) = client().await;
    let own = json!({"host": "127.0.0.1", "port": port});
    let local = LocalEndpoints { own: Some(own), ..LocalEndpoints::default() };
    let refused = buy(&client, channel(1), local.clone()).await.unwrap_err();
    let AdapterError::Refused { refusal: refusal @ AdapterRefusal::Unavailable { .. }, .. } = &refused else {
        panic!("{refused}")
    };
    assert!(refusal.is_temporary() && refused.to_string().contains(&port.to_string()), "{refused}");
    let reason = match client.host.health().await {
        Health::Degraded { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.contains(&port.to_string()) && reason.contains(&channel(1).to_string()), "{reason}");

    drop(taken);
    assert_eq!(at(&buy(&client, channel(1), local.clone()).await.unwrap()).port(), port);
    assert_eq!(client.host.health().await, Health::Well);

    // One that is over waits for nothing.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = json!({"host": "127.0.0.1", "port": taken.local_addr().unwrap().port()});
    let local = LocalEndpoints { own: Some(own), ..LocalEndpoints::default() };
    buy(&client, channel(2), local).await.unwrap_err();
    client.host.stop(channel(2)).await.unwrap();
    assert_eq!(client.host.health().await, Health::Well);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freed_port_goes_to_another_channel_only_when_there_is_no_other() {
    let (client, first) = client().await;
    let port = |port: u16| json!({"host": "127.0.0.1", "port": port});
    let local = LocalEndpoints {
        in_use: vec![port(first + 1)],
        freed: vec![port(first)],
        ..LocalEndpoints::default()
    };
    let got = at(&buy(&client, channel(1), local).await.unwrap()).port();
    assert!(got > first + 1, "{got} from {first} on");

    let all: Vec<Value> = (first..first + 1000).map(port).collect();
    let local = LocalEndpoints { in_use: all.clone(), ..LocalEndpoints::default() };
    buy(&client, channel(2), local).await.expect_err("each is another channel's");
    let local = LocalEndpoints { freed: all, ..LocalEndpoints::default() };
    let last = at(&buy(&client, channel(2), local).await.unwrap()).port();
    assert!(last > got, "the port of the channel that ended first: {last}, and not below {got}");
}
