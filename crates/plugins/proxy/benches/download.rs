//! A download through both sides of the proxy beside a direct one, in the same run: the share of the direct speed that is left.
//!
//! Everything is on this machine's loopback, where no network slows the direct download down: the hardest case. Each part has
//! threads of its own, as it has a process of its own in use. Direct and proxied downloads alternate, so that whatever else the
//! machine does hits both; the medians are compared.
//!
//! `cargo bench -p privatix-plugin-proxy --bench download [-- --quick]`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "a benchmark prints ratios, and fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use privatix_adapter::{
    Access, Adapter, Configuration, Credentials, Host, Provision, Role, UsageReports, usage_reports,
};
use privatix_channel::{ChannelId, Usage};
use privatix_plugin_proxy::{Endpoint, ProxyClient, ProxyServer};
use serde_json::json;
use tokio::runtime::Runtime;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let has = |name: &str| args.iter().any(|arg| arg == name);
    let (size, rounds): (u64, u64) = match (has("--bench"), has("--quick")) {
        (false, _) => (1 << 20, 1), // run as a test: only whether it works
        (true, true) => (256 << 20, 7),
        (true, false) => (1 << 30, 21),
    };

    let origin = serve();
    let (agent_threads, client_threads) = (threads(), threads());
    let mut agent = Side::start(&agent_threads, Arc::new(ProxyServer::new()), Role::Agent);
    let mut client = Side::start(&client_threads, Arc::new(ProxyClient::new()), Role::Client);
    let local = provision(&agent, &client, &agent_threads, &client_threads);

    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (without, with) = (download(origin, origin, size), download(local, origin, size));
        if round > 0 || rounds == 1 {
            // The first warms up.
            direct.push(without);
            proxied.push(with);
        }
    }
    let [sold, bought] =
        [(&mut agent, &agent_threads), (&mut client, &client_threads)].map(|(side, threads)| {
            threads.block_on(side.host.shutdown()).unwrap();
            side.reports.take().iter().map(|report| report.total.get()).sum::<u64>()
        });
    assert_eq!(sold, bought, "the meters differ");
    assert!(sold >= (rounds + 1) * size, "the meters show {sold}");

    let (direct, proxied) = (median(direct), median(proxied));
    let speed = |time: Duration| size as f64 / time.as_secs_f64() / 1e6;
    println!("download of {} MiB, medians of {rounds}:", size >> 20);
    println!("  direct        {:>8.0} MB/s", speed(direct));
    println!("  agent+client  {:>8.0} MB/s", speed(proxied));
    println!("  ratio         {:>8.1} %", 100.0 * direct.as_secs_f64() / proxied.as_secs_f64());
}

fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Side {
    host: Host,
    reports: UsageReports,
}

impl Side {
    fn start(threads: &Runtime, adapter: Arc<dyn Adapter>, role: Role) -> Self {
        let settings = match role {
            Role::Agent => json!({"listen": "127.0.0.1:0", "destinations": {"allow_private": true}}),
            Role::Client => json!({"port": 0, "allow_private_agents": true}),
        };
        let host = Host::new(adapter).unwrap();
        let (reporter, reports) = usage_reports();
        threads.block_on(host.configure(Configuration { role, settings }, reporter)).unwrap();
        Self { host, reports }
    }
}

/// Sells a channel at the agent and buys it at the client. Returns the local port.
fn provision(agent: &Side, client: &Side, agent_threads: &Runtime, client_threads: &Runtime) -> SocketAddr {
    let channel = ChannelId::default();
    let credentials = Credentials { username: channel.to_string(), password: "secret".into() };
    let endpoint = agent_threads.block_on(async {
        let credentials = credentials.clone();
        let sell = Provision::Sell { channel, credentials, parameters: json!({}), used: Usage::ZERO };
        let provisioned = agent.host.provision(sell).await.unwrap();
        agent.host.start(channel).await.unwrap();
        provisioned.endpoint
    });
    let local = client_threads.block_on(async {
        let buy = Provision::Buy { channel, access: Access { endpoint, credentials } };
        let provisioned = client.host.provision(buy).await.unwrap();
        client.host.start(channel).await.unwrap();
        Endpoint::parse(&provisioned.endpoint).unwrap()
    });
    SocketAddr::new(local.host.parse().unwrap(), local.port.get())
}

/// A web server as far as a download needs one: sends as many bytes as the request's path says.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let chunk = vec![7; CHUNK];
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut buffer = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut buffer).unwrap();
                head.extend_from_slice(&buffer[..read]);
            }
            let head = String::from_utf8(head).unwrap();
            let mut left: usize = head.split([' ', '/']).nth(2).unwrap().parse().unwrap();
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes())
                .unwrap();
            while left > 0 {
                left -= stream.write(&chunk[..left.min(CHUNK)]).unwrap();
            }
        }
    });
    address
}

const CHUNK: usize = 256 * 1024;

/// Downloads `size` bytes from `origin`, directly if that is where it connects to, else with CONNECT. Takes the time from the
/// request, when all connections are made.
fn download(to: SocketAddr, origin: SocketAddr, size: u64) -> Duration {
    let mut stream = TcpStream::connect(to).unwrap();
    if to != origin {
        stream.write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).unwrap();
        assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    }
    let began = Instant::now();
    stream.write_all(format!("GET /{size} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
    let (mut buffer, mut got) = (vec![0; CHUNK], 0);
    while got < size {
        match stream.read(&mut buffer).unwrap() {
            0 => panic!("ended after {got} bytes"),
            read => got += read as u64,
        }
    }
    began.elapsed()
}

/// Reads the head of a response, and not a byte more.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
