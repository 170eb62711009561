use alloy::primitives::{Address, B256};
use alloy::rpc::types::{Filter, FilterSet};
use alloy::sol_types::SolEvent;

/// Which logs to follow: those of one contract whose topics match.
///
/// A monitor takes any number of them; a log that matches several is still delivered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    contract: Address,
    topics: [Vec<B256>; 4],
}

impl Interest {
    /// All events of a contract.
    pub fn all_of(contract: Address) -> Self {
        Self { contract, topics: Default::default() }
    }

    /// Restricts it to this event, or, called again, to one of these events.
    #[must_use]
    pub fn event<E: SolEvent>(self) -> Self {
        self.topic(0, E::SIGNATURE_HASH)
    }

    /// Restricts an indexed parameter (1 to 3; 0 is the event) to this value, or, called again, to one of these.
    ///
    /// # Panics
    /// If `position` is above 3: an EVM log has four topics.
    #[must_use]
    pub fn topic(mut self, position: usize, value: B256) -> Self {
        self.topics[position].push(value);
        self
    }

    /// Restricts an indexed address parameter (1 to 3), as [`topic`](Self::topic) does.
    ///
    /// # Panics
    /// If `position` is above 3.
    #[must_use]
    pub fn address(self, position: usize, value: Address) -> Self {
        self.topic(position, value.into_word())
    }

    /// The contract.
    pub fn contract(&self) -> Address {
        self.contract
    }

    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::new().address(self.contract);
        for (set, values) in filter.topics.iter_mut().zip(&self.topics) {
            *set = values.iter().copied().collect::<FilterSet<B256>>();
        }
        filter
    }
}
