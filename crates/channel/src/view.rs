//! What an agent shows its client of a channel: its own meter, and what its service does.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Amount, Usage};

/// Where a channel's service stands, as its agent sees it: answers and notices of messaging protocol 2 carry it. It is the agent's word:
/// it moves no money by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// Rises with each view of the channel within a run of the agent's process: of two views on one connection the higher one is newer.
    pub number: u64,
    /// What the agent's meter shows, in base units of the measure, since the channel was opened.
    pub used: Usage,
    /// What the service does.
    pub service: ServiceState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What has to be paid in all, in base units of the token, for a suspended service to go on; `None` where paying helps nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_at: Option<Amount>,
    /// Differs from the number that a client was given with its access once there is another access.
    #[serde(default)]
    pub access: u32,
}

/// What the service of a channel does, in an agent's words to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// It has not begun.
    Preparing,
    /// It runs.
    Running,
    /// It may go on.
    Suspended,
    /// It has ended for good.
    Ended,
}

impl ServiceState {
    /// The number that is signed.
    pub const fn code(self) -> u8 {
        match self {
            Self::Preparing => 0,
            Self::Running => 1,
            Self::Suspended => 2,
            Self::Ended => 3,
        }
    }

    /// What this number stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Preparing),
            1 => Some(Self::Running),
            2 => Some(Self::Suspended),
            3 => Some(Self::Ended),
            _ => None,
        }
    }
}

/// Why a service does not run, as a word for programs: 1 to 32 of `a` to `z` and `_`. A client shows words that it does not know
/// as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reason {
    /// The word, and zeros behind it.
    word: [u8; Self::MAX_LENGTH],
}

impl Reason {
    /// The longest one, in bytes.
    pub const MAX_LENGTH: usize = 32;
    /// Of a suspended service: the channel's client has asked to close it, so that nothing more is certain to be paid.
    pub const CLOSING: Self = Self::of("closing").unwrap();

    /// This text, if it is a word: for constants.
    pub const fn of(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.is_empty() || text.len() > Self::MAX_LENGTH {
            return None;
        }
        let (mut word, mut place) = ([0; Self::MAX_LENGTH], 0);
        while place < text.len() {
            if !(text[place].is_ascii_lowercase() || text[place] == b'_') {
                return None;
            }
            word[place] = text[place];
            place = place.saturating_add(1);
        }
        Some(Self { word })
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        let length = self.word.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX_LENGTH);
        // They are letters and `_` only.
        self.word.get(..length).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default()
    }
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of(text).ok_or_else(|| ReasonError { text: text.chars().take(Self::MAX_LENGTH).collect() })
    }
}

impl TryFrom<String> for Reason {
    type Error = ReasonError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.as_str().to_owned()
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({self})")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a reason: 1 to 32 of a to z and _")]
pub struct ReasonError {
    /// The refused text, shortened.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_reason_or_refused(text in "[a-z_A-Z0-9 \\u{80}-\\u{ff}]{0,40}|[a-z_]{0,40}") {
            let is_word = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let parsed = text.parse::<Reason>();
            prop_assert_eq!(parsed.is_ok(), is_word && (1..=32).contains(&text.len()));
            let read = serde_json::from_value::<Reason>(json!(text));
            prop_assert_eq!(read.is_ok(), parsed.is_ok());
            if let Ok(reason) = parsed {
                prop_assert_eq!(reason.as_str(), &text);
                prop_assert_eq!(serde_json::to_value(reason).unwrap(), json!(text));
            }
        }
    }

    #[test]
    fn a_state_of_a_service_has_one_number() {
        let states =
            [ServiceState::Preparing, ServiceState::Running, ServiceState::Suspended, ServiceState::Ended];
        for (code, state) in (0..).zip(states) {
            assert_eq!((state.code(), ServiceState::from_code(code)), (code, Some(state)));
        }
        assert_eq!(ServiceState::from_code(4), None);
    }

    #[test]
    fn a_view_has_these_fields() {
        let running = json!({ "number": 7, "used": 1000, "service": "running", "access": 1 });
        let suspended = json!({
            "number": 8, "used": 1000, "service": "suspended", "reason": "unpaid", "resumesAt": "250", "access": 1,
        });
        for text in [running, suspended] {
            let view: AgentView = serde_json::from_value(text.clone()).unwrap();
            assert_eq!(serde_json::to_value(view).unwrap(), text);
        }
    }
}
