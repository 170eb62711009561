//! Where clients reach an agent, and what accepts them there.

use std::fmt;

use privatix_offering::Addresses;
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
        Self { addresses: address.into(), listeners: vec![Box::new(listener)] }
    }

    /// A server with several addresses or listeners. They need not belong together one by one: a tor daemon's onion
    /// service that is forwarded to a listener is an address without a listener of its own. `None` without any.
    pub fn of(addresses: Vec<SomcAddress>, listeners: Vec<Box<dyn Listener>>) -> Option<Self> {
        let addresses = Addresses::new(addresses)?;
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
