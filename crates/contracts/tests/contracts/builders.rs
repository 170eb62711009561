//! Every builder of `call`, sent to the contract and answered by the event and the state that it promises.

use alloy::primitives::{B256, keccak256};
use privatix_channel::{Amount, CloseAuthorization, Fee, sign_close};
use privatix_contracts::{
    Announcement, ChannelParties, ChannelState, IPSC, OfferingState, PSC, PscEvent, TokenEvent, call,
};

use crate::{on_chain, world::World};

const DEPOSIT: u128 = 10_000;
const SOURCE: &str = "127.0.0.1:4000";

/// Agent and client with internal balances, the fee at 1 %, and an offering of eight places.
async fn market(world: &World) -> B256 {
    let cast = &world.cast;
    world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
    world.fund(&cast.client, 0, 100 * DEPOSIT).await;
    world.send(&cast.fee_address, PSC::setFeeCall { newFee: 1_000 }).await;
    let offering = keccak256("an offering");
    let announce = call::register_offering(offering.into(), Amount::new(DEPOSIT), 8, 1, SOURCE.to_owned());
    world.send(&cast.agent, announce.unwrap()).await;
    offering
}

#[test]
fn the_tokens_builders() {
    on_chain(async |world| {
        let cast = &world.cast;
        let receipt =
            world.send_token(&cast.holder, call::transfer(cast.client.address(), Amount::new(70))).await;
        assert_eq!(
            TokenEvent::decode(&receipt.logs()[0].inner.data).unwrap(),
            Some(TokenEvent::Transfer {
                from: cast.holder.address(),
                to: cast.client.address(),
                amount: Amount::new(70),
            })
        );
        let approval = call::approve(cast.agent.address(), Amount::new(40));
        let receipt = world.send_token(&cast.client, approval).await;
        assert_eq!(
            TokenEvent::decode(&receipt.logs()[0].inner.data).unwrap(),
            Some(TokenEvent::Approval {
                owner: cast.client.address(),
                spender: cast.agent.address(),
                amount: Amount::new(40),
            })
        );
    });
}

#[test]
fn the_balances_builders() {
    on_chain(async |world| {
        let cast = &world.cast;
        let account = cast.client.address();
        world.send_token(&cast.holder, call::transfer(account, Amount::new(70))).await;
        world.send_token(&cast.client, call::approve(world.deployed.contract, Amount::new(40))).await;

        let deposited = world.event(&cast.client, call::deposit(Amount::new(40))).await;
        assert_eq!(deposited, PscEvent::Deposited { account, amount: Amount::new(40) });
        let permit = world.permit(&cast.client, 10).await;
        let deposited = world.event(&cast.client, call::deposit_with_permit(Amount::new(10), permit)).await;
        assert_eq!(deposited, PscEvent::Deposited { account, amount: Amount::new(10) });
        let withdrawn = world.event(&cast.client, call::withdraw(Amount::new(35))).await;
        assert_eq!(withdrawn, PscEvent::Withdrawn { account, amount: Amount::new(35) });

        assert_eq!((world.tokens(&cast.client).await, world.balance(&cast.client).await), (55, 15));
    });
}

#[test]
fn the_offerings_builders() {
    on_chain(async |world| {
        let cast = &world.cast;
        world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
        let offering = keccak256("an offering");
        let announcement = |source: &str| Announcement {
            agent: cast.agent.address(),
            offering: offering.into(),
            min_deposit: Amount::new(DEPOSIT),
            supply: 8,
            source_type: 1,
            source: source.to_owned(),
        };

        let announce =
            call::register_offering(offering.into(), Amount::new(DEPOSIT), 8, 1, SOURCE.to_owned()).unwrap();
        let event = world.event(&cast.agent, announce).await;
        assert_eq!(event, PscEvent::OfferingRegistered(announcement(SOURCE)));
        assert_eq!(world.balance(&cast.agent).await, 92 * DEPOSIT, "a stake behind each place");
        world.mine(10).await;
        let again = call::pop_up_offering(offering.into(), 1, "elsewhere:1".to_owned());
        let event = world.event(&cast.agent, again).await;
        assert_eq!(event, PscEvent::OfferingPoppedUp(announcement("elsewhere:1")));
        world.mine(10).await;
        let event = world.event(&cast.agent, call::remove_offering(offering.into())).await;
        assert_eq!(
            event,
            PscEvent::OfferingRemoved { agent: cast.agent.address(), offering: offering.into() }
        );

        assert_eq!(world.offering(offering).await.state, OfferingState::Removed);
        assert_eq!(world.balance(&cast.agent).await, 100 * DEPOSIT);
    });
}

#[test]
fn the_channels_builders() {
    on_chain(async |world| {
        let offering = market(&world).await;
        let cast = &world.cast;
        let d = world.descriptor(offering, 0);
        let channel = parties(&world, &d);

        let event = world.event(&cast.client, call::open(&d, Amount::new(DEPOSIT)).unwrap()).await;
        assert_eq!(
            event,
            PscEvent::ChannelOpened {
                channel: channel.id,
                descriptor: d,
                deposit: Amount::new(DEPOSIT),
                fee: Fee::new(1_000).unwrap(),
            }
        );
        let event = world.event(&cast.client, call::top_up(&d, Amount::new(500)).unwrap()).await;
        assert_eq!(event, PscEvent::ChannelToppedUp { channel, deposit: Amount::new(10_500) });
        let event = world.event(&cast.stranger, call::settle(&d, &world.voucher(&d, 1_000))).await;
        assert_eq!(event, PscEvent::ChannelSettled { channel, paid: Amount::new(1_000) });
        let event = world.event(&cast.client, call::request_close(&d, Amount::new(1_500))).await;
        assert_eq!(event, PscEvent::ChannelCloseRequested { channel, paid: Amount::new(1_500) });
        assert!(world.channel(&d).await.close_requested_at.is_some());
        world.mine(20).await;
        let event = world.event(&cast.client, call::finalize_close(&d)).await;
        assert_eq!(
            event,
            PscEvent::ChannelClosed {
                channel,
                offering: offering.into(),
                paid: Amount::new(1_500),
                refund: Amount::new(9_000),
                cooperative: false,
            }
        );

        assert_eq!(world.channel(&d).await.state, ChannelState::Closed);
        assert_eq!(world.balance(&cast.agent).await, 92 * DEPOSIT + 1_485);
        assert_eq!(world.balance(&cast.fee_address).await, 15);
        assert_eq!(world.balance(&cast.client).await, 100 * DEPOSIT - 1_500);
    });
}

#[test]
fn the_cooperative_closes_builders() {
    on_chain(async |world| {
        let offering = market(&world).await;
        let cast = &world.cast;
        let channels: Vec<_> = (0..6).map(|index| world.descriptor(offering, index)).collect();
        for d in &channels {
            world.send(&cast.client, call::open(d, Amount::new(DEPOSIT)).unwrap()).await;
        }
        let closed = |index: usize, paid: u128| PscEvent::ChannelClosed {
            channel: parties(&world, &channels[index]),
            offering: offering.into(),
            paid: Amount::new(paid),
            refund: Amount::new(DEPOSIT - paid),
            cooperative: true,
        };

        // With a voucher, and with nothing at all.
        let best = world.voucher(&channels[0], DEPOSIT);
        assert_eq!(
            world.event(&cast.agent, call::close(&channels[0], Some(&best))).await,
            closed(0, DEPOSIT)
        );
        assert_eq!(world.event(&cast.agent, call::close(&channels[1], None)).await, closed(1, 0));

        // By both.
        let id = channels[2].id(&world.domain);
        let consent = CloseAuthorization { channel: id, cumulative: Amount::new(777) };
        let consent = sign_close(&cast.agent, &world.domain, consent).unwrap();
        let both = call::close_with_both(&channels[2], &world.voucher(&channels[2], 777), &consent);
        assert_eq!(world.event(&cast.stranger, both).await, closed(2, 777));

        // In batches: settled and closed channels are skipped.
        let vouchers: Vec<_> = channels[2..5].iter().map(|d| world.voucher(d, 600)).collect();
        let batch = call::settle_batch(cast.agent.address(), channels[2..5].iter().zip(&vouchers));
        let events = world.events(&world.send(&cast.stranger, batch).await);
        let settled = |index: usize| PscEvent::ChannelSettled {
            channel: parties(&world, &channels[index]),
            paid: Amount::new(600),
        };
        assert_eq!(events, [settled(3), settled(4)]);
        let better = world.voucher(&channels[4], 900);
        let batch = [(&channels[3], None), (&channels[4], Some(&better)), (&channels[5], None)];
        let events = world.events(&world.send(&cast.agent, call::close_batch(batch)).await);
        assert_eq!(events, [closed(3, 600), closed(4, 900), closed(5, 0)]);
    });
}

#[test]
fn amounts_beyond_the_contracts_96_bits_are_refused_before_they_are_sent() {
    let d = privatix_channel::ChannelDescriptor {
        client: alloy::primitives::Address::repeat_byte(1),
        agent: alloy::primitives::Address::repeat_byte(2),
        offering: B256::ZERO.into(),
        nonce: 0,
        signer: alloy::primitives::Address::ZERO,
    };
    let most = Amount::MAX_ON_CHAIN;
    let more = Amount::new(most.get() + 1);
    let permit = || IPSC::Permit::default();
    assert!(call::open(&d, most).is_ok() && call::top_up(&d, most).is_ok());
    let register = |amount| call::register_offering(B256::ZERO.into(), amount, 1, 0, String::new()).err();
    assert_eq!(register(most), None);
    for refusal in [
        register(more),
        call::open(&d, more).err(),
        call::open_with_permit(&d, more, permit()).err(),
        call::top_up(&d, more).err(),
        call::top_up_with_permit(&d, more, permit()).err(),
    ] {
        assert_eq!(refusal.expect("refused").amount, more);
    }
}

fn parties(world: &World, d: &privatix_channel::ChannelDescriptor) -> ChannelParties {
    ChannelParties { id: d.id(&world.domain), client: d.client, agent: d.agent }
}
