//! SIGINT and SIGTERM: the first ends the daemon in order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::DaemonError;

/// What shells expect of a program that a second interrupt ended.
const ABORTED: i32 = 130;

/// Cancels the token at the first signal and aborts the process at the second.
///
/// # Errors
/// [`DaemonError::Task`] when the system refuses handlers.
pub(crate) fn listen(shutdown: CancellationToken) -> Result<(), DaemonError> {
    let failed =
        |error: std::io::Error| DaemonError::Task { task: "signal handler", reason: error.to_string() };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        tracing::info!("shutting down; a second signal aborts");
        shutdown.cancel();
        next(&mut interrupt, &mut terminate).await;
        tracing::warn!("aborted; what was not finished goes on at the next start");
        std::process::exit(ABORTED);
    });
    Ok(())
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
