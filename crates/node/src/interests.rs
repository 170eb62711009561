use alloy::primitives::{Address, B256};
use privatix_adapter::Role;
use privatix_chain::Interest;
use privatix_contracts::topics;

/// The logs that a side follows: those about its own account and the network fee, and, for a client, the market's. Not those
/// that strangers cause for next to nothing, such as the skipped rows of batches.
pub(crate) fn interests(side: Role, contract: Address, account: Address) -> Vec<Interest> {
    let one_of = |events: &[B256]| {
        events.iter().fold(Interest::all_of(contract), |interest, event| interest.topic(0, *event))
    };
    let own = one_of(&topics::ACCOUNT).address(1, account);
    match side {
        Role::Agent => vec![
            one_of(&topics::CHANNEL).address(3, account),
            one_of(&topics::OFFERING).address(1, account),
            one_of(&topics::FEE),
            own,
        ],
        Role::Client => vec![one_of(&topics::market()), own],
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Log, LogData};

    use super::*;

    const CONTRACT: Address = Address::repeat_byte(1);
    const AGENT: Address = Address::repeat_byte(2);
    const STRANGER: Address = Address::repeat_byte(3);

    /// An event of this kind with three topics after its signature.
    fn log(event: B256, topics: [B256; 3]) -> Log {
        let topics = [event].into_iter().chain(topics).collect();
        Log { address: CONTRACT, data: LogData::new_unchecked(topics, Vec::new().into()) }
    }

    #[test]
    fn an_agent_asks_for_its_own_topics_only() {
        let of_agent = interests(Role::Agent, CONTRACT, AGENT);
        let of_client = interests(Role::Client, CONTRACT, AGENT);
        let is_in = |interests: &[Interest], log: &Log| interests.iter().any(|one| one.matches(log));
        let (channel, other) = (B256::repeat_byte(9), STRANGER.into_word());
        for event in topics::CHANNEL {
            let own = log(event, [channel, other, AGENT.into_word()]);
            let foreign = log(event, [channel, AGENT.into_word(), other]);
            assert!(is_in(&of_agent, &own) && !is_in(&of_agent, &foreign), "{event}");
            assert!(is_in(&of_client, &own) && is_in(&of_client, &foreign), "{event}");
        }
        for event in topics::OFFERING.into_iter().chain(topics::ACCOUNT) {
            let own = log(event, [AGENT.into_word(), channel, other]);
            let foreign = log(event, [other, channel, AGENT.into_word()]);
            assert!(is_in(&of_agent, &own) && !is_in(&of_agent, &foreign), "{event}");
        }
        for event in topics::FEE {
            assert!(is_in(&of_agent, &log(event, [other; 3])), "{event}");
        }
        let skipped = log(topics::SKIPPED, [AGENT.into_word(); 3]);
        assert!(!is_in(&of_agent, &skipped) && !is_in(&of_client, &skipped));
    }
}
