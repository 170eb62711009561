//! SIGINT, SIGTERM and SIGHUP end the daemon in order; a second SIGINT or SIGTERM ends it at once.
//!
//! SIGHUP comes when a terminal or an SSH session goes away, often more than once, and systemd can send it right after
//! SIGTERM: so it never aborts an orderly end. Under `nohup` it stays ignored.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{DaemonError, logging};

/// What shells expect of a program that a second interrupt ended.
const ABORTED: i32 = 130;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Heard {
    Interrupt,
    Terminate,
    HangUp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// End in order.
    Stop,
    /// End at once.
    Abort,
    Nothing,
}

const fn answer(stopping: bool, heard: Heard) -> Answer {
    match (stopping, heard) {
        (false, Heard::Interrupt | Heard::Terminate | Heard::HangUp) => Answer::Stop,
        (true, Heard::Interrupt | Heard::Terminate) => Answer::Abort,
        (true, Heard::HangUp) => Answer::Nothing,
    }
}

/// Cancels the token at the first signal and aborts the process at the second.
///
/// # Errors
/// [`DaemonError::Task`] when the system refuses handlers.
pub(crate) fn listen(shutdown: CancellationToken) -> Result<(), DaemonError> {
    let mut signals = Signals::new()
        .map_err(|error| DaemonError::Task { task: "signal handler", reason: error.to_string() })?;
    tokio::spawn(async move {
        let mut stopping = false;
        loop {
            let heard = signals.next().await;
            match answer(stopping, heard) {
                Answer::Stop => {
                    tracing::info!(signal = ?heard, "shutting down; SIGINT or SIGTERM aborts");
                    stopping = true;
                    shutdown.cancel();
                }
                Answer::Abort => {
                    tracing::warn!("aborted; what was not finished goes on at the next start");
                    logging::flush();
                    std::process::exit(ABORTED);
                }
                Answer::Nothing => {}
            }
        }
    });
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None when whoever started this process had it ignored.
    hang_up: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let ignored = hang_up_is_ignored();
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) -> Heard {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Heard::Interrupt,
            _ = self.terminate.recv() => Heard::Terminate,
            _ = hang_up => Heard::HangUp,
        }
    }
}

/// Whether SIGHUP was ignored when this process began, as under `nohup`. Systems without `/proc` do not say so without
/// unsafe code; SIGHUP ends the daemon in order there.
fn hang_up_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored(&status, SignalKind::hangup())
}

/// Looks a signal up in the mask of ignored ones in a `/proc/<pid>/status` (proc_pid_status(5)): bit 0 stands for signal 1.
fn is_ignored(status: &str, signal: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let bit = u32::try_from(signal.as_raw_value()).ok().and_then(|number| number.checked_sub(1));
    bit.and_then(|bit| mask.checked_shr(bit)).is_some_and(|shifted| shifted & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_signal_stops_and_only_an_interrupt_or_termination_aborts() {
        use Heard::{HangUp, Interrupt, Terminate};
        for heard in [Interrupt, Terminate, HangUp] {
            assert_eq!(answer(false, heard), Answer::Stop);
        }
        assert_eq!(answer(true, Interrupt), Answer::Abort);
        assert_eq!(answer(true, Terminate), Answer::Abort);
        assert_eq!(answer(true, HangUp), Answer::Nothing);
    }

    #[test]
    fn an_ignored_hang_up_is_read_from_the_process_s_status() {
        let status = |mask: &str| format!("Name:\tagentd\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        let ignored = |mask: &str| is_ignored(&status(mask), SignalKind::hangup());
        assert!(ignored("0000000000000001"));
        assert!(ignored("0000000000001001"));
        assert!(!ignored("0000000000001000"), "SIGPIPE, which every Rust program ignores");
        assert!(!ignored("nonsense"));
        assert!(!is_ignored("", SignalKind::hangup()));
    }
}
