//! Durable payments accepted by one agent over loopback, with 1,000 channels, beside what the disk does with one commit each.
//!
//! Everything is real: a node with the contracts, 1,000 channels opened on it (in one block, from one account, each with a
//! signing key of its own), the agent that follows it and serves them with the proxy plug-in, its database on disk, its
//! messaging server on TCP. Eight connections pay for 125 channels each; a channel has one voucher under way at a time, so
//! that none is superseded unstored and each acknowledged payment is a row of its own. Signing is not measured.
//!
//! - `payments/single commits`: the limit without group commit: the same row, by the same code, in a transaction of its own;
//! - `payments/over loopback`: payments acknowledged, that is verified and on disk, in sessions in which the channels are proved
//!   (version 2 of the protocol): both meters go with them;
//! - `payments/over loopback in clear`: the same without sessions (version 1).
//!
//! `cargo bench -p privatix-agent --bench payments [-- --quick]`
#![allow(missing_docs, reason = "criterion's macros make the entry points")]
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::signers::local::PrivateKeySigner;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use futures::future::{join_all, try_join_all};
use privatix_agent::{Agent, AgentHandle, Messaging, NodeError, NodeParts, OfferingDraft, OfferingOrder};
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_chain::StartFrom;
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, Domain, OfferingHash, ServiceStatus, SignedVoucher, Usage, Voucher,
    sign_voucher,
};
use privatix_contracts::{PSC, call};
use privatix_db::Database;
use privatix_offering::ChannelProof;
use privatix_plugin_proxy::ProxyServer;
use privatix_somc::{
    Client, ClientLimits, DirectListener, DirectTransport, KnownAgent, RateLimit, ServerLimits, SomcAddress,
    VersionRange,
};
use privatix_store::vouchers;
use privatix_testkit::{Anvil, Contracts, TempDir, wait_for};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CHANNELS: u32 = 1_000;
const CONNECTIONS: usize = 8;
const AGENT: usize = 1;
const CLIENT: usize = 2;
/// Deposit of each channel, in base units: vouchers grow by one.
const DEPOSIT: u64 = 10_000_000;
/// Guards against hangs.
const LIMIT: Duration = Duration::from_mins(5);

fn payments(criterion: &mut Criterion) {
    // Threads of their own for each side, as they have processes of their own in use.
    let (agents, clients) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let agent = agents.block_on(RunningAgent::start());
    let mut payers = agents.block_on(agent.open_channels());
    let sessions = clients.block_on(agent.connect(VersionRange::exactly(2)));
    let in_clear = clients.block_on(agent.connect(VersionRange::exactly(1)));
    clients.block_on(payers.attach(&sessions));
    let acknowledged = AtomicU64::new(0);

    let mut group = criterion.benchmark_group("payments");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(15));
    group.throughput(Throughput::Elements(1));
    group.bench_function("single commits", |bencher| {
        bencher.iter_custom(|count| {
            acknowledged.fetch_add(count, Ordering::Relaxed);
            let count = usize::try_from(count).unwrap();
            let signed = payers.sign(count.div_ceil(payers.0.len()));
            // One after another over all channels, as payments come.
            let rows: Vec<_> = (0..count).map(|n| signed[n % signed.len()][n / signed.len()]).collect();
            agents.block_on(single_commits(agent.handle.node().db(), &rows))
        });
    });
    group.throughput(Throughput::Elements(CHANNELS.into()));
    for (name, connections) in [("over loopback", &sessions), ("over loopback in clear", &in_clear)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                acknowledged.fetch_add(rounds * u64::from(CHANNELS), Ordering::Relaxed);
                let signed = payers.sign(usize::try_from(rounds).unwrap());
                clients.block_on(pay(connections, signed))
            });
        });
    }
    group.finish();
    agents.block_on(async {
        assert_eq!(payers.rows_written(&agent.handle).await, acknowledged.into_inner());
        drop((sessions, in_clear));
        agent.stop().await;
    });
}

/// The payments' row in a transaction of its own each.
async fn single_commits(db: &Database, rows: &[SignedVoucher]) -> Duration {
    let began = Instant::now();
    for voucher in rows {
        let mut tx = db.begin().await.unwrap();
        assert!(vouchers::store(&mut tx, voucher).await.unwrap());
        tx.commit().await.unwrap();
    }
    began.elapsed()
}

/// Sends each channel's vouchers in turn, all channels at once.
async fn pay(connections: &[Client], signed: Vec<Vec<SignedVoucher>>) -> Duration {
    let began = Instant::now();
    let channels = signed.into_iter().zip(connections.iter().cycle()).map(|(vouchers, client)| {
        let client = client.clone();
        tokio::spawn(async move {
            for voucher in vouchers {
                let acknowledged = if client.is_authenticated() {
                    client.pay_attached(voucher, Usage::ZERO).await.unwrap().cumulative
                } else {
                    client.pay(voucher).await.unwrap().cumulative
                };
                assert_eq!(acknowledged, voucher.cumulative());
            }
        })
    });
    try_join_all(channels).await.unwrap();
    began.elapsed()
}

/// The paying side of one channel.
struct Payer {
    key: PrivateKeySigner,
    descriptor: ChannelDescriptor,
    channel: ChannelId,
    domain: Domain,
    paid: u64,
}

impl Payer {
    fn sign(&mut self) -> SignedVoucher {
        self.paid += 1;
        assert!(self.paid <= DEPOSIT, "the deposit is spent: raise it");
        let voucher = Voucher { channel: self.channel, cumulative: Amount::from(self.paid) };
        sign_voucher(&self.key, &self.domain, voucher).unwrap()
    }
}

struct Payers(Vec<Payer>);

impl Payers {
    /// The next vouchers of each channel.
    fn sign(&mut self, each: usize) -> Vec<Vec<SignedVoucher>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let chunks: Vec<_> = self
                .0
                .chunks_mut(CHANNELS.div_ceil(u32::try_from(threads).unwrap()) as usize)
                .map(|payers| {
                    scope.spawn(move || {
                        let vouchers = |payer: &mut Payer| (0..each).map(|_| payer.sign()).collect();
                        payers.iter_mut().map(vouchers).collect::<Vec<Vec<_>>>()
                    })
                })
                .collect();
            chunks.into_iter().flat_map(|chunk| chunk.join().unwrap()).collect()
        })
    }

    /// Proves each channel on the connection on which it pays.
    async fn attach(&self, connections: &[Client]) {
        let proofs = self.0.iter().zip(connections.iter().cycle()).map(|(payer, client)| {
            let session = client.session().unwrap();
            let proof = ChannelProof::sign(&payer.descriptor, &payer.domain, session, &payer.key).unwrap();
            client.attach(proof)
        });
        try_join_all(proofs).await.unwrap();
    }

    /// How often the channels' vouchers were written, as the store counts.
    async fn rows_written(&self, agent: &AgentHandle) -> u64 {
        let mut conn = agent.node().db().read().await.unwrap();
        let mut rows = 0;
        for payer in self.0.iter().filter(|payer| payer.paid > 0) {
            let stored = vouchers::get(&mut conn, payer.channel).await.unwrap();
            rows += stored.map_or(0, |stored| stored.count);
        }
        rows
    }
}

/// An agent at work, and the chain under it.
struct RunningAgent {
    handle: AgentHandle,
    somc: SomcAddress,
    offering: OfferingHash,
    anvil: Anvil,
    contracts: Contracts,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), NodeError>>,
    _dir: TempDir,
}

impl RunningAgent {
    async fn start() -> Self {
        let dir = dir_on_disk();
        // Room for all channels in one block.
        let anvil = Anvil::builder().arg("--gas-limit").arg("1000000000").start().await.unwrap();
        let contracts = anvil.deploy().await.unwrap();
        for account in [AGENT, CLIENT] {
            contracts.deposit(&anvil, account, Amount::from(DEPOSIT * u64::from(CHANNELS))).await.unwrap();
        }
        let (db, key) = (dir.path().join("agent.db"), anvil.key(AGENT));
        let proxy = Arc::new(ProxyServer::new());
        let mut parts = NodeParts::new(&db, anvil.url(), contracts.contract, key, proxy).await.unwrap();
        parts.adapter_settings = json!({ "listen": "127.0.0.1:0" });
        parts.chain.confirmations = Some(0); // a block is mined per transaction, and none after it
        parts.chain.poll_interval = Duration::from_millis(100);
        parts.chain.start = StartFrom::Block(0);
        let listener = DirectListener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let somc = SomcAddress::from(listener.local_addr());
        // The default rates keep strangers in bounds; here one peer is a thousand clients.
        let mut limits = ServerLimits::default();
        (limits.connection_rate, limits.peer_rate) = (RateLimit::UNLIMITED, RateLimit::UNLIMITED);
        let agent = Agent::new(parts, Messaging::new(somc.clone(), listener)).await.unwrap().limits(limits);
        let (handle, shutdown) = (agent.handle(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone()));

        let offering = handle.create_offering(draft()).await.unwrap().hash();
        handle.change_offering(offering, OfferingOrder::Publish).await.unwrap();
        wait_for("the offering", LIMIT, async || {
            let ours = handle.offerings(1).await.unwrap().remove(0);
            if ours.status.is_on_market() { Ok(()) } else { Err(format!("{ours:?}")) }
        })
        .await
        .unwrap();
        Self { handle, somc, offering, anvil, contracts, shutdown, task, _dir: dir }
    }

    /// Opens the channels on the chain and waits until the agent serves them all.
    async fn open_channels(&self) -> Payers {
        let Self { anvil, contracts, offering, .. } = self;
        let (client, domain) = (anvil.account(CLIENT), contracts.domain);
        let sent: U256 = anvil.rpc("eth_getTransactionCount", json!([client, "latest"])).await.unwrap();
        let mut payers = Vec::new();
        let mut transactions = Vec::new();
        for nonce in 0..u64::from(CHANNELS) {
            let key = PrivateKeySigner::random();
            let signer = key.address();
            let descriptor =
                ChannelDescriptor { client, agent: anvil.account(AGENT), offering: *offering, nonce, signer };
            let open = call::open(&descriptor, Amount::from(DEPOSIT)).unwrap();
            let data = alloy::primitives::Bytes::from(
                <PSC::openCall as alloy::sol_types::SolCall>::abi_encode(&open),
            );
            transactions.push(json!([{
                "from": client, "to": contracts.contract, "data": data, "gas": "0x30d40",
                "nonce": sent + U256::from(nonce),
            }]));
            payers.push(Payer { key, descriptor, channel: descriptor.id(&domain), domain, paid: 0 });
        }
        anvil.set_automine(false).await.unwrap();
        for some in transactions.chunks(50) {
            let sends =
                some.iter().map(|tx| anvil.rpc::<serde_json::Value>("eth_sendTransaction", tx.clone()));
            join_all(sends).await.into_iter().for_each(|sent| drop(sent.unwrap()));
        }
        anvil.mine(1).await.unwrap();
        anvil.set_automine(true).await.unwrap();
        wait_for("the channels to be served", LIMIT, async || {
            let known = self.handle.node().channels(CHANNELS).await.unwrap();
            let served = known.iter().filter(|view| view.channel.service == ServiceStatus::Active).count();
            if served == payers.len() { Ok(()) } else { Err(format!("{served} of {}", known.len())) }
        })
        .await
        .unwrap();
        Payers(payers)
    }

    async fn connect(&self, versions: VersionRange) -> Vec<Client> {
        let (transport, node) = (DirectTransport::anywhere(), self.handle.node());
        let agent = KnownAgent::new(node.account(), *node.domain()).versions(versions).expected();
        let connect = || Client::connect_to(&agent, &transport, &self.somc, ClientLimits::default());
        try_join_all((0..CONNECTIONS).map(|_| connect())).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Traffic at one base unit per MiB; the clients of this benchmark use none.
fn draft() -> OfferingDraft {
    let terms = TermsDraft {
        unit: Unit { name: "MiB".into(), measure: Measure::Bytes, size: 1 << 20 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: Amount::from(1_u64),
        free_units: 0,
        min_units: DEPOSIT,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 8,
        max_suspend: Duration::from_hours(24),
        max_inactive: Duration::from_hours(24),
        max_first_use: None,
    };
    let mut draft = OfferingDraft::new("Proxy", "DE".parse().unwrap(), CHANNELS, terms);
    draft.additional = json!({ "protocols": ["socks5", "http"] });
    draft
}

/// A folder where the target folder is. A file system in memory has no commits to measure.
fn dir_on_disk() -> TempDir {
    let parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&parent).unwrap();
    let dir = TempDir::with_prefix_in("payments-", &parent).unwrap();
    let kind = file_system(dir.path());
    assert!(!matches!(&*kind, "tmpfs" | "ramfs"), "{} is in memory: set CARGO_TARGET_DIR", parent.display());
    dir
}

/// The kind of the file system under a folder, empty where the system does not show it.
fn file_system(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let over = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, at, kind) = (words.next()?, words.next()?, words.next()?);
        dir.starts_with(at).then_some((at.len(), kind.to_owned()))
    });
    over.max().map(|(_, kind)| kind).unwrap_or_default()
}

criterion_group!(benches, payments);
criterion_main!(benches);
