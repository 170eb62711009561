//! What it means that a call to the plug-in did not succeed.

use std::time::Duration;

use privatix_adapter::{AdapterError, AdapterRefusal};
use privatix_market::Target;

use crate::NodeError;

/// What an error of the calls that lead to a target means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The plug-in does not know the channel.
    Unknown,
    /// The service is as wanted, because the plug-in serves nothing.
    Reached,
    /// The plug-in, or this node, does not do this for the channel.
    Refused,
    /// There was no answer. `late`: for how long the call may still take effect, where it was made.
    NoAnswer { late: Option<Duration> },
}

/// What an error of the calls that lead to `target` means.
pub(super) fn meaning(target: Target, error: &NodeError) -> Meaning {
    match error {
        NodeError::Adapter(AdapterError::TimedOut { after, .. }) => Meaning::NoAnswer { late: Some(*after) },
        NodeError::Adapter(AdapterError::Refused { refusal, .. }) => match refusal {
            AdapterRefusal::UnknownChannel { .. } => Meaning::Unknown,
            AdapterRefusal::NotConfigured | AdapterRefusal::ShutDown if target == Target::Absent => {
                Meaning::Reached
            }
            // It starts or ends: that says nothing about the channel.
            AdapterRefusal::NotConfigured | AdapterRefusal::ShutDown => Meaning::NoAnswer { late: None },
            _ => Meaning::Refused,
        },
        // A defect, which the next try meets again.
        NodeError::Adapter(AdapterError::Panicked { .. }) => Meaning::Refused,
        error if error.is_temporary() => Meaning::NoAnswer { late: None },
        _ => Meaning::Refused,
    }
}

#[cfg(test)]
mod tests {
    use privatix_adapter::Call;
    use privatix_channel::ChannelId;

    use super::*;

    fn refused(refusal: AdapterRefusal) -> NodeError {
        AdapterError::Refused { adapter: "test".into(), call: Call::Start, channel: None, refusal }.into()
    }

    #[test]
    fn an_answer_about_the_channel_differs_from_none() {
        let (adapter, channel, call) = ("test".to_owned(), Some(ChannelId::default()), Call::Start);
        let after = Duration::from_secs(10);
        let timed_out = AdapterError::TimedOut { adapter: adapter.clone(), call, channel, after };
        let shut_down = AdapterError::ShutDown { adapter: adapter.clone(), call, channel };
        let panicked = AdapterError::Panicked { adapter, call, channel, message: "oh".into() };
        let unknown = AdapterRefusal::UnknownChannel { channel: ChannelId::default() };
        let busy = AdapterRefusal::Unavailable { reason: "busy".into(), remedy: "wait".into() };
        let wrong = AdapterRefusal::Parameters { field: "port".into(), reason: "is 0".into() };
        let no_answer = Meaning::NoAnswer { late: None };
        for (target, error, expected) in [
            (Target::Running, timed_out.into(), Meaning::NoAnswer { late: Some(after) }),
            (Target::Running, refused(unknown), Meaning::Unknown),
            (Target::Running, refused(AdapterRefusal::NotConfigured), no_answer),
            (Target::Suspended, refused(AdapterRefusal::ShutDown), no_answer),
            (Target::Absent, refused(AdapterRefusal::NotConfigured), Meaning::Reached),
            (Target::Running, refused(busy), Meaning::Refused),
            (Target::Running, refused(wrong), Meaning::Refused),
            (Target::Suspended, panicked.into(), Meaning::Refused),
            (Target::Absent, shut_down.into(), no_answer),
            (Target::Running, NodeError::NoAccess(ChannelId::default()), no_answer),
        ] {
            assert_eq!(meaning(target, &error), expected, "{target:?} {error}");
        }
    }
}
