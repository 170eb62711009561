//! How far Tor is, for people and programs.

use arti_client::status::{BlockageKind, BootstrapStatus};

/// How far this process's Tor is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TorStatus {
    /// How much of what is needed to use the network is here, in percent.
    pub percent: u8,
    /// Whether the network can be used now.
    pub ready: bool,
    /// What is under way, in words.
    pub stage: String,
    /// What is in the way, with its remedy.
    pub problem: Option<TorProblem>,
}

impl Default for TorStatus {
    fn default() -> Self {
        Self { percent: 0, ready: false, stage: "not started".into(), problem: None }
    }
}

impl TorStatus {
    pub(crate) fn of(status: &BootstrapStatus) -> Self {
        let ready = status.ready_for_traffic();
        let problem =
            status.blocked().map(|blockage| TorProblem::of(&blockage.kind(), blockage.message().to_string()));
        Self {
            percent: percent(status.as_frac()),
            ready,
            stage: status.to_string(),
            // What is stale while the network works is nobody's problem.
            problem: problem.filter(|_| !ready),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
#[expect(clippy::float_arithmetic, reason = "arti gives a fraction; no money is counted")]
fn percent(fraction: f32) -> u8 {
    (fraction * 100.0).round().clamp(0.0, 100.0) as u8
}

/// What keeps Tor from working.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TorProblem {
    /// This machine seems to be offline.
    #[error("no network: {0}; check this machine's connection")]
    Offline(String),
    /// Connections are made, but something on the way keeps Tor out.
    #[error("Tor seems to be blocked here: {0}; use bridges, with a pluggable transport")]
    Filtered(String),
    /// The clock is wrong.
    #[error("this machine's clock is wrong: {0}; set it")]
    ClockSkew(String),
    /// The directory of relays cannot be loaded.
    #[error(
        "the directory of relays cannot be loaded: {0}; check this machine's network and clock, it goes on by itself"
    )]
    Directory(String),
    /// Nothing goes on, and arti cannot say why yet.
    #[error(
        "Tor makes no progress at {0}; check this machine's network and clock, and use bridges where Tor is blocked"
    )]
    Stalled(String),
    /// Relays cannot be reached.
    #[error("the Tor network cannot be reached: {0}; check this machine's network, it goes on by itself")]
    Unreachable(String),
}

impl TorProblem {
    fn of(kind: &BlockageKind, message: String) -> Self {
        match kind {
            BlockageKind::Offline => Self::Offline(message),
            BlockageKind::Filtering => Self::Filtered(message),
            BlockageKind::ClockSkewed => Self::ClockSkew(message),
            BlockageKind::CantBootstrap => Self::Directory(message),
            _ => Self::Unreachable(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_shown_in_percent() {
        for (fraction, shown) in [(0.0, 0), (0.154, 15), (0.999, 100), (1.0, 100), (-1.0, 0), (7.0, 100)] {
            assert_eq!(percent(fraction), shown);
        }
        assert_eq!(percent(f32::NAN), 0);
    }

    #[test]
    fn each_problem_names_what_to_do() {
        for (kind, remedy) in [
            (BlockageKind::Offline, "check this machine's connection"),
            (BlockageKind::Filtering, "use bridges"),
            (BlockageKind::ClockSkewed, "set it"),
            (BlockageKind::CantBootstrap, "network and clock"),
            (BlockageKind::CantReachTor, "check this machine's network"),
        ] {
            let shown = TorProblem::of(&kind, "x".into()).to_string();
            assert!(shown.contains(remedy), "{shown}");
        }
    }
}
