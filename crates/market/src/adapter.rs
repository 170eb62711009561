//! Driving a service to its target: the same for both sides.

use std::time::Duration;

use privatix_channel::Usage;

use crate::flight::next;
use crate::{
    Actual, Answered, Asked, Effect, Env, Owner, Party, Service, State, Stopwatch, Target, Why, usage,
};

/// What of a side's state is about its service.
pub(crate) struct Driven<'a> {
    pub(crate) seq: &'a mut u32,
    pub(crate) service: &'a mut Service,
    pub(crate) stuck: &'a mut Stopwatch,
    pub(crate) refused: &'a mut bool,
    pub(crate) unreported: &'a mut Usage,
}

/// A side whose service is driven here.
pub(crate) trait Served: Party {
    /// What of the state is about the service.
    fn driven(own: &mut Self::Own) -> Driven<'_>;
    /// What a timed session used that no report has counted, once it does not run any more.
    fn unreported(own: &Self::Own) -> Usage;
    /// What was used beyond what this side's meter counts: it was signed for, and this database does not know the reports.
    fn raised(own: &Self::Own) -> Usage;
    /// The same, to be changed.
    fn raised_mut(own: &mut Self::Own) -> &mut Usage;
    /// For how long the clock counts what a timed session uses, without another report. `None`: without end.
    fn report_within(policy: &Self::Policy) -> Option<Duration>;
    /// How long the adapter has for a request.
    fn stop_within(policy: &Self::Policy) -> Duration;
    /// The adapter did not suspend a service that may run.
    fn not_suspended(state: &mut State<Self>, refused: bool, env: &Env<'_, Self>);
}

/// The adapter's answer.
pub(crate) fn answered<P: Served>(state: &mut State<P>, seq: u32, answer: Answered, env: &Env<'_, P>) {
    let service = P::driven(&mut state.own).service;
    let is_lost = service.actual == Actual::Lost;
    let asked = service.asked.filter(|asked| asked.seq == seq);
    let answer = match answer {
        Answered::Moved(actual) => Answered::Did(actual),
        answer => answer,
    };
    let actual = match (answer, asked) {
        // However late it comes, what was lost is found: only a later start could bring it back, which is answered too.
        (Answered::Did(Actual::Absent), _) if is_lost => Actual::Absent,
        (Answered::Did(actual), Some(_)) => actual,
        // It is asked once in a minute, however fast it answers.
        (_, Some(Asked { target: Target::Absent, .. })) if is_lost => return,
        (_, Some(asked)) => return given_up(state, asked.target, answer == Answered::Refused, env),
        (_, None) => return,
    };
    if service.actual != actual {
        // A service that is found to be absent was given up before: the channel's money has not waited for it.
        let since = if is_lost && actual == Actual::Absent { service.since } else { env.uptime };
        becomes(state, actual, env);
        P::driven(&mut state.own).service.since = since;
    }
    let service = P::driven(&mut state.own).service;
    service.instance = env.instance;
    // Suspended, it may be known by what it was before.
    service.afresh &= actual == Actual::Suspended;
    // Else the runner goes on, within the time that it has.
    service.asked = service.asked.filter(|asked| !actual.is(asked.target));
}

/// What the service is known to do changes, and with it a timed session ends.
pub(crate) fn becomes<P: Served>(state: &mut State<P>, actual: Actual, env: &Env<'_, P>) {
    if P::service(&state.own).actual == Actual::Running {
        usage::stop(state, env);
    }
    let service = P::driven(&mut state.own).service;
    (service.actual, service.since, service.at_most) = (actual, env.uptime, None);
}

/// A request was not answered, or nobody waits for its answer any more: it may have been done, or may still be. So the service is
/// asked for what is wanted now, also where that is what it did before, and stopped in the end.
fn forgets<P: Served>(state: &mut State<P>, target: Target, env: &Env<'_, P>) {
    let at_most = P::service(&state.own).at_most_after(target);
    becomes(state, Actual::Unknown, env);
    P::driven(&mut state.own).service.at_most = at_most;
}

/// What the adapter knows the channel with has changed. A request that is under way may have been begun with what it was before, so it is
/// made again.
pub(crate) fn changed<P: Served>(state: &mut State<P>, env: &Env<'_, P>) {
    let service = P::driven(&mut state.own).service;
    service.afresh = true;
    let is_begun = service.asked.take_if(|asked| asked.target == Target::Running).is_some();
    if is_begun && service.actual != Actual::Lost {
        forgets(state, Target::Running, env);
    }
}

/// A new life of the adapter runs nothing of what an earlier one ran.
pub(crate) fn restarted<P: Served>(state: &mut State<P>, env: &Env<'_, P>) {
    let service = P::service(&state.own);
    if service.actual == Actual::Running && service.instance != env.instance {
        becomes(state, Actual::Unknown, env);
    }
}

/// Whether the adapter is asked for this now. To stop a service, it always is: the channel's money does not wait for its start.
const fn is_asked<P: Party>(target: Target, env: &Env<'_, P>) -> bool {
    !env.adapter_starts || matches!(target, Target::Absent)
}

/// Gives a request up whose time is over.
pub(crate) fn overdue<P: Served>(state: &mut State<P>, env: &Env<'_, P>) {
    // One of an earlier life of the adapter is made again.
    P::driven(&mut state.own).service.asked.take_if(|asked| !is_asked(asked.target, env));
    if let Some(asked) = P::service(&state.own).asked.filter(|asked| asked.until <= env.uptime) {
        given_up(state, asked.target, false, env);
    }
}

/// The adapter did not do what it was asked for. A service that cannot be suspended is stopped, and one that cannot be stopped
/// is lost; to prepare it or to run it is tried again. What was refused was not done; without an answer that is not known.
fn given_up<P: Served>(state: &mut State<P>, target: Target, was_refused: bool, env: &Env<'_, P>) {
    let Driven { service, stuck, refused, .. } = P::driven(&mut state.own);
    *refused = was_refused;
    service.asked = None;
    service.afresh &= !was_refused; // it goes on with what it is known by
    let may_serve = service.may_serve(env.instance);
    match target {
        Target::Absent if service.actual == Actual::Lost => {}
        Target::Absent => becomes(state, Actual::Lost, env),
        Target::Suspended if may_serve => P::not_suspended(state, was_refused, env),
        Target::Suspended | Target::Running => {
            stuck.run(true, env.uptime);
            if !was_refused && service.actual != Actual::Lost {
                forgets(state, target, env);
            }
        }
    }
}

/// Sets what is wanted. A request for something else is dropped.
pub(crate) fn aim<P: Served>(state: &mut State<P>, (target, why): (Target, Option<Why>), env: &Env<'_, P>) {
    let Driven { service, .. } = P::driven(&mut state.own);
    (service.target, service.why) = (target, why);
    let dropped = service.asked.take_if(|asked| asked.target != target);
    let is_lost = service.actual == Actual::Lost;
    if let Some(dropped) = dropped.filter(|_| !is_lost) {
        forgets(state, dropped.target, env);
    }
}

/// Asks the adapter for the service's target.
pub(crate) fn drive<P: Served>(state: &mut State<P>, env: &Env<'_, P>, effects: &mut Vec<Effect<P>>) {
    let Driven { seq, service, .. } = P::driven(&mut state.own);
    let target = service.target;
    if service.is_as_wanted(env.instance) {
        service.asked = None;
    } else if service.asked.is_none() && is_asked(target, env) {
        let (seq, until) = (next(seq), env.uptime.plus(P::stop_within(env.policy)));
        service.asked = Some(Asked { seq, target, until });
        effects.push(Effect::Drive { seq });
    }
}

/// What moves the service towards its target.
pub(crate) fn owners<P: Served>(state: &State<P>, env: &Env<'_, P>, reminder: Duration) -> Vec<Owner> {
    let service = P::service(&state.own);
    let asked = service.asked.map(|asked| Owner::Adapter { seq: asked.seq, until: asked.until });
    let is_due = service.asked.is_none() && !service.is_as_wanted(env.instance);
    let is_lost = service.actual == Actual::Lost;
    let due = is_due.then(|| {
        if is_asked(service.target, env) {
            Owner::Time(env.uptime)
        } else {
            Owner::User { reminder: env.reminder(reminder) }
        }
    });
    let lost = is_lost.then(|| Owner::User { reminder: env.reminder(reminder) });
    [asked, due, lost].into_iter().flatten().collect()
}
