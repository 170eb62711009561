//! Why a service stands where it does, in words for people: what lists show as the reason.

use std::borrow::Cow;

use privatix_channel::Phase;
use privatix_market::{ClientEnd, ClientState, Trouble, Why};

/// Why the service of a channel stands where it does. `None` where an earlier version wrote why it ended.
pub(crate) fn reason(state: &ClientState) -> Option<Cow<'static, str>> {
    if let Some(ending) = state.own.ending {
        return ended(ending.why);
    }
    let is_closed = matches!(state.chain.phase(), Phase::Closed { .. });
    let reason = match state.own.service.why {
        _ if is_closed => "the channel is closed",
        Some(why) => suspended(why),
        None if state.own.away.is_some() => "the agent does not answer, or takes no payment",
        None => "paid as agreed",
    };
    Some(reason.into())
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
