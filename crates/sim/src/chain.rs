//! The chain: blocks over the model of the contract, and reorganisations that undo them.

use alloy::primitives::{Address, B256};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, Domain, LogPosition, Period, Terms,
    Voucher,
    model::{Call, Contract, Signatures, Source, tag},
};

use crate::scenario::{World, amount, fee};

pub(crate) const AGENT: Address = Address::repeat_byte(0xa9);
const FEE_ADDRESS: Address = Address::repeat_byte(0xfe);

/// A block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) hash: B256,
    pub(crate) time: u64,
    pub(crate) logs: Vec<(usize, LogPosition, ChannelEvent)>,
    /// The nonces that it used, each of an account, by an intent of its transactor or by a transaction without effect.
    pub(crate) nonces: Vec<(Address, u64, Option<usize>)>,
    /// The transactions in it of those who have no transactor.
    pub(crate) calls: Vec<(Address, Call)>,
    /// The contract before it, unless it has no transactions.
    before: Option<Box<Contract>>,
}

/// The chain's truth, which nobody sees at once.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) contract: Contract,
    pub(crate) blocks: Vec<Block>,
    pub(crate) channels: Vec<(ChannelId, ChannelDescriptor)>,
    /// The transactions that wait, of those who have no transactor.
    pub(crate) pool: Vec<(Address, Call)>,
    /// How many blocks were ever made: it gives each another hash.
    made: u64,
}

impl Chain {
    pub(crate) fn new(world: &World) -> Self {
        let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
        let terms = Terms { challenge: world.challenge(), fee_delay: Period::new(0), ..Terms::TEST };
        let mut contract = Contract::new(domain, FEE_ADDRESS, terms);
        let done = contract.call(FEE_ADDRESS, &Call::SetFee { fee: fee(world.fee).get() });
        debug_assert!(done.is_ok(), "{done:?}");
        contract.set_signatures(Signatures::Tags);
        let offering = B256::repeat_byte(3).into();
        let (stake, supply) = (Amount::new(1), u32::try_from(world.clients.len()).unwrap_or(u32::MAX));
        contract.fund(AGENT, Amount::new(u128::from(supply)));
        let source = Source::default();
        let setup = [
            Call::Deposit { amount: Amount::new(u128::from(supply)) },
            Call::RegisterOffering { offering, min_deposit: stake, supply, source },
        ];
        for call in &setup {
            let done = contract.call(AGENT, call);
            debug_assert!(done.is_ok(), "{done:?}");
        }
        let mut channels = Vec::new();
        for n in 0..world.clients.len() {
            let client = Address::with_last_byte(u8::try_from(n + 1).unwrap_or(u8::MAX));
            contract.fund(client, amount(1_000_000));
            let signer = if world.names_signer { client } else { Address::ZERO };
            let descriptor = ChannelDescriptor { client, agent: AGENT, offering, nonce: 0, signer };
            channels.push((descriptor.id(&domain), descriptor));
        }
        let first = Block {
            hash: B256::ZERO,
            time: 1_000,
            logs: vec![],
            nonces: vec![],
            calls: vec![],
            before: None,
        };
        Self { contract, blocks: vec![first], channels, pool: Vec::new(), made: 0 }
    }

    pub(crate) fn height(&self) -> usize {
        self.blocks.len() - 1
    }

    pub(crate) fn time(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.time)
    }

    pub(crate) fn hash(&self, number: usize) -> Option<B256> {
        self.blocks.get(number).map(|block| block.hash)
    }

    pub(crate) fn begin_block(&mut self, time: u64) {
        self.made += 1;
        let mut hash = B256::ZERO;
        hash[16..24].copy_from_slice(&self.made.to_be_bytes());
        hash[24..].copy_from_slice(&(self.blocks.len() as u64).to_be_bytes());
        self.contract.set_time(ChainTime::new(time));
        self.blocks.push(Block { hash, time, logs: vec![], nonces: vec![], calls: vec![], before: None });
    }

    /// Makes a call in the block that was begun; whether it took effect.
    pub(crate) fn execute(&mut self, sender: Address, call: &Call) -> bool {
        let number = self.height() as u64;
        let Some(block) = self.blocks.last_mut() else { return false };
        if block.before.is_none() {
            block.before = Some(Box::new(self.contract.clone()));
        }
        let Ok(outcome) = self.contract.call(sender, call) else { return false };
        for event in outcome.events.iter().filter_map(privatix_channel::model::Event::channel_event) {
            let Some(channel) = self.channels.iter().position(|(id, _)| *id == event.0) else { continue };
            let at = LogPosition::new(number, block.logs.len() as u64);
            block.logs.push((channel, at, event.1));
        }
        true
    }

    /// Takes the last block back, unless it is the first.
    pub(crate) fn undo(&mut self) -> Option<Block> {
        if self.blocks.len() < 2 {
            return None;
        }
        let mut block = self.blocks.pop()?;
        if let Some(before) = block.before.take() {
            self.contract = *before;
        }
        self.contract.set_time(ChainTime::new(self.time()));
        self.pool.append(&mut block.calls);
        Some(block)
    }

    /// What the chain holds of a channel.
    pub(crate) fn channel(&self, channel: usize) -> Option<&privatix_channel::model::Channel> {
        self.contract.channel(self.channels[channel].0)
    }

    pub(crate) fn is_open(&self, channel: usize) -> bool {
        self.channel(channel).is_some_and(|channel| channel.open)
    }

    /// The call that opens a channel.
    pub(crate) fn open(&self, channel: usize, amount: Amount) -> Call {
        let ChannelDescriptor { agent, offering, nonce, signer, .. } = self.channels[channel].1;
        Call::OpenFromWallet { agent, offering, nonce, signer, amount }
    }

    /// The signature of a channel's voucher.
    pub(crate) fn signature(&self, channel: usize, cumulative: Amount) -> Vec<u8> {
        let (id, descriptor) = self.channels[channel];
        let voucher = Voucher { channel: id, cumulative };
        tag(descriptor.signer, voucher.digest(self.contract.domain()))
    }
}
