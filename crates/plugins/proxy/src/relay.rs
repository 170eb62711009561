//! Moves bytes between the two connections of a request.

use std::io;
use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use privatix_socket_queue::unacknowledged;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::channel::{Flow, Gate};
use crate::lane::Lane;
use crate::metered::{Metered, broken, reset, second_thought};

/// Copies both ways until both sides have ended, with half-closed connections as TCP has them; or until one broke, the channel
/// is stopped, or nothing moved for `idle`. Unless both ended in order both are reset, so that neither side takes a part for
/// the whole.
pub(crate) async fn relay(plain: TcpStream, metered: Metered, idle: Duration) {
    let flow = Arc::clone(metered.flow());
    let copied = guarded(&flow, idle, copy(&plain, &metered)).await;
    let why = match &copied {
        Some(Ok(())) => "both ended".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "stopped or idle".to_owned(),
    };
    if let Some(Ok(())) = copied {
        finish(plain, metered, idle).await;
    } else {
        give_up(plain, metered).await;
    }
    tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), why, "connection ended");
}

/// Ends two connections whose ends were passed on: in order once the last bytes have arrived. A peer that takes them slowly has
/// as long as any; one that does not take them gets no more. Returns the other connection if it is still in order.
pub(crate) async fn finish(plain: TcpStream, metered: Metered, idle: Duration) -> Option<TcpStream> {
    let flow = Arc::clone(metered.flow());
    let _ = guarded(&flow, idle, metered.delivered(idle)).await;
    if metered.outstanding() == 0 {
        metered.end();
        return Some(plain);
    }
    give_up(plain, metered).await;
    None
}

/// How long to wait, while nothing moves, for what was on its way when a connection broke.
const PATIENCE: Duration = Duration::from_secs(1);

/// However it moves, no longer: a channel that is stopped waits for it.
const LONGEST: Duration = Duration::from_secs(3);

/// Ends two connections of which one broke: both are reset, once what was written to them before has arrived.
pub(crate) async fn give_up(plain: TcpStream, metered: Metered) {
    let both = async { tokio::join!(metered.delivered(PATIENCE), delivered(&plain)) };
    let _ = tokio::time::timeout(LONGEST, both).await;
    reset(&plain);
}

/// Waits until all that was written is acknowledged or cannot be any more, or nothing moved for a while.
async fn delivered(stream: &TcpStream) {
    let all = async {
        let (mut pause, mut quiet, mut last) = (Duration::from_millis(1), Duration::ZERO, u64::MAX);
        loop {
            let left = unacknowledged(stream).unwrap_or(0);
            if left == 0 || quiet >= PATIENCE {
                return;
            }
            if left < last {
                (pause, quiet, last) = (Duration::from_millis(1), Duration::ZERO, left);
            }
            tokio::time::sleep(pause).await;
            quiet += pause;
            pause = (pause * 2).min(PATIENCE / 10);
        }
    };
    tokio::select! {
        () = all => {}
        () = broken(stream) => {}
    }
}

/// Copies both ways until both ended, or one broke.
async fn copy(plain: &TcpStream, metered: &Metered) -> io::Result<()> {
    let mut there = pin!(carry(End::Plain(plain), End::Metered(metered)));
    let mut back = pin!(carry(End::Metered(metered), End::Plain(plain)));
    let both = async {
        tokio::select! {
            ended = &mut there => after(ended, plain, back).await,
            ended = &mut back => after(ended, metered.socket(), there).await,
        }
    };
    tokio::select! {
        ended = both => ended,
        never = metered.watch() => match never {},
    }
}

/// Goes on with the `other` direction after one ended that came `from` a connection.
async fn after(
    ended: Result<(), Broke>,
    from: &TcpStream,
    other: impl Future<Output = Result<(), Broke>>,
) -> io::Result<()> {
    match ended {
        // A connection whose end was read can break afterwards, and nobody else would notice.
        Ok(()) => tokio::select! {
            biased;
            ended = other => ended.map_err(Broke::into_error),
            () = broken(from) => Err(io::ErrorKind::ConnectionReset.into()),
        },
        // What it sent before it broke, such as the reason, is still to be passed on.
        Err(Broke::To(error)) => {
            let _ = other.await;
            Err(error)
        }
        Err(Broke::From(error)) => Err(error),
    }
}

/// The connection that broke, as a direction sees it.
enum Broke {
    From(io::Error),
    To(io::Error),
}

impl Broke {
    fn into_error(self) -> io::Error {
        match self {
            Self::From(error) | Self::To(error) => error,
        }
    }
}

/// One of the two connections.
#[derive(Clone, Copy)]
enum End<'a> {
    Plain(&'a TcpStream),
    Metered(&'a Metered),
}

impl<'a> End<'a> {
    const fn socket(self) -> &'a TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Metered(metered) => metered.socket(),
        }
    }

    async fn fill(self, lane: &mut Lane) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => lane.fill(stream, usize::MAX),
            Self::Metered(metered) => metered.fill(lane).await,
        }
    }

    async fn drain(self, lane: &mut Lane) -> io::Result<()> {
        match self {
            Self::Plain(stream) => lane.drain(stream, usize::MAX).map(drop),
            Self::Metered(metered) => metered.drain(lane).await,
        }
    }

    fn close_writing(self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Metered(metered) => metered.close_writing(),
        }
    }
}

/// A lane that nothing came through for this time leaves its width to others.
const QUIET: Duration = Duration::from_secs(1);

async fn carry(from: End<'_>, to: End<'_>) -> Result<(), Broke> {
    let mut lane = Lane::new();
    // Always first wait for the socket, then for the gate, which may have closed meanwhile; from there on nothing waits.
    while fill(&mut lane, from).await.map_err(Broke::From)? > 0 {
        while !lane.is_empty() {
            match to.drain(&mut lane).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _stalled =
                        if let End::Metered(metered) = from { Some(metered.stall()) } else { None };
                    to.socket().writable().await.map_err(Broke::To)?;
                }
                drained => drained.map_err(Broke::To)?,
            }
        }
        lane.adapt();
    }
    second_thought(from.socket()).await.map_err(Broke::From)?;
    to.close_writing().map_err(Broke::To)
}

async fn fill(lane: &mut Lane, from: End<'_>) -> io::Result<usize> {
    loop {
        if !lane.is_wide() {
            from.socket().readable().await?;
        } else if let Ok(readable) = tokio::time::timeout(QUIET, from.socket().readable()).await {
            readable?;
        } else {
            lane.narrow();
            continue;
        }
        match from.fill(lane).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            filled => return filled,
        }
    }
}

/// Runs `work` on a connection until it is done, or (`None`) the channel is stopped or the connection idle.
pub(crate) async fn guarded<F: Future>(flow: &Flow, idle: Duration, work: F) -> Option<F::Output> {
    tokio::select! {
        done = work => Some(done),
        () = flow.channel().stopped() => None,
        () = idled(flow, idle) => None,
    }
}

/// Completes when nothing moved for `idle` (noticed within half as much again), not counting time behind a closed gate, unless
/// its own peer does not take what was sent before.
async fn idled(flow: &Flow, idle: Duration) {
    let mut seen = flow.moved();
    let mut quiet = 0;
    while quiet < 2 {
        tokio::time::sleep(idle / 2).await;
        let moved = flow.moved();
        let gated = flow.channel().gate() == Gate::Closed && !flow.waits_for_its_peer();
        if moved != seen || gated {
            quiet = 0;
        } else {
            quiet += 1;
        }
        seen = moved;
    }
}
