//! The agent's node: what is on its disk, what it has in memory, and who signs its vouchers.

use alloy::primitives::{Address, B256};
use privatix_channel::{AgentView, Amount, ChainTime, ChannelEvent, ChannelId, LogPosition, OnChain};
use privatix_market::{AffordsNew, AgentPurpose, AgentState, Entry, Uptime, Verifier};

use crate::buyer::Asking;

/// What is stored of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Whether its opening was ever seen.
    pub(crate) is_known: bool,
    /// The state; its book are the rows of the vouchers.
    pub(crate) state: AgentState,
    /// The amount above which the writer acknowledges nothing.
    pub(crate) ceiling: Option<Amount>,
    /// What was offered to the next batch.
    pub(crate) collected: Option<Collected>,
    pub(crate) logs: Vec<(LogPosition, ChannelEvent)>,
    /// Until when it is kept open after a restore, and the best voucher of the backup.
    pub(crate) recovers: Option<(Uptime, Amount)>,
}

impl Stored {
    pub(crate) const fn new(state: AgentState) -> Self {
        Self { is_known: false, state, ceiling: None, collected: None, logs: Vec::new(), recovers: None }
    }

    pub(crate) fn fold(&self) -> OnChain {
        OnChain::fold(self.logs.iter().copied())
    }
}

/// A transaction that was offered to a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Collected {
    pub(crate) seq: u32,
    pub(crate) purpose: AgentPurpose,
    /// Since when one waits.
    pub(crate) since: Uptime,
}

/// What a crash leaves.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) channels: Vec<Stored>,
    /// The hashes of the blocks that the monitor has processed, by their numbers.
    pub(crate) blocks: Vec<B256>,
    /// Whether these blocks have events that no endpoint showed.
    pub(crate) has_gaps: bool,
    pub(crate) uptime: Uptime,
}

/// What a crash takes away.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) is_up: bool,
    /// Another number after each start.
    pub(crate) life: u64,
    /// When it started, and with which uptime.
    pub(crate) started: (u64, Uptime),
    /// Whether the view of the chain counts as recent, and when the last block was seen.
    pub(crate) is_fresh: bool,
    pub(crate) is_explained: bool,
    pub(crate) affords_new: AffordsNew,
    pub(crate) instance: u64,
    pub(crate) seen_at: u64,
    /// Vouchers that wait for the group commit.
    pub(crate) queue: Vec<Pending>,
    /// The wake that is scheduled for each channel.
    pub(crate) wakes: Vec<Option<Uptime>>,
    /// The same by the chain's clock.
    pub(crate) chain_wakes: Vec<Option<ChainTime>>,
    /// The call to the adapter that is waited for, for each channel: its number, and the request's.
    pub(crate) calls: Vec<Option<(u64, u32)>>,
    /// What each buyer was shown last.
    pub(crate) views: Vec<Option<AgentView>>,
}

/// A voucher that is decided and waits for the group commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) channel: usize,
    pub(crate) cumulative: Amount,
    pub(crate) entry: Entry,
    /// The request that waits for the answer.
    pub(crate) request: Option<Asking>,
}

/// The simulation's vouchers: whoever signed is written on them.
pub(crate) struct Tags(pub(crate) Address);

impl Verifier for Tags {
    type Voucher = (ChannelId, Amount, Address);
    type Refused = WrongSigner;

    fn verified(&self, voucher: &Self::Voucher) -> Result<(ChannelId, Amount), WrongSigner> {
        let (channel, cumulative, signer) = *voucher;
        if signer == self.0 { Ok((channel, cumulative)) } else { Err(WrongSigner) }
    }
}

/// A voucher is not signed by the channel's signer.
#[derive(Debug)]
pub(crate) struct WrongSigner;
