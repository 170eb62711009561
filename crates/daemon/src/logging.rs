//! Logs to standard error, so that standard output is for what was asked for.
//!
//! Logging never fails and never waits: see [`LogQueue`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSection};
use crate::log_queue::LogQueue;
use crate::{DaemonError, quiet};

/// For the last lines to be written. A reader that has stopped must not hold up the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The log of this process, once it is started.
static LOG: OnceLock<LogQueue> = OnceLock::new();

/// Starts logging, for the whole process. Returns the count of the lines that could not be written.
///
/// # Errors
/// [`DaemonError::Usage`] for a filter that cannot be read, or when logging was started before.
pub(crate) fn start(section: &LogSection) -> Result<Arc<AtomicU64>, DaemonError> {
    let wrong = |reason: String| DaemonError::Usage { what: "log.level".into(), reason };
    let filter = EnvFilter::try_new(&section.level).map_err(|error| {
        wrong(format!("it is no level or filter: {error}; give e.g. info, or info,privatix_chain=debug"))
    })?;
    let queue = LogQueue::start(unlocked_stderr())
        .map_err(|error| DaemonError::Task { task: "log", reason: error.to_string() })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone())
        .log_internal_errors(false) // it would print them to standard error, and panic where that fails
        .with_span_events(FmtSpan::NONE);
    let started = match section.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .with(quiet::libraries(&section.level))
            .try_init(),
        LogFormat::Json => {
            lines.json().flatten_event(true).finish().with(quiet::libraries(&section.level)).try_init()
        }
    };
    started.map_err(|error| wrong(error.to_string()))?;
    let lost = queue.lost();
    LOG.get_or_init(|| queue);
    // The standard hook writes to standard error itself and waits for a reader that has stopped.
    std::panic::set_hook(Box::new(log_panic));
    Ok(lost)
}

/// Standard error without the lock of the standard library: the log's thread may be stuck in a write, and whoever else wants
/// to write must not wait for it.
fn unlocked_stderr() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => Box::new(File::from(stderr)),
        Err(_) => Box::new(io::stderr()), // no descriptor left, so there will be trouble of another kind soon
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(%location, %backtrace, "a task panicked: {message}");
    } else {
        tracing::error!(%location, "a task panicked: {message}");
    }
}

/// Writes a line to standard error: in its turn behind the log's lines when there is a log.
pub(crate) fn stderr_line(text: &str) {
    let line = format!("{text}\n");
    match LOG.get() {
        Some(log) => log.push(line.as_bytes()),
        // Nobody is left who could be informed that it failed.
        None => {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

/// Waits a moment for the last lines to be written. To be called before the process ends.
pub(crate) fn flush() {
    if let Some(log) = LOG.get() {
        log.flush(LAST_LINES);
    }
}

/// Says something that the user of a command should know, or that belongs into the log when there is one.
pub(crate) fn remark(text: &str) {
    if LOG.get().is_some() {
        tracing::warn!("{text}");
    } else if !crate::output::is_json() {
        stderr_line(&format!("note: {text}"));
    }
}
