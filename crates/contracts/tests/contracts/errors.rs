//! Every error of the contract, provoked on a node and decoded.

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U96, keccak256},
    sol_types::{Panic, Revert, SolCall, SolError as _},
};
use privatix_channel::{Amount, ChannelDescriptor, CloseAuthorization, sign_close};
use privatix_contracts::{
    PSC, PTC, PscError, call,
    deploy::{DeployError, Periods, deploy_service},
};

use crate::{on_chain, world::World};

const DEPOSIT: u128 = 10_000;

/// Provokes errors and remembers which.
struct Provoked<'a> {
    world: &'a World,
    names: BTreeSet<String>,
}

impl Provoked<'_> {
    async fn by(
        &mut self,
        from: &alloy::signers::local::PrivateKeySigner,
        call: impl SolCall,
        expected: PscError,
    ) {
        let refusal = self.world.refused(from, call).await;
        self.record(&refusal, &expected);
    }

    fn record(&mut self, refusal: &PscError, expected: &PscError) {
        assert_eq!(refusal, expected);
        assert!(refusal.to_string().contains(": "), "says what to do: {refusal}");
        let name = format!("{refusal:?}");
        self.names.insert(name.split([' ', '(']).next().expect("a name").to_owned());
    }
}

#[test]
fn every_error_of_the_contract_is_decoded_with_its_values() {
    on_chain(async |world| {
        let mut provoked = Provoked { world: &world, names: BTreeSet::new() };
        balances_and_fees(&mut provoked).await;
        deployments(&mut provoked).await;
        offerings_and_openings(&mut provoked).await;
        channels(&mut provoked).await;
        let declared: BTreeSet<String> = PSC::PSCErrors::SELECTORS
            .iter()
            .filter_map(|selector| PSC::PSCErrors::name_by_selector(*selector))
            .map(str::to_owned)
            .filter(|name| name != "SafeERC20FailedOperation") // only a token that is not ours fails without a reason
            .collect();
        assert_eq!(declared.difference(&provoked.names).collect::<Vec<_>>(), Vec::<&String>::new());
    });
}

async fn balances_and_fees(provoked: &mut Provoked<'_>) {
    let world = provoked.world;
    let cast = world.cast.clone();
    let stranger = cast.stranger.address();
    let n = U256::from::<u128>;
    provoked.by(&cast.stranger, call::deposit(Amount::ZERO), PscError::ZeroAmount).await;
    let short = PscError::InsufficientBalance { account: stranger, available: n(0), needed: n(7) };
    provoked.by(&cast.stranger, call::withdraw(Amount::new(7)), short).await;
    let short =
        PscError::InsufficientAllowance { spender: world.deployed.contract, allowance: n(0), needed: n(7) };
    provoked.by(&cast.stranger, call::deposit(Amount::new(7)), short).await;
    world.send_token(&cast.stranger, call::approve(world.deployed.contract, Amount::new(9))).await;
    let short = PscError::InsufficientTokens { owner: stranger, available: n(0), needed: n(7) };
    provoked.by(&cast.stranger, call::deposit(Amount::new(7)), short).await;

    let caller = PscError::NotFeeAddress { caller: stranger };
    provoked.by(&cast.stranger, PSC::setFeeCall { newFee: 1 }, caller).await;
    let high = PscError::FeeTooHigh { fee: n(10_001), maximum: n(10_000) };
    provoked.by(&cast.fee_address, PSC::setFeeCall { newFee: 10_001 }, high).await;
    let caller = PscError::NotProposedFeeAddress { caller: stranger };
    provoked.by(&cast.stranger, PSC::acceptFeeAddressCall {}, caller).await;
}

async fn deployments(provoked: &mut Provoked<'_>) {
    let world = provoked.world;
    let fee_address = world.cast.fee_address.address();
    let refusal = |result: Result<Address, DeployError>| {
        PscError::of(&result.expect_err("refused").source).expect("a revert")
    };
    let deployed = deploy_service(&world.provider, world.deployed.token, Address::ZERO, Periods::TEST).await;
    provoked.record(&refusal(deployed), &PscError::ZeroAddress);
    let none = Periods { challenge: 0, ..Periods::TEST };
    let deployed = deploy_service(&world.provider, world.deployed.token, fee_address, none).await;
    provoked.record(&refusal(deployed), &PscError::PeriodOutOfRange);
}

async fn offerings_and_openings(provoked: &mut Provoked<'_>) {
    let world = provoked.world;
    let cast = world.cast.clone();
    let (agent, offering) = (cast.agent.address(), keccak256("an offering").into());
    world.fund(&cast.agent, 0, 100 * DEPOSIT).await;
    world.fund(&cast.client, 0, 100 * DEPOSIT).await;
    let d = world.descriptor(B256::from(offering), 0);
    let open = |d: &ChannelDescriptor, amount| call::open(d, Amount::new(amount)).unwrap();

    let dead = PscError::OfferingNotLive { agent, offering };
    provoked.by(&cast.client, open(&d, DEPOSIT), dead).await;
    let announce = call::register_offering(offering, Amount::new(DEPOSIT), 1, 0, "x".to_owned()).unwrap();
    let at = world.send(&cast.agent, announce.clone()).await.block_number.expect("mined");
    let exists = PscError::OfferingExists { agent, offering };
    provoked.by(&cast.agent, announce, exists).await;
    // The node estimates on its newest block.
    let early = PscError::TooEarly { current: U256::from(at + 1), allowed_at: U256::from(at + 5) };
    provoked.by(&cast.agent, call::remove_offering(offering), early).await;
    let small = PscError::DepositTooSmall { deposit: U256::from(DEPOSIT - 1), minimum: U256::from(DEPOSIT) };
    provoked.by(&cast.client, open(&d, DEPOSIT - 1), small).await;
    world.send(&cast.client, open(&d, DEPOSIT)).await;
    let full = PscError::NoSupply { agent, offering };
    provoked.by(&cast.client, open(&world.descriptor(B256::from(offering), 1), DEPOSIT), full).await;
}

async fn channels(provoked: &mut Provoked<'_>) {
    let world = provoked.world;
    let cast = world.cast.clone();
    let (client, agent, stranger) = (&cast.client, &cast.agent, &cast.stranger);
    let offering = keccak256("another offering");
    let announce = call::register_offering(offering.into(), Amount::new(DEPOSIT), 8, 0, "x".to_owned());
    world.send(agent, announce.unwrap()).await;
    let d = world.descriptor(offering, 2);
    let channel = d.id(&world.domain);
    let n = U256::from::<u128>;

    let none = PscError::ChannelNotOpen { channel };
    provoked.by(client, call::finalize_close(&d), none).await;
    world.send(client, call::open(&d, Amount::new(DEPOSIT)).unwrap()).await;
    let exists = PscError::ChannelExists { channel };
    provoked.by(client, call::open(&d, Amount::new(DEPOSIT)).unwrap(), exists).await;
    let caller = PscError::NotClient { caller: stranger.address() };
    provoked.by(stranger, call::request_close(&d, Amount::ZERO), caller).await;
    let caller = PscError::NotAgent { caller: stranger.address() };
    provoked.by(stranger, call::close(&d, None), caller).await;
    let most = PSC::topUpCall { descriptor: d.into(), amount: U96::MAX };
    let large = PscError::AmountTooLarge { amount: U256::from(U96::MAX) + n(DEPOSIT) };
    provoked.by(client, most, large).await;
    let none = PscError::CloseNotRequested { channel };
    provoked.by(client, call::finalize_close(&d), none).await;
    let above = PscError::AmountAboveDeposit { amount: n(DEPOSIT + 1), deposit: n(DEPOSIT) };
    provoked.by(stranger, call::settle(&d, &world.voucher(&d, DEPOSIT + 1)), above).await;
    let other = world.voucher(&world.descriptor(offering, 3), 5);
    let forged = PscError::InvalidSignature { channel };
    provoked.by(stranger, call::settle(&d, &other), forged).await;

    world.send(stranger, call::settle(&d, &world.voucher(&d, 50))).await;
    let nothing = PscError::NothingToSettle { channel, paid: n(50) };
    provoked.by(stranger, call::settle(&d, &world.voucher(&d, 50)), nothing).await;
    let consent = CloseAuthorization { channel, cumulative: Amount::new(49) };
    let consent = sign_close(agent, &world.domain, consent).unwrap();
    let below = PscError::BelowPaid { amount: n(49), paid: n(50) };
    provoked.by(stranger, call::close_with_both(&d, &world.voucher(&d, 49), &consent), below).await;
    world.send(client, call::request_close(&d, Amount::new(50))).await;
    let asked = PscError::CloseAlreadyRequested { channel };
    provoked.by(client, call::request_close(&d, Amount::new(50)), asked).await;
}

#[test]
fn reverts_that_are_not_the_contracts_own_are_decoded_too() {
    let failed = PSC::SafeERC20FailedOperation { token: Address::repeat_byte(7) };
    let PscError::Token(text) = PscError::decode(&failed.abi_encode()) else { panic!("the token's") };
    assert!(text.contains("0x0707"), "{text}");
    let expired = PTC::ERC2612ExpiredSignature { deadline: U256::from(5) };
    let PscError::Token(text) = PscError::decode(&expired.abi_encode()) else { panic!("the token's") };
    assert!(text.contains("ERC2612ExpiredSignature"), "{text}");
    let required = Revert::from("no entry".to_owned());
    assert_eq!(PscError::decode(&required.abi_encode()), PscError::Message("no entry".to_owned()));
    let panicked = Panic { code: U256::from(0x11) };
    assert_eq!(PscError::decode(&panicked.abi_encode()), PscError::Panicked { code: U256::from(0x11) });
    for unknown in [&[][..], &[1, 2, 3], &[0xde, 0xad, 0xbe, 0xef, 0]] {
        assert_eq!(PscError::decode(unknown), PscError::Unknown(Bytes::copy_from_slice(unknown)));
    }
}
