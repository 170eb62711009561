//! Nothing of an endpoint's address but its host is ever shown: not by what is logged, however closely one looks, and not
//! by what is said of a failure.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use privatix_chain::{ChainError, Endpoint, ProxyUrl, check};
use privatix_testkit::{Anvil, SocksServer, free_port};

use crate::support::{
    FaultProxy, Relay, Running, Seen, Verdict, emitter, fresh, http, monitor, synced, within,
};

const USER: &str = "op%65ratorname";
const PASSWORD: &str = "hunter2%2Fpassword";
const PATH: &str = "v3/PATHKEY0123456789";
const QUERY: &str = "apikey=QUERYKEY0123456789";
/// Parts of the above, as they are written, meant, and sent.
const HIDDEN: [&str; 9] = [
    "op%65rator",
    "operatorname",
    "hunter2",
    "PATHKEY",
    "QUERYKEY",
    "v3/",
    "b3BlcmF0b3Ju", // base64 of "operatorn"
    "aHVudGVyMi9w", // of "hunter2/p", wherever it begins
    "h1bnRlcjIvc",
];

/// What a server repeats of a request.
const PAGE: &str = "<html>no GET /v3/PATHKEY0123456789?apikey=QUERYKEY0123456789 for operatorname:hunter2/password \
        (Basic b3BlcmF0b3JuYW1lOmh1bnRlcjIvcGFzc3dvcmQ=)</html>";

type Rule = fn() -> Verdict;

fn at(scheme: &str, place: &str) -> String {
    format!("{scheme}://{USER}:{PASSWORD}@{place}/{PATH}?{QUERY}")
}

fn host(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that this process logs from now on, of every crate.
fn listen() -> Written {
    let written = Written::default();
    let writer = written.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init()
        .expect("one test of a process listens");
    written
}

#[track_caller]
fn hides(text: &str) {
    for secret in HIDDEN {
        let shown = text.lines().find(|line| line.contains(secret));
        assert!(shown.is_none(), "{secret} is shown: {}", shown.unwrap());
    }
}

/// What a check of the endpoint says of its failure, in every form.
async fn failure(url: &str) -> String {
    let refusal = check(&Endpoint::new(url).unwrap(), 31_337, &[]).await.unwrap_err();
    assert!(matches!(refusal, ChainError::Rpc(_)), "{refusal}");
    format!("{refusal} {refusal:?}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_of_the_address_is_logged_or_told_whatever_happens() {
    let anvil = Anvil::start().await.unwrap();
    let contract = emitter(&anvil).await;
    let proxy = FaultProxy::start(anvil.url()).await.unwrap();
    let relay = Relay::start(anvil.url()).await;
    let written = listen();

    // All is well. (The node serves WebSocket at its root only.)
    let websocket = format!("ws://{USER}:{PASSWORD}@{}/?{QUERY}", host(&relay.url("ws")));
    for url in [at("http", host(&proxy.url())), websocket] {
        let (_dir, db) = fresh().await;
        let endpoint = http(&url);
        let monitor = monitor(&db, endpoint, &anvil, contract).build(Seen::default());
        let running = Running::monitor(&monitor);
        synced(&monitor, &anvil, 0).await;
        running.stop().await.unwrap();
        hides(&format!("{monitor:?}"));
    }

    // Nobody is there; the connection is lost.
    let nowhere = format!("127.0.0.1:{}", free_port().unwrap());
    for scheme in ["http", "https", "ws", "wss"] {
        let said = failure(&at(scheme, &nowhere)).await;
        assert!(said.contains(&nowhere), "{said}");
        hides(&said);
    }
    relay.cut();
    hides(&failure(&at("http", host(&relay.url("http")))).await);
    hides(&failure(&at("ws", host(&relay.url("ws")))).await);

    // Through a proxy with a login: all is well, the proxy refuses, it is away.
    let to = host(anvil.url()).parse().unwrap();
    let willing = SocksServer::start(move |_| Ok(to)).await.unwrap();
    let refusing = SocksServer::start(|_| Err(1)).await.unwrap();
    for (socks, works) in
        [(willing.address().to_string(), true), (refusing.address().to_string(), false), (nowhere, false)]
    {
        let socks: ProxyUrl = format!("socks5h://{USER}:{PASSWORD}@{socks}").parse().unwrap();
        for scheme in ["http", "ws"] {
            let url = format!("{scheme}://rpc.invalid/?{QUERY}").parse().unwrap();
            let endpoint = Endpoint::through(&url, &socks).unwrap();
            let outcome = check(&endpoint, 31_337, &[]).await;
            assert_eq!(outcome.is_ok(), works, "{outcome:?}");
            hides(&format!("{endpoint:?} {socks:?} {outcome:?}"));
            outcome.map_or_else(|refusal| hides(&refusal.to_string()), drop);
        }
    }

    // The endpoint repeats what it was asked, in a page, a refusal, a result, or where it sends us to.
    let rules: [Rule; 7] = [
        || Verdict::http(200, PAGE),
        || Verdict::http(401, PAGE),
        || Verdict::http(404, PAGE),
        || Verdict::http(502, PAGE),
        || Verdict::Error(-32_000, PAGE),
        || Verdict::Change(Box::new(|_| PAGE.into())),
        || {
            let to = "http://localhost:1/v3/PATHKEY0123456789?apikey=QUERYKEY0123456789";
            Verdict::Http(307, vec![("location", to.to_owned())], PAGE)
        },
    ];
    for rule in rules {
        proxy.rule(move |_, _| rule());
        for scheme in ["http", "ws"] {
            hides(&failure(&at(scheme, host(&proxy.url()))).await);
        }
    }
    let redirected = failure(&at("http", host(&proxy.url()))).await;
    assert!(redirected.contains("redirects to http://localhost:1 "), "{redirected}");

    let log = written.text();
    assert!(log.contains("TRACE") && log.contains("eth_chainId") && log.contains("not answered"), "{log}");
    // What the endpoint itself says is logged by the readers of results and by both ends of a WebSocket; the daemons silence
    // these libraries, see `quiet` there.
    let quoting = [" alloy_json_rpc::result: ", " alloy_pubsub::", " tungstenite::protocol"];
    let (results, log): (Vec<&str>, Vec<&str>) =
        log.lines().partition(|line| quoting.iter().any(|target| line.contains(target)));
    assert!(!results.is_empty());
    hides(&log.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_does_not_follow_a_redirection_to_another_host() {
    let anvil = Anvil::start().await.unwrap();
    let first = FaultProxy::start(anvil.url()).await.unwrap();
    let second = FaultProxy::start(anvil.url()).await.unwrap();
    let to = |url: String| {
        move |_: &str, _: &serde_json::Value| Verdict::Http(308, vec![("location", url.clone())], "")
    };
    let away = second.url().replace("127.0.0.1", "localhost");
    first.rule(to(format!("{away}/{PATH}")));
    let said = failure(&at("http", host(&first.url()))).await;
    assert!(said.contains("which is not followed"), "{said}");
    assert_eq!(second.count("eth_chainId"), 0);

    // Within one host it is followed, though not for ever.
    first.rule(to(format!("{}/{PATH}", second.url())));
    check(&http(&at("http", host(&first.url()))), anvil.chain_id(), &[]).await.unwrap();
    first.rule(to(format!("{}/{PATH}", first.url())));
    let said = within("the end of a loop", failure(&at("http", host(&first.url())))).await;
    assert!(said.contains("redirects"), "{said}");
}
