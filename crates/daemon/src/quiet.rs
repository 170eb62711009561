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
/// It hides what is sensitive by itself.
const TOR: [&str; 2] = ["tor_", "arti"];

/// To be put over every subscriber, beside the configured level, which is this. Arti is heard where the level names one of
/// its crates.
pub(crate) fn libraries(level: &str) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + use<>> {
    let arti = level.split(',').any(|directive| is_of(&TOR, directive.trim()));
    FilterFn::new(move |line: &Metadata<'_>| may_be_heard(line, arti))
}

fn may_be_heard(line: &Metadata<'_>, arti: bool) -> bool {
    let target = line.target();
    let (loudest, named) = if is_of(&TOR, target) { (Level::ERROR, arti) } else { (Level::WARN, false) };
    *line.level() <= loudest || named || is_of(&OURS, target)
}

fn is_of(names: &[&str], target: &str) -> bool {
    names.iter().any(|name| target.starts_with(name))
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
        tracing::subscriber::with_default(lines.finish().with(libraries("trace")), || {
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

    #[test]
    fn arti_is_heard_where_the_level_names_one_of_its_crates() {
        for (level, heard) in
            [("debug", false), ("info,tor_circmgr=debug", true), ("tor_circmgr=debug", true)]
        {
            let written = Written::default();
            let (writer, filter) = (written.clone(), EnvFilter::new(level));
            let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || writer.clone());
            tracing::subscriber::with_default(lines.finish().with(libraries(level)), || {
                tracing::debug!(target: "tor_circmgr::build", "from-arti");
                tracing::debug!(target: "tor_guardmgr", "from-another-crate");
                tracing::debug!(target: "hyper_util::client", "from-a-library");
            });
            let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.contains("from-arti"), heard, "{level}: {written}");
            assert!(!written.contains("from-another") && !written.contains("from-a-library"), "{written}");
        }
    }
}
