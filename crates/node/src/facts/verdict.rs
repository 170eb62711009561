//! What the answers of several endpoints about the contract come to. One of them may lie.

use alloy::primitives::Address;
use privatix_chain::ChainError;
use privatix_store::contract_facts::ContractFacts;

use crate::NodeError;

/// What an endpoint shows of the contract.
pub(super) struct Answer {
    pub(super) endpoint: String,
    pub(super) shown: Shown,
}

pub(super) enum Shown {
    Facts(ContractFacts),
    /// Not the contract that is asked for: other code, none, another chain.
    Wrong(NodeError),
    /// It does not answer, or cannot be understood.
    Nothing(NodeError),
}

impl Shown {
    /// What an error of an endpoint comes to.
    pub(super) fn of(error: NodeError) -> Self {
        if matches!(error, NodeError::Chain(ChainError::Rpc(_)) | NodeError::Contract { .. }) {
            Self::Nothing(error)
        } else {
            Self::Wrong(error)
        }
    }

    fn facts(&self) -> Option<&ContractFacts> {
        match self {
            Self::Facts(facts) => Some(facts),
            _ => None,
        }
    }
}

/// What the answers come to where it is known what the contract was.
pub(super) enum Against {
    /// It is still that, and nobody says otherwise.
    Shown(ContractFacts),
    /// It may still be that: an endpoint confirms it and another one does not, or one is silent. Why it is in doubt.
    Doubted(NodeError),
    /// All endpoints answer, and for none of them it is still that.
    Replaced(Vec<Answer>),
}

/// Judges the answers by what the contract was.
pub(super) fn against(known: &ContractFacts, answers: Vec<Answer>) -> Against {
    let differs = |answer: &Answer| match &answer.shown {
        Shown::Facts(facts) => difference(known, facts),
        Shown::Wrong(NodeError::UnknownContract { .. }) => Some("code"),
        Shown::Wrong(_) => Some("chain"),
        Shown::Nothing(_) => None,
    };
    let denier = answers.iter().find_map(|answer| Some((answer.endpoint.clone(), differs(answer)?)));
    let confirmed = answers.iter().find_map(|answer| {
        let facts = answer.shown.facts().filter(|facts| difference(known, facts).is_none())?;
        Some((answer.endpoint.clone(), facts.clone()))
    });
    match (confirmed, denier) {
        (Some((_, facts)), None) => return Against::Shown(facts),
        (Some((first, _)), Some((second, what))) => {
            return Against::Doubted(disagree(known.domain.contract(), what, first, second));
        }
        (None, _) => {}
    }
    if answers.iter().any(|answer| matches!(answer.shown, Shown::Nothing(_))) {
        return Against::Doubted(worst(answers));
    }
    Against::Replaced(answers)
}

/// What the contract is where it is not known what it was: as the first one shows it, unless another one shows something else.
///
/// # Errors
/// [`NodeError::EndpointsDisagree`]; what is wrong, or silent, if none shows it.
pub(super) fn first(contract: Address, answers: Vec<Answer>) -> Result<ContractFacts, NodeError> {
    let shown =
        answers.iter().find_map(|answer| Some((answer.endpoint.clone(), answer.shown.facts()?.clone())));
    let Some((first, facts)) = shown else { return Err(worst(answers)) };
    let denier = answers.into_iter().find_map(|answer| {
        let what = match answer.shown {
            Shown::Facts(other) => difference(&facts, &other)?,
            Shown::Wrong(NodeError::UnknownContract { .. }) => "code",
            // It lags, or is on another chain: what follows the chain finds that out.
            Shown::Wrong(_) | Shown::Nothing(_) => return None,
        };
        Some((answer.endpoint, what))
    });
    match denier {
        Some((second, what)) => Err(disagree(contract, what, first, second)),
        None => Ok(facts),
    }
}

/// What is not as it was and must be, if anything is.
pub(super) fn difference(before: &ContractFacts, now: &ContractFacts) -> Option<&'static str> {
    if before.domain.chain_id() != now.domain.chain_id() {
        Some("chain")
    } else if before.code_hash != now.code_hash {
        Some("code")
    } else if before.domain != now.domain || before.challenge_period != now.challenge_period {
        Some("terms")
    } else {
        None
    }
}

fn disagree(contract: Address, what: &'static str, first: String, second: String) -> NodeError {
    NodeError::EndpointsDisagree { contract, what, first, second }
}

/// What is wrong counts more than what is silent.
fn worst(answers: Vec<Answer>) -> NodeError {
    let mut silence = None;
    for answer in answers {
        match answer.shown {
            Shown::Wrong(error) => return error,
            Shown::Nothing(error) => silence = silence.or(Some(error)),
            Shown::Facts(_) => {}
        }
    }
    silence.unwrap_or_else(|| NodeError::Refused("no chain endpoint is configured".into()))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use alloy::primitives::B256;
    use privatix_channel::{Domain, Period};
    use privatix_store::contract_facts::Verdict;

    use super::*;

    pub(in crate::facts) fn facts() -> ContractFacts {
        ContractFacts {
            domain: Domain::new(5, Address::repeat_byte(1), Address::repeat_byte(2)),
            code_hash: B256::repeat_byte(3),
            verdict: Verdict::Known,
            challenge_period: Period::new(900),
            token_name: None,
            token_symbol: None,
            token_decimals: Some(8),
            deposits: "by permit".into(),
            checked_at: SystemTime::UNIX_EPOCH,
        }
    }

    fn same() -> Shown {
        Shown::Facts(facts())
    }

    fn other() -> Shown {
        Shown::Facts(ContractFacts { code_hash: B256::ZERO, ..facts() })
    }

    fn wrong() -> Shown {
        Shown::of(NodeError::Chain(ChainError::WrongChain { endpoint: "liar".into(), expected: 5, found: 6 }))
    }

    fn silent() -> Shown {
        Shown::of(NodeError::Contract { what: "anything", reason: "it is down".into() })
    }

    fn answers(shown: impl IntoIterator<Item = Shown>) -> Vec<Answer> {
        let answer = |(n, shown)| Answer { endpoint: format!("endpoint {n}"), shown };
        (1..).zip(shown).map(answer).collect()
    }

    #[test]
    fn neither_one_liar_nor_one_that_answers_alone_overrules_what_was_known() {
        for (shown, expected) in [
            (vec![same()], "shown"),
            (vec![silent(), same()], "shown"),
            (vec![same(), same()], "shown"),
            (vec![same(), other()], "the code of contract"),
            (vec![wrong(), same()], "the chain of contract"),
            (vec![silent()], "it is down"),
            (vec![silent(), other()], "it is down"),
            (vec![wrong(), silent()], "6"),
            (vec![other()], "replaced"),
            (vec![wrong(), other()], "replaced"),
        ] {
            let found = match against(&facts(), answers(shown)) {
                Against::Shown(_) => "shown".to_owned(),
                Against::Doubted(doubt) => doubt.to_string(),
                Against::Replaced(_) => "replaced".to_owned(),
            };
            assert!(found.contains(expected), "{found}, not {expected}");
        }
    }

    #[test]
    fn at_a_first_start_nobody_may_show_another_contract() {
        for (shown, expected) in [
            (vec![same()], None),
            (vec![silent(), same()], None),
            (vec![same(), wrong()], None),
            (vec![same(), other()], Some("the code of contract")),
            (vec![silent()], Some("it is down")),
            (vec![silent(), wrong()], Some("6")),
            (vec![], Some("no chain endpoint")),
        ] {
            let refused =
                first(facts().domain.contract(), answers(shown)).err().map(|error| error.to_string());
            let is_expected = match (&refused, expected) {
                (None, None) => true,
                (Some(refused), Some(expected)) => refused.contains(expected),
                _ => false,
            };
            assert!(is_expected, "{refused:?}, not {expected:?}");
        }
    }

    #[test]
    fn another_chain_code_or_term_is_a_difference_and_another_token_name_is_none() {
        let before = facts();
        let domain = before.domain;
        let renamed = ContractFacts { token_name: Some("New".into()), ..facts() };
        for (now, expected) in [
            (renamed, None),
            (ContractFacts { domain: domain.on_chain(6), ..facts() }, Some("chain")),
            (ContractFacts { code_hash: B256::ZERO, ..facts() }, Some("code")),
            (ContractFacts { challenge_period: Period::new(1), ..facts() }, Some("terms")),
        ] {
            assert_eq!(difference(&before, &now), expected);
        }
    }
}
