use alloy::primitives::{Address, B256};
use privatix_adapter::Role;
use privatix_chain::Interest;
use privatix_contracts::topics;

/// The logs that a side follows. Not those that strangers cause for next to nothing, such as the skipped rows of batches.
#[derive(Debug)]
pub(crate) struct Interests {
    /// Those about its own account, and about the network fee: in their order.
    pub(crate) own: Vec<Interest>,
    /// What the market offers and takes, of everybody: recent ones, the newest first. None for an agent.
    pub(crate) market: Vec<Interest>,
}

/// What a side of this account follows.
pub(crate) fn interests(side: Role, contract: Address, account: Address) -> Interests {
    let one_of = |events: &[B256]| {
        events.iter().fold(Interest::all_of(contract), |interest, event| interest.topic(0, *event))
    };
    let account_and_fee = [one_of(&topics::ACCOUNT).address(1, account), one_of(&topics::FEE)];
    let channels = one_of(&topics::CHANNEL);
    match side {
        Role::Agent => {
            let of_agent = [channels.address(3, account), one_of(&topics::OFFERING).address(1, account)];
            Interests { own: of_agent.into_iter().chain(account_and_fee).collect(), market: Vec::new() }
        }
        Role::Client => Interests {
            own: std::iter::once(channels.address(2, account)).chain(account_and_fee).collect(),
            market: vec![one_of(&[topics::OPENINGS_AND_CLOSINGS.as_slice(), &topics::OFFERING].concat())],
        },
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Log, LogData};

    use super::*;

    const CONTRACT: Address = Address::repeat_byte(1);
    const AGENT: Address = Address::repeat_byte(2);
    const STRANGER: Address = Address::repeat_byte(3);
    const CLIENT: Address = Address::repeat_byte(4);

    /// An event of this kind with three topics after its signature.
    fn log(event: B256, topics: [B256; 3]) -> Log {
        let topics = [event].into_iter().chain(topics).collect();
        Log { address: CONTRACT, data: LogData::new_unchecked(topics, Vec::new().into()) }
    }

    #[test]
    fn an_agent_asks_for_its_own_topics_only() {
        let of_agent = interests(Role::Agent, CONTRACT, AGENT);
        assert_eq!(of_agent.market, []);
        let of_agent = of_agent.own;
        let is_in = |interests: &[Interest], log: &Log| interests.iter().any(|one| one.matches(log));
        let (channel, other) = (B256::repeat_byte(9), STRANGER.into_word());
        for event in topics::CHANNEL {
            let own = log(event, [channel, other, AGENT.into_word()]);
            let foreign = log(event, [channel, AGENT.into_word(), other]);
            assert!(is_in(&of_agent, &own) && !is_in(&of_agent, &foreign), "{event}");
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
        assert!(!is_in(&of_agent, &skipped));
    }

    #[test]
    fn a_client_asks_for_its_own_topics_and_of_the_market_for_offerings_and_their_places() {
        let Interests { own, market } = interests(Role::Client, CONTRACT, CLIENT);
        let is_in = |interests: &[Interest], log: &Log| interests.iter().any(|one| one.matches(log));
        let (channel, agent) = (B256::repeat_byte(9), AGENT.into_word());
        for event in topics::CHANNEL {
            let ours = log(event, [channel, CLIENT.into_word(), agent]);
            let foreign = log(event, [channel, STRANGER.into_word(), agent]);
            assert!(is_in(&own, &ours) && !is_in(&own, &foreign), "{event}");
            assert_eq!(is_in(&market, &foreign), topics::OPENINGS_AND_CLOSINGS.contains(&event), "{event}");
        }
        for event in topics::OFFERING {
            let offered = log(event, [agent, channel, agent]);
            assert!(is_in(&market, &offered) && !is_in(&own, &offered), "{event}");
        }
        for event in topics::FEE {
            assert!(is_in(&own, &log(event, [agent; 3])), "{event}");
        }
        let skipped = log(topics::SKIPPED, [CLIENT.into_word(); 3]);
        assert!(!is_in(&own, &skipped) && !is_in(&market, &skipped));
    }
}
