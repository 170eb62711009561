//! Somebody between client and agent: it may cut, hold back, and answer in the agent's place, and gets nothing believed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::{io, mem};

use async_trait::async_trait;
use privatix_channel::{ServiceState, ServiceStatus, Usage};
use privatix_client::ClientSettings;
use privatix_offering::SignedReceipt;
use privatix_somc::{BoxStream, DirectTransport, SomcAddress, Transport, TransportError};
use privatix_store::{agents_seen, receipts};
use privatix_testkit::{FileServer, wait_for};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::download;
use crate::market::{AGENT, LIMIT, Market, available, by_the_kib, channel, direct, publish};

/// More than an interval of billing, and less than may be unpaid.
const FILE: u64 = 96 * 1024;

/// What somebody on the way does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Carries what is said, and writes it down.
    Listens,
    /// Lets nothing through.
    Cuts,
    /// Answers in the agent's place: in clear, that the service has ended.
    Lies,
    /// Pretends that the agent speaks version 1 only, and then answers in its place.
    Downgrades,
}

/// Somebody through whom all connections to agents go.
struct Interceptor {
    socket: SocketAddr,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

struct Shared {
    to: Mutex<Option<SocketAddr>>,
    deed: Mutex<Deed>,
    seen: Mutex<Vec<u8>>,
    /// Connections that it met, and those on which it was talked to in clear.
    met: Mutex<usize>,
    in_clear: Mutex<usize>,
}

impl Interceptor {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::default(),
            deed: Mutex::new(Deed::Listens),
            seen: Mutex::default(),
            met: Mutex::default(),
            in_clear: Mutex::default(),
        });
        let task = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move { drop(shared.meet(stream).await) });
                }
            }
        });
        Self { socket, shared, _task: AbortOnDropHandle::new(task) }
    }

    fn does(&self, deed: Deed) {
        *self.shared.deed.lock().unwrap() = deed;
    }
}

impl Shared {
    async fn meet(&self, mut client: TcpStream) -> io::Result<()> {
        let deed = *self.deed.lock().unwrap();
        *self.met.lock().unwrap() += 1;
        match deed {
            Deed::Listens => self.carry(client).await,
            Deed::Cuts => Ok(()),
            Deed::Lies | Deed::Downgrades => {
                let mut first = [0; 4];
                client.read_exact(&mut first).await?;
                let is_clear = first != *b"PVX2";
                *self.in_clear.lock().unwrap() += usize::from(is_clear);
                let bye = if deed == Deed::Downgrades && !is_clear {
                    json!({ "bye": { "code": "too_large", "details": { "size": 1_347_835_954, "limit": 1_024 } } })
                } else {
                    json!({ "bye": { "code": "service_terminated" } })
                };
                let body = bye.to_string().into_bytes();
                client.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).await?;
                client.write_all(&body).await?;
                client.shutdown().await
            }
        }
    }

    /// Carries both directions until either ends, or the deed changes.
    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        let to = self.to.lock().unwrap().expect("the agent is dialled first");
        let agent = TcpStream::connect(to).await?;
        let ((from_client, to_client), (from_agent, to_agent)) = (client.into_split(), agent.into_split());
        tokio::select! {
            ended = self.pump(from_client, to_agent) => ended,
            ended = self.pump(from_agent, to_client) => ended,
        }
    }

    async fn pump(
        &self,
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 || *self.deed.lock().unwrap() != Deed::Listens {
                return Ok(());
            }
            self.seen.lock().unwrap().extend_from_slice(&buffer[..length]);
            to.write_all(&buffer[..length]).await?;
        }
    }
}

/// Dials whatever address by way of the interceptor.
struct Through(Arc<Shared>, SocketAddr);

#[async_trait]
impl Transport for Through {
    async fn connect(&self, address: &SomcAddress) -> Result<BoxStream, TransportError> {
        *self.0.to.lock().unwrap() =
            Some(address.source().parse().expect("agents of this machine have an IP address"));
        DirectTransport::anywhere().connect(&SomcAddress::from(self.1)).await
    }
}

fn settings() -> ClientSettings {
    let mut settings = direct();
    settings.retry.attempts = 1;
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_the_way_reads_nothing_forges_nothing_and_costs_time_only() {
    let market = Market::new().await;
    let files = FileServer::start(FILE).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let interceptor = Interceptor::start().await;
    let through = Arc::new(Through(Arc::clone(&interceptor.shared), interceptor.socket));
    let client = market.client_over(through, Arc::new(DirectTransport::anywhere()), settings()).await;
    available(&client.handle, offering).await;

    let (id, port) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let (node, shared) = (client.handle.node(), &interceptor.shared);
    let said = mem::take(&mut *shared.seen.lock().unwrap());
    assert!(said.len() > 1_000, "access and a payment went this way: {}", said.len());
    for word in ["cumulative", "password", "ciphertext", "privatix-somc"] {
        assert!(!said.windows(word.len()).any(|window| window == word.as_bytes()), "{word}");
    }
    let account = market.anvil.account(AGENT);
    let seen = agents_seen::get(&mut node.db().read().await.unwrap(), account).await.unwrap();
    assert_eq!(seen.map(|seen| seen.version), Some(2));

    // Whatever is said in the agent's place, the channel goes on, and nobody is talked to in clear.
    let proxy = format!("socks5h://127.0.0.1:{port}");
    for deed in [Deed::Lies, Deed::Downgrades, Deed::Cuts] {
        interceptor.does(deed);
        let before = node.channel(id).await.unwrap();
        let met = *shared.met.lock().unwrap();
        assert_eq!(download(&files.url(), &proxy).await, files.size());
        let dialled =
            async || if *shared.met.lock().unwrap() > met + 1 { Ok(()) } else { Err("not asked twice") };
        wait_for("the client to try twice", LIMIT, dialled).await.unwrap();
        let after = node.channel(id).await.unwrap();
        assert_eq!(after.channel.service, ServiceStatus::Active, "{deed:?}");
        assert_eq!(after.acknowledged, before.acknowledged, "{deed:?}");
        assert_eq!(*shared.in_clear.lock().unwrap(), 0, "{deed:?}");

        // And once it lets everything through, what was used is paid.
        interceptor.does(Deed::Listens);
        channel(node, "what was used to be paid", id, |view| view.acknowledged > before.acknowledged).await;
    }
    agent.stop().await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_sees_what_the_other_shows_also_after_a_cut() {
    let market = Market::new().await;
    let files = FileServer::start(FILE).await.unwrap();
    let agent = market.agent().await;
    let offering = publish(&market, &agent.handle, by_the_kib()).await;
    let interceptor = Interceptor::start().await;
    let through = Arc::new(Through(Arc::clone(&interceptor.shared), interceptor.socket));
    let client = market.client_over(through, Arc::new(DirectTransport::anywhere()), settings()).await;
    available(&client.handle, offering).await;
    let (id, port) = market.buy(&agent.handle, &client.handle, offering, None).await;
    let shows = async |what: &str, service: ServiceState, reason: Option<&str>| {
        let seen = async || {
            let view = client.handle.agent_view(id).await.unwrap();
            let view = view.filter(|view| {
                view.service == service && view.reason.map(|it| it.to_string()).as_deref() == reason
            });
            view.ok_or("another view")
        };
        wait_for(what, LIMIT, seen).await.unwrap()
    };

    // The meters meet with the payments.
    let proxy = format!("socks5h://127.0.0.1:{port}");
    assert_eq!(download(&files.url(), &proxy).await, files.size());
    let met = async || {
        let ours = client.handle.agent_view(id).await.unwrap().map(|view| view.used.get());
        let theirs = agent.handle.client_used(id).await.unwrap().map(Usage::get);
        match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours >= FILE && theirs >= FILE => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait_for("the meters to meet", LIMIT, met).await.unwrap();

    // A change is seen though nobody asks, and nothing is used or paid.
    agent.handle.pause(id).await.unwrap();
    shows("the pause", ServiceState::Suspended, Some("held")).await;

    // One that came while the connection was cut is seen after it.
    let met = *interceptor.shared.met.lock().unwrap();
    interceptor.does(Deed::Cuts);
    agent.handle.resume(id).await.unwrap();
    let again =
        async || if *interceptor.shared.met.lock().unwrap() > met { Ok(()) } else { Err("not dialled") };
    wait_for("the client to connect again", LIMIT, again).await.unwrap();
    interceptor.does(Deed::Listens);
    shows("the end of the pause", ServiceState::Running, None).await;

    agent.handle.terminate(id).await.unwrap();
    shows("the end", ServiceState::Ended, Some("by_order")).await;
    // And it is signed, for whoever asks why.
    let kept = async || {
        let kept: Option<SignedReceipt> =
            receipts::get(&mut client.handle.node().db().read().await.unwrap(), id).await.unwrap();
        let kept = kept.filter(|kept| kept.unverified().service == ServiceState::Ended);
        kept.ok_or("no receipt of the end")
    };
    let kept = wait_for("the receipt of the end", LIMIT, kept).await.unwrap();
    let (agent_account, domain) = (market.anvil.account(AGENT), agent.handle.node().domain());
    let said = kept.verify(domain, agent_account, None).unwrap();
    assert_eq!((said.channel, said.reason.map(|it| it.to_string()).as_deref()), (id, Some("by_order")));
    assert!(said.used.get() >= FILE && !said.cumulative.is_zero(), "{said:?}");
    let (shown, problem) = client.handle.receipt(id).await.unwrap();
    assert_eq!(shown.unverified().cumulative, said.cumulative);
    assert!(problem.is_none(), "{problem:?}");
    agent.stop().await;
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_signs_its_versions_is_not_made_older_at_the_first_contact() {
    let market = Market::new().await;
    let agent = market.agent().await;
    let mut draft = by_the_kib();
    let offering = publish(&market, &agent.handle, draft.clone()).await;
    draft.names_protocol = false;
    let silent = publish(&market, &agent.handle, draft).await;
    let interceptor = Interceptor::start().await;
    let through = Arc::new(Through(Arc::clone(&interceptor.shared), interceptor.socket));
    let client = market.client_over(through, Arc::new(DirectTransport::anywhere()), settings()).await;
    available(&client.handle, offering).await;
    available(&client.handle, silent).await;
    let in_clear = || *interceptor.shared.in_clear.lock().unwrap();

    // Of one that does not say it, whoever is on the way decides: the first contact is not protected.
    interceptor.does(Deed::Downgrades);
    client.handle.accept(None, silent, None).await.unwrap_err();
    let before = in_clear();
    assert!(before > 0, "it believes that the agent speaks version 1 only");

    client.handle.accept(None, offering, None).await.unwrap_err();
    assert_eq!(in_clear(), before, "nobody is talked to in clear");
    interceptor.does(Deed::Listens);
    let accepted = client.handle.accept(None, offering, None).await.unwrap();
    channel(client.handle.node(), "it to be served", accepted.channel, |view| {
        view.channel.service == ServiceStatus::Active
    })
    .await;
    agent.stop().await;
    client.stop().await;
}
