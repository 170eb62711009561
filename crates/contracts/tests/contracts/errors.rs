//! Every error of the contract, provoked on a node and decoded.

use std::collections::BTreeSet;

use alloy::signers::SignerSync as _;
use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U96, keccak256},
    sol_types::{Panic, Revert, SolCall, SolError as _},
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, Period, SignedClose, Terms, TransferAuthorization,
};
use privatix_contracts::{
    PSC, PTC, PscError, call,
    deploy::{DeployError, deploy_service},
};

use crate::{
    on_chain,
    world::{TERMS, World},
};

const DEPOSIT: u128 = 10_000;

/// Only tokens that are not ours, or contract accounts with too little gas, cause these; the contracts' own tests do.
const NOT_PROVOKED: [&str; 5] =
    ["SafeERC20FailedOperation", "TokenSilent", "Reentered", "AddressEmptyCode", "InsufficientGas"];

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
            .filter(|name| !NOT_PROVOKED.contains(&name.as_str()))
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
    let nobody = PscError::ZeroAddress;
    provoked.by(&cast.stranger, call::deposit_for(Address::ZERO, Amount::new(7)), nobody).await;
    let recipient = world.deployed.contract;
    let nowhere = PscError::InvalidRecipient { recipient };
    provoked.by(&cast.stranger, call::withdraw_to(recipient, Amount::new(7)), nowhere).await;
    let silent = call::multicall([vec![1, 2, 3, 4]]);
    provoked.by(&cast.stranger, silent, PscError::FailedCall).await;
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
    let refusal =
        |result: Result<Address, DeployError>| result.expect_err("refused").refusal().expect("a revert");
    let deployed = deploy_service(&world.provider, world.deployed.token, Address::ZERO, TERMS).await;
    provoked.record(&refusal(deployed), &PscError::ZeroAddress);
    let refused = [
        (Terms { pop_up: Period::new(0), ..TERMS }, PscError::PeriodOutOfRange),
        (Terms { remove: Period::days(91), ..TERMS }, PscError::PeriodOutOfRange),
        (Terms { challenge: Period::new(15 * 60 - 1), ..TERMS }, PscError::PeriodOutOfRange),
        (Terms { fee_delay: TERMS.remove, ..TERMS }, PscError::PeriodOutOfRange),
        (Terms { min_stake: Amount::ZERO, ..TERMS }, PscError::ZeroAmount),
    ];
    for (terms, expected) in refused {
        assert!(!terms.are_valid());
        let deployed = deploy_service(&world.provider, world.deployed.token, fee_address, terms).await;
        provoked.record(&refusal(deployed), &expected);
    }
    assert!(Terms::TEST.are_valid());
    deploy_service(&world.provider, world.deployed.token, fee_address, Terms::TEST).await.unwrap();
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
    let stake = |units| call::register_offering(offering, Amount::new(units), 1, 0, "x".to_owned()).unwrap();
    let small = PscError::StakeTooSmall { stake: U256::from(99), minimum: U256::from(100) };
    provoked.by(&cast.agent, stake(99), small).await;
    let long = call::register_offering(offering, Amount::new(DEPOSIT), 1, 0, "x".repeat(301)).unwrap();
    let too_long = PscError::SourceTooLong { length: U256::from(301), maximum: U256::from(300) };
    provoked.by(&cast.agent, long, too_long).await;
    world.send(&cast.agent, announce.clone()).await;
    let announced_at = world.time().await;
    let exists = PscError::OfferingExists { agent, offering };
    provoked.by(&cast.agent, announce, exists).await;
    let refusal = world.refused(&cast.agent, call::remove_offering(offering)).await;
    let PscError::TooEarly { now, allowed_at } = refusal else { panic!("{refusal}") };
    assert!((announced_at..allowed_at).contains(&now), "{now}");
    assert_eq!(allowed_at, announced_at.plus(TERMS.remove));
    provoked.record(&refusal, &PscError::TooEarly { now, allowed_at });
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
    let other = world.voucher(&world.descriptor(offering, 3), 5);
    let forged = PscError::InvalidSignature { channel };
    provoked.by(stranger, call::settle(&d, &other), forged).await;

    world.send(stranger, call::settle(&d, &world.voucher(&d, 50))).await;
    let nothing = PscError::NothingToSettle { channel, paid: n(50) };
    provoked.by(stranger, call::settle(&d, &world.voucher(&d, 50)), nothing).await;
    let consent = world.consent(&d, 49).await;
    let below = PscError::BelowPaid { amount: n(49), paid: n(50) };
    provoked.by(stranger, call::close_with_both(&d, &world.voucher(&d, 49), &consent), below).await;
    let best = world.voucher(&d, 60);
    let with = |authorization| SignedClose { authorization, ..consent };
    let deadline = ChainTime::new(7);
    let old = with(privatix_channel::CloseAuthorization { deadline, ..consent.authorization });
    provoked.by(stranger, call::close_with_both(&d, &best, &old), PscError::Expired { deadline }).await;
    let other = with(privatix_channel::CloseAuthorization { nonce: 5, ..consent.authorization });
    let wrong = PscError::WrongNonce { given: n(5), current: n(0) };
    provoked.by(stranger, call::close_with_both(&d, &best, &other), wrong).await;
    world.send(client, call::request_close(&d, Amount::new(50))).await;
    let asked = PscError::CloseAlreadyRequested { channel };
    provoked.by(client, call::request_close(&d, Amount::new(50)), asked).await;
}

/// What the token answers to authorisations that do not count.
#[test]
fn refused_authorizations_are_decoded_with_their_values() {
    on_chain(async |world| {
        let cast = world.cast.clone();
        let d = world.descriptor(keccak256("no offering"), 0);
        let separator = world.ptc().DOMAIN_SEPARATOR().call().await.unwrap();
        let open = |validity, by: &alloy::signers::local::PrivateKeySigner| {
            let signed = TransferAuthorization::opening(&world.domain, &d, Amount::new(5), validity);
            let signature = by.sign_hash_sync(&signed.digest(separator)).unwrap();
            call::open_with_authorization(&d, &signed, &signature).unwrap()
        };
        let (first, last) = (ChainTime::new(0), ChainTime::MAX);
        let late = PscError::AuthorizationNotYetValid { valid_after: last };
        assert_eq!(world.refused(&cast.stranger, open((last, last), &cast.client)).await, late);
        let over = PscError::AuthorizationExpired { valid_before: first };
        assert_eq!(world.refused(&cast.stranger, open((first, first), &cast.client)).await, over);
        let (signer, authorizer) = (cast.stranger.address(), cast.client.address());
        let forged = PscError::AuthorizationNotSigned { signer, authorizer };
        assert_eq!(world.refused(&cast.stranger, open((first, last), &cast.stranger)).await, forged);
        let nonce = d.id(&world.domain).into();
        let used = PTC::AuthorizationAlreadyUsed { authorizer, nonce };
        let expected = PscError::AuthorizationAlreadyUsed { authorizer, nonce };
        assert_eq!(PscError::decode(&used.abi_encode()), expected);
    });
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
