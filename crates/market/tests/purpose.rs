//! Purposes and their bids, as a table.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use alloy::primitives::Address;
use privatix_channel::{Amount, ChainTime, ChannelId, Period};
use privatix_market::{
    AfterRestore, Asset, AtStake, Bid, Challenge, Deadline, EffectId, OrderId, Priority, Purpose, Rate,
    Subject, Wei,
};

fn a(units: u128) -> Amount {
    Amount::new(units)
}

/// Two wei for a base unit, a challenge until second 900, 40 units claimable.
fn dispute() -> AtStake {
    AtStake {
        challenge: Some(Challenge { ends_at: ChainTime::new(900), period: Period::new(600) }),
        claimable: a(40),
        rate: Some(Rate { wei_per_token: 2, decimals: 0 }),
    }
}

fn all() -> Vec<Purpose> {
    let (to, amount) = (Address::repeat_byte(1), a(10));
    let channel = ChannelId::new([7; 32].into());
    vec![
        Purpose::Open { deposit: amount },
        Purpose::TopUp { order: OrderId(3), amount },
        Purpose::Close { cumulative: amount },
        Purpose::Settle { cumulative: amount },
        Purpose::RequestClose { admitted: amount },
        Purpose::FinalizeClose,
        Purpose::Publish,
        Purpose::PopUp,
        Purpose::Remove,
        Purpose::Deposit { amount },
        Purpose::Withdraw { amount, to },
        Purpose::Transfer { what: Asset::Ether(Wei::new(5)), to },
        Purpose::Transfer { what: Asset::Token(amount), to },
        Purpose::Appoint { operator: None },
        Purpose::Approve { effect: EffectId { subject: Subject::Channel(channel), seq: 4 } },
    ]
}

#[test]
fn only_cashing_in_a_challenge_is_urgent() {
    let urgent = Bid {
        priority: Priority::Urgent,
        deadline: Some(Deadline { at: ChainTime::new(900), window: Period::new(600) }),
        stake: Some(Wei::new(80)),
        repeatable: true,
    };
    let calm = AtStake { challenge: None, ..dispute() };
    let nothing = AtStake { claimable: Amount::ZERO, ..dispute() };
    let unknown = AtStake { rate: None, ..dispute() };
    for purpose in all() {
        let usual = Bid { repeatable: purpose.is_repeatable(), ..Bid::default() };
        assert_eq!(purpose.bid(&calm), usual, "{purpose:?}");
        assert_eq!(purpose.bid(&nothing), usual, "{purpose:?} with nothing to gain");
        if matches!(purpose, Purpose::Close { .. } | Purpose::Settle { .. }) {
            assert_eq!(purpose.bid(&dispute()), urgent, "{purpose:?}");
            assert_eq!(purpose.bid(&unknown), Bid { stake: None, ..urgent }, "{purpose:?}, no rate");
        } else {
            assert_eq!(purpose.bid(&dispute()), usual, "{purpose:?}");
        }
    }
}

#[test]
fn what_moves_money_each_time_is_not_repeatable() {
    let repeatable: Vec<&str> = all().iter().filter(|p| p.is_repeatable()).map(Purpose::name).collect();
    assert_eq!(repeatable, ["close", "settle", "finalize_close"]);
}

#[test]
fn what_moves_money_each_time_is_not_repeated_after_a_restore() {
    let of = |after| {
        let purposes = all().into_iter().filter(|purpose| purpose.after_restore() == after);
        purposes.map(|purpose| purpose.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(AfterRestore::Repeat), "settle finalize_close");
    assert_eq!(of(AfterRestore::Hold), "close request_close");
    assert_eq!(of(AfterRestore::AskUser), "open");
    assert_eq!(
        of(AfterRestore::Drop),
        "top_up publish pop_up remove deposit withdraw transfer transfer appoint approve"
    );
    for purpose in all().iter().filter(|purpose| purpose.after_restore() == AfterRestore::Repeat) {
        assert!(purpose.is_repeatable(), "{purpose:?}");
    }
}

#[test]
fn anybody_may_settle_for_a_close() {
    for purpose in all() {
        let fallback = match purpose {
            Purpose::Close { cumulative } | Purpose::Settle { cumulative } => {
                Some(Purpose::Settle { cumulative })
            }
            Purpose::FinalizeClose => Some(purpose),
            _ => None,
        };
        assert_eq!(purpose.fallback(), fallback);
    }
    assert_eq!(Purpose::Close { cumulative: Amount::ZERO }.fallback(), None, "there is no voucher");
}

#[test]
fn a_bid_covers_another_only_for_the_same_challenge() {
    let close = Purpose::Close { cumulative: a(10) };
    let usual = close.bid(&AtStake::default());
    let urgent = close.bid(&dispute());
    let later = close.bid(&AtStake {
        challenge: Some(Challenge { ends_at: ChainTime::new(901), period: Period::new(600) }),
        ..dispute()
    });
    for (bid, wanted, serves) in [
        (usual, usual, true),
        (urgent, urgent, true),
        (usual, urgent, false),
        (urgent, later, false),
        // A limit by a stake is no reason to pay for another one.
        (urgent, usual, true),
        (Bid { stake: None, ..urgent }, urgent, false),
        (Bid::of_batch(), usual, false),
        (Bid { stake: Some(Wei::new(1)), ..urgent }, urgent, true),
    ] {
        assert_eq!(bid.covers(&wanted), serves, "{bid:?} for {wanted:?}");
    }
}

#[test]
fn a_purpose_reads_back_what_it_writes() {
    for purpose in all() {
        let json = serde_json::to_string(&purpose).unwrap();
        assert_eq!(serde_json::from_str::<Purpose>(&json).unwrap(), purpose, "{json}");
        assert!(json.contains(purpose.name()), "{json}");
    }
    let close = serde_json::to_string(&Purpose::Close { cumulative: a(10) }).unwrap();
    assert_eq!(close, r#"{"close":{"cumulative":"10"}}"#);
}

#[test]
fn an_effects_key_is_its_subject_and_its_number() {
    let subject = Subject::Account(Address::ZERO);
    let key = EffectId { subject, seq: 12 }.to_string();
    assert_eq!(key, "account 0x0000000000000000000000000000000000000000 12");
}
