//! A market in a fresh database: agents, offerings, channels and their events.
#![allow(dead_code, unreachable_pub, reason = "shared by tests that each use a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use privatix_channel::{
    Amount, Announcement, ChainEvent, ChannelDescriptor, ChannelEvent, ChannelId, ChannelStatus, Closure,
    Domain, Fee, LogPosition, OfferingEvent, OfferingHash, ServiceStatus, SignedVoucher, UnderWay, Voucher,
    sign_voucher,
};
use privatix_db::{Conn, Database};
use privatix_store::events::Place;
use privatix_store::identity::{Identity, Role};
use privatix_store::{channels, events, offerings};

pub const AGENT: Address = Address::repeat_byte(0xa9);
pub const STRANGER: Address = Address::repeat_byte(0x57);

pub async fn open(path: &Path) -> Database {
    Database::open(path, &[privatix_store::MIGRATIONS]).await.unwrap()
}

pub async fn fresh() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir.path().join("market.db")).await;
    (dir, db)
}

pub fn domain() -> Domain {
    Domain::new(31337, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

/// The agent's database.
pub fn identity() -> Identity {
    Identity { role: Role::Agent, domain: domain(), account: AGENT }
}

pub fn client() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

pub fn amount(base_units: u128) -> Amount {
    Amount::new(base_units)
}

pub fn offering(n: u8) -> OfferingHash {
    OfferingHash::new(B256::repeat_byte(n))
}

/// The n-th channel under an offering of the agent.
pub fn descriptor(of: OfferingHash, nonce: u64) -> ChannelDescriptor {
    ChannelDescriptor {
        client: client().address(),
        agent: AGENT,
        offering: of,
        nonce,
        signer: client().address(),
    }
}

pub fn channel(nonce: u64) -> (ChannelId, ChannelDescriptor) {
    let descriptor = descriptor(offering(1), nonce);
    (descriptor.id(&domain()), descriptor)
}

/// Stores the channel of this number, with a deposit of 100.
pub async fn add_channel(db: &Database, nonce: u64) -> ChannelId {
    let (id, descriptor) = channel(nonce);
    let mut tx = db.begin().await.unwrap();
    assert!(channels::insert(&mut tx, id, &descriptor, amount(100)).await.unwrap());
    tx.commit().await.unwrap();
    id
}

pub fn voucher(channel: ChannelId, cumulative: u128) -> SignedVoucher {
    sign_voucher(&client(), &domain(), Voucher { channel, cumulative: amount(cumulative) }).unwrap()
}

pub fn place(block: u64, index: u64) -> Place {
    // Another branch has other transactions, which does not matter to the store.
    Place {
        at: LogPosition::new(block, index),
        tx: keccak256([block.to_be_bytes(), index.to_be_bytes()].concat()),
    }
}

pub fn announcement(supply: u32) -> Announcement {
    let fee = Fee::new(1_000).unwrap();
    Announcement { min_deposit: amount(10), supply, fee, source_type: 1, source: "127.0.0.1:4000".into() }
}

pub fn offered(agent: Address, offering: OfferingHash, event: OfferingEvent) -> ChainEvent {
    ChainEvent::Offering { agent, offering, block_time: None, event }
}

pub fn opened(descriptor: ChannelDescriptor, deposit: u128) -> ChainEvent {
    let event = ChannelEvent::Opened { deposit: amount(deposit), fee: Fee::new(1_000).unwrap() };
    ChainEvent::Opened { channel: descriptor.id(&domain()), descriptor, event }
}

pub fn changed(channel: ChannelId, event: ChannelEvent) -> ChainEvent {
    ChainEvent::Changed { channel, agent: AGENT, event }
}

pub fn closed(descriptor: ChannelDescriptor, paid: u128, refund: u128, closure: Closure) -> ChainEvent {
    ChainEvent::Closed {
        channel: descriptor.id(&domain()),
        agent: descriptor.agent,
        client: descriptor.client,
        offering: descriptor.offering,
        event: ChannelEvent::Closed { paid: amount(paid), refund: amount(refund), closure },
    }
}

/// Takes in an event as a node does: stores it, then brings up to date what it touches. False if it was there.
pub async fn take(conn: &mut Conn, place: Place, event: &ChainEvent) -> bool {
    if !events::record(conn, place, event).await.unwrap() {
        return false;
    }
    offerings::advance_all(conn, &[(place, event.clone())]).await.unwrap();
    if let (Some(channel), Some(event)) = (event.channel(), event.channel_event()) {
        channels::advance(conn, channel, place.at, event).await.unwrap();
    }
    true
}

/// Takes in an event in a transaction of its own.
pub async fn taken(db: &Database, block: u64, index: u64, event: &ChainEvent) {
    let mut tx = db.begin().await.unwrap();
    assert!(take(&mut tx, place(block, index), event).await);
    tx.commit().await.unwrap();
}

/// Undoes the blocks above one, as a node does.
pub async fn undo(conn: &mut Conn, above: u64) {
    for (_, event) in events::undo_above(conn, above).await.unwrap() {
        if let Some((agent, offering)) = event.offering() {
            offerings::refold(conn, agent, offering).await.unwrap();
        }
        if let Some(channel) = event.channel() {
            channels::refold(conn, channel).await.unwrap();
        }
    }
}

pub async fn undone(db: &Database, above: u64) {
    let mut tx = db.begin().await.unwrap();
    undo(&mut tx, above).await;
    tx.commit().await.unwrap();
}

/// Shows the channel's service like this.
pub async fn show_service(conn: &mut Conn, id: ChannelId, service: ServiceStatus) {
    let status = channels::get(conn, id).await.unwrap().status;
    let shown = channels::Shown { status, service, reason: None, held: false };
    channels::show(conn, id, shown).await.unwrap();
}

/// Shows the channel with a transaction under way.
pub async fn show_under_way(conn: &mut Conn, id: ChannelId, under_way: UnderWay) {
    let stored = channels::get(conn, id).await.unwrap();
    let phase = channels::on_chain(conn, id).await.unwrap().phase();
    let status = ChannelStatus::of(phase, Some(under_way));
    let shown = channels::Shown { status, service: stored.service, reason: None, held: stored.held };
    channels::show(conn, id, shown).await.unwrap();
}
