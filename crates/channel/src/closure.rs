//! How a channel ended.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::UnknownStatus;

/// Who closed a channel, and whether the two sides disagreed: the contract's `Closure`.
///
/// Disputed means: while a close request of the client stood, the agent was paid more than the client had admitted. A
/// request that nobody answers with more ends [`ByClient`](Self::ByClient): both agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closure {
    /// The agent or its operator closed.
    ByAgent,
    /// The agent or its operator closed, after a close request that admitted less than was paid.
    ByAgentDisputed,
    /// Both signed.
    ByBoth,
    /// The client's close was finalized after its challenge, and nobody had claimed more than it admitted.
    ByClient,
    /// The client's close was finalized after its challenge, in which the agent was paid more than admitted.
    ByClientDisputed,
}

impl Closure {
    /// Every closure, in the contract's order.
    pub const ALL: [Self; 5] =
        [Self::ByAgent, Self::ByAgentDisputed, Self::ByBoth, Self::ByClient, Self::ByClientDisputed];

    /// The closure with this number in the contract.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether the agent or both sides closed, and not the client alone.
    pub const fn is_cooperative(self) -> bool {
        matches!(self, Self::ByAgent | Self::ByAgentDisputed | Self::ByBoth)
    }

    /// Whether the agent was paid more than the client admitted while its close request stood.
    pub const fn is_disputed(self) -> bool {
        matches!(self, Self::ByAgentDisputed | Self::ByClientDisputed)
    }

    /// The closure's name in storage and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByAgent => "by_agent",
            Self::ByAgentDisputed => "by_agent_disputed",
            Self::ByBoth => "by_both",
            Self::ByClient => "by_client",
            Self::ByClientDisputed => "by_client_disputed",
        }
    }
}

impl fmt::Display for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Closure {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|closure| closure.as_str() == text)
            .ok_or_else(|| UnknownStatus(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_reads_back_what_it_writes() {
        for (number, closure) in (0..).zip(Closure::ALL) {
            assert_eq!(closure.as_str().parse(), Ok(closure));
            assert_eq!(serde_json::to_string(&closure).unwrap(), format!("\"{closure}\""));
            assert_eq!(Closure::from_number(number), Some(closure));
        }
        assert_eq!(Closure::from_number(5), None);
        assert!("closed".parse::<Closure>().is_err());
    }
}
