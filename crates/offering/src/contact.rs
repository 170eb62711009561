//! Which of an agent's addresses a client may use, and in which order.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Addresses, SomcAddress, SourceType};

/// How a client reaches agents: the setting `somc.contact`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ContactPolicy {
    /// At onion addresses only, so that no agent learns the client's network address from messages.
    #[default]
    TorOnly,
    /// At onion addresses where the agent has one that answers, else directly.
    TorPreferred,
    /// Directly where that works, else at onion addresses.
    DirectAllowed,
}

impl ContactPolicy {
    const ALL: [Self; 3] = [Self::TorOnly, Self::TorPreferred, Self::DirectAllowed];

    const fn name(self) -> &'static str {
        match self {
            Self::TorOnly => "tor-only",
            Self::TorPreferred => "tor-preferred",
            Self::DirectAllowed => "direct-allowed",
        }
    }

    /// The kinds of addresses that may be dialled, the preferred one first.
    const fn kinds(self) -> &'static [SourceType] {
        match self {
            Self::TorOnly => &[SourceType::Tor],
            Self::TorPreferred => &[SourceType::Tor, SourceType::Direct],
            Self::DirectAllowed => &[SourceType::Direct, SourceType::Tor],
        }
    }

    /// The addresses to try, in this order: the preferred kind first, within a kind the announced address first and then
    /// the agent's order; none twice.
    ///
    /// `announced` is what the chain says, `listed` what the agent's signed message adds.
    ///
    /// # Errors
    /// [`NotPermitted`] when the agent has no address of a permitted kind.
    pub fn candidates(
        self,
        announced: &SomcAddress,
        listed: &[SomcAddress],
    ) -> Result<Addresses, NotPermitted> {
        let mut offered = Addresses::from(announced.clone());
        for address in listed {
            if !offered.iter().any(|known| known == address) {
                offered.push(address.clone());
            }
        }
        let of_kind = |&kind| offered.iter().filter(move |address| address.kind() == kind).cloned();
        let permitted = Addresses::new(self.kinds().iter().flat_map(of_kind));
        permitted.ok_or(NotPermitted { policy: self, offered })
    }
}

impl fmt::Display for ContactPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ContactPolicy {
    type Err = UnknownContactPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| UnknownContactPolicy { text: text.chars().take(32).collect() })
    }
}

/// A text that names no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a contact policy; write tor-only, tor-preferred or direct-allowed")]
pub struct UnknownContactPolicy {
    /// The refused text, shortened.
    pub text: String,
}

/// An agent has no address that the client's policy permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotPermitted {
    /// The policy.
    pub policy: ContactPolicy,
    /// Where the agent is reached.
    pub offered: Addresses,
}

impl std::error::Error for NotPermitted {}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the agent is reached only at ")?;
        for (index, address) in self.offered.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        let policy = self.policy;
        write!(
            f,
            ", and `somc.contact` is \"{policy}\"; set it to \"tor-preferred\" or \"direct-allowed\" "
        )?;
        f.write_str("to use agents without an onion service, who then learn this client's network address")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use ContactPolicy::{DirectAllowed, TorOnly, TorPreferred};

    fn onion(number: u8) -> SomcAddress {
        SomcAddress::onion(&[number; 32], 80).unwrap()
    }

    fn direct(number: u8) -> SomcAddress {
        SomcAddress::direct("agent.example", 9_000 + u16::from(number)).unwrap()
    }

    #[test]
    fn the_permitted_addresses_are_tried_in_the_policys_order() {
        let (t1, t2, d1, d2) = (onion(1), onion(2), direct(1), direct(2));
        let all = [&d2, &t2, &d1, &t1];
        #[rustfmt::skip]
        let table: &[(ContactPolicy, &SomcAddress, &[&SomcAddress], &[&SomcAddress])] = &[
            (TorOnly,       &t1, &[],       &[&t1]),
            (TorOnly,       &t1, &all,      &[&t1, &t2]),
            (TorOnly,       &d1, &all,      &[&t2, &t1]),
            (TorOnly,       &d1, &[],       &[]),
            (TorOnly,       &d1, &[&d2],    &[]),
            (TorPreferred,  &t1, &[],       &[&t1]),
            (TorPreferred,  &d1, &[],       &[&d1]),
            (TorPreferred,  &d1, &[&d1],    &[&d1]),
            (TorPreferred,  &t1, &all,      &[&t1, &t2, &d2, &d1]),
            (TorPreferred,  &d1, &all,      &[&t2, &t1, &d1, &d2]),
            (DirectAllowed, &t1, &[],       &[&t1]),
            (DirectAllowed, &d1, &[],       &[&d1]),
            (DirectAllowed, &t1, &all,      &[&d2, &d1, &t1, &t2]),
            (DirectAllowed, &d1, &all,      &[&d1, &d2, &t2, &t1]),
            (DirectAllowed, &d1, &[&t1, &t1, &d1, &d1], &[&d1, &t1]),
        ];
        for (policy, announced, listed, expected) in table {
            let listed: Vec<_> = listed.iter().copied().cloned().collect();
            let expected: Vec<_> = expected.iter().copied().cloned().collect();
            let found =
                policy.candidates(announced, &listed).map_or_else(|_| Vec::new(), |found| found.to_vec());
            assert_eq!(found, expected, "{policy}: {announced} and {listed:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_addresses_and_the_setting() {
        let refused = TorOnly.candidates(&direct(1), &[direct(2)]).unwrap_err();
        let offered = Addresses::new([direct(1), direct(2)]).unwrap();
        assert_eq!(refused, NotPermitted { policy: TorOnly, offered });
        let text = refused.to_string();
        for part in ["direct:agent.example:9001, direct:agent.example:9002", "`somc.contact` is \"tor-only\""]
        {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_policy_has_one_name_everywhere() {
        for policy in ContactPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.to_string());
        }
        assert_eq!(ContactPolicy::default().to_string(), "tor-only");
        let error = "Tor-Only".parse::<ContactPolicy>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"Tor-Only\" is not a contact policy; write tor-only, tor-preferred or direct-allowed"
        );
    }

    fn some_address() -> impl Strategy<Value = SomcAddress> {
        (any::<bool>(), 0..4_u8).prop_map(|(tor, number)| if tor { onion(number) } else { direct(number) })
    }

    proptest! {
        #[test]
        fn candidates_are_offered_permitted_and_none_is_lost_or_doubled(
            policy in proptest::sample::select(&ContactPolicy::ALL[..]),
            announced in some_address(),
            listed in proptest::collection::vec(some_address(), 0..8),
        ) {
            let permitted = |address: &&SomcAddress| policy != TorOnly || address.kind() == SourceType::Tor;
            let mut offered: Vec<_> = std::iter::once(&announced).chain(&listed).filter(permitted).collect();
            let candidates =
                policy.candidates(&announced, &listed).map_or_else(|_| Vec::new(), |found| found.to_vec());
            // The same set, each once.
            let mut found: Vec<_> = candidates.iter().collect();
            offered.sort_by_key(ToString::to_string);
            offered.dedup();
            found.sort_by_key(ToString::to_string);
            prop_assert_eq!(found, offered);
            // One kind after the other, the announced address before others of its kind.
            prop_assert!(candidates.chunk_by(|a, b| a.kind() == b.kind()).count() <= 2);
            let first = candidates.iter().find(|address| address.kind() == announced.kind());
            prop_assert!(first.is_none_or(|first| *first == announced));
        }
    }
}
