//! Moves bytes between a program and its destination.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use crate::channel::{Flow, Gate};
use crate::metered::Metered;

/// Per direction. Also what may still arrive at a program after its channel was suspended.
const BUFFER: usize = 64 * 1024;

/// Copies both ways until both sides have ended, with half-closed connections as TCP has them; or until the channel is
/// stopped, or nothing moved for `idle`.
pub(crate) async fn relay<C, S>(mut program: C, mut destination: Metered<S>, idle: Duration)
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let flow = destination.flow();
    let copy = copy_bidirectional_with_sizes(&mut program, &mut destination, BUFFER, BUFFER);
    let ended = guarded(&flow, idle, copy).await;
    let why = match ended {
        Some(Ok(_)) => "both ended".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "stopped or idle".to_owned(),
    };
    tracing::debug!(channel = %flow.channel().id(), bytes = flow.moved(), why, "connection ended");
}

/// Runs `work` on a connection until it is done, or (`None`) the channel is stopped or the connection idle.
pub(crate) async fn guarded<F: Future>(flow: &Arc<Flow>, idle: Duration, work: F) -> Option<F::Output> {
    tokio::select! {
        done = work => Some(done),
        () = flow.channel().stopped() => None,
        () = idled(flow, idle) => None,
    }
}

/// Completes when nothing moved for `idle` (noticed within half as much again), not counting time behind a closed gate.
async fn idled(flow: &Arc<Flow>, idle: Duration) {
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
