//! Which lines may be logged at all, whatever the level.
//!
//! Libraries that carry requests log them, at `debug` and `trace`, with addresses, headers and bodies: the key in an
//! endpoint's path, a proxy user's password. Which of them do so, and where, changes with every release. So below `warn`
//! only this project's own crates are heard, and they have types that hide their secrets.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::FilterFn;

/// What the names of our own crates begin with.
const OURS: [&str; 3] = ["privatix", "agentd", "clientd"];

/// Arti's. What it warns of is either shown by our own status of Tor or, on a small network, a screen of weights a second.
const TOR: [&str; 2] = ["tor_", "arti"];

/// To be put over every subscriber, beside the configured level.
pub(crate) fn libraries() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    FilterFn::new(may_be_heard)
}

fn may_be_heard(line: &Metadata<'_>) -> bool {
    let of = |names: &[&str]| names.iter().any(|name| line.target().starts_with(name));
    let loudest = if of(&TOR) { Level::ERROR } else { Level::WARN };
    *line.level() <= loudest || of(&OURS)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn libraries_are_heard_from_warn_up_whatever_the_filter_asks_for() {
        let written = Written::default();
        let (writer, filter) = (written.clone(), EnvFilter::new("trace,hyper_util=trace"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
        tracing::subscriber::with_default(lines.finish().with(libraries()), || {
            let _span =
                tracing::debug_span!(target: "alloy_transport_http", "Request", url = "in-a-span").entered();
            tracing::debug!(target: "hyper_util::client", "from-a-library");
            tracing::trace!(target: "tungstenite::handshake", "from-a-library");
            tracing::warn!(target: "hyper_util::client", "a-warning");
            tracing::warn!(target: "tor_netdir::weights", "from-a-library");
            tracing::error!(target: "tor_circmgr", "an-error");
            tracing::trace!(target: "privatix_chain::rpc", "from-us");
            tracing::debug!(target: "agentd", "from-the-daemon");
        });
        let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        for heard in ["a-warning", "an-error", "from-us", "from-the-daemon"] {
            assert!(written.contains(heard), "{heard}: {written}");
        }
        assert!(!written.contains("from-a-library") && !written.contains("in-a-span"), "{written}");
    }
}
