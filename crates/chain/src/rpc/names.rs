//! The endpoint's name is looked up without a thread of those that the database works on.

use std::net::SocketAddr;

use privatix_net::{Resolver, Share};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// A share of the process's lookups, for HTTP clients.
pub(super) struct Names(Share);

impl Default for Names {
    fn default() -> Self {
        Self(Resolver::system().share())
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = self.0.clone();
        Box::pin(async move {
            let found = lookups.lookup(name.as_str()).await?;
            // Port 0: the one of the URL.
            let addresses: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}
