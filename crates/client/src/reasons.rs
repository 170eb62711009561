//! Why a service stands where it does, in words for people: what lists show as the reason.

use privatix_channel::Phase;
use privatix_market::{ClientEnd, ClientState, Trouble, Why};

/// Why the service of a channel stands where it does. `None` where an earlier version wrote why it ended.
pub(crate) fn reason(state: &ClientState) -> Option<&'static str> {
    if let Some(ending) = state.own.ending {
        return ended(ending.why);
    }
    let is_closed = matches!(state.chain.phase(), Phase::Closed { .. });
    Some(match state.own.service.why {
        _ if is_closed => "the channel is closed",
        Some(why) => suspended(why),
        None if state.own.away.is_some() => "the agent does not answer, or takes no payment",
        None => "paid as agreed",
    })
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

const fn ended(why: ClientEnd) -> Option<&'static str> {
    Some(match why {
        ClientEnd::ByOrder => "ended by the user",
        ClientEnd::CloseByOrder => "closed by the user",
        ClientEnd::NotOpened(trouble) => not_opened(trouble),
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
    })
}

const fn not_opened(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Funds => "not opened: the account has not enough tokens",
        Trouble::Budget => "not opened: it would exceed the budget",
        Trouble::Key => "not opened: the key could not be used",
        Trouble::Cancelled => "not opened: it was cancelled",
        Trouble::Ended => "not opened: the channel ended first",
        Trouble::Vanished => "its opening was undone by a reorganisation, and did not come again",
        Trouble::Restored => "not opened: the database came back from a backup before it was",
        _ => "not opened: its transaction failed",
    }
}
