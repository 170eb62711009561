//! An agent that is reached whenever needed: dials lazily, dials again, repeats what may be repeated.

use std::{
    fmt, iter,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use privatix_channel::{OfferingHash, SignedVoucher};
use privatix_offering::{AccessRequest, SealedAccess};
use tokio::time::Instant;

use crate::{Client, ClientError, ClientLimits, Paid, SomcAddress, Transport};

/// How often and how fast a [`Peer`] repeats what failed for a passing reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all, at least one.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one, and varies at random by half.
    pub first_pause: Duration,
    /// The longest pause. A server that asks for more gets its refusal passed on.
    pub max_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_millis(200), max_pause: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The pause before the next attempt after `failed` of them, or `None` when that was the last.
    fn pause(&self, failed: u32, error: &ClientError) -> Option<Duration> {
        if failed >= self.attempts || !error.is_transient() {
            return None;
        }
        if let Some(asked) = error.refusal().and_then(crate::Refusal::retry_after) {
            return (asked <= self.max_pause).then_some(asked);
        }
        let pause = self.first_pause.saturating_mul(1 << (failed - 1).min(16)).min(self.max_pause);
        // Many clients of an agent that restarts must not come back at the same moment.
        Some(pause.mul_f64(rand::random_range(0.5..=1.0)))
    }
}

/// A dial that any number of requests wait for. It is dropped when all of them gave up.
type Dialling = BoxFuture<'static, Result<Client, ClientError>>;

/// What there is of a connection.
#[derive(Default)]
struct Link {
    connected: Option<Client>,
    dialling: Option<WeakShared<Dialling>>,
    /// How often the connection was ended from this side: what was dialled before is not kept.
    disconnected: u64,
}

/// Where an agent is reached: one address at least.
struct Addresses {
    /// The one at this place was dialled with success last, or is the first; it is tried first.
    best: AtomicUsize,
    first: SomcAddress,
    further: Vec<SomcAddress>,
}

impl Addresses {
    fn new(first: SomcAddress, further: Vec<SomcAddress>) -> Self {
        Self { best: AtomicUsize::new(0), first, further }
    }

    fn at(&self, place: usize) -> &SomcAddress {
        place.checked_sub(1).and_then(|place| self.further.get(place)).unwrap_or(&self.first)
    }

    fn best(&self) -> &SomcAddress {
        self.at(self.best.load(Ordering::Relaxed))
    }

    /// Dials one after the other until one answers or the agent itself refuses. All of them share the time for a
    /// connection: a stranger's list of addresses must not hold anybody up for longer than one address does.
    async fn dial(&self, transport: &dyn Transport, limits: &ClientLimits) -> Result<Client, ClientError> {
        let best = self.best.load(Ordering::Relaxed);
        let others = (0..=self.further.len()).filter(|place| *place != best);
        let mut failures = Vec::new();
        let deadline = Instant::now() + limits.connect_timeout;
        for (place, left) in iter::once(best).chain(others).zip((1..=self.further.len() + 1).rev()) {
            let address = self.at(place);
            let mut limits = limits.clone();
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            limits.connect_timeout = deadline.saturating_duration_since(Instant::now()) / left;
            match Client::connect(transport, address, limits).await {
                Ok(client) => {
                    self.best.store(place, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(error) if error.is_of_address() => {
                    tracing::debug!(peer = %address, %error, "not reached at this address");
                    failures.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(match failures.pop() {
            Some(only) if failures.is_empty() => only,
            last => ClientError::NoneReached(failures.into_iter().chain(last).collect()),
        })
    }
}

/// An agent to talk to, connected or not. Clones share the connection.
///
/// The first request dials; where the agent has several addresses ([`or_at`](Self::or_at)), a dial that fails at one goes
/// on to the next, beginning with the one that worked last, all within
/// [`connect_timeout`](ClientLimits::connect_timeout). Requests at the same time share one connection; after it ended the
/// next request dials again.
/// A request that fails for a passing reason is repeated within the [`RetryPolicy`]; that is safe because repeating has no
/// further effect. Only [`access`](Self::access) is not repeated once it may have been processed.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<PeerInner>,
}

struct PeerInner {
    transport: Arc<dyn Transport>,
    addresses: Arc<Addresses>,
    limits: ClientLimits,
    retry: RetryPolicy,
    link: Mutex<Link>,
}

impl Peer {
    /// The agent at `address`. Does nothing yet.
    pub fn new(
        transport: Arc<dyn Transport>,
        address: SomcAddress,
        limits: ClientLimits,
        retry: RetryPolicy,
    ) -> Self {
        let addresses = Arc::new(Addresses::new(address, Vec::new()));
        Self { inner: Arc::new(PeerInner { transport, addresses, limits, retry, link: Mutex::default() }) }
    }

    /// The same agent, which is sought at `further` addresses too, in this order, when it is not reached. A connection
    /// that there is already stays behind.
    #[must_use]
    pub fn or_at(self, further: Vec<SomcAddress>) -> Self {
        let PeerInner { transport, addresses, limits, retry, .. } = &*self.inner;
        let further = addresses.further.iter().cloned().chain(further).collect();
        Self {
            inner: Arc::new(PeerInner {
                transport: Arc::clone(transport),
                addresses: Arc::new(Addresses::new(addresses.first.clone(), further)),
                limits: limits.clone(),
                retry: retry.clone(),
                link: Mutex::default(),
            }),
        }
    }

    /// Where it is: of several addresses, the one that worked last, or the first.
    pub fn address(&self) -> &SomcAddress {
        self.inner.addresses.best()
    }

    /// Asks whether the agent answers, and gives the time that took, dialling not included.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        self.repeat(|client| async move { client.ping().await }, ClientError::is_transient).await
    }

    /// See [`Client::offering`].
    pub async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, ClientError> {
        self.repeat(move |client| async move { client.offering(hash).await }, ClientError::is_transient).await
    }

    /// See [`Client::access`]. An agent takes each signed request once, so it is repeated only while it was certainly not
    /// processed; after any other failure sign a new one.
    pub async fn access(&self, request: AccessRequest) -> Result<SealedAccess, ClientError> {
        let ask = move |client: Client| {
            let request = request.clone();
            async move { client.access(request).await }
        };
        self.repeat(ask, ClientError::is_unprocessed).await
    }

    /// See [`Client::pay`].
    pub async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, ClientError> {
        self.repeat(move |client| async move { client.pay(voucher).await }, ClientError::is_transient).await
    }

    /// Ends the connection, if there is one. The next request dials again.
    pub fn disconnect(&self) {
        let client = {
            let mut link = self.inner.link.lock();
            link.disconnected += 1;
            link.dialling = None;
            link.connected.take()
        };
        if let Some(client) = client {
            client.close();
        }
    }

    async fn repeat<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        ask: impl Fn(Client) -> F,
        may_repeat: fn(&ClientError) -> bool,
    ) -> Result<T, ClientError> {
        let mut failed = 0;
        loop {
            let error = match self.client().await {
                Ok(client) => match ask(client.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        if matches!(error, ClientError::Timeout { .. }) {
                            // The connection may be dead without anybody knowing: a new one will tell.
                            self.forget(&client);
                        }
                        error
                    }
                },
                Err(error) => error,
            };
            failed += 1;
            match self.inner.retry.pause(failed, &error) {
                Some(pause) if may_repeat(&error) => {
                    tracing::debug!(peer = %self.address(), %error, ?pause, "request failed and is repeated");
                    tokio::time::sleep(pause).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// The connection, dialled when there is none. Whoever comes while it is being dialled waits for the same dial.
    async fn client(&self) -> Result<Client, ClientError> {
        let (dial, disconnected) = {
            let mut link = self.inner.link.lock();
            if let Some(client) = &link.connected
                && !client.is_closed()
            {
                return Ok(client.clone());
            }
            let under_way =
                link.dialling.as_ref().and_then(WeakShared::upgrade).filter(|dial| dial.peek().is_none());
            let dial = under_way.unwrap_or_else(|| self.dial());
            link.dialling = dial.downgrade();
            (dial, link.disconnected)
        };
        let client = dial.await?;
        let mut link = self.inner.link.lock();
        if link.disconnected == disconnected && link.connected.as_ref().is_none_or(Client::is_closed) {
            link.connected = Some(client.clone());
        }
        Ok(client)
    }

    fn dial(&self) -> Shared<Dialling> {
        let (transport, addresses) = (Arc::clone(&self.inner.transport), Arc::clone(&self.inner.addresses));
        let limits = self.inner.limits.clone();
        async move { addresses.dial(&transport, &limits).await }.boxed().shared()
    }

    /// Leaves `client` to those who still wait on it; others get a new connection.
    fn forget(&self, client: &Client) {
        let mut link = self.inner.link.lock();
        if link.connected.as_ref().is_some_and(|it| it.is(client)) {
            link.connected = None;
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("address", self.address()).finish_non_exhaustive()
    }
}
