//! Why a service stands where it does, in words for people: what lists show as the reason.

use privatix_channel::Phase;
use privatix_market::{AgentEnd, AgentState, Unserved, Why};

/// Why the service of a channel stands where it does. `None` where an earlier version wrote why it ended.
pub(crate) fn reason(state: &AgentState) -> Option<&'static str> {
    if let Some(ending) = state.own.ending {
        return ended(ending.why);
    }
    let is_closed = matches!(state.chain.phase(), Phase::Closed { .. });
    Some(match state.own.service.why {
        _ if is_closed => "the channel is closed",
        Some(why) => suspended(why),
        None => "paid as agreed",
    })
}

const fn suspended(why: Why) -> &'static str {
    match why {
        Why::NotOpen => "the channel is not open on chain",
        Why::Closing => "the client is closing the channel",
        Why::NoTerms => "the terms of its offering are not known here",
        Why::StaleView => "the view of the chain is stale",
        Why::Unexplained => "the contract holds something that the channel's events do not explain",
        Why::NoGas => "the account has too little ether for the closes of its channels",
        Why::Opening => "access is being prepared",
        Why::Held => "paused by a command",
        Why::Unbounded => "the plug-in does not hold the service to what is paid",
        Why::Unpaid => "payment is behind by more than agreed",
        Why::DepositReached | Why::DepositSpent => "the deposit is used up",
        Why::MaxUnitsReached => "the usage limit is reached",
        _ => "the service has ended", // of the other side, or with an ending
    }
}

const fn ended(why: AgentEnd) -> Option<&'static str> {
    Some(match why {
        AgentEnd::NotServed(Unserved::NoSigner) => "the channel names no signer of its vouchers",
        AgentEnd::NotServed(Unserved::Fee) => "the channel's network fee is above what the agent accepts",
        AgentEnd::ByOrder => "ended by a command",
        AgentEnd::CloseByOrder => "closed by a command",
        AgentEnd::NeverUsed => "not used in the time for the first use",
        AgentEnd::Inactive => "not used for too long",
        AgentEnd::SuspendedTooLong => "suspended for too long",
        AgentEnd::DepositSpent => "the deposit is spent",
        AgentEnd::MaxUnits => "the usage limit is reached",
        AgentEnd::AdapterStuck => "the plug-in did not do what it was asked for",
        AgentEnd::Vanished => "its opening was undone by a reorganisation, and did not come again",
        AgentEnd::Adopted { .. } => return None,
        _ => "the terms of its offering are not known here",
    })
}
