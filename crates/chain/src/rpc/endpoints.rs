use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U256};
use futures::future::join_all;
use tokio::sync::Notify;

use super::client::{BlockHeader, Call, Rpc};
use super::reply::{FeeHistory, Receipt};
use super::standing::{Evidence, Record, Standing, preference};
use super::{Endpoint, Fault, RpcError};
use crate::step::OnAnswer;
use crate::{Backoff, ChainError};

/// One or several endpoints of one chain, in order of preference.
///
/// Cheap to clone; clones share what is known of each endpoint, so make it once and give it to the monitor, the
/// transactor and your own reads. An endpoint that does not answer costs one timeout, then rests and is tried aside. An
/// [`Endpoint`] converts into it.
#[derive(Debug, Clone)]
pub struct Endpoints {
    inner: Arc<Inner>,
    /// Called when a request of this clone has ended.
    on_answer: Option<OnAnswer>,
}

#[derive(Debug)]
struct Inner {
    /// Never empty.
    all: Vec<Endpoint>,
    records: Mutex<Vec<Record>>,
    /// Held by the one clone that tries rested endpoints.
    trying: tokio::sync::Mutex<()>,
}

/// An endpoint and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint, without credentials.
    pub label: String,
    /// What it is good for.
    pub standing: Standing,
}

/// For an answer from any of the endpoints, unless a single one is given longer.
const TOTAL: Duration = Duration::from_secs(30);
/// How often rested endpoints are looked for.
const TRIALS: Duration = Duration::from_secs(1);
/// For a second opinion.
const SECOND: Duration = Duration::from_secs(20);
/// Endpoints that get a transaction.
const BROADCASTS: usize = 2;

impl From<Endpoint> for Endpoints {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint, [])
    }
}

/// What a failure means for who is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is the answer.
    Done,
    /// Another endpoint may know better.
    Other,
    /// The endpoint is in trouble.
    Rest { limited: bool, asked: Option<Duration> },
}

fn next_after(fault: &Fault) -> Next {
    match fault {
        Fault::TooLarge(_) => Next::Done,
        Fault::Refused { .. } if fault.is_about_the_call() => Next::Done,
        Fault::Refused { .. } => Next::Other,
        Fault::RateLimited { retry_after } => Next::Rest { limited: true, asked: *retry_after },
        Fault::Unreachable(_)
        | Fault::Timeout(_)
        | Fault::Unauthorised(_)
        | Fault::Redirected { .. }
        | Fault::Garbage(_) => Next::Rest { limited: false, asked: None },
    }
}

/// An error of a read, as far as it matters who is asked next.
pub(crate) trait Failed: From<RpcError> {
    fn next(&self) -> Next;
}

impl Failed for RpcError {
    fn next(&self) -> Next {
        next_after(&self.fault)
    }
}

impl Failed for ChainError {
    fn next(&self) -> Next {
        match self {
            Self::Rpc(error) => error.next(),
            Self::Inconsistent { .. } => Next::Other,
            _ => Next::Done,
        }
    }
}

impl Endpoints {
    /// `first` is preferred, then the others in their order.
    pub fn new(first: Endpoint, others: impl IntoIterator<Item = Endpoint>) -> Self {
        let all: Vec<Endpoint> = std::iter::once(first).chain(others).collect();
        let records = Mutex::new(vec![Record::default(); all.len()]);
        Self {
            inner: Arc::new(Inner { all, records, trying: tokio::sync::Mutex::default() }),
            on_answer: None,
        }
    }

    /// A clone whose requests are reported as they end; or not, for those that do not belong to the task that is watched.
    pub(crate) fn reporting(&self, on_answer: Option<OnAnswer>) -> Self {
        Self { inner: self.inner.clone(), on_answer }
    }

    /// All of them, in order of preference.
    pub fn all(&self) -> &[Endpoint] {
        &self.inner.all
    }

    /// The one to ask now.
    pub fn best(&self) -> &Endpoint {
        &self.inner.all[self.order()[0]]
    }

    /// What each is good for now, in order of preference.
    pub fn status(&self) -> Vec<EndpointStatus> {
        let standings = self.records().iter().map(|record| record.standing.clone()).collect::<Vec<_>>();
        let labels = self.inner.all.iter().map(|endpoint| endpoint.label().to_owned());
        labels.zip(standings).map(|(label, standing)| EndpointStatus { label, standing }).collect()
    }

    fn records(&self) -> MutexGuard<'_, Vec<Record>> {
        self.inner.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one to ask first in front.
    pub(crate) fn order(&self) -> Vec<usize> {
        preference(&self.records())
    }

    pub(crate) fn rpc(&self, at: usize) -> Rpc {
        Rpc::new(self.inner.all[at].clone()).reporting(self.on_answer.clone())
    }

    pub(crate) fn is_good(&self, at: usize) -> bool {
        self.records()[at].standing == Standing::Good
    }

    /// Requests that an endpoint may get at once.
    pub(crate) fn width(&self, at: usize) -> usize {
        self.records()[at].width(Instant::now())
    }

    pub(crate) fn answered(&self, at: usize) {
        self.records()[at].answered();
    }

    /// An endpoint's head, as far as it is credible: not what it alone claims to be far above the others.
    pub(crate) fn seen_at(&self, at: usize, head: u64) {
        self.records()[at].seen_at(head);
    }

    /// Draws the conclusion from a failure of an endpoint; whether another one is good and may be asked at once.
    pub(crate) fn failed(&self, at: usize, error: &ChainError) -> bool {
        let rest = match error.next() {
            Next::Rest { limited, asked } => (limited, asked),
            // A refusal or a contradiction of an endpoint that all of a step's requests went to.
            _ => match error {
                ChainError::Rpc(_)
                | ChainError::Inconsistent { .. }
                | ChainError::Disagreement { .. }
                | ChainError::HeadWentBack { .. }
                | ChainError::DeepReorg { .. } => (false, None),
                _ => return false,
            },
        };
        self.rest(at, rest);
        let records = self.records();
        records.iter().any(|record| record.standing == Standing::Good)
    }

    /// An endpoint did not answer in time.
    pub(super) fn hangs(&self, at: usize) {
        self.rest(at, (false, None));
    }

    fn rest(&self, at: usize, (limited, asked): (bool, Option<Duration>)) {
        let now = Instant::now();
        let mut records = self.records();
        if limited {
            records[at].limited(now);
        }
        records[at].failed(now, asked);
        if records.len() > 1 {
            let endpoint = self.inner.all[at].label();
            tracing::debug!(endpoint, standing = ?records[at].standing, "endpoint rests");
        }
    }

    /// Notes that an endpoint is wrong. Whether all are by now.
    pub(crate) fn convict(&self, at: usize, evidence: Evidence) -> bool {
        tracing::warn!(endpoint = self.inner.all[at].label(), %evidence, "endpoint is wrong; others are preferred");
        let mut records = self.records();
        records[at].convict(Instant::now(), evidence);
        records.iter().all(|record| matches!(record.standing, Standing::Quarantined { .. }))
    }

    /// Asks one endpoint after the other until one answers.
    pub(crate) async fn read<T, E, F>(&self, ask: impl Fn(Rpc) -> F) -> Result<T, E>
    where
        E: Failed,
        F: Future<Output = Result<T, E>>,
    {
        self.read_at(ask).await.1
    }

    /// As [`read`](Self::read); also which one answered.
    async fn read_at<T, E, F>(&self, ask: impl Fn(Rpc) -> F) -> (usize, Result<T, E>)
    where
        E: Failed,
        F: Future<Output = Result<T, E>>,
    {
        let order = self.order();
        let single = self.inner.all[order[0]].request_timeout();
        let until = tokio::time::Instant::now() + TOTAL.max(single + Duration::from_secs(1));
        let mut failed = None;
        for at in order {
            let Ok(answer) = tokio::time::timeout_at(until, ask(self.rpc(at))).await else { break };
            let error = match answer {
                Ok(value) => {
                    self.answered(at);
                    return (at, Ok(value));
                }
                Err(error) => error,
            };
            match error.next() {
                Next::Done => {
                    self.answered(at);
                    return (at, Err(error));
                }
                Next::Other => {}
                Next::Rest { limited, asked } => self.rest(at, (limited, asked)),
            }
            failed = Some((at, error));
        }
        let (at, error) = failed.unwrap_or_else(|| {
            let (endpoint, fault) = ("any endpoint".to_owned(), Fault::Timeout(TOTAL));
            (0, RpcError { method: "request", endpoint, fault }.into())
        });
        (at, Err(error))
    }

    /// Whether more than one is configured.
    pub(crate) fn are_several(&self) -> bool {
        self.inner.all.len() > 1
    }

    /// What two endpoints answer to the same question, in order of preference: fewer, if fewer are good and answer in time.
    pub(crate) async fn of_two<T, E, F>(&self, ask: impl Fn(Rpc) -> F) -> Vec<T>
    where
        E: Failed,
        F: Future<Output = Result<T, E>>,
    {
        self.of_two_at(ask).await.into_iter().map(|(_, value)| value).collect()
    }

    /// As [`of_two`](Self::of_two); also which one answered.
    async fn of_two_at<T, E, F>(&self, ask: impl Fn(Rpc) -> F) -> Vec<(usize, T)>
    where
        E: Failed,
        F: Future<Output = Result<T, E>>,
    {
        let good = self.order().into_iter().filter(|at| self.is_good(*at)).take(2);
        let asked = good.map(|at| {
            let answer = tokio::time::timeout(SECOND, ask(self.rpc(at)));
            async move { (at, answer.await) }
        });
        let mut given = Vec::new();
        for (at, answer) in join_all(asked.collect::<Vec<_>>()).await {
            match answer {
                Ok(Ok(value)) => given.push((at, value)),
                Ok(Err(error)) => {
                    if let Next::Rest { limited, asked } = error.next() {
                        self.rest(at, (limited, asked));
                    }
                }
                Err(_) => self.hangs(at),
            }
        }
        given
    }

    /// Wakes `wake` at each new head of any of them, for as long as it is polled; returns only if none can be subscribed
    /// to.
    pub(crate) async fn wake_on_heads(&self, wake: &Notify, backoff: Backoff) {
        join_all(self.inner.all.iter().map(|endpoint| endpoint.wake_on_heads(wake, backoff))).await;
    }

    /// Tries endpoints again whose time is over, aside from the reads that others answer. Never returns. Of several clones that do so at
    /// once, one tries, and another one takes over when that is dropped.
    pub(crate) async fn try_rested(&self, chain_id: u64) {
        if self.inner.all.len() == 1 {
            std::future::pending::<()>().await;
        }
        let _one_at_a_time = self.inner.trying.lock().await;
        loop {
            tokio::time::sleep(TRIALS).await;
            let due: Vec<usize> = {
                let (now, records) = (Instant::now(), self.records());
                (0..records.len()).filter(|&at| records[at].is_due(now)).collect()
            };
            join_all(due.into_iter().map(|at| async move {
                match self.rpc(at).check(chain_id, &[]).await {
                    Ok(()) => {
                        self.records()[at].restored();
                        tracing::info!(endpoint = self.inner.all[at].label(), "endpoint answers again");
                    }
                    Err(ChainError::WrongChain { expected, found, .. }) => {
                        self.convict(at, Evidence::WrongChain { expected, found });
                    }
                    Err(_) => self.records()[at].failed(Instant::now(), None),
                }
            }))
            .await;
        }
    }

    /// A wrong chain or contract is evidence against one endpoint, and an error only if all of them say so.
    pub(crate) async fn check(&self, chain_id: u64, contracts: &[Address]) -> Result<(), ChainError> {
        let mut failed = None;
        for at in self.order() {
            match self.check_one(at, chain_id, contracts).await {
                Ok(()) => return Ok(()),
                // What passes is of more use to whoever waits than what does not.
                Err(error) if failed.as_ref().is_none_or(ChainError::is_permanent) => failed = Some(error),
                Err(_) => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The check of one endpoint, with its consequence.
    pub(crate) async fn check_one(
        &self,
        at: usize,
        chain_id: u64,
        contracts: &[Address],
    ) -> Result<(), ChainError> {
        let outcome = self.rpc(at).check(chain_id, contracts).await;
        match &outcome {
            Ok(()) => self.answered(at),
            _ if self.inner.all.len() == 1 => {}
            Err(ChainError::WrongChain { expected, found, .. }) => {
                self.convict(at, Evidence::WrongChain { expected: *expected, found: *found });
            }
            Err(ChainError::NoContract { address, .. }) => {
                self.convict(at, Evidence::NoContract(*address));
            }
            Err(error) => {
                self.failed(at, error);
            }
        }
        outcome
    }

    /// Whether all are known to be wrong, so that waiting is no use.
    pub(crate) fn are_all_wrong(&self) -> bool {
        self.records().iter().all(|record| matches!(record.standing, Standing::Quarantined { .. }))
    }
}

/// An answer, and whether it may be the end of an intent.
#[derive(Debug)]
pub(crate) struct Confirmed<T> {
    pub(crate) outcome: Result<T, RpcError>,
    /// False only where several endpoints are configured, one of them denies a call, and no other one has answered.
    pub(crate) by_a_second: bool,
}

/// What a broadcast has brought, in the order of how much it says about the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Heard {
    /// No answer.
    Nothing,
    /// The endpoint does not send it, whatever a pool would say of it.
    NotServed,
    /// A pool refuses it.
    Refused,
    /// A pool has it already.
    HasIt,
}

/// The reads of the transactor, from whichever endpoint answers.
impl Endpoints {
    pub(crate) async fn head(&self) -> Result<u64, RpcError> {
        self.read(|rpc| async move { rpc.head().await }).await
    }

    /// The heads of two of them.
    pub(crate) async fn heads(&self) -> Vec<u64> {
        self.of_two(|rpc| async move { rpc.head().await }).await
    }

    /// The hashes that two of them have at a height.
    pub(crate) async fn hashes(&self, number: u64) -> Vec<Option<B256>> {
        let of_one =
            |rpc: Rpc| async move { Ok::<_, ChainError>(rpc.find_header(number).await?.map(|h| h.hash)) };
        self.of_two(of_one).await
    }

    pub(crate) async fn header(&self, number: u64) -> Result<BlockHeader, ChainError> {
        self.read(|rpc| async move { rpc.header(number).await }).await
    }

    /// The next nonce by one endpoint and, if another one is good, by that one.
    pub(crate) async fn nonces(&self, account: Address) -> Result<(u64, Option<u64>), RpcError> {
        self.counts(|rpc| async move { rpc.nonce(account).await }).await
    }

    /// As [`nonces`](Self::nonces), after what waits in the pool.
    pub(crate) async fn pending_nonces(&self, account: Address) -> Result<(u64, Option<u64>), RpcError> {
        self.counts(|rpc| async move { rpc.pending_nonce(account).await }).await
    }

    async fn counts<F>(&self, ask: impl Fn(Rpc) -> F) -> Result<(u64, Option<u64>), RpcError>
    where
        F: Future<Output = Result<u64, RpcError>>,
    {
        if self.are_several() {
            let mut given = self.of_two(&ask).await.into_iter();
            if let Some(first) = given.next() {
                return Ok((first, given.next()));
            }
        }
        Ok((self.read(ask).await?, None))
    }

    pub(crate) async fn nonce_at(&self, account: Address, at: u64) -> Result<u64, RpcError> {
        self.read(|rpc| async move { rpc.nonce_at(account, at).await }).await
    }

    pub(crate) async fn balance(&self, account: Address) -> Result<U256, RpcError> {
        self.read(|rpc| async move { rpc.balance(account).await }).await
    }

    pub(crate) async fn call(&self, call: Call<'_>, gas: u64, at: u64) -> Result<Bytes, RpcError> {
        self.read(|rpc| async move { rpc.call(call, gas, at).await }).await
    }

    pub(crate) async fn suggested_tip(&self) -> Result<u128, RpcError> {
        self.read(|rpc| async move { rpc.suggested_tip().await }).await
    }

    pub(crate) async fn fee_history(&self, blocks: u64, percentiles: &[f64]) -> Result<FeeHistory, RpcError> {
        self.read(|rpc| async move { rpc.fee_history(blocks, percentiles).await }).await
    }

    pub(crate) async fn gas_price(&self) -> Result<u128, RpcError> {
        self.read(|rpc| async move { rpc.gas_price().await }).await
    }

    /// The receipt of a transaction, if the one asked first or a second one shows it: the first one may lag. With the one that does.
    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<(usize, Receipt)>, RpcError> {
        let ask = |rpc: Rpc| async move { rpc.receipt(hash).await };
        let (at, receipt) = self.read_at(ask).await;
        match receipt? {
            None if self.are_several() => {
                let found = self.of_two_at(ask).await;
                Ok(found.into_iter().find_map(|(at, receipt)| Some((at, receipt?))))
            }
            found => Ok(found.map(|receipt| (at, receipt))),
        }
    }

    pub(crate) async fn knows(&self, hash: B256) -> Result<bool, RpcError> {
        self.read(|rpc| async move { rpc.knows(hash).await }).await
    }

    /// The header at a height, if it is there.
    pub(crate) async fn find_header(&self, number: u64) -> Result<Option<BlockHeader>, ChainError> {
        self.read(|rpc| async move { rpc.find_header(number).await }).await
    }

    /// The blocks that bear a tag by two endpoints, or by one if no other one is good and names any; none where there is no
    /// such block yet.
    pub(crate) async fn tagged_blocks(&self, tag: &'static str) -> Result<Vec<Option<u64>>, RpcError> {
        let ask = |rpc: Rpc| async move { rpc.tagged_block(tag).await };
        if self.are_several() {
            let named = self.of_two(ask).await;
            if !named.is_empty() {
                return Ok(named);
            }
        }
        Ok(vec![self.read(ask).await?])
    }

    /// Gas that a call needs. That it reverts, or that the gas does not suit, is so only if no other good endpoint denies it.
    pub(crate) async fn estimate(&self, call: Call<'_>, suits: impl Fn(u64) -> bool) -> Confirmed<u64> {
        self.unless_denied(|rpc| async move { rpc.estimate(call).await }, |gas| suits(*gas)).await
    }

    /// As [`estimate`](Self::estimate), without what waits in the pool.
    pub(crate) async fn estimate_latest(
        &self,
        call: Call<'_>,
        suits: impl Fn(u64) -> bool,
    ) -> Confirmed<u64> {
        self.unless_denied(|rpc| async move { rpc.estimate_latest(call).await }, |gas| suits(*gas)).await
    }

    /// Runs a call at the end of a block. It reverts only if no other good endpoint denies it.
    pub(crate) async fn call_at(&self, call: Call<'_>, hash: B256, number: u64) -> Confirmed<Bytes> {
        self.unless_denied(|rpc| async move { rpc.call_at(call, hash, number).await }, |_| true).await
    }

    /// What the endpoint asked first answers, unless that is a revert or does not suit, and the answer of another good one is neither.
    async fn unless_denied<T, F>(&self, ask: impl Fn(Rpc) -> F, suits: impl Fn(&T) -> bool) -> Confirmed<T>
    where
        F: Future<Output = Result<T, RpcError>>,
    {
        let denies = |outcome: &Result<T, RpcError>| match outcome {
            Ok(answer) => !suits(answer),
            Err(error) => error.fault.is_revert(),
        };
        let (at, outcome) = self.read_at(&ask).await;
        if !denies(&outcome) || !self.are_several() {
            return Confirmed { outcome, by_a_second: true };
        }
        for other in self.order() {
            if other == at || !self.is_good(other) {
                continue;
            }
            let of_other = ask(self.rpc(other)).await;
            if denies(&of_other) {
                return Confirmed { outcome, by_a_second: true };
            }
            match of_other {
                Ok(answer) => {
                    let (first, second) = (&self.inner.all[at], &self.inner.all[other]);
                    tracing::warn!(
                        first = first.label(),
                        second = second.label(),
                        "endpoints disagree whether a call reverts or needs too much gas; it is taken not to"
                    );
                    return Confirmed { outcome: Ok(answer), by_a_second: true };
                }
                Err(error) => {
                    self.failed(other, &error.into());
                }
            }
        }
        Confirmed { outcome, by_a_second: false }
    }

    /// Sends a transaction to several endpoints at once. Accepted by one is accepted, and so is a refusal of any of them
    /// because it has the transaction; else it is the refusal that says most, by what refusals `mean`, and of those the one of the
    /// endpoint that is preferred.
    pub(crate) async fn send_raw(&self, raw: &[u8], mean: impl Fn(&Fault) -> Heard) -> Result<(), RpcError> {
        let order = self.order();
        let (first, others) = order.split_at(BROADCASTS.min(order.len()));
        let mut refused: Option<(Heard, RpcError)> = None;
        for wave in std::iter::once(first).chain(others.chunks(1)) {
            let sent = join_all(wave.iter().map(|&at| async move { (at, self.rpc(at).send_raw(raw).await) }));
            for (at, outcome) in sent.await {
                let Err(error) = outcome else { return Ok(()) };
                let heard = match error.next() {
                    Next::Rest { limited, asked } => {
                        self.rest(at, (limited, asked));
                        Heard::Nothing
                    }
                    Next::Done | Next::Other => mean(&error.fault),
                };
                if heard == Heard::HasIt {
                    return Ok(());
                }
                if refused.as_ref().is_none_or(|(known, _)| heard > *known) {
                    refused = Some((heard, error));
                }
            }
        }
        refused.map_or(Ok(()), |(_, error)| Err(error))
    }
}
