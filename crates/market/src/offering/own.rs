//! An agent's own offering: published, announced again, removed.

use privatix_channel::{Amount, ChainTime, OfferingUnderWay, Period};
use serde::{Deserialize, Serialize};

use super::{
    Announcement, OfferingEffect, OfferingEnv, OfferingInput, OfferingNotice, OfferingPurpose,
    OfferingRefused, Presence, Shown,
};
use crate::blocked;
use crate::flight::{self, Reported};
use crate::{AtStake, Blocked, Fate, Flight, Owner, Purpose, RecoveryId, Stage, Uptime};

/// What an agent did about an offering, and what its operator ordered. No rollback of the chain changes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Own {
    /// The last number that was given to an effect.
    pub seq: u32,
    /// What the operator has ordered.
    pub wanted: Wanted,
    /// How old an announcement may become before it is announced again. `None`: only by order, or when the address changed.
    pub pop_up_every: Option<Period>,
    /// Whether the operator ordered to announce it again.
    pub pop_up: bool,
    /// The block of the announcement that carried out the last order to announce it again, until a reorganisation takes it back.
    pub popped_up: Option<u64>,
    /// Whether this state comes from a backup, and the chain was not caught up with since: nothing is done until then.
    pub restored: bool,
    /// The last recovery that was begun with.
    pub recovery: Option<RecoveryId>,
    /// Its transactions, until their outcomes are final.
    pub flights: Vec<Flight<OfferingPurpose>>,
    /// Why the next one waits.
    pub blocked: Option<Blocked>,
    /// What keeps it from being as ordered, or why an order was given up.
    pub problem: Option<Problem>,
}

impl Own {
    /// The transaction that its status shows: of several, the last in its life.
    pub fn under_way(&self) -> Option<OfferingUnderWay> {
        let under_way = self.flights.iter().filter(|flight| flight.stage.is_under_way());
        under_way.map(|flight| flight.purpose.shown()).max()
    }

    /// Whether something that was ordered is not done yet, and was not given up.
    pub fn is_pending(&self, shown: &Shown) -> bool {
        let shows = shown.presence == Presence::OnMarket;
        shown.presence != Presence::Removed && (!self.wanted.is(shown.presence) || (shows && self.pop_up))
    }
}

/// Where an offering is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Where the chain shows it, wherever that will be: nothing was ordered, or the order was given up. So no event that comes late
    /// can look like the opposite of an order.
    #[default]
    AsShown,
    /// On the market.
    OnMarket,
    /// Off the market, for good.
    Removed,
}

impl Wanted {
    /// Whether it is there.
    const fn is(self, presence: Presence) -> bool {
        match self {
            Self::AsShown => true,
            Self::OnMarket => matches!(presence, Presence::OnMarket),
            Self::Removed => !matches!(presence, Presence::OnMarket),
        }
    }
}

/// What an operator can order about an offering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfferingOrder {
    /// Announce it and lock its stake.
    Publish,
    /// Announce it again, as soon as the contract allows it.
    PopUp,
    /// Announce it again whenever the announcement is this old; `None` for never.
    PopUpEvery(Option<Period>),
    /// Take it off the market, as soon as the contract allows it, or give a draft up.
    Remove,
}

/// What keeps an offering from being as it was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// The balance in the contract does not suffice for its stake.
    Stake,
    /// Clients would refuse its signature: the chain does not show who signed it as the agent's operator.
    Signature,
    /// The transaction failed again and again. A publication or a pop-up is given up then; a removal, which frees the stake, is tried
    /// again with each reminder.
    Failed(OfferingPurpose),
}

/// What is wanted, or what is waited for until something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Nothing: it is as ordered.
    Nothing,
    /// Nothing before the chain is seen, and the clocks agree.
    Chain,
    /// Nothing before this time.
    At(ChainTime),
    /// Nothing before the operator did something.
    User(Problem),
    /// A transaction at once.
    Now(OfferingPurpose),
}

/// What is wanted about an own offering: a total function of what is ordered and what the chain shows.
fn want(own: &Own, shown: &Shown, env: &OfferingEnv<'_>) -> Want {
    if own.restored {
        return Want::Chain;
    }
    let wanted = match (shown.presence, own.wanted) {
        (Presence::Removed, _) | (Presence::Draft, Wanted::AsShown | Wanted::Removed) => Want::Nothing,
        (Presence::Draft, Wanted::OnMarket) if !env.signature_counts => Want::User(Problem::Signature),
        (Presence::Draft, Wanted::OnMarket) if env.balance < env.stake => Want::User(Problem::Stake),
        (Presence::Draft, Wanted::OnMarket) => Want::Now(OfferingPurpose::Publish),
        (Presence::OnMarket, Wanted::Removed) => {
            let at =
                shown.announced.as_ref().map_or(ChainTime::new(0), |last| last.at.plus(env.remove_period));
            from(at, OfferingPurpose::Remove, env)
        }
        (Presence::OnMarket, Wanted::AsShown | Wanted::OnMarket) => {
            match pop_up_at(own, shown.announced.as_ref(), env) {
                None => Want::Nothing,
                Some(_) if !env.signature_counts => Want::User(Problem::Signature),
                Some(at) => from(at, OfferingPurpose::PopUp, env),
            }
        }
    };
    match wanted {
        // On a view that is not fresh it may be done already.
        Want::Now(_) if !env.fresh => Want::Chain,
        // It locks the stake. What was submitted goes on.
        Want::Now(OfferingPurpose::Publish) if env.skew.is_some() => Want::Chain,
        wanted => wanted,
    }
}

/// A transaction from this time on.
fn from(at: ChainTime, purpose: OfferingPurpose, env: &OfferingEnv<'_>) -> Want {
    match env.now {
        None => Want::Chain,
        Some(now) if now < at => Want::At(at),
        Some(_) => Want::Now(purpose),
    }
}

/// When an offering on the market is announced again, if it ever is.
fn pop_up_at(own: &Own, last: Option<&Announcement>, env: &OfferingEnv<'_>) -> Option<ChainTime> {
    let last = last?;
    let allowed = last.at.plus(env.pop_up_period);
    if own.pop_up || last.source != *env.source {
        return Some(allowed);
    }
    own.pop_up_every.map(|every| last.at.plus(every).max(allowed))
}

/// Takes an input in.
pub(super) fn apply(
    own: &mut Own,
    shown: &mut Shown,
    input: &OfferingInput,
    env: &OfferingEnv<'_>,
) -> Result<(), OfferingRefused> {
    match input {
        OfferingInput::Chain(now) => {
            // One that a reorganisation took back carries out no order.
            if now.is_announced_after(shown) && std::mem::take(&mut own.pop_up) {
                own.popped_up = now.announced.as_ref().map(|last| last.block);
            } else if own.popped_up.is_some_and(|block| now.lacks_announcement_of(block)) {
                (own.pop_up, own.popped_up) = (true, None);
            }
            shown.clone_from(now);
        }
        OfferingInput::Look | OfferingInput::Started | OfferingInput::Peer { .. } => {}
        // Once for each recovery: an order that came since is newer than the backup.
        OfferingInput::Restored(recovery) if own.recovery == Some(*recovery) => {}
        OfferingInput::Restored(recovery) => (own.restored, own.recovery) = (true, Some(*recovery)),
        OfferingInput::Tx { seq, purpose, fate } => {
            transaction(own, shown, *seq, *purpose, *fate, env);
        }
        OfferingInput::Order(order) => self::order(own, shown, *order, env)?,
    }
    if own.restored && env.fresh {
        // What was ordered since the backup is not known: an offering that was taken off the market must not come back.
        (own.wanted, own.restored) = (Wanted::AsShown, false);
        (own.pop_up, own.popped_up) = (false, None);
    }
    own.problem = match (want(own, shown, env), own.problem) {
        (Want::User(problem), _) => Some(problem),
        (_, Some(Problem::Stake | Problem::Signature)) => None,
        (_, problem) => problem,
    };
    Ok(())
}

fn order(
    own: &mut Own,
    shown: &Shown,
    order: OfferingOrder,
    env: &OfferingEnv<'_>,
) -> Result<(), OfferingRefused> {
    let locks = order == OfferingOrder::Publish && shown.presence == Presence::Draft;
    let skew = env.skew.filter(|_| locks);
    match order {
        // This is kept whatever the offering is.
        OfferingOrder::PopUpEvery(every) => {
            own.pop_up_every = every;
            return Ok(());
        }
        _ if shown.presence == Presence::Removed => return Err(OfferingRefused::Removed),
        OfferingOrder::Publish => match skew {
            Some(skew) => return Err(OfferingRefused::Clock(skew)),
            None => own.wanted = Wanted::OnMarket,
        },
        OfferingOrder::PopUp if shown.presence != Presence::OnMarket || own.wanted == Wanted::Removed => {
            return Err(OfferingRefused::NotOnMarket);
        }
        OfferingOrder::PopUp => own.pop_up = true,
        OfferingOrder::Remove => {
            own.wanted = Wanted::Removed;
            (own.pop_up, own.popped_up) = (false, None);
        }
    }
    // An order is newer than what a backup knew, and than what was given up.
    (own.restored, own.blocked, own.problem) = (false, None, None);
    Ok(())
}

fn transaction(
    own: &mut Own,
    shown: &Shown,
    seq: u32,
    purpose: OfferingPurpose,
    fate: Fate,
    env: &OfferingEnv<'_>,
) {
    let report = (seq, purpose, fate);
    let now = (Uptime::default(), Amount::ZERO); // nothing of an offering lasts
    let reported = flight::report(&mut own.flights, &mut own.seq, report, |_| false, now);
    let Some(Reported { before, .. }) = reported else {
        return;
    };
    // What becomes of an earlier order does not touch the present one.
    let counts = before != Some(Stage::Cancelling) && is_ordered(own, shown, purpose);
    match fate {
        Fate::Mined(_) => (own.blocked, own.problem) = (None, None),
        Fate::Reverted if counts && before != Some(Stage::Reverted) => {
            failed(own, purpose, false, env);
        }
        Fate::Failed { lasting } if counts => failed(own, purpose, lasting, env),
        Fate::Cancelled if counts => {
            // The operator cancelled it, which takes the order back. Only pop-ups would go on without another one.
            if purpose == OfferingPurpose::PopUp {
                own.blocked = Some(Blocked::Parked { since: env.uptime });
            } else {
                own.wanted = Wanted::AsShown;
            }
            own.pop_up = false;
        }
        Fate::Final if matches!(before, Some(Stage::Mined { seen: false, .. })) => {
            own.blocked.get_or_insert(Blocked::Unseen { since: env.uptime });
        }
        _ => {}
    }
}

/// Whether a transaction for this would bring what is ordered.
fn is_ordered(own: &Own, shown: &Shown, purpose: OfferingPurpose) -> bool {
    let shows = shown.presence == Presence::OnMarket;
    match purpose {
        OfferingPurpose::Publish => !shows && own.wanted == Wanted::OnMarket,
        OfferingPurpose::PopUp => shows && own.wanted != Wanted::Removed,
        OfferingPurpose::Remove => shows && own.wanted == Wanted::Removed,
    }
}

/// A transaction failed. If that lasts, the order is given up, but for a removal.
fn failed(own: &mut Own, purpose: OfferingPurpose, lasting: bool, env: &OfferingEnv<'_>) {
    let tries = blocked::tries(own.blocked);
    let lasting = lasting || tries >= env.policy.tries;
    own.blocked = Some(Blocked::Failing { since: env.uptime, tries, lasting });
    if lasting {
        match purpose {
            OfferingPurpose::Publish => own.wanted = Wanted::AsShown,
            OfferingPurpose::PopUp => own.pop_up = false,
            OfferingPurpose::Remove => {}
        }
        own.problem = Some(Problem::Failed(purpose));
    }
}

/// Who must move on before the next try, if the last one failed or was cancelled.
fn waits(own: &Own, purpose: OfferingPurpose, env: &OfferingEnv<'_>) -> Option<Owner> {
    match own.blocked? {
        Blocked::Parked { .. } if purpose != OfferingPurpose::PopUp => None,
        blocked => blocked.waits_for(&env.policy.retries(), None, env.uptime, env.reminder()),
    }
}

fn bid(purpose: OfferingPurpose) -> crate::Bid {
    Purpose::from(purpose).bid(&AtStake::default())
}

fn is_under_way(own: &Own, purpose: OfferingPurpose) -> bool {
    own.flights.iter().any(|flight| flight.purpose == purpose && flight.stage.is_under_way())
}

/// Submits what is wanted, and cancels what is not.
pub(super) fn difference(
    own: &mut Own,
    shown: &Shown,
    env: &OfferingEnv<'_>,
    effects: &mut Vec<OfferingEffect>,
) {
    let want = want(own, shown, env);
    let keeps = |purpose| match want {
        Want::Now(wanted) => purpose == wanted,
        // It was wanted on a view that was fresh, or before the operator's help was needed. After a restore it may not be.
        Want::Chain | Want::User(_) => !own.restored,
        Want::Nothing | Want::At(_) => false,
    };
    for flight in &mut own.flights {
        if matches!(flight.stage, Stage::Sent { .. }) && !keeps(flight.purpose) {
            effects.push(OfferingEffect::Cancel { seq: flight.seq });
            flight.stage = Stage::Cancelling;
        }
    }
    let Want::Now(purpose) = want else { return };
    if is_under_way(own, purpose) || waits(own, purpose, env).is_some() {
        return;
    }
    let (seq, bid, stage) = (flight::next(&mut own.seq), bid(purpose), Stage::Sent { batch: false });
    own.flights.push(Flight { seq, purpose, bid, stage });
    effects.push(OfferingEffect::Submit { seq, purpose, bid });
}

/// See [`owners`](super::owners).
pub(super) fn owners(own: &Own, shown: &Shown, env: &OfferingEnv<'_>) -> Vec<Owner> {
    let reminder = env.reminder();
    let mut owners: Vec<Owner> = own.flights.iter().map(|flight| Owner::Transaction(flight.seq)).collect();
    owners.extend(match want(own, shown, env) {
        Want::Nothing => None,
        Want::Chain => Some(Owner::Chain { reminder }),
        Want::At(at) => Some(Owner::ChainTime(at)),
        Want::User(_) => Some(Owner::User { reminder }),
        Want::Now(purpose) if is_under_way(own, purpose) => None,
        Want::Now(purpose) => Some(waits(own, purpose, env).unwrap_or(Owner::Time(env.uptime))),
    });
    owners
}

/// What is shown of the difference between two states.
pub(super) fn notices(before: &Own, after: &Own, shown: &Shown) -> Vec<OfferingNotice> {
    let mut notices = Vec::new();
    let is_recovered = before.restored && !after.restored && after.wanted == Wanted::AsShown;
    if is_recovered && !before.wanted.is(shown.presence) {
        notices.push(OfferingNotice::Recovered(shown.presence));
    }
    if after.problem != before.problem {
        notices.extend(after.problem.map(OfferingNotice::Problem));
    }
    notices
}
