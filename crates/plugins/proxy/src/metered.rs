//! The end of a connection at which a channel's meter is.

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use privatix_socket_queue::{unacknowledged, unread, unsent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::channel::{Flow, Stopped, Turn};
use crate::lane::Lane;
use crate::tally::Tally;

/// The connection between buyer and seller, or to the destination where the buyer has no meter of its own. What passes waits
/// for its channel's gate and is counted.
///
/// Both ends count what the network carried and nothing else: what is written counts when the other end's system acknowledged
/// it, and what arrived counts even if it is not read any more. So the two meters show the same number however a connection
/// ends, and what lies in this machine's buffers was not delivered.
///
/// While the gate is closed nothing is read or written (each direction may hold one buffer that was read before), so the peers
/// slow down and wait by TCP's flow control: a download survives a suspension, and goes on with the next byte.
///
/// Dropped, the connection is reset, unless [`end`](Self::end) said that it had ended.
pub(crate) struct Metered {
    stream: TcpStream,
    flow: Arc<Flow>,
    tally: Mutex<Tally>,
    /// Whether what arrives counts at once, or only when it is read.
    counting: Counting,
    /// Wakes [`watch`](Self::watch).
    stirred: Notify,
    /// Whether [`watch`](Self::watch) is awake, and needs no waking.
    watched: AtomicBool,
    /// How many wait before they read on, so that what arrives meanwhile must be looked for.
    stalled: AtomicUsize,
    ended: bool,
    reading: Mutex<Option<Wait>>,
    writing: Mutex<Option<Wait>>,
    ending: Mutex<Option<Pin<Box<Sleep>>>>,
}

/// When bytes that arrive count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counting {
    /// When they are read: a seller's allowance decides how much is read.
    WhenRead,
    /// As soon as they have arrived: a buyer owes what was delivered, whenever its program takes it.
    WhenArrived,
}

type Wait = Pin<Box<dyn Future<Output = Result<usize, Stopped>> + Send>>;

/// More is written only while less than half of this waits unsent (as the system reads the option): bytes whose program does
/// not take them keep the channel's other connections from the allowance.
const UNSENT: u32 = 32 * 1024;

/// The most that is written at a time. With half of [`UNSENT`], 80 KiB are the most that a paused connection holds back.
const PIECE: usize = 64 * 1024;

/// An end may turn out to be a break within this time: a program that closes its connection while more comes for it, and a peer that
/// [gives up](Metered), end it and reset it right after.
const SECOND_THOUGHT: Duration = Duration::from_millis(5);

/// More than arrives while it is read.
const DISCARDED_AT_ONCE: usize = 1024 * 1024;

/// The system does not say when bytes are acknowledged, so it is asked: soon, and ever less often while nothing changes.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_secs(1);

impl Metered {
    pub(crate) fn new(stream: TcpStream, flow: Flow, counting: Counting) -> Self {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos"))]
        if let Err(error) = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT) {
            tracing::debug!(%error, "cannot bound what waits unsent");
        }
        Self {
            stream,
            flow: Arc::new(flow),
            tally: Mutex::default(),
            counting,
            stirred: Notify::new(),
            watched: AtomicBool::new(false),
            stalled: AtomicUsize::new(0),
            ended: false,
            reading: Mutex::new(None),
            writing: Mutex::new(None),
            ending: Mutex::new(None),
        }
    }

    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// The socket, to wait for. What passes goes through [`fill`](Self::fill) and [`drain`](Self::drain).
    pub(crate) const fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Fills a lane with what may pass. 0 is the end; "would block" means to wait until the socket is readable.
    pub(crate) async fn fill(&self, lane: &mut Lane) -> io::Result<usize> {
        let most = self.turn().await?;
        let filled = lane.fill(&self.stream, most)?;
        self.took(filled);
        Ok(filled)
    }

    /// Drains a lane as far as it may pass. "Would block" means to wait until the socket is writable.
    pub(crate) async fn drain(&self, lane: &mut Lane) -> io::Result<()> {
        let most = self.turn().await?;
        self.stream.try_io(Interest::WRITABLE, || takes_more(&self.stream))?;
        let given = lane.drain(&self.stream, most.min(PIECE))?;
        self.gave(given);
        Ok(())
    }

    /// Notes bytes that a program sent together with its request, and that were read, or written, before this was metered.
    pub(crate) fn passed_before(&self, bytes: usize) {
        match self.counting {
            Counting::WhenRead => self.took(bytes),
            Counting::WhenArrived => self.gave(bytes),
        }
    }

    fn took(&self, bytes: usize) {
        let bytes = bytes as u64;
        let counted = self.tally.lock().read(bytes);
        if self.counting == Counting::WhenRead {
            self.flow.take(bytes);
        } else {
            self.flow.take(counted);
        }
        self.flow.count(counted);
    }

    fn gave(&self, bytes: usize) {
        let bytes = bytes as u64;
        self.tally.lock().wrote(bytes);
        self.flow.take(bytes);
        self.look();
        self.stir();
    }

    /// Informs the other end that nothing more will be written.
    pub(crate) fn close_writing(&self) -> io::Result<()> {
        self.close(Shutdown::Write)
    }

    fn close(&self, how: Shutdown) -> io::Result<()> {
        let socket = SockRef::from(&self.stream);
        socket.shutdown(how)?;
        self.tally.lock().closed();
        // Acknowledgements that wait for an answer to travel with would now wait in vain.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket.set_tcp_quickack(true);
        Ok(())
    }

    async fn turn(&self) -> io::Result<usize> {
        if let Turn::Pass { most } = self.flow.channel().turn() {
            return Ok(most);
        }
        let _stalled = self.stall();
        Ok(self.flow.turn().await?)
    }

    /// To be held while what arrives is not read.
    pub(crate) fn stall(&self) -> Stalled<'_> {
        self.stalled.fetch_add(1, Ordering::AcqRel);
        self.stir();
        Stalled(&self.stalled)
    }

    fn stir(&self) {
        if !self.watched.load(Ordering::Acquire) {
            self.stirred.notify_one();
        }
    }

    /// Counts what the system knows by now. Returns how many bytes that were.
    fn look(&self) -> u64 {
        let mut tally = self.tally.lock();
        // A system that does not say leaves nothing better than to trust that what was written arrives.
        let delivered = tally.delivered(unacknowledged(&self.stream).unwrap_or(0));
        let arrived = match self.counting {
            Counting::WhenRead => 0,
            Counting::WhenArrived => tally.arrived(unread(&self.stream).unwrap_or(0)),
        };
        drop(tally);
        self.flow.take(arrived);
        self.flow.count(delivered + arrived);
        delivered + arrived
    }

    /// Counts what happens without this side doing anything: acknowledgements, and what arrives while nobody reads. Never
    /// completes.
    pub(crate) async fn watch(&self) -> Infallible {
        loop {
            self.stirred.notified().await;
            self.watched.store(true, Ordering::Release);
            let mut pause = FIRST_LOOK;
            loop {
                tokio::time::sleep(pause).await;
                let changed = self.look() > 0;
                pause = if changed { FIRST_LOOK } else { (pause * 2).min(LAST_LOOK) };
                if !self.may_change_alone() {
                    break;
                }
            }
            self.watched.store(false, Ordering::Release);
            // What stirred between the last look and the line above found it awake.
            if self.may_change_alone() {
                self.stirred.notify_one();
            }
        }
    }

    /// Whether more may count without anything being read or written.
    fn may_change_alone(&self) -> bool {
        let arriving = self.counting == Counting::WhenArrived && self.stalled.load(Ordering::Acquire) > 0;
        arriving || self.tally.lock().outstanding() > 0
    }

    /// Waits until all that was written is acknowledged or cannot be any more, or nothing moved for `patience`.
    pub(crate) async fn delivered(&self, patience: Duration) {
        let all = async {
            let (mut pause, mut quiet) = (Duration::from_millis(1), Duration::ZERO);
            loop {
                let changed = self.look() > 0;
                if self.tally.lock().outstanding() == 0 || quiet >= patience {
                    return;
                }
                if changed {
                    (pause, quiet) = (Duration::from_millis(1), Duration::ZERO);
                }
                tokio::time::sleep(pause).await;
                quiet += pause;
                pause = (pause * 2).min(LAST_LOOK / 10);
            }
        };
        tokio::select! {
            () = all => {}
            () = broken(&self.stream) => {}
        }
    }

    /// Reads what has arrived, so that it is acknowledged.
    fn discard(&self) {
        let mut buffer = Vec::with_capacity(DISCARDED_AT_ONCE);
        for _ in 0..8 {
            match SockRef::from(&self.stream).recv(buffer.spare_capacity_mut()) {
                Ok(read @ 1..) => self.took(read),
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Bytes that were written and not acknowledged, as far as was seen.
    pub(crate) fn outstanding(&self) -> u64 {
        self.tally.lock().outstanding()
    }

    /// The connection ended in order at both ends, with all that was written, so it need not be reset.
    pub(crate) fn end(mut self) {
        self.ended = true;
    }
}

/// Whether the system would take more bytes now: fewer than half of [`UNSENT`] wait unsent. As an error, "would block", it makes
/// the socket's next readiness be waited for.
fn takes_more(stream: &TcpStream) -> io::Result<()> {
    let mut wanted = [PollFd::new(stream, PollFlags::OUT)];
    match poll(&mut wanted, Some(&Timespec::default())) {
        Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
        // Interrupted: the next attempt to write finds out.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether an end is one, and not the first sign of a break.
fn not_broken(stream: &TcpStream) -> io::Result<()> {
    let mut asked = [PollFd::new(stream, PollFlags::empty())];
    let answered = poll(&mut asked, Some(&Timespec::default())).is_ok();
    let [asked] = asked;
    if answered && asked.revents().contains(PollFlags::ERR) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(())
}

/// Waits whether an end that was read turns out to be a break.
pub(crate) async fn second_thought(stream: &TcpStream) -> io::Result<()> {
    match tokio::time::timeout(SECOND_THOUGHT, broken(stream)).await {
        Ok(()) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(_) => Ok(()),
    }
}

/// Completes when the connection was reset, or broke otherwise.
pub(crate) async fn broken(stream: &TcpStream) {
    // An error means that there is no runtime any more to wait with.
    let _ = stream.ready(Interest::ERROR).await;
}

/// Has the connection reset when it is dropped, so that its other end learns that something is missing.
pub(crate) fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection that broke is closed as if it had ended");
    }
}

/// Somebody waits before reading on while this lives.
pub(crate) struct Stalled<'a>(&'a AtomicUsize);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if !self.ended {
            // From here on the system accepts nothing more, and says so to the other end with the number of what it did
            // accept; a reset alone would not. Where the end was sent before, nothing more is said: so what has arrived is
            // read, which has it acknowledged, and once more what came in between.
            let was_closed = self.tally.lock().is_closed();
            if was_closed {
                self.discard();
            }
            let _ = self.close(Shutdown::Both); // fails once the connection is gone
            if was_closed {
                self.discard();
            }
            reset(&self.stream);
        }
        self.counting = Counting::WhenArrived; // nothing will be read any more
        self.look();
        let outstanding = self.tally.lock().outstanding();
        // The end of the stream is not among the bytes, but may be among those not sent.
        let unsent = unsent(&self.stream).unwrap_or(outstanding).min(outstanding);
        self.flow.settle(unsent, outstanding - unsent);
    }
}

/// Waits until bytes may pass, and returns how many (at least one).
fn poll_turn(flow: &Arc<Flow>, wait: &mut Option<Wait>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    if let Some(waiting) = wait {
        let waited = ready!(waiting.as_mut().poll(cx));
        *wait = None;
        return Poll::Ready(Ok(waited?));
    }
    if let Turn::Pass { most } = flow.channel().turn() {
        return Poll::Ready(Ok(most));
    }
    let flow = Arc::clone(flow);
    let waiting = wait.insert(Box::pin(async move { flow.turn().await }));
    let waited = ready!(waiting.as_mut().poll(cx));
    *wait = None;
    Poll::Ready(Ok(waited?))
}

impl AsyncRead for &Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(ending) = &mut *self.ending.lock() {
            ready!(ending.as_mut().poll(cx));
            return Poll::Ready(not_broken(&self.stream));
        }
        let read = loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let most = ready!(poll_turn(&self.flow, &mut self.reading.lock(), cx))?.min(buf.remaining());
            match self.stream.try_read(buf.initialize_unfilled_to(most)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => break read?,
            }
        };
        if read == 0 {
            let mut ending = Box::pin(tokio::time::sleep(SECOND_THOUGHT));
            let ended = ending.as_mut().poll(cx);
            *self.ending.lock() = Some(ending);
            return ended.map(|()| not_broken(&self.stream));
        }
        buf.advance(read);
        self.took(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for &Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let most = ready!(poll_turn(&self.flow, &mut self.writing.lock(), cx))?.min(PIECE);
            let written = self
                .stream
                .try_io(Interest::WRITABLE, || takes_more(&self.stream))
                .and_then(|()| self.stream.try_write(buf.get(..most).unwrap_or(buf)));
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    let written = written?;
                    self.gave(written);
                    return Poll::Ready(Ok(written));
                }
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.close_writing())
    }
}
