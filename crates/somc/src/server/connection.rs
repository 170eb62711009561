//! One connection, from its hello to its last word.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use privatix_offering::ChannelProof;
use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    FAREWELL, FAREWELL_BYTES, FULL, Shared,
    access::{access, access_described},
    greeting,
    lanes::{Batch, Lanes, Pending},
    peers::{Serving, Ticket},
    watchers::Attached,
    writer::{Outgoing, write_all},
};
use crate::{
    BoxStream, CallerSession, Method, RateLimit, Refusal, Service, Standing,
    frame::{FrameError, FrameReader, Patience, deadline},
    message::{self, Answer, Request, RequestId},
    rate::TokenBucket,
    service::Payment,
    transport::{Reading, split},
};

/// What is needed to answer a request.
type Reply = (RequestId, OwnedSemaphorePermit);

/// A connection past its handshake.
pub(super) struct Connection<'a> {
    shared: &'a Arc<Shared>,
    ticket: Arc<Ticket>,
    /// Its rate.
    rate: TokenBucket,
    /// How many refusals it may still provoke: the connection of one who goes on after being refused is closed.
    strikes: TokenBucket,
    places: Arc<Semaphore>,
    max_places: u32,
    lanes: Lanes<Reply>,
    session: Option<CallerSession>,
    version: u16,
    attached: Arc<Attached>,
    /// Each gives the time of its answer.
    calls: JoinSet<Instant>,
    /// When a call was answered last.
    answered: Instant,
    /// Ends calls that are still under way, each with an answer.
    give_up: CancellationToken,
    /// Ends waits for what may be ready later: nothing more is read.
    over: CancellationToken,
    answers: mpsc::Sender<Outgoing>,
}

/// Why a connection is read no further.
pub(super) enum End {
    /// The client closed it, or it broke.
    Gone,
    /// We close it, for this reason.
    Bye(Refusal),
}

impl<'a> Connection<'a> {
    /// Serves a connection until either side ends it. All its tasks have ended when this returns.
    pub(super) async fn serve(
        shared: &'a Arc<Shared>,
        stream: BoxStream,
        ticket: Arc<Ticket>,
        shutdown: &CancellationToken,
    ) {
        let (mut reader, mut writer) = split(stream);
        let greeting = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(End::Bye(Refusal::ShuttingDown)),
            () = ticket.dismissed() => Err(End::Bye(Refusal::Busy { retry_after: FULL })),
            greeting = greeting::agree(shared, &ticket, &mut reader, &mut writer) => greeting,
        };
        let session = match greeting {
            Ok(session) => session,
            Err(End::Gone) => return,
            Err(End::Bye(refusal)) => {
                tracing::debug!(%refusal, "handshake refused");
                let Some(_farewell) = farewell(shared, &ticket) else { return };
                super::turn_away(reader, writer, &refusal).await;
                return;
            }
        };
        let mut session_over = std::pin::pin!(greeting::over(session.as_ref()));
        let (caller, version) = match &session {
            Some(session) => (Some(session.caller()), session.version()),
            None => (None, message::VERSIONS.max()),
        };
        let attached = Arc::new(Attached::new(shared));
        if let Some(session) = session {
            (reader, writer) = session.wrap(reader, writer);
        }

        let limits = &shared.limits;
        // Answers never wait for room in the queue: each has a place in flight, and the last word one more.
        let max_places = limits.max_in_flight.max(1);
        let queue_length =
            usize::try_from(max_places).unwrap_or(Semaphore::MAX_PERMITS - 1).saturating_add(1);
        let (answers, queue) = mpsc::channel(queue_length.min(Semaphore::MAX_PERMITS));
        let broken = CancellationToken::new();
        let writing = AbortOnDropHandle::new(tokio::spawn({
            let (write_timeout, broken) = (limits.write_timeout, broken.clone().drop_guard());
            let notices = attached.notices();
            async move {
                let written = write_all(writer, queue, notices, write_timeout).await;
                drop(broken);
                written
            }
        }));

        let now = Instant::now();
        let dismissal = Arc::clone(&ticket);
        let mut connection = Self {
            shared,
            ticket,
            rate: TokenBucket::full(limits.connection_rate, now),
            strikes: TokenBucket::full(strikes(limits.connection_rate, max_places), now),
            places: Arc::new(Semaphore::new(usize::try_from(max_places).unwrap_or(Semaphore::MAX_PERMITS))),
            max_places,
            lanes: Lanes::default(),
            session: caller,
            version,
            attached,
            calls: JoinSet::new(),
            answered: now,
            give_up: CancellationToken::new(),
            over: CancellationToken::new(),
            answers,
        };
        let end = tokio::select! {
            biased;
            () = shutdown.cancelled() => End::Bye(Refusal::ShuttingDown),
            () = broken.cancelled() => End::Gone,
            () = dismissal.dismissed() => End::Bye(Refusal::Busy { retry_after: FULL }),
            () = &mut session_over => End::Bye(Refusal::SessionOver),
            end = connection.read(&mut reader) => end,
        };
        // Nothing is in flight for one that was dismissed; it may go without a word.
        if let Some(_farewell) = farewell(shared, &dismissal) {
            connection.finish(end, writing, reader).await;
        }
    }

    /// Reads requests and starts answering them.
    async fn read(&mut self, reader: &mut FrameReader<Reading>) -> End {
        let limits = &self.shared.limits;
        let max_request = message::max_request(self.version);
        let mut idle = limits.idle_timeout;
        loop {
            self.reap();
            let patience = Patience { idle: Some(idle), frame: limits.frame_timeout };
            let next = reader.next(max_request, patience).await;
            idle = limits.idle_timeout;
            let body = match next {
                Ok(Some(body)) => body,
                Ok(None) => return End::Gone,
                Err(error @ FrameError::Idle) => {
                    // One who waits for an answer is not idle, and was not before it came.
                    if self.reap() == 0 {
                        idle = idle.saturating_sub(self.answered.elapsed());
                    }
                    if idle.is_zero() {
                        return end_of(&error);
                    }
                    continue;
                }
                Err(error) => return end_of(&error),
            };
            self.shared.counters.request();
            let (id, request) = match message::decode_request(&body, self.version) {
                Ok(decoded) => decoded,
                Err(refusal) => return End::Bye(refusal),
            };
            drop(body);
            let cost = request.as_ref().map_or(1, |request| request.method().cost());
            let place = Arc::clone(&self.places).acquire_many_owned(cost.min(self.max_places));
            let Ok(permit) = place.await else { return End::Gone }; // never: it is not closed
            // Not before: one who does not read its answers waits for a place as long as it likes, and may lose its own.
            let serving = self.ticket.serve();
            let request = request.and_then(|request| self.charge(request.method(), cost).map(|()| request));
            match request {
                Ok(request) => self.start(request, (id, permit), serving).await,
                Err(refusal) => {
                    if self.strikes.take(1, Instant::now()).is_err() {
                        return End::Bye(refusal);
                    }
                    respond(&self.answers, (id, permit), Err(refusal)).await;
                }
            }
        }
    }

    /// Forgets calls that have ended; gives the number of those that have not.
    fn reap(&mut self) -> usize {
        while let Some(call) = self.calls.try_join_next() {
            self.answered = self.answered.max(call.unwrap_or_else(|_| Instant::now()));
        }
        self.calls.len()
    }

    fn charge(&mut self, method: Method, cost: u32) -> Result<(), Refusal> {
        let now = Instant::now();
        let charged = self.rate.take(cost, now).and_then(|()| self.ticket.take(method, cost, now));
        charged.map_err(|retry_after| {
            self.shared.counters.rate_limited();
            Refusal::RateLimited { retry_after }
        })
    }

    async fn start(&mut self, request: Request, reply: Reply, serving: Option<Serving>) {
        let answers = self.answers.clone();
        let caller = Caller {
            shared: Arc::clone(self.shared),
            ticket: Arc::clone(&self.ticket),
            give_up: self.give_up.clone(),
        };
        match request {
            Request::Ping => respond(&answers, reply, Ok(Answer::Pong)).await,
            Request::Offering(hash) => {
                self.calls.spawn(async move {
                    let answer = caller.call(|service| service.offering(hash)).await;
                    respond(&answers, reply, answer.map(Answer::Offering)).await;
                    drop(serving);
                    Instant::now()
                });
            }
            Request::Access(request) => {
                let over = self.over.clone();
                self.calls.spawn(async move {
                    let mut serving = serving;
                    let answer = access(&caller, *request, &over, &mut serving).await;
                    respond(&answers, reply, answer.map(|sealed| Answer::Access(Box::new(sealed)))).await;
                    drop(serving);
                    Instant::now()
                });
            }
            Request::DescribedAccess(request) => {
                let Some(session) = self.session else { return }; // never: it is of version 2
                let over = self.over.clone();
                self.calls.spawn(async move {
                    let mut serving = serving;
                    let answer = access_described(&caller, session, *request, &over, &mut serving).await;
                    let answer = answer.map(|numbered| Answer::NumberedAccess(Box::new(numbered)));
                    respond(&answers, reply, answer).await;
                    drop(serving);
                    Instant::now()
                });
            }
            Request::Attach(proof) => {
                let Some(session) = self.session else { return }; // never: it is of version 2
                let attached = Arc::clone(&self.attached);
                self.calls.spawn(async move {
                    let answer = attach(&caller, session, proof, &attached).await;
                    respond(&answers, reply, answer.map(|standing| Answer::Attached(Box::new(standing))))
                        .await;
                    drop(serving);
                    Instant::now()
                });
            }
            Request::Receipt(channel) => {
                let is_attached = self.attached.has(channel);
                self.calls.spawn(async move {
                    let answer = if is_attached {
                        caller.call(|service| service.receipt(channel)).await
                    } else {
                        Err(Refusal::NotProved)
                    };
                    respond(&answers, reply, answer.map(|receipt| Answer::Receipt(Box::new(receipt)))).await;
                    drop(serving);
                    Instant::now()
                });
            }
            Request::Pay(Payment { voucher, used }) => {
                self.shared.counters.payment();
                if let Some(first) = self.lanes.enter(Pending { voucher, used, reply }) {
                    let (lanes, attached) = (self.lanes.clone(), Arc::clone(&self.attached));
                    self.calls.spawn(async move {
                        let answered = pay(caller, lanes, first, &attached, answers).await;
                        drop(serving); // those that wait in the lane are answered by then, too
                        answered
                    });
                }
            }
        }
    }

    /// Lets what is in flight come to its end, says the last word and closes.
    async fn finish(
        self,
        end: End,
        writing: AbortOnDropHandle<std::io::Result<()>>,
        reader: FrameReader<Reading>,
    ) {
        let Self { shared, ticket, mut calls, give_up, over, answers, .. } = self;
        over.cancel();
        // The service bounds each call; a shutdown bounds them all.
        let grace = match &end {
            End::Bye(Refusal::ShuttingDown) => shared.limits.shutdown_grace,
            _ => shared.limits.request_timeout.saturating_add(FAREWELL),
        };
        if timeout(grace, ended(&mut calls)).await.is_err() {
            tracing::debug!(calls = calls.len(), "calls in flight did not end in time and are given up");
            // Each still gets its answer: silence before a bye would say that it was not processed.
            give_up.cancel();
            if timeout(FAREWELL, ended(&mut calls)).await.is_err() {
                calls.shutdown().await;
            }
        }
        let said = match end {
            End::Gone => false,
            End::Bye(refusal) => {
                tracing::debug!(%refusal, "connection ended");
                answers.send(Outgoing::Bye(refusal)).await.is_ok()
            }
        };
        drop(answers);
        // The writer ends now that nobody sends. When it is stuck on a client that does not read, its own timeout ends it,
        // or this one at a shutdown.
        let written = timeout(shared.limits.write_timeout.min(grace).saturating_add(FAREWELL), writing).await;
        if said && matches!(written, Ok(Ok(Ok(())))) {
            reader.linger(FAREWELL_BYTES, Instant::now() + FAREWELL).await;
        }
        drop(ticket);
    }
}

/// Proves a channel on the connection. Where it stands is asked for once its notices are sent, so that none is missed between.
async fn attach(
    caller: &Caller,
    session: CallerSession,
    proof: ChannelProof,
    attached: &Attached,
) -> Result<Standing, Refusal> {
    let channel = proof.channel;
    caller.call(|service| service.attach(session, proof)).await?;
    if !attached.attach(channel) {
        return Err(Refusal::Busy { retry_after: FULL });
    }
    caller.ticket.identify(channel);
    let standing = caller.call(|service| service.standing(channel)).await;
    if standing.is_err() {
        attached.detach(channel); // the client knows nothing of it
    }
    standing
}

/// The payments of one channel, until none waits. Gives the time of the last answer.
async fn pay(
    caller: Caller,
    lanes: Lanes<Reply>,
    first: Pending<Reply>,
    attached: &Attached,
    answers: mpsc::Sender<Outgoing>,
) -> Instant {
    let channel = first.voucher.channel();
    let mut waiting = vec![first];
    loop {
        let mut batch = Batch::new(waiting);
        let used = batch.used();
        while let Some(highest) = batch.take_highest() {
            let voucher = highest.voucher;
            let counters = &caller.shared.counters;
            let paid = if attached.has(channel) {
                let paid = caller.call(|service| {
                    counters.payment_call();
                    service.pay_attached(voucher, used)
                });
                paid.await.map(|standing| Answer::PaidAttached(Box::new(standing)))
            } else {
                let paid = caller.call(|service| {
                    counters.payment_call();
                    service.pay(voucher)
                });
                paid.await.map(Answer::Paid)
            };
            if proves_the_channel(&paid) {
                caller.ticket.identify(channel);
            }
            for lower in batch.take_answered_by(&paid) {
                respond(&answers, lower.reply, paid.clone()).await;
            }
            respond(&answers, highest.reply, paid).await;
        }
        waiting = match lanes.next(channel) {
            Some(waiting) => waiting,
            None => return Instant::now(),
        };
    }
}

/// Whether only the channel's own client can have this answer: the agent looks at a voucher's signature before all else.
const fn proves_the_channel(paid: &Result<Answer, Refusal>) -> bool {
    matches!(paid, Ok(_) | Err(Refusal::Stale { .. } | Refusal::Equal { .. }))
}

/// The right to say why a connection ends, which takes a moment. One that lost its place to another has it only while few
/// do so at the same time: its place is taken already.
fn farewell(shared: &Shared, ticket: &Ticket) -> Option<Farewell> {
    let place = if ticket.is_dismissed() {
        Some(Arc::clone(&shared.turned_away).try_acquire_owned().ok()?)
    } else {
        None
    };
    Some(Farewell { _place: place })
}

/// Held while the reason is said.
struct Farewell {
    _place: Option<OwnedSemaphorePermit>,
}

async fn ended(calls: &mut JoinSet<Instant>) {
    while calls.join_next().await.is_some() {}
}

/// Calls the service so that there is always an answer, and in time.
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) ticket: Arc<Ticket>,
    give_up: CancellationToken,
}

impl Caller {
    /// A place for a call. Strangers take theirs out of a part of all.
    async fn place(&self) -> Result<(SemaphorePermit<'_>, Option<SemaphorePermit<'_>>), AcquireError> {
        let of_strangers =
            if self.ticket.is_known() { None } else { Some(self.shared.strangers_calls.acquire().await?) };
        Ok((self.shared.calls.acquire().await?, of_strangers))
    }

    pub(super) async fn call<'a, T, F: Future<Output = Result<T, Refusal>>>(
        &'a self,
        ask: impl FnOnce(&'a dyn Service) -> F,
    ) -> Result<T, Refusal> {
        let after = self.shared.limits.request_timeout;
        let due = deadline(after);
        let place = tokio::select! {
            biased;
            () = self.give_up.cancelled() => return Err(Refusal::ShuttingDown),
            place = timeout_at(due, self.place()) => place,
        };
        // A call without time left would only be given up in the middle.
        let Some(_place) = place.ok().and_then(Result::ok).filter(|_| Instant::now() < due) else {
            tracing::warn!(
                limit = self.shared.limits.max_calls,
                "all places for calls of the service are taken"
            );
            return Err(Refusal::Busy { retry_after: FULL });
        };
        // Inside the guard, because making the future may panic too.
        let call = AssertUnwindSafe(async { ask(&*self.shared.service).await }).catch_unwind();
        let answer = tokio::select! {
            biased;
            answer = timeout_at(due, call) => answer,
            () = self.give_up.cancelled() => return Err(Refusal::Timeout),
        };
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                tracing::error!("the service panicked on a request; it is answered with an internal error");
                Err(Refusal::Internal)
            }
            Err(_) => {
                tracing::warn!(?after, "the service did not answer in time");
                Err(Refusal::Timeout)
            }
        }
    }
}

async fn respond(answers: &mpsc::Sender<Outgoing>, (id, permit): Reply, answer: Result<Answer, Refusal>) {
    // It fails when the writer is gone, and then so is the client.
    let _ = answers.send(Outgoing::Answer { id, answer, permit }).await;
}

/// As many refusals as the connection's own rate, up to a bound; a burst of all that may be in flight is an honest mistake.
const fn strikes(rate: RateLimit, max_places: u32) -> RateLimit {
    let per_second = if rate.per_second() < 1_000 { rate.per_second() } else { 1_000 };
    RateLimit::new(per_second, max_places.saturating_mul(2))
}

pub(super) fn end_of(error: &FrameError) -> End {
    match error {
        FrameError::TooLarge { length, limit } => End::Bye(Refusal::too_large(*length, *limit)),
        FrameError::TooSlow { .. } => End::Bye(Refusal::TooSlow),
        FrameError::Idle => End::Bye(Refusal::IdleTimeout),
        FrameError::Truncated | FrameError::Io(_) => {
            tracing::debug!(%error, "connection broke");
            End::Gone
        }
    }
}
