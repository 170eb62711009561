//! Ways in which payment systems lost money although every signature was good, each as a test that this one does not: the
//! incident classes 7 and 10 to 18, as far as they concern the protocol. (`incidents.rs` has the classes about signatures.)
//!
//! What concerns a daemon is tested with it: gas at dispute time and transactions that get lost in the transactor, injection
//! into streams in the messaging channel, limits on senders in both.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use alloy::primitives::Address;
use common::*;
use privatix_channel::{
    Accepted, AgentChannel, Amount, Answer, ChainTime, ChannelEvent, ChannelId, ClientChannel,
    ConsentRefused, Consents, FinalView, Finalize, Phase, SignError, SignedVoucher, Terms, VoucherError,
    VoucherSignature, answer_close_request, client_finalize,
    model::{Call, Claim, Contract, Revert, Source},
};

const TERMS: Terms = Terms::TEST;

/// The contract with the test's channel open.
fn contract() -> Contract {
    let (client, agent, offering) = (descriptor().client, descriptor().agent, descriptor().offering);
    let mut contract = Contract::new(domain(), key(1).address(), TERMS);
    for account in [client, agent] {
        contract.fund(account, amount(DEPOSIT));
        contract.call(account, &Call::Deposit { amount: amount(DEPOSIT) }).unwrap();
    }
    let source = Source::default();
    let register = Call::RegisterOffering { offering, min_deposit: amount(1), supply: 1, source };
    contract.call(agent, &register).unwrap();
    let open = Call::Open { agent, offering, nonce: 1, signer: Address::ZERO, amount: amount(DEPOSIT) };
    contract.call(client, &open).unwrap();
    contract
}

fn settle(base_units: u128) -> Call {
    let signature = voucher(base_units).signature.as_bytes().to_vec();
    Call::Settle { descriptor: descriptor(), cumulative: amount(base_units), signature }
}

fn close(base_units: u128) -> Call {
    let signature = voucher(base_units).signature.as_bytes().to_vec();
    Call::Close { descriptor: descriptor(), cumulative: amount(base_units), signature }
}

fn accept(agent: &mut AgentChannel, voucher: &SignedVoucher) {
    let Accepted::New(new) = agent.accept(voucher).unwrap() else { panic!("not new") };
    agent.commit(new).unwrap();
}

fn pay(client: &mut ClientChannel, due: u128) -> SignedVoucher {
    let signed = client.propose(amount(due)).unwrap().unwrap().sign(&client_key()).unwrap();
    client.commit(signed).unwrap()
}

// ---------------------------------------------------------------- 7: acting before judging

/// `mpp` 0.15.0: the client's money moved although its credential was bad. Here a payment signed by the wrong key cannot
/// even become something to store or send.
#[test]
fn incident_7_a_payment_signed_by_the_wrong_key_goes_nowhere() {
    let client = open_client();
    let proposal = client.propose(amount(10)).unwrap().unwrap();
    assert!(matches!(proposal.sign(&agent_key()), Err(SignError::WrongKey(_))));
    assert_eq!((client.highest(), client.promised()), (None, Amount::ZERO));
}

/// Judging a voucher changes nothing: what was accepted and not stored is not proven.
#[test]
fn incident_7_an_accepted_voucher_counts_only_once_it_is_stored() {
    let agent = open_agent();
    assert!(matches!(agent.accept(&voucher(50)), Ok(Accepted::New(_))));
    assert_eq!((agent.best(), agent.proven()), (None, Amount::ZERO));
}

// ---------------------------------------------------------------- 10: redeemed more than once

/// HOPR audit 2023, 5.2. Alone, in a batch, twice in one batch, and at the close: one voucher pays once.
#[test]
fn incident_10_a_voucher_is_paid_once_however_often_it_is_cashed() {
    let (mut contract, agent) = (contract(), descriptor().agent);
    let before = contract.balance_of(agent).get();
    contract.call(agent, &settle(70)).unwrap();
    let again = contract.call(agent, &settle(70));
    assert!(matches!(again, Err(Revert::NothingToSettle { paid, .. }) if paid == amount(70)));

    let claim = |base_units| Claim {
        client: descriptor().client,
        offering: descriptor().offering,
        nonce: descriptor().nonce,
        signer: descriptor().signer,
        cumulative: amount(base_units),
        signature: voucher(base_units).signature.as_bytes().to_vec(),
    };
    let claims = vec![claim(70), claim(90), claim(90), claim(80)];
    contract.call(agent, &Call::SettleBatch { agent, claims }).unwrap();
    assert_eq!(contract.balance_of(agent).get() - before, 90);

    contract.call(agent, &close(90)).unwrap();
    // The place under the offering stays the agent's stake: only the payment counts here.
    assert_eq!(contract.balance_of(agent).get() - before, 90);
    assert!(matches!(contract.call(agent, &close(90)), Err(Revert::ChannelNotOpen { .. })));
    assert!(contract.is_conserved());
}

/// A closed channel's id never opens again, so its vouchers never come back to life.
#[test]
fn incident_10_a_closed_channel_never_opens_again() {
    let mut contract = contract();
    contract.call(descriptor().agent, &close(10)).unwrap();
    let (agent, offering) = (descriptor().agent, descriptor().offering);
    let open = Call::Open { agent, offering, nonce: 1, signer: Address::ZERO, amount: amount(100) };
    let refused = contract.call(descriptor().client, &open);
    assert!(
        matches!(refused, Err(Revert::ChannelExists { channel }) if channel == descriptor().id(&domain()))
    );
}

// ---------------------------------------------------------------- 11: old proofs and the order of answers

/// raiden-contracts#127. A client admits an old amount; the better voucher wins, whichever way and order it comes in, and the
/// old one cannot undo it.
#[test]
fn incident_11_an_old_proof_never_beats_a_better_one() {
    let (client, agent) = (descriptor().client, descriptor().agent);
    for admitted in [0, 20, 60] {
        let mut contract = contract();
        let before = contract.balance_of(agent).get();
        let request = Call::RequestClose { descriptor: descriptor(), admitted: amount(admitted) };
        contract.call(client, &request).unwrap();
        contract.call(key(0x66).address(), &settle(60 + 30)).unwrap();
        assert!(contract.call(key(0x66).address(), &settle(60)).is_err(), "an old proof after a better one");
        contract.set_time(contract.time().plus(TERMS.challenge));
        contract.call(client, &Call::FinalizeClose { descriptor: descriptor() }).unwrap();
        assert_eq!(contract.balance_of(agent).get() - before, 90, "with {admitted} admitted");
        assert!(contract.is_conserved());
    }
}

/// raiden-contracts#1370: both sides lost their state and the channel could never be settled. Here the descriptor and the
/// chain suffice: either side can still leave.
#[test]
fn incident_11_a_channel_can_be_left_without_any_state() {
    let (client, agent) = (descriptor().client, descriptor().agent);
    let nothing = Call::Close { descriptor: descriptor(), cumulative: Amount::ZERO, signature: Vec::new() };
    assert!(contract().call(agent, &nothing).is_ok());

    let mut contract = contract();
    contract.call(client, &Call::RequestClose { descriptor: descriptor(), admitted: Amount::ZERO }).unwrap();
    contract.set_time(contract.time().plus(TERMS.challenge));
    contract.call(client, &Call::FinalizeClose { descriptor: descriptor() }).unwrap();
    assert_eq!(contract.balance_of(client), amount(DEPOSIT));
}

// ---------------------------------------------------------------- 12, 13: answers that come too late

/// raiden#5818: the answer landed after the window. The deadline that the agent gets is exactly the first second in which
/// the client can take the rest, and until then the answer works.
#[test]
fn incident_12_the_agent_knows_the_last_second_for_its_answer() {
    let mut contract = contract();
    let mut agent = open_agent();
    accept(&mut agent, &voucher(90));
    contract.set_time(ChainTime::new(7));
    let request = Call::RequestClose { descriptor: descriptor(), admitted: amount(20) };
    for event in contract.call(descriptor().client, &request).unwrap().events {
        let (_, event) = event.channel_event().unwrap();
        agent.apply(at(7), event);
    }
    let Answer::CloseWith { voucher: best, gain, deadline } = answer_close_request(&agent) else {
        panic!("there is something to answer");
    };
    assert_eq!((best, gain), (voucher(90), amount(70)));

    let finalize = Call::FinalizeClose { descriptor: descriptor() };
    assert_eq!(deadline, ChainTime::new(7).plus(TERMS.challenge));
    let before = ChainTime::new(deadline.seconds() - 1);
    contract.set_time(before);
    assert!(matches!(contract.call(descriptor().client, &finalize), Err(Revert::TooEarly { .. })));
    assert!(contract.clone().call(descriptor().agent, &close(90)).is_ok(), "the last second still counts");
    contract.set_time(deadline);
    assert!(contract.clone().call(descriptor().client, &finalize).is_ok(), "and then it can be too late");
    assert_eq!(client_finalize(agent.on_chain(), before), Finalize::NotBefore { ends_at: deadline });
    assert_eq!(client_finalize(agent.on_chain(), deadline), Finalize::Now);
}

/// microraiden#238, raiden#1861: no gas at dispute time. The answer needs no key of the agent: anybody with the voucher can
/// settle, and the money goes to the agent alone.
#[test]
fn incident_13_anybody_can_answer_for_an_agent_without_gas() {
    let (mut contract, watchtower) = (contract(), key(0x77).address());
    let before = contract.balance_of(descriptor().agent).get();
    let request = Call::RequestClose { descriptor: descriptor(), admitted: Amount::ZERO };
    contract.call(descriptor().client, &request).unwrap();
    contract.call(watchtower, &settle(90)).unwrap();
    assert_eq!(contract.balance_of(descriptor().agent).get() - before, 90);
    assert_eq!(contract.balance_of(watchtower), Amount::ZERO);
}

// ---------------------------------------------------------------- 14, 15: outcomes taken for granted

/// livepeer#2016, hoprnet#5723: marked as redeemed without a transaction. Only the chain's events make a channel paid.
#[test]
fn incident_14_only_the_chain_marks_a_voucher_as_cashed() {
    let mut agent = open_agent();
    accept(&mut agent, &voucher(90));
    assert_eq!((agent.claimable(), agent.on_chain().paid), (amount(90), Amount::ZERO));
    agent.apply(at(3), ChannelEvent::Settled { paid: amount(90) });
    assert_eq!((agent.claimable(), agent.on_chain().paid), (Amount::ZERO, amount(90)));
    // The transaction was in a block that is no more: the voucher is there to be cashed again.
    agent.reset_chain(*open_agent().on_chain());
    assert_eq!(agent.claimable(), amount(90));
}

/// yagna#2970, x402#452: an unknown outcome was taken for a failure, and an honest buyer paid twice. Here a payment is the
/// total: sending it again, or the next one, pays no unit twice.
#[test]
fn incident_15_a_payment_with_an_unknown_outcome_is_sent_again_not_made_again() {
    let (mut agent, mut client) = (open_agent(), open_client());
    let first = pay(&mut client, 30);
    accept(&mut agent, &first); // and the answer is lost
    assert!(client.propose(amount(30)).unwrap().is_none(), "the same debt is not signed twice");
    assert_eq!(client.highest(), Some(&first));
    assert!(
        matches!(agent.accept(&first), Ok(Accepted::Same(receipt)) if receipt.cumulative() == amount(30))
    );
    let next = pay(&mut client, 40);
    let Accepted::New(new) = agent.accept(&next).unwrap() else { panic!("40 is new") };
    assert_eq!(new.gained(), amount(10));
}

// ---------------------------------------------------------------- 16: an old backup

/// ldk-node#451: an old state came back. What the chain knows bounds the damage on both sides: a client signs nothing that
/// it already paid on chain, an agent serves nothing twice for it.
#[test]
fn incident_16_an_old_backup_knows_what_the_chain_paid() {
    let mut on_chain = *open_agent().on_chain();
    on_chain.apply(at(5), ChannelEvent::Settled { paid: amount(80) });

    let client = ClientChannel::restore(domain(), descriptor(), on_chain, Some(voucher(30))).unwrap();
    assert!(client.propose(amount(80)).unwrap().is_none());
    assert_eq!(client.propose(amount(81)).unwrap().unwrap().voucher().cumulative, amount(81));

    let mut agent =
        AgentChannel::restore(domain(), descriptor(), on_chain, Some(voucher(30)), Consents::default())
            .unwrap();
    assert_eq!(agent.proven(), amount(80));
    assert!(agent.accept(&voucher(60)).is_err());
    // The client's newest voucher, asked for again, repairs it.
    accept(&mut agent, &voucher(95));
    assert_eq!(agent.claimable(), amount(15));
}

/// ZeusLN/zeus#4292: another wallet's (or an empty) backup went unnoticed. A stored voucher is verified when it is restored.
#[test]
fn incident_16_a_backup_of_another_channel_is_refused() {
    let other = privatix_channel::ChannelDescriptor { nonce: 2, ..descriptor() };
    let on_chain = *open_agent().on_chain();
    assert!(
        AgentChannel::restore(domain(), other, on_chain, Some(voucher(30)), Consents::default()).is_err()
    );
    assert!(ClientChannel::restore(domain(), other, on_chain, Some(voucher(30))).is_err());
    let forged = SignedVoucher { signature: voucher(31).signature, ..voucher(30) };
    assert!(
        AgentChannel::restore(domain(), descriptor(), on_chain, Some(forged), Consents::default()).is_err()
    );
}

// ---------------------------------------------------------------- 17: text that says more than it should

/// `mpp` 0.15.0: a newline in a value forged an event. Every text of this crate has one spelling, and none holds anything
/// but its digits.
#[test]
fn incident_17_no_text_smuggles_anything_along() {
    let id = descriptor().id(&domain()).to_string();
    let signature = voucher(5).signature.to_string();
    for smuggled in ["\n", "\r\ndata: 1", " ", "\0", "\u{200b}", "0x", ","] {
        for (before, after) in [(smuggled, ""), ("", smuggled)] {
            assert!(format!("{before}5{after}").parse::<Amount>().is_err());
            assert!(format!("{before}{id}{after}").parse::<ChannelId>().is_err());
            assert!(format!("{before}{signature}{after}").parse::<VoucherSignature>().is_err());
        }
    }
    let twice = r#"{"channel":"ID","cumulative":"5","cumulative":"6","signature":"SIGNATURE"}"#;
    let twice = twice.replace("ID", &id).replace("SIGNATURE", &signature);
    assert!(serde_json::from_str::<SignedVoucher>(&twice).is_err(), "a field that is given twice");
}

// ---------------------------------------------------------------- 7 again: consents beside vouchers

/// A voucher was accepted, a lower consent committed, and then the voucher stored: it must never be acknowledged, not after a
/// restart either, since the consent can close the channel below it.
#[test]
fn incident_7_a_voucher_stored_beside_a_lower_consent_is_never_acknowledged() {
    let mut agent = open_agent();
    accept(&mut agent, &voucher(100));
    let Accepted::New(racing) = agent.accept(&voucher(200)).unwrap() else { panic!("not new") };
    let consent = agent.consent(amount(100), 0, ChainTime::new(5)).unwrap();
    let consent = agent.commit_consent(consent).unwrap();

    let above =
        |cumulative| VoucherError::AboveConsent { cumulative: amount(cumulative), consented: amount(100) };
    assert_eq!(agent.commit(racing), Err(above(200)));
    let on_chain = *agent.on_chain();
    let consents = Consents::new([consent]);
    let restored = AgentChannel::restore(domain(), descriptor(), on_chain, Some(voucher(200)), consents);
    let mut restored = restored.unwrap();
    for resent in [100, 150, 200] {
        assert_eq!(restored.accept(&voucher(resent)), Err(above(200)), "it acknowledges the best");
    }
    assert_eq!(restored.accept(&voucher(300)), Err(above(300)));

    // Once the consent is void for good, or what it could undercut is paid, the voucher counts.
    let mut paid = restored.clone();
    paid.apply(at(2), ChannelEvent::Settled { paid: amount(200) });
    assert_eq!(paid.accept(&voucher(200)).unwrap(), Accepted::Same(paid.receipt()));
    assert!(restored.void_consents(&FinalView { time: ChainTime::new(5), nonce: 1, paid: amount(0) }));
    assert_eq!(restored.accept(&voucher(200)).unwrap(), Accepted::Same(restored.receipt()));
}

/// The other way round: a voucher was committed while the consent was being stored.
#[test]
fn incident_7_a_consent_below_a_voucher_committed_meanwhile_is_not_signed() {
    let mut agent = open_agent();
    accept(&mut agent, &voucher(100));
    let consent = agent.consent(amount(100), 0, ChainTime::new(5)).unwrap();
    accept(&mut agent, &voucher(200));
    let refused = ConsentRefused::BelowSigned { cumulative: amount(100), signed: amount(200) };
    assert_eq!(agent.commit_consent(consent), Err(refused));
}

/// What the chain shows as paid may be undone: a voucher over it is stored before it is acknowledged.
#[test]
fn incident_7_a_voucher_over_what_is_paid_already_is_kept() {
    let mut agent = open_agent();
    agent.apply(at(2), ChannelEvent::Settled { paid: amount(200) });
    let Accepted::New(new) = agent.accept(&voucher(200)).unwrap() else { panic!("not kept") };
    assert_eq!(new.gained(), Amount::ZERO);
    agent.commit(new).unwrap();
    let mut undone = *open_agent().on_chain();
    undone.apply(at(1), opened());
    agent.reset_chain(undone);
    assert_eq!(agent.claimable(), amount(200));
}

// ---------------------------------------------------------------- 18: griefing

/// A burst of dust costs the agent one verification and one row.
#[test]
fn incident_18_a_burst_of_dust_costs_one_verification() {
    let agent = open_agent();
    let mut burst: Vec<_> = (1..=100).map(voucher).collect();
    burst.reverse();
    burst.rotate_left(37);
    // All but the best are forged: had they been looked at, they would be among the refused.
    for message in burst.iter_mut().filter(|message| message.cumulative() != amount(100)) {
        message.signature = voucher(1).signature;
    }
    let queued = agent.accept_newest(&burst);
    assert!(matches!(queued.accepted, Some((_, Accepted::New(new))) if new.gained() == amount(100)));
    assert_eq!(queued.refused, []);
}

/// A stranger who fills the queue with high forgeries does not keep the client's payment out.
#[test]
fn incident_18_forgeries_do_not_crowd_out_a_payment() {
    let agent = open_agent();
    let forged = |base_units| SignedVoucher { signature: voucher(1).signature, ..voucher(base_units) };
    let mut queue: Vec<_> = (100..150).map(forged).collect();
    queue.insert(20, voucher(50));
    let queued = agent.accept_newest(&queue);
    assert!(matches!(queued.accepted, Some((20, Accepted::New(_)))));
    assert_eq!(queued.refused.len(), 50);
}

/// Nobody but its client can make a channel look as if it were closing.
#[test]
fn incident_18_a_stranger_cannot_start_a_challenge() {
    let mut contract = contract();
    let request = Call::RequestClose { descriptor: descriptor(), admitted: Amount::ZERO };
    for stranger in [key(0x66).address(), descriptor().agent] {
        assert_eq!(contract.call(stranger, &request), Err(Revert::NotClient { caller: stranger }));
    }
    assert_eq!(open_agent().on_chain().phase(), Phase::Open);
}
