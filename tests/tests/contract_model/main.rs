//! The Rust model of the service contract against the contract itself, on a real node.
//!
//! Random stories of calls, good and bad, by whoever may and whoever may not, run on both. After each step both must have
//! made the same events or the same error with the same values, and must give the same answers about every balance,
//! wallet, offering and channel. So whatever is proven with the model (the channel crate's state machine) holds for the
//! contract; and where the two differ, one of them breaks a rule.
//!
//! `PROPTEST_CASES` sets the number of stories, `PROPTEST_RNG_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod action;
mod node;

use std::collections::BTreeSet;

use action::{Action, Cast, Scene, story};
use alloy::{
    primitives::{Address, B256},
    signers::local::PrivateKeySigner,
};
use node::{Node, error_of, expected, model_of};
use privatix_channel::{
    Amount, ChannelDescriptor, ChannelId, CloseAuthorization, Domain, Voucher,
    model::{Call, Contract, Event, Revert},
};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use tokio::runtime;

/// The model with what happened to it.
struct Told {
    contract: Contract,
    descriptors: Vec<ChannelDescriptor>,
}

impl Told {
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

    fn call(&mut self, sender: Address, call: &Call) -> Result<Vec<Event>, Revert> {
        let outcome = self.contract.call(sender, call);
        if outcome.is_ok()
            && let Call::Open { agent, offering, nonce, signer, .. }
            | Call::OpenFromWallet { agent, offering, nonce, signer, .. } = *call
        {
            self.descriptors.push(ChannelDescriptor { client: sender, agent, offering, nonce, signer });
        }
        outcome
    }
}

/// Runs a story on both and compares after each step.
async fn compare(node: &Node, story: &[Action]) -> Result<(), TestCaseError> {
    let mut told = Told::new(node.model());
    for (step, action) in story.iter().enumerate() {
        match action {
            Action::Wait(blocks) => node.wait(*blocks).await,
            Action::Call(draft, sender) => {
                told.contract.set_block(node.block().await + 1);
                let (sender, call) = told.next(&node.cast, draft, *sender);
                let (block, real) = node.call(sender, &call).await;
                prop_assert_eq!(block, told.contract.block());
                let modelled = told.call(sender, &call).map_err(error_of);
                prop_assert_eq!(modelled, real, "step {}: {:?} by {}", step, call, sender);

                let answers = node.answers(told.channels()).await;
                let expected = expected(&node.cast, &told.contract, told.channels());
                prop_assert_eq!(expected, answers, "after step {}: {:?} by {}", step, call, sender);
                prop_assert!(told.contract.is_conserved());
            }
        }
    }
    Ok(())
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
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 24 };
    let config = ProptestConfig { cases, max_shrink_iters: 150, ..usual };
    let told = TestRunner::new(config)
        .run(&story(), |story| runtime.block_on(node.undone(async |node| compare(node, &story).await)));
    told.unwrap_or_else(|difference| panic!("{difference}"));
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
    let reached = std::cell::RefCell::new((BTreeSet::new(), BTreeSet::new()));
    let config = ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() };
    let told = TestRunner::new(config).run(&story(), |story| {
        let mut told = Told::new(model_of(&cast, domain));
        for action in story {
            let block = told.contract.block();
            match action {
                Action::Wait(blocks) => told.contract.set_block(block + blocks),
                Action::Call(draft, sender) => {
                    told.contract.set_block(block + 1);
                    let (sender, call) = told.next(&cast, &draft, sender);
                    let (calls, errors) = &mut *reached.borrow_mut();
                    match told.call(sender, &call) {
                        Ok(_) => calls.insert(name(&call)),
                        Err(revert) => errors.insert(name(&revert)),
                    };
                }
            }
            prop_assert!(told.contract.is_conserved());
        }
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));

    let (calls, errors) = reached.into_inner();
    assert_eq!(calls.len(), 20, "calls that succeeded: {calls:?}");
    assert_eq!(errors.len(), 22, "errors that came up: {errors:?}");
}

/// The variant's name.
fn name(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// EIP-712 as the contract computes it: ids, vouchers, closes and the domain.
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
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    let told = TestRunner::new(config).run(&(descriptor, amount), |(descriptor, cumulative)| {
        let channel = descriptor.id(&domain);
        let ours = [
            channel.into(),
            Voucher { channel, cumulative }.digest(&domain),
            CloseAuthorization { channel, cumulative }.digest(&domain),
            domain.separator(),
        ];
        prop_assert_eq!(ours, runtime.block_on(node.hashes(&descriptor, cumulative)));
        Ok(())
    });
    told.unwrap_or_else(|difference| panic!("{difference}"));
}
