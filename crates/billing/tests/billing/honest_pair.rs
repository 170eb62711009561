//! An honest agent and an honest client, each with its own meter, its own assessment and messages
//! that get lost, never wait for each other; and neither ever risks more than the terms say
//! (invariant 7).

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use crate::support::{any_terms, any_terms_of, start, tolerance};
use privatix_billing::{
    Account, AgentAction, Billing, ClientAction, ClientPolicy, SuspendReason, TerminateReason, Terms,
    assess_agent, assess_client, due, min_deposit, price, resumes_at, unpaid,
};
use privatix_channel::{Amount, ServiceStatus, Usage};
use proptest::prelude::*;

/// One report of use, as both meters see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// What the agent's meter counts.
    pub(crate) agent: u64,
    /// What the client's meter counts of it now; the rest follows later or never.
    pub(crate) client_percent: u64,
    /// Whether the voucher sent after this report is lost once.
    pub(crate) lost: bool,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (1..400_u64, prop_oneof![2 => Just(100), 1 => 0..=120_u64], proptest::bool::weighted(0.2))
        .prop_map(|(agent, client_percent, lost)| Step { agent, client_percent, lost });
    proptest::collection::vec(step, 1..120)
}

pub(crate) struct Pair {
    pub(crate) terms: Terms,
    pub(crate) agent: Account,
    pub(crate) client: Account,
    policy: ClientPolicy,
    pub(crate) now: SystemTime,
    /// The largest single report so far.
    report: u64,
    pub(crate) ended: Option<TerminateReason>,
    suspensions: usize,
    suspended: Option<SuspendReason>,
    /// Whether the agent's answers carry its total.
    pub(crate) has_views: bool,
    /// How far the agent's total may be above the agreed one, where that is less than the slack.
    pub(crate) within: Option<u64>,
}

impl Pair {
    pub(crate) fn new(terms: Terms, deposit: Amount) -> Self {
        Self {
            agent: Account::new(deposit, ServiceStatus::Suspended, start()),
            client: Account::new(deposit, ServiceStatus::Active, start()),
            policy: ClientPolicy::default(),
            terms,
            now: start(),
            report: 0,
            ended: None,
            suspensions: 0,
            suspended: None,
            has_views: false,
            within: None,
        }
    }

    /// How far the agent's meter may run ahead of the client's without endangering the pair.
    fn slack(&self) -> u64 {
        match self.terms.billing() {
            Billing::Postpaid => self.terms.max_lag().get(),
            Billing::Prepaid => self.terms.max_lag().get() + self.terms.interval().get(),
        }
    }

    /// The most that the client may agree to at a meter of `ours`, whatever the agent claims.
    fn most_agreed(&self, ours: u64) -> u64 {
        let tolerance = if self.has_views { tolerance(&self.terms, self.policy.drift, ours) } else { 0 };
        u64::try_from(u128::from(ours) + tolerance).expect("meters in tests are small")
    }

    /// The least that the client's meter must show for the agent's total to be no further away than it may be.
    fn least_of_client(&self) -> u64 {
        let at_least = self.agent.used.get().saturating_sub(self.within.unwrap_or(self.slack()));
        let (mut low, mut high) = (0, at_least);
        while low < high {
            let middle = low.midpoint(high);
            if self.most_agreed(middle) >= at_least { high = middle } else { low = middle + 1 }
        }
        low
    }

    pub(crate) fn use_service(&mut self, step: Step) {
        self.agent.used = self.agent.used.saturating_add(Usage::new(step.agent));
        self.agent.last_usage = self.now;
        let counted = self.client.used.get() + step.agent * step.client_percent / 100;
        self.client.used = Usage::new(counted.max(self.least_of_client()));
        self.client.last_usage = self.now;
        self.report = self.report.max(step.agent);
    }

    fn agent_decides(&mut self) -> Option<SystemTime> {
        let assessment = assess_agent(&self.terms, &self.agent, self.now);
        match assessment.action {
            Some(AgentAction::Suspend(reason)) => {
                self.suspensions += 1;
                self.suspended = Some(reason);
                self.agent_moves(ServiceStatus::Suspended);
            }
            Some(AgentAction::Resume) => self.agent_moves(ServiceStatus::Active),
            Some(AgentAction::Terminate(reason)) => {
                self.agent_moves(ServiceStatus::Terminating);
                self.ended = Some(reason);
            }
            _ => return assessment.next,
        }
        self.agent_decides()
    }

    fn agent_moves(&mut self, service: ServiceStatus) {
        self.agent.service = service;
        self.agent.status_since = self.now;
    }

    /// The client's turn; a lost voucher is sent again with the next one, since it is cumulative.
    ///
    /// What it knows of the agent's meter it was shown with the last answer.
    fn client_decides(&mut self, lost: bool) -> Option<SystemTime> {
        if !lost && self.has_views {
            let is_unpaid = self.agent.service == ServiceStatus::Suspended
                && self.suspended == Some(SuspendReason::Unpaid);
            self.client.theirs = Some(self.agent.used);
            self.client.resumes_at = is_unpaid.then(|| resumes_at(&self.terms, &self.agent, self.now));
        }
        let payment = assess_client(&self.terms, &self.client, &self.policy, self.now);
        if let Some(amount) = payment.pay_to {
            self.client.paid = self.client.paid.max(amount);
        }
        let assessment = assess_client(&self.terms, &self.client, &self.policy, self.now);
        if let Some(ClientAction::Terminate(reason)) = assessment.action {
            self.ended = Some(reason);
        }
        if !lost {
            self.agent.paid = self.client.paid;
        }
        [payment.next, assessment.next].into_iter().flatten().min()
    }

    /// Both sides decide; nothing is used meanwhile.
    pub(crate) fn settle(&mut self, lost: bool) -> Option<SystemTime> {
        let agent_before = self.agent_decides();
        let client = self.client_decides(lost);
        let agent = if self.ended.is_some() { agent_before } else { self.agent_decides() };
        [agent, client].into_iter().flatten().min()
    }

    /// Lets time pass from deadline to deadline until the agent serves or the channel ended.
    pub(crate) fn wait_for_service(&mut self) {
        let mut next = self.settle(false);
        while self.ended.is_none() && self.agent.service != ServiceStatus::Active {
            self.now = next.expect("a suspended pair always has a next moment");
            next = self.settle(false);
        }
    }

    pub(crate) fn at_limit(&self) -> bool {
        let used = self.agent.used;
        used >= self.terms.max() || price(&self.terms, used) >= self.agent.deposit
    }

    pub(crate) fn check_risks(&self) -> Result<(), TestCaseError> {
        let (terms, agent, client) = (&self.terms, &self.agent, &self.client);
        // What the agent served and cannot claim yet. Beyond max_units nothing is claimed at all.
        let unpaid = unpaid(terms, agent.used.min(terms.max()), agent.paid);
        let bound = terms.max_lag().saturating_add(Usage::new(self.report));
        if !self.at_limit() {
            prop_assert!(unpaid <= bound, "unpaid {unpaid}, bound {bound}");
        }
        // What the client paid and did not use yet.
        let ahead = if terms.billing() == Billing::Prepaid { terms.interval() } else { Usage::ZERO };
        prop_assert!(
            client.paid
                <= due(
                    terms,
                    Usage::new(self.most_agreed(client.used.get())).saturating_add(ahead),
                    client.deposit
                )
        );
        Ok(())
    }
}

fn any_pair() -> impl Strategy<Value = (Terms, u128)> {
    (any_terms(), 1..2_000_u128)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_honest_pair_never_deadlocks_nor_risks_more_than_agreed((terms, more) in any_pair(), steps in any_steps()) {
        let deposit = min_deposit(&terms).checked_add(Amount::new(more * 100)).unwrap();
        let mut pair = Pair::new(terms, deposit);
        for step in steps {
            pair.wait_for_service();
            if pair.ended.is_some() {
                break;
            }
            pair.now += Duration::from_millis(100);
            pair.use_service(step);
            // The report is in, nobody has decided yet: this is when the most is unpaid.
            pair.check_risks()?;
            pair.settle(step.lost);
            pair.check_risks()?;
        }
        match pair.ended {
            None | Some(TerminateReason::DepositSpent | TerminateReason::MaxUnits) => {}
            // The agent's meter is at the limit and the client's never gets there: the end either way.
            Some(_) => prop_assert!(pair.at_limit(), "gave up: {:?}", pair.ended),
        }
    }

    #[test]
    fn equal_meters_and_small_reports_never_suspend_an_honest_postpaid_client(
        terms in any_terms_of(Just(Billing::Postpaid)), reports in 1..400_usize,
    ) {
        // Reports no larger than the room between interval and lag, so that the payment for an
        // interval is always made before the lag is over.
        let room = terms.max_lag().get() - terms.interval().get();
        prop_assume!(room > 0);
        let mut pair = Pair::new(terms, Amount::new(1 << 80));
        pair.wait_for_service();
        for _ in 0..reports {
            if pair.ended.is_some() || pair.at_limit() {
                break;
            }
            pair.now += Duration::from_millis(100);
            pair.use_service(Step { agent: room, client_percent: 100, lost: false });
            pair.settle(false);
        }
        prop_assert!(pair.suspensions == 0 || pair.at_limit(), "{} suspensions", pair.suspensions);
    }

    #[test]
    fn a_client_that_never_pays_gets_the_lag_and_one_report(terms in any_terms(), steps in any_steps()) {
        let mut pair = Pair::new(terms, Amount::new(1 << 80));
        pair.agent_decides();
        for step in steps {
            if pair.agent.service != ServiceStatus::Active {
                break;
            }
            pair.use_service(step);
            pair.check_risks()?;
            pair.agent_decides();
        }
    }
}

#[test]
fn the_simulation_can_tell_a_deadlock() {
    // A client whose meter is behind by more than the lag never pays enough for the agent to
    // resume: this is the failure that the properties above would show.
    let terms = crate::support::terms(|draft| draft.max_billing_unit_lag = 1);
    let mut pair = Pair::new(terms, Amount::new(3_000));
    pair.wait_for_service();
    pair.agent.used = Usage::new(25);
    pair.client.used = Usage::new(9);
    pair.wait_for_service();
    assert_eq!(pair.ended, Some(TerminateReason::SuspendedTooLong));
    assert!(!pair.at_limit());
}
