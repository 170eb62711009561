//! Whatever an operator does, and however much is logged, no secret of the endpoint's address, of the API or of the key is
//! shown or stored.

use std::fs;
use std::net::SocketAddr;

use privatix_testkit::{Anvil, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Home, LONG, Outcome, read};
use crate::{home, market};

const USER: &str = "op%65ratorname";
const PASSWORD: &str = "hunter2%2Fpassword";
const PATH: &str = "/v3/PATHKEY0123456789?apikey=QUERYKEY0123456789";
/// Parts of the above, as they are written, meant, and sent.
const HIDDEN: [&str; 9] = [
    "op%65rator",
    "operatorname",
    "hunter2",
    "PATHKEY",
    "QUERYKEY",
    "b3BlcmF0b3Ju", // base64 of "operatorn"
    "aHVudGVyMi9w", // of "hunter2/p", wherever it begins
    "h1bnRlcjIvc",
    "PROXYSECRET",
];

/// A provider's front before a node: it serves only under its own path.
struct Provider {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Provider {
    async fn start(anvil: &Anvil) -> Self {
        let node = anvil.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, node.clone()));
            }
        });
        Self { address, task }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{USER}:{PASSWORD}@{}{PATH}", self.address)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes bytes on, with the path taken out of each request's first line, which is sent in one piece.
async fn carry(client: TcpStream, node: String) {
    let Ok(node) = TcpStream::connect(node).await else { return };
    let ((mut from_client, mut to_client), (mut from_node, mut to_node)) =
        (client.into_split(), node.into_split());
    let forth = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            let piece = &bytes[..read];
            let line = format!(" {PATH} HTTP");
            let at = piece.windows(line.len()).position(|window| window == line.as_bytes());
            let passed = match at {
                Some(at) => [&piece[..at], b" / HTTP", &piece[at + line.len()..]].concat(),
                None => piece.to_vec(),
            };
            if to_node.write_all(&passed).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        _ = tokio::io::copy(&mut from_node, &mut to_client) => {}
    }
}

#[track_caller]
fn hides(home: &Home, text: &str) {
    let more = [home.token(), read(&home.file("password"))];
    for secret in HIDDEN.iter().copied().chain(more.iter().map(String::as_str)) {
        let shown = text.lines().find(|line| line.contains(secret));
        assert!(shown.is_none(), "{secret} is shown: {}", shown.unwrap());
    }
}

#[track_caller]
fn hides_all(home: &Home, outcome: &Outcome) {
    hides(home, &outcome.stdout);
    hides(home, &outcome.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_trace_shows_and_stores_no_secret() {
    let (anvil, _, mut home) = market().await;
    let (plain, commands) = (home.env.clone(), ["status", "health", "balances"]);
    for (scheme, level, format) in [
        ("http", "trace", "text"),
        ("ws", "trace", "json"),
        ("http", "debug,hyper_util=trace,reqwest=trace", "json"),
        ("ws", "tungstenite=trace,trace", "text"),
    ] {
        let provider = Provider::start(&anvil).await;
        home.env.clone_from(&plain);
        home.set("CHAIN__ENDPOINT", &provider.url(scheme));
        home.set("LOG__LEVEL", level);
        home.set("LOG__FORMAT", format);
        hides_all(&home, home.run(&["config", "check"]).succeeds());
        let mut daemon = home.start().await;
        hides_all(&home, home.run(&["deposit", "1", "--wait"]).succeeds());
        for command in commands {
            hides_all(&home, home.run(&[command]).succeeds());
        }

        // The provider goes away.
        drop(provider);
        let lost = wait_for("not ready", LONG, async || {
            let health = home.run(&["--json", "health"]);
            if health.code == Some(1) { Ok(health) } else { Err(health.stdout) }
        });
        hides_all(&home, &lost.await.unwrap());
        for command in commands {
            hides_all(&home, &home.run(&[command]));
        }
        assert!(daemon.terminate(LONG).await.unwrap().success());
        let refused = home.run(&["config", "check"]);
        refused.fails(1, &["unreachable"]);
        hides_all(&home, &refused);
        let log = daemon.log();
        assert!(log.contains("DEBUG") && log.contains("eth_blockNumber"), "{log}");
        hides(&home, &log);
        for file in ["agentd.db", "agentd.db-wal"] {
            let stored = fs::read(home.file(file)).unwrap_or_default();
            hides(&home, &String::from_utf8_lossy(&stored));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_a_proxy_is_not_shown() {
    let (anvil, _, mut home) = market().await;
    let provider = Provider::start(&anvil).await;
    home.set("CHAIN__ENDPOINT", &provider.url("http"));
    home.set("LOG__LEVEL", "trace");
    let nobody = privatix_testkit::free_port().unwrap();
    home.env.push(("HTTP_PROXY".into(), format!("http://proxyuser:PROXYSECRET@127.0.0.1:{nobody}")));
    let mut daemon = home.builder().spawn().unwrap();
    let waits = wait_for("the reason", LONG, async || {
        let health = home.run(&["--json", "health"]);
        if health.stdout.contains("unreachable") { Ok(health) } else { Err(format!("{health:?}")) }
    });
    hides_all(&home, &waits.await.unwrap());
    assert!(daemon.terminate(LONG).await.unwrap().success());
    let log = daemon.log();
    assert!(log.contains("DEBUG") && log.contains("unreachable"), "{log}");
    hides(&home, &log);
}

#[test]
fn a_mistake_in_the_configuration_does_not_show_what_was_meant_to_be_secret() {
    let home = home();
    let folder = home.folder.to_str().unwrap();
    let url = format!("https://{USER}:{PASSWORD}@node.example{PATH}");
    let init = ["init", folder, "--generate-password", "--endpoint"];
    let refused = home.plain(&[&init[..], &[&url.replace("https", "httpx")]].concat(), "");
    refused.fails(2, &["chain endpoint", "httpx"]);
    for secret in HIDDEN {
        assert!(!refused.stderr.contains(secret), "{refused:?}");
    }
    home.plain(&[&init[..], &[&url]].concat(), "").succeeds();
    let contract = "chain.contract=0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let with = |arguments: &[&str]| {
        let all = [&["--set", contract], arguments, &["config", "check", "--offline"]].concat();
        let outcome = home.run(&all);
        hides_all(&home, &outcome);
        outcome
    };
    let set = |setting: String| with(&["--set", &setting]);
    with(&[]).succeeds();
    set(format!("chain.endpoint={}", url.replace(':', ""))).fails(2, &["chain.endpoint"]);
    set(format!("chain={url}")).fails(2, &["`chain`", "a text"]);
    set(format!("chain.confirmations={url}")).fails(2, &["`chain.confirmations`", "u64"]);
    set(format!("log.format={url}")).fails(2, &["`log.format`", "text, json"]);
    let level = home.run(&["--set", contract, "--set", &format!("log.level={url}"), "run"]);
    level.fails(2, &["log.level"]);
    hides_all(&home, &level);
    set(url.replace('=', ":")).fails(2, &["--set", "key=value"]);
    assert_eq!(with(&[&url]).code, Some(2), "an argument too many");

    let sound = read(&home.config());
    for broken in [sound.replace("apikey", "\" apikey"), sound.replace("endpoint = \"", "endpoint = ")] {
        assert_ne!(broken, sound);
        fs::write(home.config(), broken).unwrap();
        with(&[]).fails(2, &["is no TOML", "line "]);
    }
}
