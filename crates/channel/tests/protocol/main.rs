//! Both sides' views against a reference, through lost, repeated and reordered messages and chain events, crashes at every
//! step of a payment, forgeries, disputes and strangers.
//!
//! Held at every step: invariant 1 (conservation), 2 (monotone proofs) and 7 (bounded trust) of the architecture, and that
//! the contract pays whatever the agent acknowledged. The billing rule here is the simplest that bounds the lag; the real
//! ones are `privatix-billing`'s.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod truth;

use common::{agent_key, amount, client_key, domain, key};
use privatix_channel::{
    Accepted, AgentChannel, Amount, Answer, ChainTime, ChannelEvent, ClientChannel, CloseAuthorization,
    Consents, FinalView, Finalize, LogPosition, OnChain, Phase, SignRefused, SignedVoucher, Voucher,
    answer_close_request, client_finalize, sign_close, sign_voucher,
};
use proptest::prelude::*;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use truth::{Crash, Forgery, INTERVAL, MAX_LAG, Party, REPORT, Transition, Truth, price};

/// What a party finds after a restart.
#[derive(Clone, Default)]
struct Disk {
    on_chain: OnChain,
    voucher: Option<SignedVoucher>,
    /// The agent's alone.
    consents: Consents,
}

/// The two parties with their disks, and the wire between them.
struct World {
    agent: AgentChannel,
    agent_disk: Disk,
    client: ClientChannel,
    client_disk: Disk,
    wire: Vec<SignedVoucher>,
    /// The highest receipt that the agent ever gave.
    acknowledged: u128,
}

impl World {
    fn open(truth: &Truth) -> Self {
        Self {
            agent: AgentChannel::new(domain(), truth.descriptor),
            agent_disk: Disk::default(),
            client: ClientChannel::new(domain(), truth.descriptor),
            client_disk: Disk::default(),
            wire: Vec::new(),
            acknowledged: 0,
        }
    }

    fn restart(&mut self, party: Party) {
        match party {
            Party::Agent => {
                let Disk { on_chain, voucher, consents } = self.agent_disk.clone();
                let descriptor = *self.agent.descriptor();
                self.agent =
                    AgentChannel::restore(domain(), descriptor, on_chain, voucher, consents).unwrap();
            }
            Party::Client => {
                let Disk { on_chain, voucher, .. } = self.client_disk;
                let descriptor = *self.client.descriptor();
                self.client = ClientChannel::restore(domain(), descriptor, on_chain, voucher).unwrap();
            }
        }
    }

    fn see(&mut self, party: Party, at: LogPosition, event: ChannelEvent) {
        match party {
            Party::Agent => {
                self.agent.apply(at, event);
                self.agent_disk.on_chain = *self.agent.on_chain();
            }
            Party::Client => {
                self.client.apply(at, event);
                self.client_disk.on_chain = *self.client.on_chain();
            }
        }
    }

    fn pay(&mut self, truth: &Truth, crash: Crash) {
        let before = self.client.promised();
        let proposal = match self.client.propose(amount(truth.due())) {
            Ok(Some(proposal)) => proposal,
            Ok(None) => return,
            Err(refused) => {
                assert_ne!(self.client.on_chain().phase(), Phase::Open, "{refused}");
                return;
            }
        };
        let hot = key(0x77);
        let signer = if truth.descriptor.signer.is_zero() { client_key() } else { hot };
        let signed = proposal.sign(&signer).unwrap();
        assert!(signed.voucher().cumulative() > before, "never lower than signed before");
        assert!(signed.voucher().cumulative() <= self.client.on_chain().deposit, "never above the deposit");
        if crash == Crash::BeforeStoring {
            return self.restart(Party::Client);
        }
        self.client_disk.voucher = Some(*signed.voucher());
        if crash == Crash::AfterStoring {
            return self.restart(Party::Client);
        }
        let to_send = self.client.commit(signed).unwrap();
        self.wire.push(to_send);
    }

    fn take(&mut self, accepted: Accepted, crash: Crash) {
        let receipt = match accepted {
            Accepted::New(new) => {
                if crash == Crash::BeforeStoring {
                    return self.restart(Party::Agent);
                }
                self.agent_disk.voucher = Some(*new.voucher());
                if crash == Crash::AfterStoring {
                    return self.restart(Party::Agent);
                }
                self.agent.commit(new).unwrap()
            }
            Accepted::Same(receipt) if crash == Crash::Nowhere => receipt,
            Accepted::Same(_) => return self.restart(Party::Agent),
        };
        self.acknowledged = self.acknowledged.max(receipt.cumulative().get());
    }

    /// The agent is asked for its consent to close.
    fn consent(&mut self, truth: &Truth, cumulative: Amount, crash: Crash) {
        let nonce = truth.contract.nonce_of(truth.descriptor.agent);
        let Ok(new) = self.agent.consent(cumulative, nonce, truth.contract.time()) else { return };
        if crash == Crash::BeforeStoring {
            return self.restart(Party::Agent);
        }
        let stored = self.agent_disk.consents.iter().chain([new.consent()]).copied();
        self.agent_disk.consents = Consents::new(stored);
        if crash == Crash::AfterStoring {
            return self.restart(Party::Agent);
        }
        let signed = self.agent.commit_consent(new).unwrap();
        assert_eq!(truth.consents.last().map(|(consent, _)| *consent), Some(signed));
    }

    fn message(&self, pick: usize) -> Option<SignedVoucher> {
        self.wire.get(pick.checked_rem(self.wire.len())?).copied()
    }

    fn forge(&self, message: SignedVoucher, forgery: Forgery) -> SignedVoucher {
        let Voucher { channel, cumulative } = message.voucher;
        let with_cumulative = |base_units| SignedVoucher {
            voucher: Voucher { channel, cumulative: amount(base_units) },
            ..message
        };
        match forgery {
            Forgery::HigherAmount => with_cumulative(cumulative.get() + 1),
            Forgery::LowerAmount => with_cumulative(cumulative.get() - 1),
            Forgery::OtherChannel => {
                let other = privatix_channel::ChannelDescriptor { nonce: 99, ..*self.agent.descriptor() };
                let voucher = Voucher { channel: other.id(&domain()), cumulative };
                let elsewhere = sign_voucher(&client_key(), &domain(), voucher).unwrap();
                SignedVoucher { signature: elsewhere.signature, ..message }
            }
            Forgery::CloseSignature => {
                let (nonce, deadline) = (0, ChainTime::MAX);
                let authorization = CloseAuthorization { channel, cumulative, nonce, deadline };
                let close = sign_close(&client_key(), &domain(), authorization).unwrap();
                SignedVoucher { signature: close.signature, ..message }
            }
            Forgery::AgentsSignature => sign_voucher(&agent_key(), &domain(), message.voucher).unwrap(),
        }
    }
}

struct Protocol;

impl StateMachineTest for Protocol {
    type SystemUnderTest = World;
    type Reference = Truth;

    fn init_test(truth: &Truth) -> World {
        World::open(truth)
    }

    /// `truth` is already past the transition.
    fn apply(mut world: World, truth: &Truth, transition: Transition) -> World {
        match transition {
            Transition::Pay(crash) => world.pay(truth, crash),
            Transition::Resend => world.wire.extend(world.client.highest().copied()),
            Transition::Deliver(pick, crash) => {
                if let Some(message) = world.message(pick)
                    && let Ok(accepted) = world.agent.accept(&message)
                {
                    world.take(accepted, crash);
                }
            }
            Transition::DeliverBurst(picks) => {
                let queue: Vec<_> = picks.iter().filter_map(|&pick| world.message(pick)).collect();
                if let Some((_, accepted)) = world.agent.accept_newest(&queue).accepted {
                    world.take(accepted, Crash::Nowhere);
                }
            }
            Transition::Forge(pick, forgery) => {
                if let Some(message) = world.message(pick) {
                    let forged = world.forge(message, forgery);
                    let answer = world.agent.accept(&forged);
                    assert!(answer.is_err(), "{forgery:?} was taken: {answer:?}");
                }
            }
            Transition::See(party, pick) => {
                let (at, event) = truth.log[pick % truth.log.len()];
                world.see(party, at, event);
            }
            Transition::CatchUp(party) => {
                for &(at, event) in truth.log.iter().rev() {
                    world.see(party, at, event);
                }
            }
            Transition::Consent(pick, crash) => {
                if let Some(message) = world.message(pick) {
                    world.consent(truth, message.cumulative(), crash);
                }
            }
            Transition::Finality => {
                let nonce = truth.contract.nonce_of(truth.descriptor.agent);
                let view = FinalView { time: truth.contract.time(), nonce, paid: truth.channel().paid };
                world.agent.void_consents(&view);
                world.agent_disk.consents = world.agent.consents().clone();
            }
            Transition::Restart(party) => world.restart(party),
            // Meters and chain are the reference's.
            _ => {}
        }
        world
    }

    fn check_invariants(world: &World, truth: &Truth) {
        conserved(truth);
        agrees_with_the_reference(world, truth);
        proofs_are_monotone_and_kept(world, truth);
        trust_is_bounded(world, truth);
        the_contract_pays_what_was_acknowledged(world, truth);
        no_consent_undercuts_what_was_acknowledged(world, truth);
        disputes_are_decided_rightly(world, truth);
    }

    /// However it went: once both see the whole chain, they know what the contract knows.
    fn teardown(mut world: World, truth: Truth) {
        for party in [Party::Agent, Party::Client] {
            for &(at, event) in &truth.log {
                world.see(party, at, event);
            }
        }
        let channel = truth.channel();
        for on_chain in [world.agent.on_chain(), world.client.on_chain()] {
            assert_eq!((on_chain.deposit, on_chain.paid), (channel.deposit, channel.paid));
            assert_eq!(on_chain.fee, channel.fee);
            assert_eq!(on_chain.closed.is_none(), channel.open);
            if channel.open {
                assert_eq!(on_chain.challenge_ends_at(), channel.challenge_ends_at);
            }
        }
    }
}

/// Invariant 1.
fn conserved(truth: &Truth) {
    assert!(truth.contract.is_conserved());
    let parties = [client_key(), agent_key(), key(1), key(0x66)].map(|key| key.address());
    let wallets: u128 = parties.iter().map(|&party| truth.contract.wallet_of(party).get()).sum();
    assert_eq!(wallets + truth.contract.held().get(), 20_000, "tokens appear or vanish");
    let stranger = key(0x66).address();
    assert!(truth.contract.balance_of(stranger).is_zero(), "a stranger got money");
}

fn agrees_with_the_reference(world: &World, truth: &Truth) {
    assert_eq!(world.agent.proven().get(), truth.proven());
    assert_eq!(world.agent.best().copied(), (truth.best > 0).then(|| truth.voucher(truth.best)));
    assert_eq!(world.client.promised().get(), truth.promised());
    assert_eq!(world.client.highest().copied(), (truth.signed > 0).then(|| truth.voucher(truth.signed)));
    assert_eq!(world.wire.len(), truth.sent.len());
    assert_eq!(world.acknowledged, truth.acknowledged);
    assert_eq!(world.agent.consents().iter().copied().collect::<Vec<_>>(), truth.standing);
    let served_before = price(truth.agent_meter) < world.agent.on_chain().deposit.get()
        && price(truth.agent_meter).saturating_sub(world.agent.proven().get()) < price(MAX_LAG);
    assert_eq!(world.agent.may_serve() && served_before, truth.serves());
}

/// Invariant 2: a client never signs above the deposit, above what its own meter and terms allow, or lower than before (see
/// [`World::pay`]); an agent never forgets what it acknowledged.
fn proofs_are_monotone_and_kept(world: &World, truth: &Truth) {
    let signed = world.client.highest().map_or(0, |highest| highest.cumulative().get());
    assert!(signed <= truth.channel().deposit.get());
    let ahead = if truth.prepaid { INTERVAL } else { 0 };
    assert!(signed <= price(truth.client_meter + ahead), "signed more than metered");
    // Whatever it is asked for, and whatever it is made to believe about the chain.
    let (client, deposit) = (&world.client, world.client.on_chain().deposit);
    let above = client.propose(deposit.saturating_add(amount(1)));
    assert!(
        matches!(above, Err(SignRefused::AboveDeposit { .. } | SignRefused::NotOpen { .. })),
        "{above:?}"
    );
    assert!(!matches!(client.propose(client.promised()), Ok(Some(_))), "signs what it promised before");
    assert!(world.agent.proven().get() >= world.acknowledged, "the agent forgot what it acknowledged");
    let stored = world.agent_disk.voucher.map_or(0, |best| best.cumulative().get());
    assert!(stored >= world.acknowledged, "acknowledged unstored");
}

/// Invariant 7.
fn trust_is_bounded(world: &World, truth: &Truth) {
    let unpaid = price(truth.agent_meter).saturating_sub(world.agent.proven().get());
    assert!(unpaid <= price(MAX_LAG + REPORT), "{unpaid} is unpaid");
    let ahead = world.client.promised().get().saturating_sub(price(truth.client_meter));
    assert!(ahead <= price(if truth.prepaid { INTERVAL } else { 0 }), "{ahead} is paid ahead");
}

/// Whatever the state of the world, the agent can cash all that it acknowledged, as long as the channel is open.
fn the_contract_pays_what_was_acknowledged(world: &World, truth: &Truth) {
    let before = truth.channel();
    if !before.open {
        return;
    }
    let mut contract = truth.contract.clone();
    contract.call(truth.descriptor.agent, &truth.close_call()).unwrap();
    let after = contract.channel(truth.id()).unwrap();
    assert!(!after.open);
    assert_eq!(after.paid.get(), truth.best.max(before.paid.get()));
    assert!(after.paid.get() >= world.acknowledged);
    assert!(contract.is_conserved());
}

/// Whichever consent of the agent comes to light, and with whatever voucher over its amount.
fn no_consent_undercuts_what_was_acknowledged(world: &World, truth: &Truth) {
    for (_, close) in &truth.consents {
        let mut contract = truth.contract.clone();
        if contract.call(key(0x66).address(), close).is_ok() {
            let paid = contract.channel(truth.id()).unwrap().paid.get();
            assert!(paid >= world.acknowledged, "closed at {paid} below {}", world.acknowledged);
        }
    }
}

fn disputes_are_decided_rightly(world: &World, truth: &Truth) {
    let on_chain = world.agent.on_chain();
    let Phase::Closing { ends_at } = on_chain.phase() else {
        assert_eq!(answer_close_request(&world.agent), Answer::NotAsked);
        return;
    };
    let worth = truth.best.min(on_chain.deposit.get());
    match answer_close_request(&world.agent) {
        Answer::CloseWith { voucher, gain, deadline } => {
            assert!(gain > Amount::ZERO, "an answer that brings nothing");
            assert_eq!(voucher, truth.voucher(truth.best));
            assert_eq!(gain.get(), worth - on_chain.paid.get());
            assert_eq!(deadline, ends_at);
        }
        Answer::Agreed { paid } => assert!(worth <= paid.get()),
        Answer::NotAsked => panic!("a request stands"),
    }
    // The client's decision is the contract's, when the client sees what the contract has.
    let channel = truth.channel();
    if channel.open && world.client.on_chain().challenge_ends_at() == channel.challenge_ends_at {
        let decision = client_finalize(world.client.on_chain(), truth.contract.time());
        let descriptor = truth.descriptor;
        let finalize = privatix_channel::model::Call::FinalizeClose { descriptor };
        let outcome = truth.contract.clone().call(descriptor.client, &finalize);
        assert_eq!(decision == Finalize::Now, outcome.is_ok(), "{decision:?}: {outcome:?}");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn both_views_hold_the_invariants_whatever_is_lost_repeated_or_killed(sequential 1..120 => Protocol);
}
