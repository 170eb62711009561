//! What a client's decisions depend on beside their state and their input: [`ClientOutlook`].

use std::collections::BTreeSet;
use std::time::SystemTime;

use privatix_channel::{ChainTime, ChannelId, next_block_time};
use privatix_market::{ChainView, Gas, RecoveryId, Uptime};
use privatix_node::{NodeOutlook, Outlook};

use crate::network::Network;

/// What the node knows. A chain that makes no block without a transaction shows no end of a challenge by itself, so its time is that which
/// the next block has at least: this machine's own clock counts once it is well past the newest block.
///
/// An agent must not count so: with a wrong clock it would take a challenge as over that it can still answer. A client that ends a
/// challenge too early has its transaction refused, and tries again.
#[derive(Debug)]
pub(crate) struct ClientOutlook {
    pub(crate) node: NodeOutlook,
    pub(crate) network: Network,
}

impl Outlook for ClientOutlook {
    fn uptime(&self) -> Uptime {
        self.node.uptime()
    }

    fn chain(&self) -> ChainView {
        let mut chain = self.node.chain();
        chain.now = chain.now.map(|newest| next_block_time(newest, SystemTime::now().into()));
        chain
    }

    fn block_time(&self) -> Option<ChainTime> {
        self.node.chain().now
    }

    fn unexplained(&self) -> BTreeSet<ChannelId> {
        self.node.unexplained()
    }

    fn gas(&self) -> Gas {
        self.node.gas()
    }

    fn kept_open(&self, newest_voucher: Option<SystemTime>) -> Option<Uptime> {
        self.node.kept_open(newest_voucher)
    }

    fn recovery(&self) -> Option<RecoveryId> {
        self.node.recovery()
    }

    fn instance(&self) -> u64 {
        self.node.instance()
    }

    fn run(&self) -> u64 {
        self.node.run()
    }

    fn adapter_starts(&self) -> bool {
        self.node.adapter_starts()
    }

    fn is_reachable(&self) -> bool {
        self.node.is_reachable() && self.network.is_on()
    }
}
