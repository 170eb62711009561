//! Logs to standard error, so that standard output is for what was asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogSection};
use crate::{DaemonError, quiet};

/// Starts logging, for the whole process.
///
/// # Errors
/// [`DaemonError::Usage`] for a filter that cannot be read, or when logging was started before.
pub(crate) fn start(section: &LogSection) -> Result<(), DaemonError> {
    let wrong = |reason: String| DaemonError::Usage { what: "log.level".into(), reason };
    let filter = EnvFilter::try_new(&section.level).map_err(|error| {
        wrong(format!("it is no level or filter: {error}; give e.g. info, or info,privatix_chain=debug"))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let started = match section.format {
        LogFormat::Text => {
            lines.with_ansi(std::io::stderr().is_terminal()).finish().with(quiet::libraries()).try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().with(quiet::libraries()).try_init(),
    };
    started.map_err(|error| wrong(error.to_string()))
}
