//! A channel of either side, in few words.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseRequest, Closure, Ending as End, Fee, LogPosition,
    OnChain,
};
use privatix_market::*;

pub(crate) fn a(units: u128) -> Amount {
    Amount::new(units)
}

pub(crate) fn id() -> ChannelId {
    ChannelId::new(B256::repeat_byte(4))
}

/// The simulation's verifier: a voucher is its channel and amount, and always signed.
pub(crate) struct Signed;

impl Verifier for Signed {
    type Voucher = (ChannelId, u128);
    type Refused = std::convert::Infallible;
    fn verified(&self, voucher: &(ChannelId, u128)) -> Result<(ChannelId, Amount), Self::Refused> {
        Ok((voucher.0, a(voucher.1)))
    }
}

/// One unit for each base unit, postpaid. A client may owe 40 units, and be inactive or suspended for 100 days.
pub(crate) fn terms(change: impl FnOnce(&mut TermsDraft)) -> Terms {
    let mut draft = TermsDraft {
        unit: Unit { name: "unit".into(), measure: Measure::Requests, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: a(1),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: hours(2_400),
        max_inactive: hours(2_400),
        max_first_use: None,
    };
    change(&mut draft);
    draft.validate().unwrap()
}

pub(crate) fn open(deposit: u128, paid: u128) -> OnChain {
    OnChain { opened_at: Some(1), deposit: a(deposit), paid: a(paid), fee: Fee::ZERO, ..OnChain::default() }
}

pub(crate) fn closing(deposit: u128, paid: u128, ends_at: u64) -> OnChain {
    let request = CloseRequest { at: LogPosition::new(5, 0), ends_at: ChainTime::new(ends_at) };
    OnChain { last_close_request: Some(request), ..open(deposit, paid) }
}

pub(crate) fn closed(deposit: u128, paid: u128) -> OnChain {
    let end = End { refund: a(deposit - paid), closure: Closure::ByAgent, block: 9 };
    OnChain { closed: Some(end), ..open(deposit, paid) }
}

pub(crate) fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::with_last_byte(u8::try_from(number % 250).unwrap()) }
}

pub(crate) fn show_owner(owner: &Owner) -> String {
    let s = |at: &Uptime| format!("{} s", at.milliseconds() / 1_000);
    match owner {
        Owner::Time(at) => format!("time {}", s(at)),
        Owner::ChainTime(at) => format!("chain time {at}"),
        Owner::Transaction(seq) => format!("transaction {seq}"),
        Owner::Adapter { seq, until } => format!("adapter {seq} until {}", s(until)),
        Owner::Peer { seq, until } => format!("peer {seq} until {}", s(until)),
        Owner::Chain { reminder } => format!("chain, reminder {}", s(reminder)),
        Owner::User { reminder } => format!("user, reminder {}", s(reminder)),
        other => format!("{other:?}"),
    }
}

pub(crate) const HOUR: u64 = 3_600;

pub(crate) fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}
/// What identifies the channel.
pub(crate) fn descriptor() -> ChannelDescriptor {
    ChannelDescriptor {
        client: Address::repeat_byte(1),
        agent: Address::repeat_byte(2),
        offering: B256::repeat_byte(3).into(),
        nonce: 0,
        signer: Address::repeat_byte(1),
    }
}
