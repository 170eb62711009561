//! What keeps the daemons busy: buyers with channels, payments of wallets, and somebody who watches the vouchers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use privatix_api::node::{self, Channel};
use privatix_api::{ApiClient, ApiError, Request, client};
use privatix_channel::{Amount, ChannelId, OfferingHash, ServiceStatus};
use privatix_demo::download;
use privatix_jobs::JobId;
use privatix_testkit::FileServer;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::history::History;
use crate::plan::Side;

/// Channels that are in use at once.
const BUYERS: u64 = 3;
/// For a daemon that may be dead to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// For a download that may hang.
const DOWNLOAD: Duration = Duration::from_secs(10);
/// Between two tries of what failed. Nothing reports when a daemon is back.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two looks at the vouchers.
const LOOK: Duration = Duration::from_millis(50);
/// More channels than are in use at once.
const NEWEST: u32 = 12;

/// What a daemon was ordered to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To open a channel; which one, is known from the answer alone.
    Accept { channel: Option<ChannelId> },
    /// To raise the deposit of a channel by an amount that no other order has.
    TopUp { channel: ChannelId, amount: Amount },
    /// To move an amount that no other order of the side has into the contract.
    Deposit { side: Side, amount: Amount },
    /// To move an amount that no other order of the side has out of it.
    Withdraw { side: Side, amount: Amount },
    /// To close a channel; whether the daemon took the order.
    Close { side: Side, channel: ChannelId, is_taken: bool },
}

/// What an answer names an order by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taken {
    /// The job that it became.
    Job(JobId),
    /// Its number at the client.
    Order(u64),
    /// The channel that it is about.
    Channel,
}

/// An order and what it became, if the daemon answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenOrder {
    pub(crate) order: Order,
    pub(crate) taken: Option<Taken>,
}

/// What all who use the daemons share.
pub(crate) struct Shared {
    pub(crate) agent: ApiClient,
    pub(crate) client: ApiClient,
    pub(crate) offering: OfferingHash,
    pub(crate) history: History,
    files: FileServer,
    book: Mutex<Book>,
    /// How often an acknowledged amount was seen to grow.
    acknowledgements: watch::Sender<u64>,
}

#[derive(Default)]
struct Book {
    orders: Vec<GivenOrder>,
    acknowledged: HashMap<ChannelId, Amount>,
    amounts: u128,
    downloaded: u64,
}

impl Shared {
    pub(crate) fn new(
        agent: ApiClient,
        client: ApiClient,
        offering: OfferingHash,
        files: FileServer,
        history: History,
    ) -> Self {
        let (book, acknowledgements) = (Mutex::default(), watch::Sender::new(0));
        Self { agent, client, offering, history, files, book, acknowledgements }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn orders(&self) -> Vec<GivenOrder> {
        self.book().orders.clone()
    }

    /// The most that the client has counted as acknowledged on a channel.
    pub(crate) fn acknowledged(&self, channel: ChannelId) -> Amount {
        self.book().acknowledged.get(&channel).copied().unwrap_or_default()
    }

    pub(crate) fn downloaded(&self) -> u64 {
        self.book().downloaded
    }

    pub(crate) fn acknowledgements(&self) -> watch::Receiver<u64> {
        self.acknowledgements.subscribe()
    }

    pub(crate) fn api(&self, side: Side) -> &ApiClient {
        match side {
            Side::Agent => &self.agent,
            Side::Client => &self.client,
        }
    }

    /// An amount that no other order has: few base units, and never as many as a deposit.
    fn amount(&self) -> Amount {
        let mut book = self.book();
        book.amounts += 1;
        Amount::new(1_000 + book.amounts)
    }

    /// Gives an order and writes it down. One that was not answered may be carried out all the same.
    async fn order<R: Request>(
        &self,
        side: Side,
        request: &R,
        ordered: impl FnOnce(Option<&R::Answer>) -> GivenOrder,
    ) -> Option<R::Answer> {
        match ask(self.api(side), request).await {
            Ok(answer) => {
                let ordered = ordered(Some(&answer));
                self.history.note(format!("{} accepted {:?}", side.daemon(), ordered.order));
                self.book().orders.push(ordered);
                Some(answer)
            }
            Err(Unanswered::Refused(why)) => {
                let order = ordered(None).order;
                self.history.note(format!("{} refused {order:?}: {why}", side.daemon()));
                None
            }
            Err(Unanswered::Lost) => {
                let ordered = ordered(None);
                self.history.note(format!("{} did not answer {:?}", side.daemon(), ordered.order));
                self.book().orders.push(ordered);
                None
            }
        }
    }

    /// Has a side close a channel. Whether it took the order.
    pub(crate) async fn close(&self, side: Side, channel: ChannelId) -> bool {
        let ordered = |answer: Option<&node::ChannelOrder>| GivenOrder {
            order: Order::Close { side, channel, is_taken: answer.is_some() },
            taken: answer.map(|_| Taken::Channel),
        };
        self.order(side, &node::CloseChannel { channel, key: None }, ordered).await.is_some()
    }

    /// Notes what the client counts as acknowledged.
    pub(crate) fn see(&self, channels: &[Channel]) {
        let mut grown = 0;
        let mut book = self.book();
        for channel in channels {
            let most = book.acknowledged.entry(channel.id).or_default();
            if channel.acknowledged > *most {
                *most = channel.acknowledged;
                grown += 1;
            }
        }
        drop(book);
        if grown > 0 {
            self.acknowledgements.send_modify(|count| *count += grown);
        }
    }
}

/// Why an order has no answer.
enum Unanswered {
    /// The daemon does not want to.
    Refused(String),
    /// Nothing came back.
    Lost,
}

async fn ask<R: Request>(api: &ApiClient, request: &R) -> Result<R::Answer, Unanswered> {
    match timeout(ANSWER, api.call(request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(ApiError::Refused(failure))) => Err(Unanswered::Refused(failure.message)),
        Ok(Err(_)) | Err(_) => Err(Unanswered::Lost),
    }
}

/// Starts everybody. They end when `end` becomes true.
pub(crate) fn start(shared: &Arc<Shared>, seed: u64, end: &watch::Receiver<bool>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for buyer in 0..BUYERS {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(buyer));
        tasks.spawn(until(end.clone(), buy(Arc::clone(shared), random)));
    }
    let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(BUYERS));
    tasks.spawn(until(end.clone(), pay(Arc::clone(shared), random)));
    tasks.spawn(until(end.clone(), look(Arc::clone(shared))));
    tasks
}

async fn until(mut end: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = end.wait_for(|end| *end) => {}
    }
}

/// Watches what the client counts as acknowledged.
async fn look(shared: Arc<Shared>) {
    loop {
        if let Ok(channels) = ask(&shared.client, &node::ListChannels { limit: Some(NEWEST) }).await {
            shared.see(&channels);
        }
        sleep(LOOK).await;
    }
}

/// Moves tokens between wallets and contract.
async fn pay(shared: Arc<Shared>, mut random: StdRng) {
    loop {
        let side = Side::BOTH[random.random_range(0..2)];
        let amount = shared.amount();
        let taken = |answer: Option<&node::JobOrder>| answer.map(|answer| Taken::Job(answer.job));
        if random.random_range(0..2) == 0 {
            let order = Order::Deposit { side, amount };
            let ordered = |answer: Option<&_>| GivenOrder { order, taken: taken(answer) };
            shared.order(side, &node::Deposit { amount }, ordered).await;
        } else {
            let order = Order::Withdraw { side, amount };
            let ordered = |answer: Option<&_>| GivenOrder { order, taken: taken(answer) };
            shared.order(side, &node::Withdraw { amount, to: None }, ordered).await;
        }
        sleep(Duration::from_millis(random.random_range(2_000..8_000))).await;
    }
}

/// Has one channel after another.
async fn buy(shared: Arc<Shared>, mut random: StdRng) {
    loop {
        let accept =
            client::AcceptOffering { offering: shared.offering, agent: None, deposit: None, key: None };
        let ordered = |answer: Option<&client::Opening>| GivenOrder {
            order: Order::Accept { channel: answer.map(|answer| answer.channel) },
            taken: answer.map(|answer| Taken::Order(answer.order)),
        };
        let Some(opening) = shared.order(Side::Client, &accept, ordered).await else {
            sleep(PAUSE).await;
            continue;
        };
        use_channel(&shared, opening.channel, &mut random).await;
        end_channel(&shared, opening.channel, &mut random).await;
    }
}

/// Uses a channel for a while, through all that happens to it.
async fn use_channel(shared: &Shared, channel: ChannelId, random: &mut StdRng) {
    let mut tops_up = random.random_range(0..2) == 0;
    let until = Instant::now() + Duration::from_millis(random.random_range(6_000..25_000));
    while Instant::now() < until {
        let Ok(seen) = ask(&shared.client, &node::GetChannel { channel }).await else {
            sleep(PAUSE).await;
            continue;
        };
        let service = seen.channel.service;
        if service == ServiceStatus::Terminated {
            return;
        }
        let port = seen.endpoint.and_then(|endpoint| endpoint["port"].as_u64());
        let Some(port) = port.filter(|_| service == ServiceStatus::Active) else {
            sleep(PAUSE).await;
            continue;
        };
        let url = shared.files.bytes_url(random.random_range(16_384..1_000_000));
        let proxy = format!("socks5h://127.0.0.1:{port}");
        match timeout(DOWNLOAD, download::quietly(&url, &proxy)).await {
            Ok(Ok(bytes)) => shared.book().downloaded += bytes,
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
        if std::mem::take(&mut tops_up) {
            let amount = shared.amount();
            let ordered = |answer: Option<&client::ToppingUp>| GivenOrder {
                order: Order::TopUp { channel, amount },
                taken: answer.map(|answer| Taken::Order(answer.order)),
            };
            let order = client::TopUpChannel { channel, amount, key: None };
            shared.order(Side::Client, &order, ordered).await;
        }
    }
}

/// Ends a channel in one of the ways in which it can be ended, or leaves it open.
async fn end_channel(shared: &Shared, channel: ChannelId, random: &mut StdRng) {
    let sides: &[Side] = match random.random_range(0..6) {
        0 | 1 => &[Side::Agent],
        2 | 3 => &[Side::Client],
        4 => &Side::BOTH,
        _ => &[],
    };
    for &side in sides {
        for _ in 0..20 {
            if shared.close(side, channel).await {
                break;
            }
            sleep(PAUSE).await;
        }
    }
}
