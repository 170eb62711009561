//! Why a service stands where it does, in words for people: what lists show as the reason.

use std::borrow::Cow;

use privatix_channel::Phase;
use privatix_market::{ClientEnd, ClientState, NotNow, Trouble, Why};
use privatix_somc::Unready;

/// Why the service of a channel stands where it does. `None` where an earlier version wrote why it ended.
pub(crate) fn reason(state: &ClientState) -> Option<Cow<'static, str>> {
    if let Some(ending) = state.own.ending {
        return ended(ending.why);
    }
    let is_closed = matches!(state.chain.phase(), Phase::Closed { .. });
    if is_closed {
        return Some("the channel is closed".into());
    }
    let reason = match (state.own.service.why, state.own.not_now.map(not_now)) {
        (Some(Why::NoAccess), Some(reason)) => {
            return Some(format!("the agent has not given access yet: {reason}").into());
        }
        (Some(why), _) => suspended(why),
        (None, Some(reason)) => return Some(format!("the agent takes no payment now: {reason}").into()),
        (None, None) if state.own.away.is_some() => "the agent does not answer, or takes no payment",
        (None, None) if state.own.disagrees.is_some() => {
            "the agent counts more than this side by more than the tolerance, and has suspended the service"
        }
        (None, None) => "paid as agreed",
    };
    Some(reason.into())
}

/// The reason that the agent gave.
const fn not_now(why: NotNow) -> &'static str {
    match why {
        NotNow::StaleView => Unready::StaleView.text(),
        NotNow::Unexplained => Unready::Unexplained.text(),
        _ => "it gave a reason that this version does not know",
    }
}

const fn suspended(why: Why) -> &'static str {
    match why {
        Why::NotOpen => "the channel is not open on chain",
        Why::Closing => "the channel is being closed",
        Why::NoTerms => "the terms of its offering are not known here",
        Why::Paused => "paused by the user",
        Why::NoAccess => "the agent has not given access yet",
        Why::Claimed => "the agent claims more than the restored database shows as signed",
        _ => "the service has ended", // of the other side, or with an ending
    }
}

fn ended(why: ClientEnd) -> Option<Cow<'static, str>> {
    let reason = match why {
        ClientEnd::ByOrder => "ended by the user",
        ClientEnd::CloseByOrder => "closed by the user",
        ClientEnd::NotOpened(trouble) => return Some(not_opened(trouble)),
        ClientEnd::NoAccess => "the agent gave no access",
        ClientEnd::AgentEnded => "the agent ended the service",
        ClientEnd::AgentClaimsMore => "the agent claims more than was signed",
        ClientEnd::KeyUsedElsewhere => {
            "somebody else uses its key: the agent showed a voucher that was not signed here"
        }
        ClientEnd::Excluded => "its agent cannot be contacted",
        ClientEnd::Inactive => "not used for too long",
        ClientEnd::Unreachable => "the agent could not be reached, or took no payment, for too long",
        ClientEnd::DepositSpent => "the deposit is spent",
        ClientEnd::MaxUnits => "the usage limit is reached",
        ClientEnd::AdapterStuck => "the plug-in did not do what it was asked for",
        _ => return None, // adopted
    };
    Some(reason.into())
}

fn not_opened(trouble: Trouble) -> Cow<'static, str> {
    match trouble {
        Trouble::Vanished => "its opening was undone by a reorganisation, and did not come again".into(),
        Trouble::Restored => "not opened: the database came back from a backup before it was".into(),
        _ => format!("not opened: {}", trouble.text()).into(),
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, B256};
    use privatix_channel::{ChannelDescriptor, ChannelId};

    use super::*;

    #[test]
    fn the_reason_that_an_agent_gave_is_shown() {
        let account = Address::repeat_byte(1);
        let descriptor = ChannelDescriptor {
            client: account,
            agent: account,
            offering: B256::ZERO.into(),
            nonce: 0,
            signer: account,
        };
        let mut state = ClientState::new(ChannelId::new([1; 32].into()), descriptor);
        for (why, said, shown) in [
            (None, None, "paid as agreed"),
            (
                None,
                Some(NotNow::StaleView),
                "the agent takes no payment now: its view of the chain is out of date",
            ),
            (Some(Why::NoAccess), None, "the agent has not given access yet"),
            (
                Some(Why::NoAccess),
                Some(NotNow::Unexplained),
                "the agent has not given access yet: its view of the chain does not explain what the contract holds",
            ),
            (Some(Why::Paused), Some(NotNow::StaleView), "paused by the user"),
        ] {
            (state.own.service.why, state.own.not_now) = (why, said);
            assert_eq!(reason(&state).as_deref(), Some(shown));
        }
    }
}
