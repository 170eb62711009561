//! What the gauges of money show is what a look at every channel would.
#![allow(clippy::unwrap_used, reason = "tests")]
mod common;

use std::collections::BTreeMap;

use common::*;
use privatix_channel::{ChannelEvent, ChannelId, Closure, Phase, UnderWay};
use privatix_db::{Conn, Database};
use privatix_store::tally::{Tally, Totals};
use privatix_store::{channels, vouchers};
use proptest::prelude::*;

const CHANNELS: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Happening {
    Open { channel: u64, deposit: u128 },
    Voucher { channel: u64, cumulative: u128 },
    TopUp { channel: u64, by: u128 },
    Settle { channel: u64, part: u128 },
    CloseSent { channel: u64 },
    Close { channel: u64 },
    Undo { blocks: u64 },
}

fn happening() -> impl Strategy<Value = Happening> {
    let channel = || 0..CHANNELS;
    prop_oneof![
        3 => (channel(), 10..200_u128).prop_map(|(channel, deposit)| Happening::Open { channel, deposit }),
        4 => (channel(), 1..300_u128).prop_map(|(channel, cumulative)| Happening::Voucher { channel, cumulative }),
        1 => (channel(), 1..50_u128).prop_map(|(channel, by)| Happening::TopUp { channel, by }),
        2 => (channel(), 0..=4_u128).prop_map(|(channel, part)| Happening::Settle { channel, part }),
        1 => channel().prop_map(|channel| Happening::CloseSent { channel }),
        1 => channel().prop_map(|channel| Happening::Close { channel }),
        1 => (1..4_u64).prop_map(|blocks| Happening::Undo { blocks }),
    ]
}

/// Lets something happen, if the contract would allow it. Returns what a node would mark.
async fn happen(conn: &mut Conn, block: u64, happening: Happening) -> Vec<ChannelId> {
    let nonce = match happening {
        Happening::Open { channel, .. }
        | Happening::Voucher { channel, .. }
        | Happening::TopUp { channel, .. }
        | Happening::Settle { channel, .. }
        | Happening::CloseSent { channel }
        | Happening::Close { channel } => channel,
        Happening::Undo { .. } => 0,
    };
    let (id, descriptor) = channel(nonce);
    let state = channels::on_chain(conn, id).await.unwrap();
    let is_open = state.phase().is_open();
    let event = match happening {
        Happening::Open { deposit, .. } if state.phase() == Phase::Unopened => opened(descriptor, deposit),
        Happening::TopUp { by, .. } if is_open => {
            let deposit = state.deposit.saturating_add(amount(by));
            changed(id, ChannelEvent::ToppedUp { deposit, request_cancelled: false })
        }
        Happening::Settle { part, .. } if is_open => {
            let paid = state.paid.saturating_add(amount(state.locked().get() * part / 4));
            changed(id, ChannelEvent::Settled { paid })
        }
        Happening::Close { .. } if is_open => {
            closed(descriptor, state.paid.get(), state.locked().get(), Closure::ByAgent)
        }
        Happening::Voucher { cumulative, .. } => {
            vouchers::store(conn, &voucher(id, cumulative)).await.unwrap();
            return vec![id];
        }
        Happening::CloseSent { .. } => {
            show_under_way(conn, id, UnderWay::Close).await;
            return vec![id];
        }
        Happening::Undo { blocks } => {
            undo(conn, block.saturating_sub(blocks)).await;
            return (0..CHANNELS).map(|nonce| channel(nonce).0).collect();
        }
        _ => return Vec::new(),
    };
    assert!(take(conn, place(block, 0), &event).await);
    vec![id]
}

/// By a look at every channel.
async fn sum(conn: &mut Conn) -> Totals {
    let mut totals = Totals::default();
    for channel in channels::list(conn, 100).await.unwrap() {
        let voucher = vouchers::get(conn, channel.id).await.unwrap();
        let signed = voucher.as_ref().map_or(0, |stored| stored.signed.cumulative().get());
        let (signed, paid) = (signed.min(channel.deposit.get()), channel.paid.get());
        totals.earned += signed.max(paid);
        totals.settled += paid;
        totals.enforceable += if channel.closure.is_some() { 0 } else { signed.saturating_sub(paid) };
        totals.vouchers += voucher.map_or(0, |stored| stored.count);
        *totals.channels.entry((channel.status.as_str(), channel.service.as_str())).or_default() += 1;
    }
    totals
}

/// Without the statuses that no channel has any more.
fn shown(totals: &Totals) -> Totals {
    let present: BTreeMap<_, _> =
        totals.channels.iter().filter(|(_, count)| **count > 0).map(|(key, count)| (*key, *count)).collect();
    Totals { channels: present, ..totals.clone() }
}

async fn read(db: &Database) -> Tally {
    let (mut tally, mut after) = (Tally::default(), None);
    loop {
        after = tally.read_page(&mut db.read().await.unwrap(), after).await.unwrap();
        if after.is_none() {
            return tally;
        }
    }
}

async fn money_gauges_equal_the_sum(history: Vec<Happening>) {
    let (_dir, db) = fresh().await;
    for nonce in 0..CHANNELS {
        add_channel(&db, nonce).await;
    }
    let mut tally = read(&db).await;
    for (block, happening) in (1..).zip(history) {
        let mut tx = db.begin().await.unwrap();
        let marked = happen(&mut tx, block, happening).await;
        tx.commit().await.unwrap();
        let mut conn = db.read().await.unwrap();
        for channel in marked {
            tally.refresh(&mut conn, channel).await.unwrap();
        }
        assert_eq!(shown(tally.totals()), sum(&mut conn).await, "{happening:?} in block {block}");
    }
    assert_eq!(shown(tally.totals()), shown(read(&db).await.totals()), "as after a start");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn money_gauges_equal_the_sum_of_all_channels_after_random_histories(
        history in proptest::collection::vec(happening(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(money_gauges_equal_the_sum(history));
    }
}
