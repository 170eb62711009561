//! How a daemon is.

use serde::{Deserialize, Serialize};

/// How a daemon is, in three answers: the body of `GET /health` and of the pages below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// It runs, and its job processor does not hang: a restart would not help. `GET /health/live`.
    pub live: bool,
    /// It can do its work: nothing is in its way. `GET /health/ready`, and `GET /health`.
    pub ready: bool,
    /// Nothing is known to endanger what it has earned or locked: no [check](Self::checks) is bad or unknown.
    /// `GET /health/money`.
    pub money_safe: bool,
    /// What money depends on.
    pub checks: Vec<Check>,
    /// What is in its way.
    pub reasons: Vec<Reason>,
    /// What an operator should know although the daemon works.
    pub warnings: Vec<Reason>,
}

/// One thing that money depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its name, which docs/operations.md explains.
    pub name: String,
    /// How it stands.
    pub state: CheckState,
    /// What is wrong, and the remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a [`Check`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CheckState {
    /// As it should be.
    Good,
    /// Safe for now; look at it.
    AtRisk,
    /// Money may be lost; act.
    Bad,
    /// Not known, which is as bad.
    Unknown,
}

impl CheckState {
    /// The name that it has in JSON and on the metrics page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::AtRisk => "atRisk",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// Where: a part's name, which docs/operations.md explains.
    pub part: String,
    /// What, and the remedy.
    pub message: String,
}
