//! A download through both sides of the proxy beside a direct one, in the same run: the share of the direct speed that is left.
//!
//! Everything is on this machine's loopback, first as fast as it goes, where no network slows the direct download down: the
//! hardest case, in which each hop costs as much processor time as the download itself. Then with an origin behind a link of
//! 1 Gbit/s. Each part has threads of its own, as it has a process of its own in use; so the first case needs four idle cores
//! to mean anything. Direct and proxied downloads alternate, so that whatever else the machine does hits both; the medians
//! are compared.
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
    let (mib, rounds) = match (has("--bench"), has("--quick")) {
        (false, _) => (1, 1), // run as a test: only whether it works
        (true, true) => (256, 7),
        (true, false) => (1024, 21),
    };

    let origin = serve();
    let (agent_threads, client_threads) = (threads(), threads());
    let mut agent = Side::start(&agent_threads, Arc::new(ProxyServer::new()), Role::Agent);
    let mut client = Side::start(&client_threads, Arc::new(ProxyClient::new()), Role::Client);
    let local = provision(&agent, &client, &agent_threads, &client_threads);

    let loopback = Download { size: mib << 20, bytes_per_second: u64::MAX };
    let gigabit = Download { size: mib << 18, bytes_per_second: 125_000_000 };
    println!("downloads on {} cores, medians of {rounds}:", std::thread::available_parallelism().unwrap());
    for (name, download) in [("loopback, no limit", loopback), ("link of 1 Gbit/s", gigabit)] {
        let (mut direct, mut proxied) = (Vec::new(), Vec::new());
        download.run(local, origin); // to warm up
        for _ in 0..rounds {
            direct.push(download.run(origin, origin));
            proxied.push(download.run(local, origin));
        }
        let (direct, proxied) = (median(direct), median(proxied));
        let speed = |time: Duration| download.size as f64 / time.as_secs_f64() / 1e6;
        println!("  {name}, {} MiB", download.size >> 20);
        println!("    direct        {:>8.0} MB/s", speed(direct));
        println!("    agent+client  {:>8.0} MB/s", speed(proxied));
        println!("    ratio         {:>8.1} %", 100.0 * direct.as_secs_f64() / proxied.as_secs_f64());
    }

    let [sold, bought] =
        [(&mut agent, &agent_threads), (&mut client, &client_threads)].map(|(side, threads)| {
            threads.block_on(side.host.shutdown()).unwrap();
            side.reports.take().iter().map(|report| report.total.get()).sum::<u64>()
        });
    assert_eq!(sold, bought, "the meters differ");
    assert!(sold >= (rounds + 1) * (loopback.size + gigabit.size), "the meters show {sold}");
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
        let sell = Provision::Sell {
            channel,
            credentials,
            parameters: json!({}),
            used: Usage::ZERO,
            up_to: Usage::MAX,
        };
        let provisioned = agent.host.provision(sell).await.unwrap();
        agent.host.start(channel).await.unwrap();
        provisioned.endpoint
    });
    let local = client_threads.block_on(async {
        let buy = Provision::buy(channel, Access { endpoint, credentials });
        let provisioned = client.host.provision(buy).await.unwrap();
        client.host.start(channel).await.unwrap();
        Endpoint::parse(&provisioned.endpoint).unwrap()
    });
    SocketAddr::new(local.host.parse().unwrap(), local.port.get())
}

/// A web server as far as a download needs one: sends as many bytes, and as many of them per second, as the request's path says.
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
            let mut path = head.split([' ', '/']).skip(2).map_while(|number| number.parse::<u64>().ok());
            let (size, bytes_per_second) = (path.next().unwrap(), path.next().unwrap());
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes())
                .unwrap();
            let (began, mut sent) = (Instant::now(), 0);
            while sent < size {
                let most = usize::try_from(size - sent).unwrap().min(CHUNK);
                sent += stream.write(&chunk[..most]).unwrap() as u64;
                let due = Duration::from_secs_f64(sent as f64 / bytes_per_second as f64);
                std::thread::sleep(due.saturating_sub(began.elapsed()));
            }
        }
    });
    address
}

const CHUNK: usize = 256 * 1024;

#[derive(Clone, Copy)]
struct Download {
    size: u64,
    bytes_per_second: u64,
}

impl Download {
    /// Downloads from `origin`, directly if that is where it connects to, else with CONNECT. Takes the time from the request,
    /// when all connections are made.
    fn run(self, to: SocketAddr, origin: SocketAddr) -> Duration {
        let Self { size, bytes_per_second } = self;
        let mut stream = TcpStream::connect(to).unwrap();
        if to != origin {
            stream
                .write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes())
                .unwrap();
            assert!(head(&mut stream).starts_with("HTTP/1.1 200 "));
        }
        let began = Instant::now();
        let request = format!("GET /{size}/{bytes_per_second} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
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
