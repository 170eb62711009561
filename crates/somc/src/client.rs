//! The buyer's side: one connection, on which any number of requests are under way at once.

mod greeting;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use privatix_channel::{ChannelId, OfferingHash, SignedVoucher, Usage};
use privatix_offering::{AccessRequest, ChannelProof, DescribedAccessRequest, SealedAccess, SignedReceipt};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::greeting::{Greeting, Session};
use crate::{
    ClientError, ClientLimits, Expected, Notice, NumberedAccess, Paid, Refusal, SessionId, SomcAddress,
    Standing, Transport, VersionRange,
    frame::{FrameError, FrameReader, Patience},
    message::{self, Answer, Request, RequestId, ServerFrame},
    notices,
    service::Payment,
    session,
};

/// Requests waiting to be written; the limit in flight bounds them too.
const QUEUE: usize = 256;
/// Requests are gathered up to this many bytes before they are written.
const BATCH_BYTES: usize = 64 * 1024;
/// Channels of which a connection takes notices.
const MAX_ATTACHED: usize = 1024;

/// A connection to an agent. Clones share it; it closes when the last is dropped.
///
/// All methods may be called at the same time and may be dropped at any point; the answer is then ignored. A connection
/// that has ended stays ended: see [`Peer`](crate::Peer) for one that connects again.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    version: u16,
    session: Option<Session>,
    idle_timeout: Duration,
    /// The channels that were proved here.
    attached: Mutex<HashSet<ChannelId>>,
    notices: Arc<notices::Waiting>,
    limits: ClientLimits,
    places: Semaphore,
    max_places: u32,
    next_id: AtomicU64,
    requests: mpsc::Sender<BytesMut>,
    waiting: Arc<Waiting>,
    closed: CancellationToken,
    _close_on_drop: DropGuard,
}

impl Client {
    /// Dials `address` and talks in clear (version 1): whoever is on the way can read and forge all of it.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(
        transport: &(impl Transport + ?Sized),
        address: &SomcAddress,
        limits: ClientLimits,
    ) -> Result<Self, ClientError> {
        let (after, frame_timeout) = (limits.connect_timeout, limits.frame_timeout);
        let connect = async { greeting::in_clear(transport.connect(address).await?, frame_timeout).await };
        let greeting = timeout(after, connect).await.unwrap_or_else(|_| Err(late(address, after)))?;
        Ok(Self::start(greeting, limits))
    }

    /// Dials `address` and talks with the expected agent only, in a session in which it has proved its key; in clear where
    /// what is [known](crate::Recognition::versions) of it permits version 1 and whoever answers speaks no other.
    pub async fn connect_to(
        expected: &Expected,
        transport: &(impl Transport + ?Sized),
        address: &SomcAddress,
        limits: ClientLimits,
    ) -> Result<Self, ClientError> {
        let (after, frame_timeout) = (limits.connect_timeout, limits.frame_timeout);
        let connect = async {
            let versions = expected.recognition.versions().await;
            let may_be = |spoken: VersionRange| spoken.highest_common(versions).is_some();
            let may_be_in_clear = may_be(message::VERSIONS);
            if may_be(session::VERSIONS) {
                let stream = transport.connect(address).await?;
                // Boxed, so that its large state goes with its end.
                match Box::pin(greeting::in_session(stream, expected, versions, frame_timeout)).await {
                    Err(ClientError::Unauthenticated { refusal })
                        if may_be_in_clear && speaks_in_clear_only(&refusal) => {}
                    greeting => return greeting,
                }
            } else if !may_be_in_clear {
                return Err(ClientError::NonePermitted { permitted: versions, spoken: VersionRange::SPOKEN });
            }
            let greeting = greeting::in_clear(transport.connect(address).await?, frame_timeout).await?;
            // Meanwhile it may have proved a key on another connection.
            if !is_clear_permitted(expected).await {
                return Err(ClientError::handshake("it talks in clear, and has proved a key before"));
            }
            Ok(greeting)
        };
        let greeting = timeout(after, connect).await.unwrap_or_else(|_| Err(late(address, after)))?;
        Ok(Self::start(greeting, limits))
    }

    fn start(Greeting { reader, writer, hello, session }: Greeting, limits: ClientLimits) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Waiting::default());
        let closed = CancellationToken::new();
        let max_places = limits.max_in_flight.min(hello.max_in_flight).max(1);
        let patience = Patience { idle: Some(silence(hello.idle_timeout_ms)), frame: limits.frame_timeout };
        let writing = write(writer, queue, limits.write_timeout);
        let notices = Arc::new(notices::Waiting::default());
        if session.is_none() {
            notices.end(); // nothing can be proved in clear
        }
        let ends = Ends {
            waiting: Arc::clone(&waiting),
            notices: session.map(|_| Arc::clone(&notices)),
            closed: closed.clone(),
            expires: session.map(|session| session.expires),
        };
        tokio::spawn(run(reader, patience, writing, ends));
        Self {
            inner: Arc::new(Inner {
                version: hello.version,
                session,
                idle_timeout: Duration::from_millis(hello.idle_timeout_ms),
                attached: Mutex::default(),
                notices,
                places: Semaphore::new(usize::try_from(max_places).unwrap_or(Semaphore::MAX_PERMITS)),
                max_places,
                next_id: AtomicU64::new(0),
                requests,
                waiting,
                _close_on_drop: closed.clone().drop_guard(),
                closed,
                limits,
            }),
        }
    }

    /// The protocol version agreed on.
    pub fn version(&self) -> u16 {
        self.inner.version
    }

    /// What names the session; `None` in clear.
    pub fn session(&self) -> Option<SessionId> {
        self.inner.session.map(|session| session.id)
    }

    /// Whether the agent has proved its key on this connection.
    pub fn is_authenticated(&self) -> bool {
        self.inner.session.is_some()
    }

    /// After how long without a request the agent ends the connection.
    pub fn idle_timeout(&self) -> Duration {
        self.inner.idle_timeout
    }

    /// Whether this channel was [proved](Self::attach) on the connection.
    pub fn is_attached(&self, channel: ChannelId) -> bool {
        self.inner.attached.lock().contains(&channel)
    }

    /// What the agent sends unasked of the channels that are [proved](Self::attach) here. It does not keep the connection open. One task
    /// takes them: of several, each gets some.
    pub fn notices(&self) -> Notices {
        Notices(Arc::clone(&self.inner.notices))
    }

    /// Whether it takes requests, and does so for a while still: before the key of a session expires, another one is begun.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.is_closed() && self.inner.session.is_none_or(|session| Instant::now() < session.renewed)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Waits until the connection has ended.
    pub async fn closed(&self) {
        self.inner.closed.cancelled().await;
    }

    /// Ends the connection for all clones. Requests under way get [`ClientError::Closed`].
    pub fn close(&self) {
        self.inner.waiting.end(&ClientError::Closed);
        self.inner.closed.cancel();
    }

    /// Whether both are the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Asks whether the agent answers, and gives the time that took.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let start = Instant::now();
        match self.ask(&Request::Ping).await? {
            Answer::Pong => Ok(start.elapsed()),
            _ => Err(mixed_up()),
        }
    }

    /// The offering message with this hash, as the agent gave it: nothing of it has been checked yet
    /// ([`SignedOffering::verify`](privatix_offering::SignedOffering::verify)).
    pub async fn offering(&self, hash: OfferingHash) -> Result<Vec<u8>, ClientError> {
        match self.ask(&Request::Offering(hash)).await? {
            Answer::Offering(bytes) => Ok(bytes),
            _ => Err(mixed_up()),
        }
    }

    /// The sealed access of a channel. An agent takes each request once: sign a new one to ask again.
    pub async fn access(&self, request: AccessRequest) -> Result<SealedAccess, ClientError> {
        match self.ask(&Request::Access(Box::new(request))).await? {
            Answer::Access(sealed) => Ok(*sealed),
            _ => Err(mixed_up()),
        }
    }

    /// Pays: gives the amount that the agent acknowledges, which is at least the voucher's. Store the voucher before.
    ///
    /// After [`Refusal::Stale`] compare its amount with the highest voucher that you signed: an agent that claims to hold
    /// a higher one lies.
    pub async fn pay(&self, voucher: SignedVoucher) -> Result<Paid, ClientError> {
        match self.ask(&Request::Pay(Payment { voucher, used: None })).await? {
            Answer::PaidAttached(standing) if standing.cumulative >= voucher.cumulative() => {
                Ok(Paid { cumulative: standing.cumulative })
            }
            Answer::Paid(paid) if paid.cumulative >= voucher.cumulative() => Ok(paid),
            Answer::Paid(paid) => Err(ClientError::protocol(format!(
                "it acknowledged {} for a voucher over {}",
                paid.cumulative,
                voucher.cumulative()
            ))),
            _ => Err(mixed_up()),
        }
    }

    /// Proves a channel on this connection, by a proof for its [session](Self::session), and gives where the channel stands by the
    /// agent's books. From then on the agent sends [notices](Self::notices) of it. Nothing of the answer has been checked.
    ///
    /// # Errors
    /// [`Refusal::UnknownMethod`] in clear, where nothing can be proved.
    pub async fn attach(&self, proof: ChannelProof) -> Result<Standing, ClientError> {
        let channel = proof.channel;
        // A notice may come before the answer.
        if !self.inner.notices.expect(channel, MAX_ATTACHED) {
            return Err(ClientError::Refused(Refusal::Busy { retry_after: Duration::from_secs(5) }));
        }
        match self.ask(&Request::Attach(proof)).await? {
            Answer::Attached(standing) => {
                self.inner.attached.lock().insert(channel);
                Ok(*standing)
            }
            _ => Err(mixed_up()),
        }
    }

    /// The sealed access of a channel, and its number, in a session: nothing of it has been checked yet.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] in clear, where access is asked for by [`access`](Self::access).
    pub async fn access_described(
        &self,
        request: DescribedAccessRequest,
    ) -> Result<NumberedAccess, ClientError> {
        match self.ask(&Request::DescribedAccess(Box::new(request))).await? {
            Answer::NumberedAccess(numbered) => Ok(*numbered),
            _ => Err(mixed_up()),
        }
    }

    /// Pays for a channel that was [proved](Self::attach) on this connection, and names the own meter. Store the voucher before.
    ///
    /// The answer is where the channel stands by the agent's books. What is acknowledged may be less than the voucher, and more: then it
    /// carries a better one, which shows what this side signed before. Nothing of that has been checked.
    pub async fn pay_attached(&self, voucher: SignedVoucher, used: Usage) -> Result<Standing, ClientError> {
        match self.ask(&Request::Pay(Payment { voucher, used: Some(used) })).await? {
            Answer::PaidAttached(standing) => Ok(*standing),
            _ => Err(mixed_up()),
        }
    }

    /// A receipt for a channel that was [proved](Self::attach) on this connection. Nothing of it has been checked: see
    /// [`SignedReceipt::verify`].
    ///
    /// # Errors
    /// [`Refusal::NotProved`] for any other channel.
    pub async fn receipt(&self, channel: ChannelId) -> Result<SignedReceipt, ClientError> {
        match self.ask(&Request::Receipt(channel)).await? {
            Answer::Receipt(receipt) => Ok(*receipt),
            _ => Err(mixed_up()),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let method = request.method();
        let after = self.inner.limits.request_timeout;
        timeout(after, self.exchange(request)).await.unwrap_or(Err(ClientError::Timeout { method, after }))
    }

    async fn exchange(&self, request: &Request) -> Result<Answer, ClientError> {
        let (inner, method) = (&*self.inner, request.method());
        let place = inner.places.acquire_many(method.cost().min(inner.max_places));
        let Ok(_place) = place.await else { return Err(ClientError::Closed) };
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let mut frame = BytesMut::with_capacity(512);
        message::put_request(&mut frame, id, request).map_err(|error| ClientError::TooLarge {
            method,
            length: error.length,
            limit: error.limit,
        })?;
        let answer = inner.waiting.wait_for(id)?;
        // When the writer is gone, whoever ended it has informed `waiting` why.
        let _ = inner.requests.send(frame).await;
        let result = answer.receive().await?;
        message::decode_answer(method, &result)
            .map_err(|reason| ClientError::protocol(format!("its answer to {method} is malformed: {reason}")))
    }
}

/// The views that an agent sends unasked on one connection.
#[derive(Debug)]
pub struct Notices(Arc<notices::Waiting>);

impl Notices {
    /// The next view, the newest of its channel; `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<Notice> {
        self.0.next().await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("version", &self.version()).field("closed", &self.is_closed()).finish()
    }
}

fn late(address: &SomcAddress, after: Duration) -> ClientError {
    ClientError::ConnectTimeout { address: address.clone(), after }
}

/// Whether what is known of an agent permits to talk to it in clear.
pub(crate) async fn is_clear_permitted(expected: &Expected) -> bool {
    message::VERSIONS.highest_common(expected.recognition.versions().await).is_some()
}

/// What a server that knows no sessions answers to the beginning of one. To those from before version 2 that is a frame of a gigabyte,
/// or, in another implementation, no hello; ours name the versions that they speak.
const fn speaks_in_clear_only(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::UnsupportedVersion { .. } | Refusal::TooLarge { .. } | Refusal::Malformed { .. }
    )
}

fn mixed_up() -> ClientError {
    ClientError::protocol("it answered another question")
}

/// After which silence the connection is dead, though nobody said so: a server ends an idle connection with a word.
fn silence(idle_timeout_ms: u64) -> Duration {
    Duration::from_millis(idle_timeout_ms).saturating_add(Duration::from_secs(30))
}

/// What a request gets.
type Outcome = Result<Box<RawValue>, ClientError>;

/// The requests that wait for their answers.
#[derive(Default)]
struct Waiting(Mutex<WaitingState>);

#[derive(Default)]
struct WaitingState {
    answers: HashMap<RequestId, oneshot::Sender<Outcome>>,
    /// Requests that nobody waits for any more, but whose answers may still come.
    abandoned: u64,
    /// Why the connection has ended.
    ended: Option<ClientError>,
}

impl Waiting {
    fn wait_for(self: &Arc<Self>, id: RequestId) -> Result<Waiter, ClientError> {
        let (sender, answer) = oneshot::channel();
        let mut state = self.0.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        state.answers.insert(id, sender);
        Ok(Waiter { waiting: Arc::clone(self), id, answer })
    }

    /// Gives an answer to whom it belongs. `Err` when nobody asked.
    fn answer(&self, id: RequestId, outcome: Outcome) -> Result<(), ClientError> {
        let mut state = self.0.lock();
        match state.answers.remove(&id) {
            Some(sender) => {
                drop(state);
                let _ = sender.send(outcome);
                Ok(())
            }
            None if state.abandoned > 0 => {
                state.abandoned -= 1;
                Ok(())
            }
            None => Err(ClientError::protocol("it answered what was not asked")),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.lock().answers.is_empty()
    }

    /// Ends all that wait, and all that come later, with `error`. The first reason stays.
    fn end(&self, error: &ClientError) {
        let mut state = self.0.lock();
        let error = state.ended.get_or_insert_with(|| error.clone()).clone();
        let answers = std::mem::take(&mut state.answers);
        drop(state);
        for (_, sender) in answers {
            let _ = sender.send(Err(error.clone()));
        }
    }
}

/// One request's place among those that wait.
struct Waiter {
    waiting: Arc<Waiting>,
    id: RequestId,
    answer: oneshot::Receiver<Outcome>,
}

impl Waiter {
    async fn receive(mut self) -> Outcome {
        (&mut self.answer).await.unwrap_or(Err(ClientError::Closed))
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.waiting.0.lock();
        if state.answers.remove(&self.id).is_some() {
            state.abandoned += 1;
        }
    }
}

/// What ends with a connection, and what ends it.
struct Ends {
    waiting: Arc<Waiting>,
    /// Taken in sessions only.
    notices: Option<Arc<notices::Waiting>>,
    closed: CancellationToken,
    expires: Option<Instant>,
}

/// The connection's task: writes and reads until either ends or the last client is dropped.
async fn run(
    mut reader: FrameReader<impl AsyncRead + Unpin>,
    patience: Patience,
    writing: impl Future<Output = std::io::Result<()>> + Send + 'static,
    Ends { waiting, notices, closed, expires }: Ends,
) {
    let over = async {
        match expires {
            Some(expires) => tokio::time::sleep_until(expires).await,
            None => std::future::pending().await,
        }
    };
    let mut writing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(writing));
    let error = tokio::select! {
        () = closed.cancelled() => ClientError::Closed,
        () = over => ClientError::Lost { reason: "the key of its session expired".into() },
        error = read(&mut reader, &waiting, notices.as_deref(), patience) => error,
        written = &mut writing => {
            // What the server said last explains more than that it takes no more.
            let error = match written {
                Ok(Err(error)) => ClientError::lost(&error),
                _ => ClientError::Closed,
            };
            let last = read(&mut reader, &waiting, notices.as_deref(), patience);
            match timeout(Duration::from_secs(1), last).await {
                Ok(bye @ ClientError::Bye(_)) => bye,
                _ => error,
            }
        }
    };
    tracing::debug!(%error, "connection ended");
    waiting.end(&error);
    closed.cancel();
    if let Some(notices) = notices {
        notices.end();
    }
}

async fn read(
    reader: &mut FrameReader<impl AsyncRead + Unpin>,
    waiting: &Waiting,
    notices: Option<&notices::Waiting>,
    patience: Patience,
) -> ClientError {
    let max_frame = message::max_server_frame();
    loop {
        let body = match reader.next(max_frame, patience).await {
            Ok(Some(body)) => body,
            Ok(None) => return ClientError::Lost { reason: "the agent closed it".into() },
            // Those who wait have their own patience.
            Err(FrameError::Idle) if !waiting.is_empty() => continue,
            Err(error) => return end_of(error),
        };
        let taken = match message::decode_server_frame(&body) {
            Ok(ServerFrame::Answer { id, answer }) => {
                waiting.answer(id, answer.map_err(ClientError::Refused))
            }
            Ok(ServerFrame::Bye(refusal)) => return ClientError::Bye(refusal),
            Ok(ServerFrame::Notice(notice)) => match notices {
                Some(notices) => {
                    notices.put(notice);
                    Ok(())
                }
                None => Err(ClientError::protocol("it sent a notice in clear")),
            },
            Ok(ServerFrame::Hello(_)) => Err(ClientError::protocol("it said hello twice")),
            Err(reason) => Err(ClientError::protocol(reason)),
        };
        if let Err(error) = taken {
            return error;
        }
    }
}

/// Writes requests, as many at once as there are, until the queue's senders are gone.
async fn write(
    mut io: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<BytesMut>,
    write_timeout: Duration,
) -> std::io::Result<()> {
    let mut out = BytesMut::new();
    while let Some(frame) = queue.recv().await {
        out.extend_from_slice(&frame);
        while out.len() < BATCH_BYTES
            && let Ok(frame) = queue.try_recv()
        {
            out.extend_from_slice(&frame);
        }
        timeout(write_timeout, async {
            io.write_all(&out).await?;
            io.flush().await
        })
        .await??;
        out.clear();
    }
    timeout(write_timeout, io.shutdown()).await?
}

pub(crate) fn end_of(error: FrameError) -> ClientError {
    match error {
        FrameError::Io(error) => ClientError::lost(&error),
        FrameError::Truncated | FrameError::Idle => ClientError::Lost { reason: error.to_string() },
        FrameError::TooLarge { .. } | FrameError::TooSlow { .. } => ClientError::protocol(error.to_string()),
    }
}
