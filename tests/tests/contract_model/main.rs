//! The Rust model of the service contract against the contract itself, on a real node.
//!
//! Random stories of calls, good and bad, by whoever may and whoever may not, run on both. After each step both must have
//! made the same events and returned the same, or the same error with the same values, and must give the same answers about every balance,
//! wallet, offering, operator and channel. So whatever is proven with the model (the channel crate's state machine) holds for the
//! contract; and where the two differ, one of them breaks a rule.
//!
//! `PROPTEST_CASES` sets the number of stories, `PROPTEST_RNG_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod action;
mod node;
mod scene;
mod strategy;
mod translate;

use std::collections::BTreeSet;

use action::{Action, Cast};
use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use node::{Node, expected, model_of};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseAuthorization, Domain, Period, RequestClose,
    Voucher,
    model::{Call, Contract, Event, Outcome, Revert},
};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use scene::Scene;
use strategy::story;
use tokio::runtime;
use translate::{done, error_of};

/// The model with what happened to it.
struct Play {
    contract: Contract,
    descriptors: Vec<ChannelDescriptor>,
}

impl Play {
    fn new(contract: Contract) -> Self {
        Self { contract, descriptors: Vec::new() }
    }

    fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.descriptors.iter().map(|descriptor| descriptor.id(self.contract.domain()))
    }

    /// Who calls what.
    fn next(&self, cast: &Cast, draft: &action::Draft, sender: Option<usize>) -> (Address, Call) {
        let scene = Scene { cast, contract: &self.contract, descriptors: &self.descriptors };
        let (rightful, call) = draft.call(&scene);
        let everybody = cast.everybody();
        (sender.map_or(rightful, |index| everybody[index % everybody.len()].address()), call)
    }

    fn call(&mut self, sender: Address, call: &Call) -> Result<Outcome, Revert> {
        let outcome = self.contract.call(sender, call);
        for event in outcome.iter().flat_map(|outcome| &outcome.events) {
            if let Event::ChannelOpened { descriptor, .. } = event {
                self.descriptors.push(*descriptor);
            }
        }
        outcome
    }

    /// A fork takes an id of its own, or the chain's own id is back.
    fn fork(&mut self, away: bool) -> u64 {
        let deployed = self.contract.domain().deployment_chain_id();
        let chain_id = if away { deployed + 7 } else { deployed };
        self.contract.set_chain_id(chain_id);
        chain_id
    }
}

/// Runs a story on both and compares after each step.
async fn compare(node: &Node, story: &[Action]) -> Result<(), TestCaseError> {
    let mut play = Play::new(node.model());
    play.contract.set_time(node.time().await);
    for (step, action) in story.iter().enumerate() {
        match action {
            Action::Wait(seconds) => play.contract.set_time(later(play.contract.time(), *seconds)),
            Action::Fork(away) => node.fork(play.fork(*away)).await,
            Action::Delegate(client, code) => {
                let client = node.cast.clients[*client].address();
                play.contract.set_code(client, *code);
                node.set_code(client, *code).await;
            }
            Action::Call(draft, sender) => {
                play.contract.set_time(later(play.contract.time(), 1));
                let (sender, call) = play.next(&node.cast, draft, *sender);
                let real = node.call(play.contract.time(), sender, &call).await;
                let modelled = play.call(sender, &call).map(done).map_err(error_of);
                prop_assert_eq!(modelled, real, "step {}: {:?} by {}", step, call, sender);

                let answers = node.answers(play.channels()).await;
                let expected = expected(&node.cast, &play.contract, play.channels());
                prop_assert_eq!(expected, answers, "after step {}: {:?} by {}", step, call, sender);
                prop_assert!(play.contract.is_conserved());
            }
        }
    }
    Ok(())
}

fn later(time: ChainTime, seconds: u64) -> ChainTime {
    time.plus(Period::new(u32::try_from(seconds).unwrap()))
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn the_model_and_the_contract_are_the_same() {
    let runtime = runtime();
    let node = runtime.block_on(Node::start());
    let usual = ProptestConfig::default();
    // Each takes a second or less; a nightly run may ask for thousands.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 48 };
    let config = ProptestConfig { cases, max_shrink_iters: 150, ..usual };
    let outcome = TestRunner::new(config)
        .run(&story(), |story| runtime.block_on(node.undone(async |node| compare(node, &story).await)));
    outcome.unwrap_or_else(|difference| panic!("{difference}"));
}

/// Otherwise the comparison above would prove little.
#[test]
fn the_stories_reach_every_call_and_every_error() {
    let key = |seed: u8| PrivateKeySigner::from_bytes(&B256::repeat_byte(seed)).unwrap();
    let cast = Cast {
        agents: [key(1), key(2)],
        clients: [key(3), key(4)],
        hot_key: key(5),
        stranger: key(6),
        fee_address: key(9),
    };
    let domain = Domain::new(1, Address::repeat_byte(0x5c), Address::repeat_byte(0x70));
    let reached = std::cell::RefCell::new((BTreeSet::new(), BTreeSet::new(), BTreeSet::new()));
    let config = ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&story(), |story| {
        let mut play = Play::new(model_of(&cast, domain));
        for action in story {
            let time = play.contract.time();
            match action {
                Action::Wait(seconds) => play.contract.set_time(later(time, seconds)),
                Action::Fork(away) => {
                    play.fork(away);
                }
                Action::Delegate(client, code) => {
                    play.contract.set_code(cast.clients[client].address(), code);
                }
                Action::Call(draft, sender) => {
                    play.contract.set_time(later(time, 1));
                    let (sender, call) = play.next(&cast, &draft, sender);
                    let (calls, events, errors) = &mut *reached.borrow_mut();
                    match play.call(sender, &call) {
                        Ok(outcome) => {
                            calls.insert(name(&call));
                            events.extend(outcome.events.iter().map(event_name));
                        }
                        Err(revert) => {
                            errors.insert(name(&revert));
                        }
                    }
                }
            }
            prop_assert!(play.contract.is_conserved());
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));

    let (calls, events, errors) = reached.into_inner();
    assert_eq!(calls.len(), 35, "calls that succeeded: {calls:?}");
    assert_eq!(errors.len(), 33, "errors that came up: {errors:?}");
    // Each closure and each reason to skip a row counts on its own.
    assert_eq!(events.len(), 25, "events that came up: {events:?}");
}

/// The event's name, and which of its kinds it is.
fn event_name(event: &Event) -> String {
    match event {
        Event::ChannelClosed { closure, .. } => format!("ChannelClosed {closure}"),
        Event::ClaimSkipped { reason, .. } => format!("ClaimSkipped {reason:?}"),
        other => name(other),
    }
}

/// The variant's name.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// EIP-712 as the contract computes it: ids, vouchers, consents, close requests and the domain, on the chain and on a fork.
#[test]
fn ids_and_digests_are_the_contracts_own() {
    let runtime = runtime();
    let node = runtime.block_on(Node::start());
    let domain = node.contracts.domain;
    let address = || any::<[u8; 20]>().prop_map(Address::from);
    let signer = prop_oneof![Just(Address::ZERO), address()];
    let descriptor = (address(), address(), any::<[u8; 32]>(), any::<u64>(), signer).prop_map(
        |(client, agent, offering, nonce, signer)| {
            let offering = B256::from(offering).into();
            ChannelDescriptor { client, agent, offering, nonce, signer }
        },
    );
    let amount = prop_oneof![Just(0), Just(u128::MAX), any::<u128>()].prop_map(Amount::new);
    let deadline = any::<u64>().prop_map(ChainTime::new);
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    let strategy = (descriptor, amount, any::<u64>(), deadline);
    for domain in [domain, domain.on_chain(4)] {
        runtime.block_on(node.fork(domain.chain_id()));
        let outcome =
            TestRunner::new(config.clone()).run(&strategy, |(descriptor, cumulative, nonce, deadline)| {
                let channel = descriptor.id(&domain);
                let ours = [
                    channel.into(),
                    Voucher { channel, cumulative }.digest(&domain),
                    CloseAuthorization { channel, cumulative, nonce, deadline }.digest(&domain),
                    RequestClose { channel, admitted: cumulative, nonce, deadline }.digest(&domain),
                    domain.separator(),
                ];
                prop_assert_eq!(
                    ours,
                    runtime.block_on(node.hashes(&descriptor, cumulative, nonce, deadline))
                );
                Ok(())
            });
        outcome.unwrap_or_else(|difference| panic!("{difference}"));
    }
}
