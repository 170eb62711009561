//! What the events of an offering come to.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use alloy::primitives::{Address, B256};
use privatix_channel::{
    Amount, Announcement, ChainEvent, ChannelDescriptor, ChannelEvent, ChannelId, Closure, Fee, Fold,
    Joining, KeptOffering, LogPosition, OfferingEvent, OfferingFold, OfferingHash, OfferingStatus,
};

const AGENT: Address = Address::repeat_byte(1);
const CLIENT: Address = Address::repeat_byte(3);

fn hash() -> OfferingHash {
    OfferingHash::new(B256::repeat_byte(2))
}

fn announcement(supply: u32) -> Announcement {
    Announcement {
        min_deposit: Amount::new(10),
        supply,
        fee: Fee::ZERO,
        source_type: 1,
        source: "here".to_owned(),
    }
}

fn offered(event: OfferingEvent) -> ChainEvent {
    ChainEvent::Offering { agent: AGENT, offering: hash(), block_time: None, event }
}

fn registered(supply: u32) -> ChainEvent {
    offered(OfferingEvent::Registered(announcement(supply)))
}

fn popped_up(free: u32) -> ChainEvent {
    offered(OfferingEvent::PoppedUp(announcement(free)))
}

fn opened() -> ChainEvent {
    ChainEvent::Opened {
        channel: ChannelId::new(B256::repeat_byte(4)),
        descriptor: ChannelDescriptor {
            client: CLIENT,
            agent: AGENT,
            offering: hash(),
            nonce: 0,
            signer: CLIENT,
        },
        event: ChannelEvent::Opened { deposit: Amount::new(10), fee: Fee::ZERO },
    }
}

fn closed() -> ChainEvent {
    ChainEvent::Closed {
        channel: ChannelId::new(B256::repeat_byte(4)),
        agent: AGENT,
        client: CLIENT,
        offering: hash(),
        event: ChannelEvent::Closed { paid: Amount::ZERO, refund: Amount::new(10), closure: Closure::ByBoth },
    }
}

fn at(block: u64) -> LogPosition {
    LogPosition::new(block, 0)
}

#[test]
fn the_fold_of_an_offering_needs_no_database() {
    use OfferingStatus::{PoppedUp, Registered, Removed};
    let fee = Fee::new(300).unwrap();
    let mut fold = OfferingFold::default();
    // Each event, and what is shown after it: status, places, free places, fee, block of the announcement.
    for (block, (event, expected)) in (1..).zip([
        (opened(), None), // nothing is known before an announcement
        (popped_up(2), Some((PoppedUp, 2, 2, Fee::ZERO, 2))),
        (registered(3), Some((Registered, 3, 3, Fee::ZERO, 3))),
        (opened(), Some((Registered, 3, 2, Fee::ZERO, 3))),
        (offered(OfferingEvent::FeeRefreshed { fee }), Some((Registered, 3, 2, fee, 3))),
        (popped_up(2), Some((PoppedUp, 3, 2, Fee::ZERO, 6))),
        (closed(), Some((PoppedUp, 3, 3, Fee::ZERO, 6))),
        (closed(), Some((PoppedUp, 4, 4, Fee::ZERO, 6))), // opened before the first event that is known
        (offered(OfferingEvent::Removed), Some((Removed, 4, 4, Fee::ZERO, 6))),
    ]) {
        fold.take(at(block), &event);
        let shown = fold.state.as_ref().map(|shown| {
            let said = &shown.announcement;
            (shown.status, said.supply, shown.free, said.fee, shown.announced_at)
        });
        assert_eq!(shown, expected, "after {event:?}");
    }
    assert_eq!(fold.first, Some(at(1)));
}

#[test]
fn a_fold_is_stored_in_the_same_form_as_before() {
    let stored = r#"{"state":{"state":{"status":"removed","announcement":{"min_deposit":"10","supply":5,"fee":7,"source_type":1,"source":"127.0.0.1:4000"},"free":5,"announced_at":7},"first":{"block":1,"index":0},"before":{"shift":0,"least":0,"rise":0,"peak":0},"is_anchored":true},"last":{"block":10,"index":0},"since":6}"#;
    let fold: Fold<OfferingFold> = serde_json::from_str(stored).unwrap();
    let shown = fold.state.state.as_ref().unwrap();
    assert_eq!((shown.status, shown.free, fold.since), (OfferingStatus::Removed, 5, 6));
    assert_eq!(serde_json::to_string(&fold).unwrap(), stored);
}

/// The fold of events in the blocks from 5 on.
fn folded(events: &[ChainEvent]) -> Fold<OfferingFold> {
    let mut fold = Fold::<OfferingFold>::default();
    for (block, event) in (5..).zip(events) {
        fold.state.take(at(block), event);
        fold.took(at(block));
    }
    fold
}

#[test]
fn events_join_a_fold_where_they_stand_on_the_chain() {
    let known = || KeptOffering::Folded(folded(&[popped_up(2), closed()]));
    let (first, second) = (registered(5), opened());
    let joining = |kept, from: u64, are_late| {
        let news = [(at(from), &first), (at(from + 1), &second)];
        Joining::of(kept, &news, are_late)
    };
    // Of an offering that is not known, nothing counts before its registration.
    assert_eq!(joining(KeptOffering::Nothing, 8, false), Joining::After(Fold::default()));
    assert_eq!(joining(KeptOffering::Nothing, 8, true), Joining::Again { from: None });
    let only = |event: ChainEvent, kept| Joining::of(kept, &[(at(8), &event)], false);
    assert_eq!(only(popped_up(2), KeptOffering::Nothing), Joining::Again { from: None });
    assert_eq!(only(closed(), KeptOffering::Nothing), Joining::Nothing);
    assert_eq!(only(closed(), KeptOffering::Unfolded), Joining::Again { from: None });
    // After, before and among those that are folded.
    assert_eq!(joining(known(), 7, false), Joining::After(folded(&[popped_up(2), closed()])));
    assert_eq!(joining(known(), 6, true), Joining::Again { from: Some(at(6)) });
    let Joining::Before(both) = joining(known(), 3, true) else { panic!("it is before") };
    assert_eq!((both.state.first, both.last, both.since), (Some(at(3)), Some(at(6)), 4));
    let shown = both.state.state.unwrap();
    assert_eq!((shown.announcement.supply, shown.free), (5, 3));
    // Of later events without an announcement, too little is kept to put others before them.
    let unannounced = KeptOffering::Folded(folded(&[closed()]));
    assert_eq!(joining(unannounced, 3, true), Joining::Again { from: None });
}
