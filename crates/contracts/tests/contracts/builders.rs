//! Every builder of `call`, sent to the contract and answered by the event and the state that it promises.

use alloy::primitives::{B256, keccak256};
use alloy::{signers::SignerSync as _, sol_types::SolCall as _};
use privatix_channel::{
    Amount, Announcement, ChainTime, Closure, Fee, RequestClose, TransferAuthorization, sign_request_close,
};
use privatix_contracts::{
    ChannelParties, ChannelState, IPSC, OfferingState, PSC, PscEvent, SkipReason, TokenEvent, call,
};

use crate::{
    on_chain,
    world::{TERMS, World},
};

const DEPOSIT: u128 = 10_000;
const SOURCE: &str = "127.0.0.1:4000";

/// Agent and client with internal balances, the fee at 1 %, and an offering of eight places.
async fn market(world: &World) -> B256 {
    let cast = &world.cast;
    world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
    world.fund(&cast.client, 0, 100 * DEPOSIT).await;
    world.send(&cast.fee_address, PSC::setFeeCall { newFee: 1_000 }).await;
    world.warp(TERMS.fee_delay).await;
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
        assert_eq!(withdrawn, PscEvent::Withdrawn { account, to: account, amount: Amount::new(35) });

        assert_eq!((world.tokens(&cast.client).await, world.balance(&cast.client).await), (55, 15));

        // For others, and to other wallets.
        let (wallet, other) = (cast.stranger.address(), cast.agent.address());
        world.send_token(&cast.client, call::approve(world.deployed.contract, Amount::new(5))).await;
        let deposited = world.event(&cast.client, call::deposit_for(other, Amount::new(5))).await;
        assert_eq!(deposited, PscEvent::Deposited { account: other, amount: Amount::new(5) });
        let withdrawn = world.event(&cast.client, call::withdraw_to(wallet, Amount::new(4))).await;
        assert_eq!(withdrawn, PscEvent::Withdrawn { account, to: wallet, amount: Amount::new(4) });
        let withdrawn = world.event(&cast.client, call::withdraw_all(wallet)).await;
        assert_eq!(withdrawn, PscEvent::Withdrawn { account, to: wallet, amount: Amount::new(11) });
        assert_eq!((world.tokens(&cast.stranger).await, world.balance(&cast.client).await), (15, 0));
        assert_eq!(world.balance(&cast.agent).await, 5);
        let several = call::multicall([
            call::withdraw(Amount::new(2)).abi_encode(),
            call::withdraw_all(wallet).abi_encode(),
        ]);
        let events = world.events(&world.send(&cast.agent, several).await);
        assert_eq!(
            events,
            [(other, 2), (wallet, 3)].map(|(to, units)| PscEvent::Withdrawn {
                account: other,
                to,
                amount: Amount::new(units)
            })
        );
    });
}

#[test]
fn the_operators_builders() {
    on_chain(async |world| {
        let offering = market(&world).await;
        let cast = &world.cast;
        let (agent, operator) = (cast.agent.address(), cast.stranger.address());
        let appointed = world.event(&cast.agent, call::set_operator(Some(operator))).await;
        assert_eq!(appointed, PscEvent::OperatorChanged { agent, operator: Some(operator), nonce: 1 });
        let revoked = world.event(&cast.stranger, call::revoke_consents(agent)).await;
        assert_eq!(revoked, PscEvent::ConsentsRevoked { account: agent, nonce: 2 });

        let other = keccak256("the operator's").into();
        let source = || SOURCE.to_owned();
        let announce =
            call::register_offering_for(agent, other, Amount::new(DEPOSIT), 2, 1, source()).unwrap();
        let event = world.event(&cast.stranger, announce).await;
        assert!(matches!(event, PscEvent::OfferingRegistered { agent: by, .. } if by == agent));
        world.warp(TERMS.pop_up).await;
        let event = world.event(&cast.stranger, call::pop_up_offering_for(agent, other, 1, source())).await;
        assert!(
            matches!(event, PscEvent::OfferingPoppedUp { agent: by, announcement, .. } if by == agent && announcement.supply == 2)
        );
        world.warp(TERMS.remove).await;
        let event = world.event(&cast.stranger, call::remove_offering_for(agent, other)).await;
        assert_eq!(event, PscEvent::OfferingRemoved { agent, offering: other });

        let [opened, never] = [0, 1].map(|index| world.descriptor(offering, index));
        world.send(&cast.client, call::open(&opened, Amount::new(DEPOSIT)).unwrap()).await;
        let batch = call::close_batch_for(agent, [(&never, None), (&opened, None)]);
        let events = world.events(&world.send(&cast.stranger, batch).await);
        let (index, channel, reason) = (0, never.id(&world.domain), SkipReason::NotOpened);
        assert_eq!(events[0], PscEvent::ClaimSkipped { index, channel, reason });
        assert!(matches!(events[1], PscEvent::ChannelClosed { closure: Closure::ByAgent, .. }));
        assert_eq!(events.len(), 2);

        let refreshed = world.event(&cast.client, call::refresh_offering_fee(agent, offering.into())).await;
        let fee = Fee::new(1_000).unwrap();
        assert_eq!(refreshed, PscEvent::OfferingFeeRefreshed { agent, offering: offering.into(), fee });
        let dismissed = world.event(&cast.agent, call::set_operator(None)).await;
        assert_eq!(dismissed, PscEvent::OperatorChanged { agent, operator: None, nonce: 3 });
    });
}

/// What somebody else may submit for a client: its first purchase, a top-up, a close request.
#[test]
fn the_relayed_calls_builders() {
    on_chain(async |world| {
        let offering = market(&world).await;
        let cast = &world.cast;
        let mut d = world.descriptor(offering, 0);
        (d.client, d.signer) = (cast.newcomer.address(), cast.newcomer.address());
        world.send_token(&cast.holder, call::transfer(d.client, Amount::new(2 * DEPOSIT))).await;
        let separator = world.ptc().DOMAIN_SEPARATOR().call().await.unwrap();
        let sign = |authorization: &TransferAuthorization| {
            cast.newcomer.sign_hash_sync(&authorization.digest(separator)).unwrap()
        };

        let (validity, salt) = ((ChainTime::new(0), ChainTime::MAX), B256::repeat_byte(7));
        let opening = TransferAuthorization::opening(&world.domain, &d, Amount::new(DEPOSIT), validity);
        let open = call::open_with_authorization(&d, &opening, &sign(&opening)).unwrap();
        let event = world.event(&cast.stranger, open).await;
        assert!(matches!(event, PscEvent::ChannelOpened { descriptor, .. } if descriptor == d));
        let added = TransferAuthorization::top_up(&world.domain, &d, Amount::new(5), salt, validity);
        let top_up = call::top_up_with_authorization(&d, salt, &added, &sign(&added)).unwrap();
        let channel = parties(&world, &d);
        let event = world.event(&cast.stranger, top_up).await;
        let deposit = Amount::new(DEPOSIT + 5);
        assert_eq!(event, PscEvent::ChannelToppedUp { channel, deposit, request_cancelled: false });

        let (nonce, admitted, deadline) = (0, Amount::new(40), ChainTime::MAX);
        let request = RequestClose { channel: channel.id, admitted, nonce, deadline };
        let request = sign_request_close(&cast.newcomer, &world.domain, request).unwrap();
        let event = world.event(&cast.stranger, call::request_close_for(&d, &request)).await;
        assert!(matches!(event, PscEvent::ChannelCloseRequested { paid, .. } if paid == admitted));
        let event = world.event(&cast.newcomer, call::cancel_close(&d)).await;
        assert_eq!(event, PscEvent::ChannelCloseCancelled { channel });
        assert_eq!(world.tokens(&cast.newcomer).await, DEPOSIT - 5);
    });
}

#[test]
fn the_offerings_builders() {
    on_chain(async |world| {
        let cast = &world.cast;
        world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
        let offering = keccak256("an offering");
        let agent = cast.agent.address();
        let announced = |source: &str| Announcement {
            min_deposit: Amount::new(DEPOSIT),
            supply: 8,
            fee: Fee::ZERO,
            source_type: 1,
            source: source.to_owned(),
        };

        let announce =
            call::register_offering(offering.into(), Amount::new(DEPOSIT), 8, 1, SOURCE.to_owned()).unwrap();
        let event = world.event(&cast.agent, announce).await;
        let announcement = announced(SOURCE);
        assert_eq!(event, PscEvent::OfferingRegistered { agent, offering: offering.into(), announcement });
        assert_eq!(world.balance(&cast.agent).await, 92 * DEPOSIT, "a stake behind each place");
        world.warp(TERMS.pop_up).await;
        let again = call::pop_up_offering(offering.into(), 1, "elsewhere:1".to_owned());
        let event = world.event(&cast.agent, again).await;
        let announcement = announced("elsewhere:1");
        assert_eq!(event, PscEvent::OfferingPoppedUp { agent, offering: offering.into(), announcement });
        world.warp(TERMS.remove).await;
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
        let deposit = Amount::new(10_500);
        assert_eq!(event, PscEvent::ChannelToppedUp { channel, deposit, request_cancelled: false });
        let event = world.event(&cast.stranger, call::settle(&d, &world.voucher(&d, 1_000))).await;
        assert_eq!(event, PscEvent::ChannelSettled { channel, paid: Amount::new(1_000) });
        let event = world.event(&cast.client, call::request_close(&d, Amount::new(1_500))).await;
        let ends_at = world.time().await.plus(TERMS.challenge);
        assert_eq!(event, PscEvent::ChannelCloseRequested { channel, paid: Amount::new(1_500), ends_at });
        assert_eq!(world.channel(&d).await.challenge_ends_at, Some(ends_at));
        world.warp(TERMS.challenge).await;
        let event = world.event(&cast.stranger, call::finalize_close(&d)).await;
        assert_eq!(
            event,
            PscEvent::ChannelClosed {
                channel,
                offering: offering.into(),
                paid: Amount::new(1_500),
                refund: Amount::new(9_000),
                closure: Closure::ByClient,
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
        let closed = |index: usize, paid: u128, closure: Closure| PscEvent::ChannelClosed {
            channel: parties(&world, &channels[index]),
            offering: offering.into(),
            paid: Amount::new(paid),
            refund: Amount::new(DEPOSIT - paid),
            closure,
        };

        // With a voucher, and with nothing at all.
        let best = world.voucher(&channels[0], DEPOSIT);
        assert_eq!(
            world.event(&cast.agent, call::close(&channels[0], Some(&best))).await,
            closed(0, DEPOSIT, Closure::ByAgent)
        );
        assert_eq!(
            world.event(&cast.agent, call::close(&channels[1], None)).await,
            closed(1, 0, Closure::ByAgent)
        );

        // By both.
        let consent = world.consent(&channels[2], 777).await;
        let both = call::close_with_both(&channels[2], &world.voucher(&channels[2], 777), &consent);
        assert_eq!(world.event(&cast.stranger, both).await, closed(2, 777, Closure::ByBoth));

        // In batches: closed channels are skipped, and reported.
        let vouchers: Vec<_> = channels[2..5].iter().map(|d| world.voucher(d, 600)).collect();
        let batch = call::settle_batch(cast.agent.address(), channels[2..5].iter().zip(&vouchers));
        let events = world.events(&world.send(&cast.stranger, batch).await);
        let settled = |index: usize| PscEvent::ChannelSettled {
            channel: parties(&world, &channels[index]),
            paid: Amount::new(600),
        };
        let (index, channel, reason) = (0, channels[2].id(&world.domain), SkipReason::Closed);
        assert_eq!(events, [PscEvent::ClaimSkipped { index, channel, reason }, settled(3), settled(4)]);
        let better = world.voucher(&channels[4], 900);
        let batch = [(&channels[3], None), (&channels[4], Some(&better)), (&channels[5], None)];
        let events = world.events(&world.send(&cast.agent, call::close_batch(batch)).await);
        let all = [(3, 600), (4, 900), (5, 0)].map(|(index, paid)| closed(index, paid, Closure::ByAgent));
        assert_eq!(events, all);
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
