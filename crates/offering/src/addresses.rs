//! Where an agent is reached: one address at least.

use std::iter;

use crate::SomcAddress;

/// An agent's addresses in order of preference; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    first: SomcAddress,
    further: Vec<SomcAddress>,
}

impl Addresses {
    /// These addresses, in this order; `None` without any.
    pub fn new(addresses: impl IntoIterator<Item = SomcAddress>) -> Option<Self> {
        let mut addresses = addresses.into_iter();
        Some(Self { first: addresses.next()?, further: addresses.collect() })
    }

    /// The preferred one.
    pub const fn first(&self) -> &SomcAddress {
        &self.first
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &SomcAddress> {
        iter::once(&self.first).chain(&self.further)
    }

    /// Adds one that is tried after all others.
    pub fn push(&mut self, address: SomcAddress) {
        self.further.push(address);
    }

    /// All of them, in order.
    pub fn to_vec(&self) -> Vec<SomcAddress> {
        self.iter().cloned().collect()
    }
}

/// One address alone.
impl From<SomcAddress> for Addresses {
    fn from(address: SomcAddress) -> Self {
        Self { first: address, further: Vec::new() }
    }
}
