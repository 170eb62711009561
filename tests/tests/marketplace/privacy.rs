//! A user's network address stands neither in the log nor in the database, where its channel is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use privatix_channel::{Amount, ChannelId};
use privatix_client::ClientHandle;
use privatix_node::{Node, PeerAddresses};
use privatix_somc::{BoxStream, SomcAddress, Transport, TransportError};
use privatix_testkit::{FileServer, wait_for};
use tokio::net::TcpSocket;
use tracing_subscriber::filter::LevelFilter;

use crate::download;
use crate::market::{LIMIT, Market, by_the_kib, direct, service};

/// The user's address, which nothing else here has.
const USER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// Dials agents from the user's address.
struct FromUser;

#[async_trait]
impl Transport for FromUser {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        let dial = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((USER, 0).into())?;
            socket.connect(SocketAddr::new(address.host().parse().unwrap(), address.port())).await
        };
        let failed = |source| TransportError::Unreachable { address: address.clone(), source };
        Ok(Box::new(dial.await.map_err(failed)?))
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs in to the agent's proxy from the user's address with the channel's password, and reads a little.
async fn visit(client: &ClientHandle, id: ChannelId, files: &FileServer) {
    let access = client.node().channel(id).await.unwrap().channel.access.unwrap();
    let at = |name: &str| access.endpoint[name].to_string().trim_matches('"').to_owned();
    let address = format!("socks5h://{}:{}", at("host"), at("port"));
    let proxy = address.replace("://", &format!("://{}:{}@", access.username, access.password));
    let program = reqwest::Client::builder()
        .local_address(IpAddr::V4(USER))
        .proxy(reqwest::Proxy::all(proxy).unwrap())
        .build()
        .unwrap();
    program.get(files.url()).send().await.unwrap().chunk().await.unwrap().unwrap();
}

/// What the sessions of a channel have of their users.
async fn peers(node: &Node, id: ChannelId) -> Vec<Option<String>> {
    node.sessions(id).await.unwrap().into_iter().map(|session| session.peer).collect()
}

async fn visited(node: &Node, id: ChannelId) -> Vec<Option<String>> {
    wait_for("a session", LIMIT, async || {
        let peers = peers(node, id).await;
        if peers.is_empty() { Err("none yet") } else { Ok(peers) }
    })
    .await
    .unwrap()
}

fn holds_user(market: &Market) -> bool {
    let user = USER.to_string();
    let holds = |bytes: Vec<u8>| bytes.windows(user.len()).any(|part| part == user.as_bytes());
    market.files("agent").into_iter().any(|file| match std::fs::read(file) {
        // The database's last connection removes its log when it closes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        read => holds(read.unwrap()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_address_is_in_no_log_and_no_database_unless_it_is_kept_by_intent() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init()
        .expect("one test of a process listens");
    let mut market = Market::new().await;
    let files = FileServer::start_mib(1).await.unwrap();
    let client = market.client_over(Arc::new(FromUser), Arc::new(FromUser), direct()).await;

    let agent = market.agent().await;
    let offering = market.offer(&agent.handle, &client.handle, by_the_kib()).await;
    let deposit = Some(Amount::new(200_000));
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, deposit).await;
    visit(&client.handle, id, &files).await;
    download(&files.url(), &format!("socks5h://127.0.0.1:{port}")).await;
    let paid = async || {
        let view = agent.handle.node().channel(id).await.unwrap();
        if view.vouchers > 0 { Ok(()) } else { Err(format!("{view:?}")) }
    };
    wait_for("a payment", LIMIT, paid).await.unwrap();
    let stored = visited(agent.handle.node(), id).await;
    assert!(stored.iter().all(Option::is_none), "{stored:?}");
    agent.stop().await;
    assert!(!holds_user(&market));
    let text = log.0.lock().unwrap().clone();
    let shown: Vec<&str> = text.lines().filter(|line| line.contains(&USER.to_string())).collect();
    assert!(shown.is_empty(), "{} lines, e.g. {}", shown.len(), shown[0]);
    let told = |what: &str| text.lines().any(|line| line.contains(what) && line.contains(&id.to_string()));
    assert!(told("session started") && told("voucher accepted"), "the log was not captured");

    // By intent, it is kept.
    market.peer_addresses = PeerAddresses::Kept;
    let agent = market.agent().await;
    service(agent.handle.node(), id, "active").await;
    visit(&client.handle, id, &files).await;
    let kept =
        |peer: &Option<String>| peer.as_ref().is_some_and(|peer| peer.starts_with(&format!("{USER}:")));
    wait_for("a kept address", LIMIT, async || {
        let peers = peers(agent.handle.node(), id).await;
        if peers.iter().any(kept) { Ok(()) } else { Err(format!("{peers:?}")) }
    })
    .await
    .unwrap();
    agent.stop().await;
    assert!(holds_user(&market));

    // With the default again, it is cleared: from the answers and from the file.
    market.peer_addresses = PeerAddresses::default();
    let agent = market.agent().await;
    let stored = peers(agent.handle.node(), id).await;
    assert!(stored.len() > 1 && stored.iter().all(Option::is_none), "{stored:?}");
    agent.stop().await;
    client.stop().await;
    market.closed("agent").await;
    assert!(!holds_user(&market));
}
