//! Purchases in one transaction, by EIP-2612 permits.

use alloy::primitives::{Address, U256, keccak256};
use privatix_channel::{Amount, ChannelDescriptor};
use privatix_contracts::{ChannelState, IPSC, PTC, PscError, call};

use crate::{on_chain, world::World};

const DEPOSIT: u128 = 1_000;

/// An offering, and a newcomer's channel under it; the newcomer has tokens and neither allowance nor internal balance.
async fn purchase(world: &World) -> ChannelDescriptor {
    let cast = &world.cast;
    world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
    world.send_token(&cast.holder, call::transfer(cast.newcomer.address(), Amount::new(10 * DEPOSIT))).await;
    let offering = keccak256("an offering");
    let announce = call::register_offering(offering.into(), Amount::new(DEPOSIT), 9, 1, "127.0.0.1:1".into());
    world.send(&cast.agent, announce.unwrap()).await;
    ChannelDescriptor { client: cast.newcomer.address(), ..world.descriptor(offering, 0) }
}

fn open(d: &ChannelDescriptor, permit: IPSC::Permit) -> privatix_contracts::PSC::openWithPermitCall {
    call::open_with_permit(d, Amount::new(DEPOSIT), permit).unwrap()
}

#[test]
fn a_first_purchase_a_top_up_and_a_deposit_take_one_transaction_each() {
    on_chain(async |world| {
        let d = purchase(&world).await;
        let newcomer = &world.cast.newcomer;

        let permit = world.permit(newcomer, DEPOSIT).await;
        world.send(newcomer, open(&d, permit)).await;
        let permit = world.permit(newcomer, 500).await;
        world.send(newcomer, call::top_up_with_permit(&d, Amount::new(500), permit).unwrap()).await;
        let permit = world.permit(newcomer, 300).await;
        world.send(newcomer, call::deposit_with_permit(Amount::new(300), permit)).await;

        let channel = world.channel(&d).await;
        assert_eq!((channel.state, channel.deposit), (ChannelState::Open, Amount::new(DEPOSIT + 500)));
        assert_eq!(world.balance(newcomer).await, 300);
        assert_eq!(world.tokens(newcomer).await, 10 * DEPOSIT - DEPOSIT - 500 - 300);
    });
}

/// A permit is public once sent: whoever copies it must not be able to spoil the purchase.
#[test]
fn a_permit_that_somebody_else_used_first_still_serves() {
    on_chain(async |world| {
        let d = purchase(&world).await;
        let newcomer = &world.cast.newcomer;
        let permit = world.permit(newcomer, DEPOSIT).await;
        let copied = PTC::permitCall {
            owner: newcomer.address(),
            spender: world.deployed.contract,
            value: permit.value,
            deadline: permit.deadline,
            v: permit.v,
            r: permit.r,
            s: permit.s,
        };
        world.send_token(&world.cast.stranger, copied).await;

        world.send(newcomer, open(&d, permit)).await;

        assert_eq!(world.channel(&d).await.state, ChannelState::Open);
    });
}

#[test]
fn a_permit_serves_once() {
    on_chain(async |world| {
        let d = purchase(&world).await;
        let newcomer = &world.cast.newcomer;
        let permit = world.permit(newcomer, DEPOSIT).await;
        world.send(newcomer, open(&d, permit.clone())).await;

        let again = ChannelDescriptor { nonce: d.nonce + 1, ..d };
        let refusal = world.refused(newcomer, open(&again, permit)).await;

        assert_eq!(refusal, short_of_allowance(&world));
        assert_eq!(world.channel(&again).await.state, ChannelState::None);
    });
}

#[test]
fn expired_foreign_and_altered_permits_give_no_allowance() {
    on_chain(async |world| {
        let d = purchase(&world).await;
        let newcomer = &world.cast.newcomer;
        let expired = world.permit_until(newcomer, DEPOSIT, 1).await;
        let foreign = world.permit(&world.cast.stranger, DEPOSIT).await;
        let mut altered = world.permit(newcomer, DEPOSIT - 1).await;
        altered.value = U256::from(DEPOSIT);

        for permit in [expired, foreign, altered] {
            assert_eq!(world.refused(newcomer, open(&d, permit)).await, short_of_allowance(&world));
        }
        assert_eq!(world.tokens(newcomer).await, 10 * DEPOSIT);
    });
}

/// The token checks who signed: the caller cannot spend another's permit.
#[test]
fn a_copied_permit_never_pays_for_the_copiers_purchase() {
    on_chain(async |world| {
        let d = purchase(&world).await;
        let stranger = &world.cast.stranger;
        let permit = world.permit(&world.cast.newcomer, DEPOSIT).await;

        let refusal = world.refused(stranger, open(&d, permit)).await;

        assert_eq!(refusal, short_of_allowance(&world));
        assert_eq!(world.tokens(&world.cast.newcomer).await, 10 * DEPOSIT);
    });
}

fn short_of_allowance(world: &World) -> PscError {
    let spender: Address = world.deployed.contract;
    PscError::InsufficientAllowance { spender, allowance: U256::ZERO, needed: U256::from(DEPOSIT) }
}
