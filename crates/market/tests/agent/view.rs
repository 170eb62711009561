//! What a client is shown of a channel.

use privatix_billing::{Billing, Measure};
use privatix_channel::{AgentView, ServiceState, Usage};
use privatix_market::{
    Actual, Agent, AgentEnd, AgentMessage, AgentOrder, Answered, Book, Input, Party as _, Reply, Target,
    Unserved, Verified,
};

use crate::support::{Run, Signed, a, closed, closing, id, open, voucher};

fn view(run: &Run) -> AgentView {
    run.state.view(&run.env())
}

/// The state and the reason.
fn words(run: &Run) -> String {
    let view = view(run);
    assert_eq!(view.number, 0, "whoever shows it counts");
    let reason = view.reason.map_or_else(String::new, |reason| format!(" {reason}"));
    let resumes_at = view.resumes_at.map_or_else(String::new, |at| format!(" until {at}"));
    format!("{:?}{reason}{resumes_at}", view.service).to_lowercase()
}

#[test]
fn a_view_shows_where_the_service_stands_and_why() {
    let but = |change: fn(&mut Run)| {
        let mut run = Run::open(100);
        change(&mut run);
        run
    };
    let used = |used: u64, run: Run| {
        let mut run = run;
        run.used(used);
        run
    };
    let new = |change: fn(&mut Run)| {
        let mut run = Run::opening(100);
        change(&mut run);
        run
    };
    // The lag is 40, a unit costs 1.
    let rows = vec![
        ("served", but(|_| {}), "running"),
        ("within the lag", used(40, but(|_| {})), "running"),
        ("beyond the lag", used(41, but(|_| {})), "suspended unpaid until 1"),
        ("beyond the lag of what is paid", used(91, Run::open(100).paid(50)), "suspended unpaid until 51"),
        ("the deposit is used", used(100, but(|_| {})), "suspended deposit_reached"),
        ("the deposit is used and paid", used(100, Run::open(100).paid(100)), "suspended deposit_spent"),
        ("held", but(|run| drop(run.give(&Input::Order(AgentOrder::Hold)))), "suspended held"),
        ("a stale view", but(|run| run.fresh = false), "suspended stale_view"),
        ("an unexplained channel", but(|run| run.explained = false), "suspended unexplained"),
        ("without a bound", but(|run| drop(run.give(&Input::Bounded(false)))), "suspended adapter"),
        ("in a challenge", but(|run| drop(run.chain(closing(100, 0, 900)))), "suspended closing"),
        ("closed", but(|run| run.state.chain = closed(100, 0)), "ended closed"),
        ("just opened", new(|_| {}), "preparing opening"),
        ("not open yet", new(|run| run.state.chain.opened_at = None), "preparing opening"),
        ("undone", but(|run| run.state.chain.opened_at = None), "preparing opening"),
        ("opened, without terms", new(|run| run.state.terms = None), "preparing not_ready"),
        ("opened, on a stale view", new(|run| run.fresh = false), "preparing not_ready"),
        ("opened, in a challenge", new(|run| run.state.chain = closing(100, 0, 900)), "preparing not_ready"),
        ("opened, without ether", new(|run| run.gas.affords_new = false), "preparing not_ready"),
    ];
    for (name, run, expected) in rows {
        assert_eq!(words(&run), expected, "{name}");
    }
}

#[test]
fn a_service_that_its_adapter_fails_to_run_is_shown_as_suspended() {
    let mut run = Run::open(100);
    run.state.own.service.actual = Actual::Suspended;
    run.give(&Input::Look);
    assert_eq!(words(&run), "running", "it is about to");
    run.adapter(Answered::GaveUp);
    assert_eq!(words(&run), "suspended adapter");
}

/// None shows that the account has no ether, and each is one of those that the protocol names.
#[test]
fn an_ended_service_is_shown_with_its_reason() {
    use AgentEnd::*;
    let adopted = Adopted {
        status: privatix_channel::ChannelStatus::Active,
        service: privatix_channel::ServiceStatus::Terminated,
    };
    let rows = [
        (NotServed(Unserved::Fee), "not_served"),
        (NotServed(Unserved::NoSigner), "not_served"),
        (NotServed(Unserved::NoTerms), "not_served"),
        (ByOrder, "by_order"),
        (CloseByOrder, "by_order"),
        (NeverUsed, "never_used"),
        (Inactive, "inactive"),
        (SuspendedTooLong, "suspended_too_long"),
        (DepositSpent, "deposit_spent"),
        (MaxUnits, "max_units"),
        (AdapterStuck, "adapter"),
        (Vanished, "not_served"),
        (adopted, "closed"),
    ];
    for (why, word) in rows {
        let mut run = Run::open(100).ended(why);
        assert_eq!(words(&run), format!("ended {word}"), "{why:?}");
        run.state.chain = closed(100, 0);
        assert_eq!(words(&run), format!("ended {word}"), "closed, {why:?}");
    }
}

#[test]
fn a_view_shows_the_whole_use_and_the_access() {
    let mut run = Run::open(100).terms(|terms| terms.unit.measure = Measure::Seconds);
    run.give(&Input::Used { used: Usage::new(3), running: true });
    run.uptime += 4;
    run.state.own.access = 2;
    assert_eq!((view(&run).used, view(&run).access), (Usage::new(7), 2));
    assert_eq!(view(&run).service, ServiceState::Running);
}

/// Terms, use, deposit, paid: the least that resumes it.
#[test]
fn the_least_that_resumes_a_service_resumes_it_and_one_less_does_not() {
    let rows = [
        (Billing::Postpaid, 0, 0, 71, 60, 61),
        (Billing::Postpaid, 0, 0, 99, 0, 89),
        (Billing::Postpaid, 5, 0, 0, 0, 5),
        (Billing::Postpaid, 0, 20, 40, 0, 10),
        (Billing::Prepaid, 0, 0, 0, 0, 10),
        (Billing::Prepaid, 5, 0, 0, 0, 15),
        (Billing::Prepaid, 0, 0, 31, 20, 21),
    ];
    for (billing, setup, free, used, paid, least) in rows {
        let terms = |run: Run| {
            run.terms(|terms| {
                terms.billing = billing;
                terms.setup_price = a(setup);
                terms.free_units = free;
                (terms.billing_interval, terms.max_billing_unit_lag) = (10, 10);
            })
        };
        let mut run = terms(Run::open(100).paid(paid));
        run.used(used);
        assert_eq!(view(&run).resumes_at, Some(a(least)), "{billing:?} {used} {paid}");
        if least - 1 > paid {
            run.give(&voucher(least - 1));
            assert_eq!(run.target().0, Target::Suspended, "{billing:?} {used} {paid}");
        }
        run.give(&voucher(least));
        assert_eq!(
            (run.target(), view(&run).resumes_at),
            ((Target::Running, None), None),
            "{billing:?} {used}"
        );
    }
}

#[test]
fn a_client_that_proves_its_channel_learns_what_was_acknowledged_and_no_more() {
    let attach = Input::Peer(AgentMessage::Attach);
    let known = |acknowledged: u128| format!("Known {{ acknowledged: Amount({acknowledged}) }}");
    let at = |chain, best, acknowledged| {
        let mut run = Run::open(100);
        run.state.chain = chain;
        run.state.book = Book { best: a(best), acknowledged: a(acknowledged) };
        run
    };
    let rows = vec![
        ("paid", at(open(100, 0), 60, 60), known(60)),
        ("kept in a challenge", at(closing(100, 30, 900), 60, 50), known(50)),
        ("more is paid on chain", at(open(100, 80), 60, 60), known(80)),
        ("above the deposit", at(open(100, 0), 120, 100), known(100)),
        ("nothing", at(open(100, 0), 0, 0), known(0)),
        ("closed", at(closed(100, 60), 60, 60), "NotOpen { closed: true }".to_owned()),
    ];
    for (name, run, expected) in rows {
        let decision = Agent::decide(&run.state, &attach, &run.env()).unwrap();
        let answer = decision.effects.iter().map(crate::support::show).next_back().unwrap();
        assert_eq!(answer, expected, "{name}");
        assert_eq!(decision.state.book, run.state.book, "{name}: nothing is to be stored");
    }
    let mut stale = at(open(100, 0), 60, 40);
    stale.fresh = false;
    assert_eq!(stale.give(&attach), format!("drive 1, {}", known(40)), "it promises nothing new");
}

#[test]
fn an_answer_carries_the_best_voucher_where_it_is_better_than_the_one_that_came() {
    let book = Book { best: a(60), acknowledged: a(50) };
    let acknowledged = a(50);
    let known = [
        Reply::Paid { acknowledged, ended: false },
        Reply::Paid { acknowledged, ended: true },
        Reply::Kept { acknowledged },
        Reply::Stale { acknowledged },
        Reply::Known { acknowledged },
        Reply::NotOpen { closed: true },
    ];
    for reply in known {
        for (sent, carried) in
            [(None, Some(60)), (Some(0), Some(60)), (Some(59), Some(60)), (Some(60), None), (Some(70), None)]
        {
            assert_eq!(reply.carries(sent.map(a), &book), carried.map(a), "{reply:?} to {sent:?}");
        }
        // Nothing is stored, or what is cannot be read.
        let none = Book { best: a(0), ..book };
        assert_eq!(reply.carries(None, &none), None, "{reply:?}");
    }
    for reply in
        [Reply::NoSigner, Reply::Access, Reply::NotOpen { closed: false }, Reply::Ended(AgentEnd::Inactive)]
    {
        assert_eq!(reply.carries(None, &book), None, "{reply:?}");
    }
}

#[test]
fn the_clients_total_is_kept_and_decides_nothing() {
    let paid = |run: &Run, used| {
        let voucher = Verified::check(&Signed, &(id(), 10)).unwrap();
        Agent::decide(&run.state, &Input::Peer(AgentMessage::Voucher { voucher, used }), &run.env()).unwrap()
    };
    let run = Run::open(100);
    let (plain, with) = (paid(&run, None), paid(&run, Some(Usage::new(7))));
    assert_eq!(with.effects, plain.effects);
    assert_eq!((plain.state.own.reported, with.state.own.reported), (None, Some(Usage::new(7))));
    let mut same = with.state.clone();
    same.own.reported = None;
    assert_eq!(same, plain.state);
    let later = Run { state: with.state, ..run };
    assert_eq!(
        paid(&later, None).state.own.reported,
        Some(Usage::new(7)),
        "one without a total changes nothing"
    );
    assert_eq!(later.state.meter.used, Usage::ZERO);
}
