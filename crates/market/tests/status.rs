//! The words of lists, as functions of a state.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloy::primitives::{Address, B256};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, ChannelStatus, Closure, Fee, LogPosition,
    OnChain,
};
use privatix_market::{
    Agent, AgentPurpose, Bid, BlockRef, Client, ClientPurpose, Flight, OrderId, Party, Stage, State, Uptime,
};

fn a(units: u128) -> Amount {
    Amount::new(units)
}

fn descriptor() -> ChannelDescriptor {
    ChannelDescriptor {
        client: Address::repeat_byte(1),
        agent: Address::repeat_byte(2),
        offering: B256::repeat_byte(3).into(),
        nonce: 0,
        signer: Address::repeat_byte(1),
    }
}

/// A channel not opened yet, an open one, one in a challenge, and a closed one.
fn phases() -> [OnChain; 4] {
    let opened = ChannelEvent::Opened { deposit: a(100), fee: Fee::ZERO };
    let asked = ChannelEvent::CloseRequested { paid: a(20), ends_at: ChainTime::new(90_000) };
    let closed = ChannelEvent::Closed { paid: a(60), refund: a(40), closure: Closure::ByAgent };
    let events = [opened, asked, closed];
    [0, 1, 2, 3].map(|count| {
        OnChain::fold((1..).zip(events).take(count).map(|(block, event)| (LogPosition::new(block, 0), event)))
    })
}

/// The status in each phase, with a transaction for this purpose in this stage.
fn statuses<P: Party>(purpose: P::Purpose, stage: Stage) -> [ChannelStatus; 4]
where
    P::Own: Default + Flights<P>,
{
    phases().map(|chain| {
        let mut state = State::<P>::new(ChannelId::new([4; 32].into()), descriptor());
        state.chain = chain;
        state.own.fly(Flight { seq: 1, purpose, bid: Bid::default(), stage });
        state.status()
    })
}

trait Flights<P: Party> {
    fn fly(&mut self, flight: Flight<P::Purpose>);
}

impl Flights<Agent> for privatix_market::AgentOwn {
    fn fly(&mut self, flight: Flight<AgentPurpose>) {
        self.flights.push(flight);
    }
}

impl Flights<Client> for privatix_market::ClientOwn {
    fn fly(&mut self, flight: Flight<ClientPurpose>) {
        self.flights.push(flight);
    }
}

#[test]
fn a_status_shows_an_own_transaction_until_the_events_show_it() {
    use ChannelStatus::{Active, ClosedCoop, InChallenge, Pending, WaitChallenge, WaitCoop, WaitUncoop};
    let block = BlockRef { number: 7, hash: B256::ZERO };
    let mined = |seen| Stage::Mined { block, seen };
    let by_chain = [Pending, Active, InChallenge, ClosedCoop];
    for (stage, is_shown) in [
        (Stage::Sent { batch: false }, true),
        (Stage::Sent { batch: true }, true),
        (mined(false), true),
        (mined(true), true),
        (Stage::Unseen { block, since: Uptime::new(1), deposit: a(100), disproved: false }, true),
        (Stage::Collected, false),
        (Stage::Cancelling, false),
        (Stage::Reverted, false),
    ] {
        let shown = |expected| if is_shown { expected } else { by_chain };
        let close = statuses::<Agent>(AgentPurpose::Close { cumulative: a(60) }, stage);
        assert_eq!(close, shown([Pending, WaitCoop, WaitCoop, ClosedCoop]), "{stage:?}");
        let settle = statuses::<Agent>(AgentPurpose::Settle { cumulative: a(60) }, stage);
        assert_eq!(settle, by_chain, "{stage:?}");
        let request = statuses::<Client>(ClientPurpose::RequestClose { admitted: a(60) }, stage);
        assert_eq!(request, shown([Pending, WaitChallenge, InChallenge, ClosedCoop]), "{stage:?}");
        let finalization = statuses::<Client>(ClientPurpose::FinalizeClose, stage);
        assert_eq!(finalization, shown([Pending, Active, WaitUncoop, ClosedCoop]), "{stage:?}");
        for other in [
            ClientPurpose::Open { deposit: a(100) },
            ClientPurpose::TopUp { order: OrderId(1), amount: a(5) },
        ] {
            assert_eq!(statuses::<Client>(other, stage), by_chain, "{stage:?}");
        }
    }
}
