//! Round trips over a loopback socket: one at a time, and as many as a connection takes.
#![allow(missing_docs, reason = "criterion's macros make the entry points")]
#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use alloy::primitives::{Address, B256};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use privatix_channel::{Amount, ChannelId, Domain, OfferingHash, SignedVoucher, Voucher, VoucherSignature};
use privatix_offering::{AccessRequest, SealedAccess};
use privatix_somc::{
    Client, ClientLimits, DirectListener, DirectTransport, Identity, KeyBinding, KnownAgent, Paid, RateLimit,
    Refusal, Server, ServerLimits, Service, SessionSecret, VersionRange,
};
use tokio_util::sync::CancellationToken;

/// Answers at once, so that only the messaging is measured.
struct Instant(Vec<u8>);

#[async_trait]
impl Service for Instant {
    async fn offering(&self, _: OfferingHash) -> Result<Vec<u8>, Refusal> {
        Ok(self.0.clone())
    }

    async fn access(&self, request: AccessRequest) -> Result<SealedAccess, Refusal> {
        Err(Refusal::UnknownChannel { channel: request.channel })
    }

    async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, Refusal> {
        Ok(Paid { cumulative: voucher.cumulative() })
    }
}

fn voucher(number: usize) -> SignedVoucher {
    let mut signature = [1; 65];
    signature[64] = 27;
    SignedVoucher {
        voucher: Voucher {
            channel: ChannelId::new(B256::left_padding_from(&number.to_be_bytes())),
            cumulative: Amount::new(1_000_000),
        },
        signature: VoucherSignature::from_bytes(&signature).expect("well-formed"),
    }
}

fn agent() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0xA6)).expect("a key")
}

fn domain() -> Domain {
    Domain::new(31_337, Address::repeat_byte(0x5C), Address::repeat_byte(0x70))
}

fn identities() -> Arc<BTreeMap<Address, Arc<Identity>>> {
    let (agent, secret) = (agent(), SessionSecret::generate());
    let (key, of) = (secret.public(), (&domain(), SystemTime::now()));
    let binding = KeyBinding::issue(agent.address(), None, &key, VersionRange::SPOKEN, of, &agent);
    Arc::new(BTreeMap::from(Identity::new(secret, binding.expect("its own key"))))
}

fn round_trips(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let mut limits = ServerLimits::default();
    (limits.connection_rate, limits.peer_rate) = (RateLimit::UNLIMITED, RateLimit::UNLIMITED);
    let listener = runtime.block_on(DirectListener::bind(([127, 0, 0, 1], 0).into())).expect("a port");
    let address = Arc::new(listener.local_addr().into());
    let shutdown = CancellationToken::new();
    let (server, agent) = (Server::with_identities(Instant(vec![7; 2048]), limits, identities()), agent());
    let serving = runtime.spawn({
        let shutdown = shutdown.clone();
        async move { server.serve(listener, shutdown).await }
    });
    let transport = DirectTransport::anywhere();
    let connect = || runtime.block_on(Client::connect(&transport, &address, ClientLimits::default()));
    let known = KnownAgent::new(agent.address(), domain()).expected();
    let begin =
        || runtime.block_on(Client::connect_to(&known, &transport, &address, ClientLimits::default()));
    let client = connect().expect("a connection");

    let mut group = criterion.benchmark_group("somc");
    group.bench_function("ping", |bencher| {
        bencher.iter(|| runtime.block_on(client.ping()).expect("an answer"));
    });
    group.bench_function("offering of 2 KiB", |bencher| {
        bencher.iter(|| runtime.block_on(client.offering(OfferingHash::default())).expect("an answer"));
    });
    group.bench_function("connection", |bencher| bencher.iter(|| connect().expect("a connection")));
    group.bench_function("session", |bencher| bencher.iter(|| begin().expect("a session")));
    for (connections, in_flight, in_sessions) in [(1, 250, false), (8, 250, false), (8, 250, true)] {
        let clients: Vec<_> = (0..connections)
            .map(|_| if in_sessions { begin() } else { connect() }.expect("a connection"))
            .collect();
        let kind = if in_sessions { "sessions" } else { "connections" };
        group.throughput(Throughput::Elements(connections * in_flight));
        group.bench_function(
            format!("pay, {in_flight} channels on each of {connections} {kind}"),
            |bencher| {
                bencher.iter(|| {
                    let connections = clients.iter().cloned().map(|client| {
                        runtime.spawn(async move {
                            let channels = usize::try_from(in_flight).expect("small");
                            join_all((0..channels).map(|number| client.pay(voucher(number)))).await
                        })
                    });
                    for answers in runtime.block_on(join_all(connections)) {
                        assert!(answers.expect("no panic").into_iter().all(|paid| paid.is_ok()));
                    }
                });
            },
        );
    }
    group.finish();
    drop(client);
    shutdown.cancel();
    runtime.block_on(serving).expect("a clean end");
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
