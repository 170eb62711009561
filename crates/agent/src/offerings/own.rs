//! What decisions about an agent's own offerings need, and what carries them out: [`OwnOfferings`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::sol_types::SolCall as _;
use async_trait::async_trait;
use parking_lot::Mutex;
use privatix_chain::Intent;
use privatix_channel::{Amount, OfferingHash, Period};
use privatix_contracts::{AboveContractRange, call};
use privatix_db::Conn;
use privatix_market::Fate;
use privatix_market::offering::{OfferingNotice, OfferingPurpose, OfferingState, Problem, Source};
use privatix_node::{Node, NodeError, Notices, OfferingFacts, OfferingRunner, Part};
use privatix_store::StoreError;
use privatix_store::offerings::{self, Offering};
use tokio_util::sync::CancellationToken;

use super::ContractView;
use super::shown::{self, Text};
use crate::orders;

/// The part of the notices.
const PART: Part = Part::Offerings;
/// How often the contract is asked for what the account has there.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Knows who signed offerings.
#[async_trait]
pub trait Signatures: Send + Sync {
    /// Whether the message of an offering of ours is here and is signed by this account.
    ///
    /// # Errors
    /// [`NodeError`] where asking again may help.
    async fn is_signed_by(&self, offering: OfferingHash, account: Address) -> Result<bool, NodeError>;
}

#[async_trait]
impl Signatures for Node {
    async fn is_signed_by(&self, offering: OfferingHash, account: Address) -> Result<bool, NodeError> {
        match self.offering(self.account(), offering).await {
            Ok(message) => Ok(message.is_signed_by(account)),
            Err(error) if error.is_temporary() => Err(error),
            Err(error) => {
                tracing::warn!(%offering, %error, "the message of an offering of ours is not known");
                Ok(false)
            }
        }
    }
}

/// What [`OwnOfferings`] are made of.
#[derive(Clone)]
pub struct OwnOfferingsParts {
    /// Whose offerings these are.
    pub agent: Address,
    /// Who sends their transactions: the agent, or its operator.
    pub sender: Address,
    /// The service contract.
    pub contract: Address,
    /// Where clients reach the agent now.
    pub source: Source,
    /// Who signed them.
    pub signatures: Arc<dyn Signatures>,
    /// Whether the chain was caught up with, if the database came back from a backup: before that nothing is sent.
    pub caught_up: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where the operator sees what is wrong with them.
    pub notices: Notices,
}

impl std::fmt::Debug for OwnOfferingsParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnOfferingsParts").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What decisions about an agent's own offerings need, and what carries them out.
#[derive(Debug)]
pub struct OwnOfferings {
    parts: OwnOfferingsParts,
    known: Mutex<Known>,
    /// What the operator has to do, by offering.
    problems: Mutex<BTreeMap<OfferingHash, Problem>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    view: Option<ContractView>,
    version: u64,
    /// Whether endpoints contradict each other.
    in_doubt: bool,
}

impl OwnOfferings {
    /// Those of these parts. Until something is [learnt](Self::learn) of the contract, nothing is sent.
    pub fn new(parts: OwnOfferingsParts) -> Self {
        Self { parts, known: Mutex::default(), problems: Mutex::default() }
    }

    /// Takes in what the contract shows now.
    pub fn learn(&self, view: ContractView) {
        let waits = !self.problems.lock().is_empty();
        let mut known = self.known.lock();
        let changed = match known.view {
            None => true,
            // What the account has matters only where something waits for it.
            Some(before) => {
                ContractView { balance: view.balance, ..before } != view || (waits && before != view)
            }
        };
        (known.view, known.in_doubt) = (Some(view), false);
        if changed {
            known.version = known.version.saturating_add(1);
        }
    }

    /// Gives up what a single endpoint showed, once another one contradicts it: nothing is sent until it is known which of them is wrong.
    pub fn doubt(&self, error: &NodeError) {
        let mut known = self.known.lock();
        if !known.in_doubt {
            tracing::warn!("own offerings wait: {error}");
        }
        known.in_doubt = true;
        if known.view.is_some_and(|view| !view.periods.is_sure()) {
            known.view = None;
            known.version = known.version.saturating_add(1);
        }
    }

    /// Asks the contract, before an order is decided. What is known stays if it does not answer.
    pub(crate) async fn refresh(&self, node: &Node) {
        let before = self.known.lock().view;
        match ContractView::ask(node, before).await {
            Ok(view) => self.learn(view),
            Err(error @ NodeError::EndpointsDisagree { .. }) => self.doubt(&error),
            Err(error) => tracing::debug!(%error, "it is not known what the account has in the contract"),
        }
    }

    /// Asks the contract now and then, until `stop`.
    pub(crate) async fn watch(&self, node: &Node, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if stop.run_until_cancelled(self.refresh(node)).await.is_none() {
                return;
            }
        }
    }

    fn view(&self) -> Option<ContractView> {
        self.known.lock().view
    }

    fn intent(
        &self,
        offering: OfferingHash,
        purpose: OfferingPurpose,
        row: &Offering,
    ) -> Result<Intent, AboveContractRange> {
        let OwnOfferingsParts { agent, sender, contract, source, .. } = &self.parts;
        let (agent, kind, address) = (*agent, source.kind, source.address.clone());
        let (min_deposit, supply) = (row.announcement.min_deposit, row.announcement.supply);
        let is_operator = *sender != agent;
        let calldata = match (purpose, is_operator) {
            (OfferingPurpose::Publish, false) => {
                call::register_offering(offering, min_deposit, supply, kind, address)?.abi_encode()
            }
            (OfferingPurpose::Publish, true) => {
                call::register_offering_for(agent, offering, min_deposit, supply, kind, address)?.abi_encode()
            }
            (OfferingPurpose::PopUp, false) => call::pop_up_offering(offering, kind, address).abi_encode(),
            (OfferingPurpose::PopUp, true) => {
                call::pop_up_offering_for(agent, offering, kind, address).abi_encode()
            }
            (OfferingPurpose::Remove, false) => call::remove_offering(offering).abi_encode(),
            (OfferingPurpose::Remove, true) => call::remove_offering_for(agent, offering).abi_encode(),
        };
        Ok(Intent::new(String::new(), *sender, *contract, calldata))
    }

    /// Keeps what health shows. It shows what was decided, also where that is rolled back: it is then decided again.
    fn note(&self, offering: OfferingHash, problem: Option<Problem>) {
        let mut problems = self.problems.lock();
        let before = match problem {
            Some(problem) => problems.insert(offering, problem),
            None => problems.remove(&offering),
        };
        if before == problem {
            return;
        }
        let all: Vec<String> = problems
            .iter()
            .map(|(offering, problem)| format!("{offering}: {}", shown::summary(*problem)))
            .collect();
        self.parts.notices.set(PART, (!all.is_empty()).then(|| all.join("; ")));
    }
}

/// The row of an offering of ours; `None` for one that a reorganisation took back, and that was never made here.
async fn row(conn: &mut Conn, state: &OfferingState) -> Result<Option<Offering>, StoreError> {
    match offerings::get(conn, state.agent, state.hash).await {
        Ok(row) => Ok(Some(row)),
        Err(StoreError::NoSuchOffering(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What an offering locks when it is published.
fn stake(row: &Offering) -> Amount {
    row.announcement.min_deposit.checked_mul(row.announcement.supply.into()).unwrap_or(Amount::MAX)
}

#[async_trait]
impl OfferingRunner for OwnOfferings {
    fn agent(&self) -> Address {
        self.parts.agent
    }

    fn source(&self) -> &Source {
        &self.parts.source
    }

    /// What is not known keeps everything waiting: as if the chain were not seen.
    async fn facts(&self, conn: &mut Conn, state: &OfferingState) -> Result<OfferingFacts, NodeError> {
        let row = row(conn, state).await?;
        let mut facts = OfferingFacts {
            fresh: false,
            balance: Amount::MAX,
            stake: row.as_ref().map_or(Amount::ZERO, stake),
            signature_counts: true,
            pop_up_period: Period::new(0),
            remove_period: Period::new(0),
        };
        let Some(view) = self.view() else { return Ok(facts) };
        (facts.fresh, facts.balance) = ((self.parts.caught_up)(), view.balance);
        // One endpoint's word may make a transaction wait, or be refused, until a second one is back.
        let periods = view.periods.for_now();
        (facts.pop_up_period, facts.remove_period) = (periods.pop_up, periods.remove);
        let signatures = &self.parts.signatures;
        facts.signature_counts = row.is_some_and(|row| row.message.is_some())
            && (signatures.is_signed_by(state.hash, self.parts.agent).await?
                || match view.operator {
                    Some(operator) => signatures.is_signed_by(state.hash, operator).await?,
                    None => false,
                });
        Ok(facts)
    }

    async fn call(
        &self,
        conn: &mut Conn,
        state: &OfferingState,
        purpose: OfferingPurpose,
    ) -> Result<Result<Intent, Fate>, NodeError> {
        let row = offerings::get(conn, state.agent, state.hash).await?;
        Ok(self.intent(state.hash, purpose, &row).map_err(|error| {
            tracing::error!(offering = %state.hash, %error, "the offering cannot be published");
            Fate::Failed { lasting: true }
        }))
    }

    async fn show(
        &self,
        conn: &mut Conn,
        before: &OfferingState,
        state: &OfferingState,
        (notices, failure): (&[OfferingNotice], Option<&str>),
    ) -> Result<(), NodeError> {
        orders::follow_offering(conn, before, state).await?;
        let (Some(before), Some(own)) = (before.own(), state.own()) else { return Ok(()) };
        for notice in notices {
            shown::log(state.hash, *notice);
        }
        self.note(state.hash, own.problem);
        let Some(row) = row(conn, state).await? else { return Ok(()) };
        let balance = self.view().map_or(Amount::ZERO, |view| view.balance);
        let problem = match shown::text(before, own, failure, (stake(&row), balance)) {
            Text::Nothing => None,
            Text::AsBefore => row.problem,
            Text::Is(text) => Some(text),
        };
        offerings::show(conn, (state.agent, state.hash), own.under_way(), problem.as_deref()).await?;
        Ok(())
    }

    fn version(&self) -> u64 {
        let caught_up = u64::from((self.parts.caught_up)());
        self.known.lock().version.saturating_mul(2).saturating_add(caught_up)
    }
}
