//! Logs per second of catching up: the monitor into the store, beside a plain loop of `eth_getLogs` over the same logs.
//!
//! An endpoint in this process makes up a busy market as a client follows it: two logs in ten announce an offering, eight in ten
//! open or close a channel under one; one in a hundred is about our own channels. Blocks hold 100 logs each; answers are limited
//! to 10,000 logs, as providers do. The plain loop asks for 100 blocks at a time and throws the logs away. The monitor also asks
//! for the headers of the first and the last block of each range and of those near the head; of an endpoint whose logs do not
//! bear the times of their blocks, as those of older nodes, for that of each block: 100 requests in place of one.
//!
//! ```text
//! cargo bench -p privatix-chain --bench catch_up                         # 20,000 logs that came while the client was off
//! cargo bench -p privatix-chain --bench catch_up -- 1000000
//! cargo bench -p privatix-chain --bench catch_up -- 1000000 backward     # a new client's search, the newest logs first
//! cargo bench -p privatix-chain --bench catch_up -- 1000000 without-times
//! cargo bench -p privatix-chain --bench catch_up -- 1000000 far          # each answer takes 100 ms more, as from afar
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]
#![allow(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "rates are for people")]

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use alloy::hex;
use alloy::primitives::aliases::U96;
use alloy::primitives::{Address, B256, keccak256};
use alloy::providers::Provider as _;
use alloy::rpc::types::Filter;
use alloy::sol_types::SolEvent as _;
use async_trait::async_trait;
use privatix_chain::{
    ConfirmedBatch, Endpoint, Interest, LogSink, Monitor, MonitorStatus, SinkError, StartFrom,
};
use privatix_channel::{Amount, ChainEvent, ChannelId, Domain, LogPosition};
use privatix_contracts::{PSC, PscEvent, topics};
use privatix_db::{Conn, Database};
use privatix_store::events::Place;
use privatix_store::identity::{Identity, Role};
use privatix_store::{StoreError, channels, events, identity, offerings};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const CONTRACT: Address = Address::repeat_byte(0x5c);
const US: Address = Address::repeat_byte(0xc1);
const CHAIN: u64 = 31_337;
/// Logs of a block.
const PER_BLOCK: u64 = 100;
/// The most logs of an answer.
const MOST: u64 = 10_000;
const OFFERINGS: u64 = 1_000;
const OWN_CHANNELS: u64 = 10;
/// Logs at the start and at the end whose rates are compared.
const EDGE: u64 = 100_000;

fn numbered(what: &str, number: u64) -> B256 {
    keccak256([what.as_bytes(), &number.to_be_bytes()].concat())
}

fn account(what: &str, number: u64) -> Address {
    Address::from_word(numbered(what, number))
}

fn opened(number: u64) -> PSC::ChannelOpened {
    let own = number < OWN_CHANNELS;
    PSC::ChannelOpened {
        channelId: numbered("channel", number),
        client: if own { US } else { account("client", number % 5_000) },
        agent: account("agent", number % OFFERINGS),
        offering: numbered("offering", number % OFFERINGS),
        nonce: number,
        signer: account("signer", number),
        deposit: U96::from(1_000_000),
        fee: 1_000,
    }
}

/// The time of a block.
fn time(block: u64) -> u64 {
    1_700_000_000 + block
}

fn is_settled_by_us(number: u64) -> bool {
    number % 100 == 99
}

/// Whether a log may be about one of our own channels, without making it.
fn may_be_own(number: u64) -> bool {
    number < OWN_CHANNELS * 10 || is_settled_by_us(number)
}

/// The log with this number.
fn event(number: u64) -> alloy::primitives::LogData {
    let (ten, place) = (number / 10, number % 10);
    match place {
        9 if is_settled_by_us(number) => {
            let of = opened(ten / 10 % OWN_CHANNELS);
            let settled = PSC::ChannelSettled {
                channelId: of.channelId,
                client: of.client,
                agent: of.agent,
                paid: U96::from(number),
            };
            settled.encode_log_data()
        }
        0 | 9 => {
            let offering = (ten + place) % OFFERINGS;
            let announced = PSC::OfferingPoppedUp {
                agent: account("agent", offering),
                offering: numbered("offering", offering),
                minDeposit: U96::from(1_000),
                supply: 10,
                fee: 1_000,
                sourceType: 1,
                source: "198.51.100.7:4000".to_owned(),
            };
            announced.encode_log_data()
        }
        place => {
            let of = opened(ten * 4 + (place - 1) / 2);
            if place % 2 == 1 {
                return of.encode_log_data();
            }
            let closed = PSC::ChannelClosed {
                channelId: of.channelId,
                client: of.client,
                agent: of.agent,
                offering: of.offering,
                paid: U96::from(7),
                refund: U96::from(999_993),
                closure: 0,
            };
            // Our own stay open.
            if of.client == US { topped_up(&of) } else { closed.encode_log_data() }
        }
    }
}

fn topped_up(of: &PSC::ChannelOpened) -> alloy::primitives::LogData {
    let topped_up = PSC::ChannelToppedUp {
        channelId: of.channelId,
        client: of.client,
        agent: of.agent,
        deposit: U96::from(2_000_000),
        requestCancelled: false,
    };
    topped_up.encode_log_data()
}

/// An endpoint that answers what a monitor asks.
struct Market {
    logs: u64,
    /// The blocks by their hashes.
    numbers: HashMap<B256, u64>,
    /// Blocks so far.
    head: AtomicU64,
    /// Whether logs bear the times of their blocks.
    times: bool,
    /// What each answer takes beside the work for it.
    delay: Duration,
    requests: AtomicU64,
}

impl Market {
    fn new(logs: u64, times: bool, delay: Duration) -> Self {
        let last = logs / PER_BLOCK + 1;
        let numbers = (0..=last).map(|block| (numbered("block", block), block)).collect();
        Self { logs, numbers, head: AtomicU64::new(last), times, delay, requests: AtomicU64::new(0) }
    }

    fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// The block of the last log. Block 1 is empty, so that a monitor can begin before the first one.
    fn last(&self) -> u64 {
        self.logs / PER_BLOCK + 1
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(Arc::clone(&self).answer_all(stream)));
        }
    }

    async fn answer_all(self: Arc<Self>, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                let line = line.trim().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let request: serde_json::Value = serde_json::from_slice(&body).unwrap();
            self.requests.fetch_add(1, Ordering::Relaxed);
            let (method, params) = (request["method"].as_str().unwrap(), &request["params"]);
            let answer = match self.answer(method, params) {
                Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, request["id"]),
                Err(error) => format!(
                    r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32005,"message":"{error}"}}}}"#,
                    request["id"]
                ),
            };
            tokio::time::sleep(self.delay).await;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }

    fn answer(&self, method: &str, params: &serde_json::Value) -> Result<String, String> {
        let number = |value: &serde_json::Value| {
            u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        Ok(match method {
            "eth_chainId" => format!(r#""{CHAIN:#x}""#),
            "eth_getCode" => r#""0x60""#.to_owned(),
            "eth_blockNumber" => format!(r#""{:#x}""#, self.head()),
            "eth_getBlockByNumber" => match params[0].as_str() {
                Some("latest") => Self::header(self.head()),
                _ if number(&params[0]) <= self.head() => Self::header(number(&params[0])),
                _ => "null".to_owned(),
            },
            "eth_getLogs" => {
                let (from, to) = match params[0]["blockHash"].as_str() {
                    Some(hash) => [self.numbers[&hash.parse::<B256>().unwrap()]; 2].into(),
                    None => (number(&params[0]["fromBlock"]), number(&params[0]["toBlock"])),
                };
                if (to + 1 - from) * PER_BLOCK > MOST {
                    return Err(format!("query returned more than {MOST} results"));
                }
                self.logs(from, to.min(self.head()), &wanted_topics(&params[0]["topics"]))
            }
            other => return Err(format!("the method {other} does not exist")),
        })
    }

    fn header(number: u64) -> String {
        format!(
            r#"{{"number":"{number:#x}","hash":"{}","parentHash":"{}","timestamp":"{:#x}","baseFeePerGas":"0x7","logsBloom":"0x{}","transactionsRoot":"{}","transactions":[]}}"#,
            numbered("block", number),
            numbered("block", number.saturating_sub(1)),
            time(number),
            "ff".repeat(256),
            numbered("root", 0),
        )
    }

    /// Block 2 holds the logs from 0 on.
    fn logs(&self, from: u64, to: u64, wanted: &[Vec<B256>]) -> String {
        // Where none of the events occurs that are asked for, an endpoint knows that by its index, and makes no log.
        let occurs = |topic: &B256| topics::CHANNEL.contains(topic) || topics::OFFERING.contains(topic);
        if wanted.first().is_some_and(|events| !events.is_empty() && !events.iter().any(occurs)) {
            return "[]".to_owned();
        }
        let mut answer = String::from("[");
        let of_one = wanted.iter().skip(1).any(|topics| !topics.is_empty());
        for block in from.max(2)..=to {
            let hash = numbered("block", block);
            let time =
                if self.times { format!(r#","blockTimestamp":"{:#x}""#, time(block)) } else { String::new() };
            for index in 0..PER_BLOCK {
                let number = (block - 2) * PER_BLOCK + index;
                if of_one && !may_be_own(number) {
                    continue;
                }
                let data = event(number);
                let is_wanted =
                    |(topic, wanted): (&B256, &Vec<B256>)| wanted.is_empty() || wanted.contains(topic);
                if !data.topics().iter().zip(wanted).all(is_wanted) {
                    continue;
                }
                let topics: Vec<String> = data.topics().iter().map(|topic| format!("\"{topic}\"")).collect();
                let comma = if answer.len() > 1 { "," } else { "" };
                write!(
                    answer,
                    r#"{comma}{{"address":"{CONTRACT:#x}","topics":[{}],"data":"0x{}","blockNumber":"{block:#x}","blockHash":"{hash}","transactionHash":"{}","transactionIndex":"{:#x}","logIndex":"{index:#x}","removed":false{time}}}"#,
                    topics.join(","),
                    hex::encode(&data.data),
                    numbered("tx", number / 4),
                    index / 4,
                )
                .unwrap();
            }
        }
        answer.push(']');
        answer
    }
}

/// The topics that a filter allows at each position; any at those without.
fn wanted_topics(filter: &serde_json::Value) -> Vec<Vec<B256>> {
    let topic = |value: &serde_json::Value| value.as_str().map(|text| text.parse().unwrap());
    let position = |value: &serde_json::Value| match value.as_array() {
        Some(some) => some.iter().filter_map(topic).collect(),
        None => topic(value).into_iter().collect(),
    };
    filter.as_array().map(|positions| positions.iter().map(position).collect()).unwrap_or_default()
}

/// What a client's node does with events, but for its jobs.
struct Sink {
    logs: AtomicU64,
    /// When the first and all but the last [`EDGE`] logs were in, and when all were.
    marks: [(u64, parking_lot::Mutex<Option<Instant>>); 3],
}

impl Sink {
    async fn apply_all(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), StoreError> {
        let of = |log: &privatix_chain::ConfirmedLog| {
            let place = Place { at: LogPosition::new(log.block, log.index), tx: log.tx };
            Some((place, PscEvent::decode(&log.log.data).unwrap().chain_event(log.block_time.into())?))
        };
        let mut market: Vec<(Place, ChainEvent)> = batch.logs.iter().filter_map(of).collect();
        let mut are_new = events::record_all(conn, &market).await?.into_iter();
        market.retain(|_| are_new.next().unwrap());
        for (_, event) in &market {
            if let ChainEvent::Opened { channel, descriptor, .. } = event
                && descriptor.client == US
            {
                channels::insert(conn, *channel, descriptor, Amount::new(1_000_000)).await?;
            }
        }
        offerings::advance_all(conn, &market).await?;
        let touched: BTreeSet<ChannelId> = market.iter().filter_map(|(_, event)| event.channel()).collect();
        let kept = channels::kept(conn, &touched).await?;
        for (place, event) in &market {
            if let (Some(channel), Some(change)) = (event.channel(), event.channel_event())
                && kept.contains(&channel)
            {
                channels::advance(conn, channel, place.at, change).await?;
            }
        }
        let logs = self.logs.fetch_add(market.len() as u64, Ordering::Relaxed) + market.len() as u64;
        for (after, when) in &self.marks {
            if logs >= *after {
                when.lock().get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl LogSink for Sink {
    type Applied = ();

    async fn apply(&self, conn: &mut Conn, batch: &ConfirmedBatch) -> Result<(), SinkError> {
        self.apply_all(conn, batch).await.map_err(SinkError::new)
    }

    async fn rollback(&self, _: &mut Conn, _: u64) -> Result<(), SinkError> {
        unreachable!("the chain has one branch")
    }
}

fn rate(logs: u64, taken: Duration) -> f64 {
    logs as f64 / taken.as_secs_f64()
}

async fn plain(endpoint: &Endpoint, market: &Market) -> Duration {
    let started = Instant::now();
    let (mut from, mut found) = (1, 0);
    let topics = [topics::CHANNEL.as_slice(), &topics::OFFERING].concat();
    while from <= market.last() {
        let to = (from + MOST / PER_BLOCK - 1).min(market.last());
        let filter = Filter::new().address(CONTRACT).event_signature(topics.clone());
        let range = filter.from_block(from).to_block(to);
        found += endpoint.provider().get_logs(&range).await.unwrap().len() as u64;
        from = to + 1;
    }
    assert_eq!(found, market.logs);
    started.elapsed()
}

/// What a client follows: of its own its channels and its account, the network fee, and of everybody offerings and their places.
fn interests() -> ([Interest; 3], [Interest; 1]) {
    let one_of = |topics: &[B256]| {
        topics.iter().fold(Interest::all_of(CONTRACT), |interest, topic| interest.topic(0, *topic))
    };
    let market = [topics::OPENINGS_AND_CLOSINGS.as_slice(), &topics::OFFERING].concat();
    let own = [
        one_of(&topics::CHANNEL).address(2, US),
        one_of(&topics::ACCOUNT).address(1, US),
        one_of(&topics::FEE),
    ];
    (own, [one_of(&market)])
}

async fn catch_up(endpoint: Endpoint, market: &Market, backward: bool) -> (Duration, Option<[Duration; 2]>) {
    let dir = privatix_testkit::temp_dir().unwrap();
    let sets = [privatix_chain::MIGRATIONS, privatix_store::MIGRATIONS];
    let db = Database::open(&dir.path().join("market.db"), &sets).await.unwrap();
    let domain = Domain::new(CHAIN, CONTRACT, CONTRACT);
    let us = Identity { role: Role::Client, domain, account: US };
    let mut tx = db.begin().await.unwrap();
    identity::claim(&mut tx, &us).await.unwrap();
    tx.commit().await.unwrap();
    let afters = [EDGE, market.logs.saturating_sub(EDGE), market.logs];
    let marks = afters.map(|after| (after, parking_lot::Mutex::default()));
    let sink = Arc::new(Sink { logs: AtomicU64::new(0), marks });
    let (own, of_everybody) = interests();
    let monitor = Monitor::builder(db.clone(), endpoint, CHAIN, own)
        .recent(of_everybody, if backward { u64::MAX } else { 0 })
        .confirmations(0)
        .poll_interval(Duration::from_millis(10))
        .start(StartFrom::Block(1))
        .build(Arc::clone(&sink));
    let shutdown = CancellationToken::new();
    let mut status = monitor.status();
    let mut started = Instant::now();
    market.head.store(if backward { market.last() } else { 1 }, Ordering::Relaxed);
    let running = tokio::spawn({
        let (monitor, shutdown) = (monitor.clone(), shutdown.clone());
        async move { monitor.run(shutdown).await }
    });
    if !backward {
        status.wait_for(|status| status.unsearched == Some(0)).await.unwrap();
        market.head.store(market.last(), Ordering::Relaxed);
        started = Instant::now();
    }
    let is_done =
        |status: &MonitorStatus| status.processed == Some(market.last()) && status.unsearched == Some(0);
    status.wait_for(is_done).await.unwrap();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(sink.logs.load(Ordering::Relaxed), market.logs);
    let own = channels::list(&mut db.read().await.unwrap(), 100).await.unwrap();
    assert_eq!(own.len() as u64, OWN_CHANNELS);
    let [first, last, all] = [0, 1, 2].map(|mark| *sink.marks[mark].1.lock());
    let all = all.unwrap();
    let edges = first.zip(last).filter(|_| market.logs >= 2 * EDGE);
    let edges = edges.map(|(first, last)| [first.duration_since(started), all.duration_since(last)]);
    (all.duration_since(started), edges)
}

fn main() {
    let size = std::env::args().find_map(|argument| argument.parse().ok());
    let logs: u64 = size.unwrap_or(20_000) / PER_BLOCK * PER_BLOCK;
    let is_given = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let (times, backward) = (!is_given("without-times"), is_given("backward"));
    let delay = Duration::from_millis(if is_given("far") { 100 } else { 0 });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let market = Arc::new(Market::new(logs, times, delay));
        let server = tokio::spawn(Arc::clone(&market).serve(listener));
        let endpoint = Endpoint::new(&url).unwrap();
        let before = plain(&endpoint, &market).await;
        let asked = market.requests.swap(0, Ordering::Relaxed);
        let (taken, edges) = catch_up(endpoint.clone(), &market, backward).await;
        let monitor_asked = market.requests.load(Ordering::Relaxed);
        let after = plain(&endpoint, &market).await;
        let plain = before.min(after);
        let with = if times { "with" } else { "without" };
        let direction = if backward { "backward" } else { "forward" };
        println!(
            "{logs} logs in {} blocks, {direction}, {with} times, answers after {delay:?}",
            market.head()
        );
        println!("plain loop: {:.0} logs/s ({asked} requests)", rate(logs, plain));
        println!("monitor and store: {:.0} logs/s ({monitor_asked} requests)", rate(logs, taken));
        println!("ratio: {:.2}", plain.as_secs_f64() / taken.as_secs_f64());
        if let Some([first, last]) = edges {
            println!(
                "first {EDGE} logs: {:.0} logs/s; last: {:.0} logs/s",
                rate(EDGE, first),
                rate(EDGE, last)
            );
        }
        server.abort();
    });
}
