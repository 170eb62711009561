//! An agent that is reached whenever needed: dials lazily, dials again, repeats what may be repeated.

use std::{fmt, sync::Arc, time::Duration};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use privatix_channel::{OfferingHash, SignedVoucher};
use privatix_offering::{AccessRequest, Addresses, SealedAccess};
use tokio::time::Instant;

use crate::{
    Client, ClientError, ClientLimits, Expected, Paid, SomcAddress, Transport, client::is_clear_permitted,
};

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

/// The ways to an agent, and which of them led to it.
struct Ways {
    /// Whom a session must be with; `None` talks in clear.
    expected: Option<Expected>,
    addresses: Addresses,
    /// Where it was reached, the latest first; one of each kind at most.
    worked: Mutex<Vec<SomcAddress>>,
}

impl Ways {
    fn last(&self) -> SomcAddress {
        self.worked.lock().first().unwrap_or_else(|| self.addresses.first()).clone()
    }

    fn note(&self, address: SomcAddress) {
        let mut worked = self.worked.lock();
        worked.retain(|other| other.kind() != address.kind());
        worked.insert(0, address);
    }

    /// Dials one after the other until one answers or the agent itself refuses.
    ///
    /// Each kind of address has the time for a connection to itself: a dead onion service must not leave the direct address
    /// without time, nor the other way round. Within a kind, each address but the last takes half of the time that is left,
    /// so that a stranger's long list neither holds anybody up nor leaves the first address too little time.
    async fn dial(&self, transport: &dyn Transport, limits: &ClientLimits) -> Result<Client, ClientError> {
        let mut failures = Vec::new();
        let order = dial_order(&self.addresses, &self.worked.lock());
        for kind in order {
            let deadline = Instant::now() + limits.connect_timeout;
            let last = kind.len() - 1;
            for (place, address) in kind.into_iter().enumerate() {
                let left = deadline.saturating_duration_since(Instant::now());
                let mut limits = limits.clone();
                limits.connect_timeout = if place == last { left } else { left / 2 };
                let dialled = match &self.expected {
                    Some(expected) => Client::connect_to(expected, transport, &address, limits).await,
                    None => Client::connect(transport, &address, limits).await,
                };
                match dialled {
                    Ok(client) => {
                        self.note(address);
                        return Ok(client);
                    }
                    Err(error) if error.is_of_address() => {
                        tracing::debug!(peer = %address, %error, "not reached at this address");
                        // The others of the kind are behind the same network.
                        let is_offline = error.is_offline();
                        failures.push(error);
                        if is_offline {
                            break;
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Err(match failures.pop() {
            Some(only) if failures.is_empty() => only,
            last => ClientError::NoneReached(failures.into_iter().chain(last).collect()),
        })
    }
}

/// Kind after kind, in the order of preference, whatever worked before: to be reached at one kind may show what the other
/// hides. Of a kind, the address that worked last comes first. No kind is empty.
fn dial_order(addresses: &Addresses, worked: &[SomcAddress]) -> Vec<Vec<SomcAddress>> {
    let mut kinds: Vec<Vec<SomcAddress>> = Vec::new();
    for address in addresses.iter() {
        let same = kinds.iter_mut().find(|kind| kind.first().is_some_and(|it| it.kind() == address.kind()));
        match same {
            Some(kind) if worked.contains(address) => kind.insert(0, address.clone()),
            Some(kind) => kind.push(address.clone()),
            None => kinds.push(vec![address.clone()]),
        }
    }
    kinds
}

/// An agent to talk to, connected or not. Clones share the connection.
///
/// The first request dials. Of several addresses, every dial begins with the kind of the first one, and goes on to the other
/// kind when it fails; of a kind, the address that worked last comes first. Each kind has
/// [`connect_timeout`](ClientLimits::connect_timeout) for itself. Requests at the same time share one connection; after it
/// ended the next request dials again.
/// A request that fails for a passing reason is repeated within the [`RetryPolicy`]; that is safe because repeating has no
/// further effect. Only [`access`](Self::access) is not repeated once it may have been processed.
#[derive(Clone)]
pub struct Peer {
    inner: Arc<PeerInner>,
}

struct PeerInner {
    transport: Arc<dyn Transport>,
    ways: Arc<Ways>,
    limits: ClientLimits,
    retry: RetryPolicy,
    link: Arc<Mutex<Link>>,
}

impl Peer {
    /// Whoever answers at an address, or at several of them in order of preference, in clear. Does nothing yet.
    pub fn new(
        transport: Arc<dyn Transport>,
        addresses: impl Into<Addresses>,
        limits: ClientLimits,
        retry: RetryPolicy,
    ) -> Self {
        Self::reached(None, transport, addresses.into(), limits, retry)
    }

    /// The expected agent at an address, or at several of them in order of preference. Does nothing yet.
    pub fn expecting(
        expected: Expected,
        transport: Arc<dyn Transport>,
        addresses: impl Into<Addresses>,
        limits: ClientLimits,
        retry: RetryPolicy,
    ) -> Self {
        Self::reached(Some(expected), transport, addresses.into(), limits, retry)
    }

    fn reached(
        expected: Option<Expected>,
        transport: Arc<dyn Transport>,
        addresses: Addresses,
        limits: ClientLimits,
        retry: RetryPolicy,
    ) -> Self {
        let ways = Arc::new(Ways { expected, addresses, worked: Mutex::default() });
        Self { inner: Arc::new(PeerInner { transport, ways, limits, retry, link: Arc::default() }) }
    }

    /// The same agent over the same connection, for requests that somebody waits for: each is tried once, and a dial of
    /// its own gives each kind of address at most `connect_timeout`.
    #[must_use]
    pub fn tried_once(&self, connect_timeout: Duration) -> Self {
        let PeerInner { transport, ways, limits, retry, link } = &*self.inner;
        let mut limits = limits.clone();
        limits.connect_timeout = limits.connect_timeout.min(connect_timeout);
        let (transport, ways, link) = (Arc::clone(transport), Arc::clone(ways), Arc::clone(link));
        let retry = RetryPolicy { attempts: 1, ..retry.clone() };
        Self { inner: Arc::new(PeerInner { transport, ways, limits, retry, link }) }
    }

    /// Where it is: of several addresses, the one that worked last, or the first.
    pub fn address(&self) -> SomcAddress {
        self.inner.ways.last()
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

    /// Does something on the connection, dialled when there is none, and repeats all of it on the present one after a passing failure:
    /// so it may be more than one request, of which the first [proves a channel](Client::attach). It must be safe to repeat.
    ///
    /// # Errors
    /// The last failure.
    pub async fn on_connection<T, F: Future<Output = Result<T, ClientError>>>(
        &self,
        ask: impl Fn(Client) -> F,
    ) -> Result<T, ClientError> {
        self.repeat(ask, ClientError::is_transient).await
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
                            // The connection may be dead without anybody knowing: a new one will show it.
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
        let connected = self.inner.link.lock().connected.clone();
        if let Some(client) = &connected
            && client.is_fresh()
            && self.may_go_on(client).await
        {
            return Ok(client.clone());
        }
        let (dial, disconnected) = {
            let mut link = self.inner.link.lock();
            let under_way =
                link.dialling.as_ref().and_then(WeakShared::upgrade).filter(|dial| dial.peek().is_none());
            let dial = under_way.unwrap_or_else(|| self.dial());
            link.dialling = dial.downgrade();
            (dial, link.disconnected)
        };
        let client = match dial.await {
            Ok(client) => client,
            // A session whose key is renewed a while before it expires.
            Err(error) => {
                return connected.filter(|it| it.is_authenticated() && !it.is_closed()).ok_or(error);
            }
        };
        let mut link = self.inner.link.lock();
        if link.disconnected == disconnected
            && link.connected.as_ref().is_none_or(|it| !it.is_fresh() || !it.is_authenticated())
        {
            link.connected = Some(client.clone());
        }
        Ok(client)
    }

    /// Whether a connection in clear is still permitted: the agent may have proved a key on another one since.
    async fn may_go_on(&self, client: &Client) -> bool {
        match &self.inner.ways.expected {
            Some(expected) if !client.is_authenticated() => is_clear_permitted(expected).await,
            _ => true,
        }
    }

    fn dial(&self) -> Shared<Dialling> {
        let (transport, ways) = (Arc::clone(&self.inner.transport), Arc::clone(&self.inner.ways));
        let limits = self.inner.limits.clone();
        async move { ways.dial(&transport, &limits).await }.boxed().shared()
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
        f.debug_struct("Peer").field("address", &self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dial_begins_with_the_preferred_kind_and_of_a_kind_with_the_address_that_worked_last() {
        let onion = |number| SomcAddress::onion(&[number; 32], 80).unwrap();
        let direct = |port| SomcAddress::direct("agent.example", port).unwrap();
        let (t1, t2, d1, d2) = (onion(1), onion(2), direct(1), direct(2));
        let table = [
            (vec![&t1], vec![], vec![vec![&t1]]),
            (vec![&t1, &t2, &d1, &d2], vec![], vec![vec![&t1, &t2], vec![&d1, &d2]]),
            (vec![&t1, &t2, &d1, &d2], vec![&d2], vec![vec![&t1, &t2], vec![&d2, &d1]]),
            (vec![&t1, &t2, &d1, &d2], vec![&d1, &t2], vec![vec![&t2, &t1], vec![&d1, &d2]]),
            (vec![&d1, &t1, &d2], vec![&t1, &d2], vec![vec![&d2, &d1], vec![&t1]]),
        ];
        for (addresses, worked, expected) in table {
            let addresses = Addresses::new(addresses.into_iter().cloned()).unwrap();
            let worked: Vec<_> = worked.into_iter().cloned().collect();
            let order = dial_order(&addresses, &worked);
            let order: Vec<Vec<_>> = order.iter().map(|kind| kind.iter().collect()).collect();
            assert_eq!(order, expected, "{addresses:?} after {worked:?}");
        }
    }
}
