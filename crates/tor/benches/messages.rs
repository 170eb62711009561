//! The messaging channel over a private Tor network on this machine: what Tor costs without the distance between relays.
//!
//! One run prints a table; there is no statistics over runs, because a network takes half a minute to form.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::float_arithmetic, reason = "a bench")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use privatix_channel::{Amount, ChannelId, OfferingHash, SignedVoucher, Voucher, VoucherSignature};
use privatix_offering::{AccessRequest, SealedAccess};
use privatix_somc::{
    ClientLimits, Paid, Peer, RateLimit, Refusal, RetryPolicy, Server, ServerLimits, Service,
};
use privatix_testkit::{TorNetwork, temp_dir};
use privatix_tor::{OnionKeys, OnionSettings, Tor, TorSettings};
use tokio_util::sync::CancellationToken;

const ROUND_TRIPS: usize = 1_000;
const PIPELINED: usize = 5_000;
const IN_FLIGHT: usize = 128;

/// Acknowledges every payment without a look: the network is measured, not the agent.
struct Acknowledges;

#[async_trait]
impl Service for Acknowledges {
    async fn offering(&self, offering: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::UnknownOffering { offering })
    }
    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::UnknownChannel { channel: request.channel })
    }
    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Ok(Paid { cumulative: voucher.cumulative() })
    }
}

/// One channel's payment. Its signature has the right form, and nobody looks at it.
fn voucher(number: usize) -> SignedVoucher {
    let mut signature = [1; 65];
    signature[64] = 27;
    SignedVoucher {
        voucher: Voucher {
            channel: ChannelId::new(B256::left_padding_from(&number.to_be_bytes())),
            cumulative: Amount::new(1_000_000),
        },
        signature: VoucherSignature::from_bytes(&signature).unwrap(),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What the system counts as this process's memory, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::main]
async fn main() {
    let dir = temp_dir().unwrap();
    let begun = Instant::now();
    let network = TorNetwork::start(dir.path().join("network")).await.unwrap();
    println!("network of {} relays      {:>8.1} s", network.relays().len(), begun.elapsed().as_secs_f64());
    let mut settings = TorSettings::default();
    settings.arti = network.arti_toml().parse().unwrap();
    let stop = CancellationToken::new();
    let before = resident();

    let begun = Instant::now();
    let tor = Tor::new(dir.path().join("agent"), &settings).unwrap();
    let (service, listener) =
        tor.onion_service(&OnionKeys::of_account([1; 32]), &OnionSettings::default()).unwrap();
    let (address, mut status) = (service.address().clone(), service.status());
    let mut limits = ServerLimits::default();
    (limits.connection_rate, limits.peer_rate) = (RateLimit::UNLIMITED, RateLimit::UNLIMITED);
    let server = Server::new(Acknowledges, limits);
    let tasks = [
        tokio::spawn({
            let (tor, stop) = (tor.clone(), stop.clone());
            async move { tor.run(stop).await }
        }),
        tokio::spawn(service.run(stop.clone())),
        tokio::spawn({
            let stop = stop.clone();
            async move { server.serve(listener, stop).await }
        }),
    ];
    status.wait_for(|status| status.reachable).await.unwrap();
    println!("start to reachable        {:>8.0} ms", millis(begun.elapsed()));
    println!("memory of a service       {:>8} MiB", resident() - before);

    let begun = Instant::now();
    let client = Tor::new(dir.path().join("client"), &settings).unwrap();
    let peer =
        Peer::new(Arc::new(client.transport()), address, ClientLimits::default(), RetryPolicy::default());
    peer.ping().await.unwrap();
    println!("client's start to pong    {:>8.0} ms", millis(begun.elapsed()));

    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        peer.pay(voucher(0)).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    println!("payment round trip, p50   {:>8.1} ms", millis(times[ROUND_TRIPS / 2]));
    println!("payment round trip, p99   {:>8.1} ms", millis(times[ROUND_TRIPS * 99 / 100]));

    let begun = Instant::now();
    let mut left = PIPELINED;
    let mut flying = FuturesUnordered::new();
    while left > 0 || !flying.is_empty() {
        while left > 0 && flying.len() < IN_FLIGHT {
            left -= 1;
            flying.push(peer.pay(voucher(left)));
        }
        flying.next().await.unwrap().unwrap();
    }
    let rate = 5_000.0 / begun.elapsed().as_secs_f64();
    println!("payments on one circuit   {rate:>8.0} /s, {IN_FLIGHT} under way");
    println!("memory of both sides      {:>8} MiB", resident() - before);

    stop.cancel();
    for task in tasks {
        task.await.unwrap();
    }
}
