//! Where clients reach an agent, and what accepts them there.

use std::fmt;

use privatix_somc::{Listener, SomcAddress};

/// The addresses of an agent's messaging server, and its listeners. The first address is announced on chain; offerings
/// list all of them.
pub struct Messaging {
    addresses: Addresses,
    listeners: Vec<Box<dyn Listener>>,
}

impl Messaging {
    /// A server that is reached at `address` and accepts connections from `listener`.
    pub fn new(address: SomcAddress, listener: impl Listener + 'static) -> Self {
        let addresses = Addresses { first: address, further: Vec::new() };
        Self { addresses, listeners: vec![Box::new(listener)] }
    }

    /// A server with several addresses or listeners. They need not belong together one by one: a tor daemon's onion
    /// service that is forwarded to a listener is an address without a listener of its own. `None` without any.
    pub fn of(addresses: Vec<SomcAddress>, listeners: Vec<Box<dyn Listener>>) -> Option<Self> {
        let mut addresses = addresses.into_iter();
        let addresses = Addresses { first: addresses.next()?, further: addresses.collect() };
        (!listeners.is_empty()).then_some(Self { addresses, listeners })
    }

    pub(crate) fn into_parts(self) -> (Addresses, Vec<Box<dyn Listener>>) {
        (self.addresses, self.listeners)
    }
}

impl fmt::Debug for Messaging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messaging")
            .field("addresses", &self.addresses)
            .field("listeners", &self.listeners.len())
            .finish()
    }
}

/// At least one address.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) first: SomcAddress,
    further: Vec<SomcAddress>,
}

impl Addresses {
    pub(crate) fn all(&self) -> Vec<SomcAddress> {
        std::iter::once(&self.first).chain(&self.further).cloned().collect()
    }
}
