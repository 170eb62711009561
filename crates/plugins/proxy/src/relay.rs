//! Moves bytes between a program and its destination.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::channel::{Flow, Gate};
use crate::lane::Lane;

/// Copies both ways until both sides have ended, with half-closed connections as TCP has them; or until the channel is
/// stopped, or nothing moved for `idle`.
pub(crate) async fn relay(mut program: TcpStream, mut destination: TcpStream, flow: &Flow, idle: Duration) {
    let ((from_program, to_program), (from_destination, to_destination)) =
        (program.split(), destination.split());
    let both = async {
        tokio::try_join!(
            carry(from_program, to_destination, flow, End::Writing),
            carry(from_destination, to_program, flow, End::Reading),
        )
    };
    let why = match guarded(flow, idle, both).await {
        Some(Ok(_)) => "both ended".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "stopped or idle".to_owned(),
    };
    tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), why, "connection ended");
}

/// The end of a direction at which the destination is: there bytes wait for the gate, and are counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reading,
    Writing,
}

/// A lane that nothing came through for so long leaves its width to others.
const QUIET: Duration = Duration::from_secs(1);

async fn carry(from: ReadHalf<'_>, mut to: WriteHalf<'_>, flow: &Flow, metered: End) -> io::Result<()> {
    let mut lane = Lane::new();
    // Always first wait for the socket, then for the gate, which may have closed meanwhile; from there on nothing waits.
    while fill(&mut lane, from.as_ref(), flow, metered).await? > 0 {
        while !lane.is_empty() {
            let most = if metered == End::Writing { flow.turn().await? } else { usize::MAX };
            match lane.drain(to.as_ref(), most) {
                Ok(given) if metered == End::Writing => flow.count(given),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
        lane.adapt();
    }
    to.shutdown().await
}

async fn fill(lane: &mut Lane, from: &TcpStream, flow: &Flow, metered: End) -> io::Result<usize> {
    loop {
        if !lane.is_wide() {
            from.readable().await?;
        } else if let Ok(readable) = tokio::time::timeout(QUIET, from.readable()).await {
            readable?;
        } else {
            lane.narrow();
            continue;
        }
        let most = if metered == End::Reading { flow.turn().await? } else { usize::MAX };
        match lane.fill(from, most) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(filled) if metered == End::Reading => {
                flow.count(filled);
                return Ok(filled);
            }
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

/// Completes when nothing moved for `idle` (noticed within half as much again), not counting time behind a closed gate.
async fn idled(flow: &Flow, idle: Duration) {
    let mut seen = flow.moved();
    let mut quiet = 0;
    while quiet < 2 {
        tokio::time::sleep(idle / 2).await;
        let moved = flow.moved();
        if moved != seen || flow.channel().gate() == Gate::Closed {
            quiet = 0;
        } else {
            quiet += 1;
        }
        seen = moved;
    }
}
