//! What endangers the money of a channel: [`Concern`].

use privatix_channel::{Amount, ChainTime, Period};

use crate::{Actual, Blocked, Env, Owner, Party, Side, State, Why};

/// How much money is in danger. A worse one is a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Danger {
    /// Safe for now; somebody should look at it.
    Risk,
    /// Money may be lost, or stays locked, until somebody acts.
    Loss,
}

/// What endangers the money of a channel, as of the last decision about it: [`Party::concerns`]. Amounts are in base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Concern {
    /// The client asked to close for less than it has paid, and no answer is submitted.
    Unanswered {
        /// What is lost without an answer.
        claimable: Amount,
        /// When the challenge ends.
        ends_at: ChainTime,
    },
    /// As [`Unanswered`](Self::Unanswered), with an answer that is submitted. The chain does not show it yet.
    Answered {
        /// What is lost unless it is mined.
        claimable: Amount,
        /// When the challenge ends.
        ends_at: ChainTime,
    },
    /// The best voucher, or something else that is stored of the channel, cannot be read.
    Damaged {
        /// The amount of the voucher, if it is that and its amount is known.
        voucher: Option<Amount>,
        /// Whether a challenge runs in which the voucher, or what else is not known, would be needed.
        in_challenge: bool,
    },
    /// The service adapter did not stop the service: it may go on. A seller gives it for nothing.
    Unstopped {
        /// Whose adapter that is.
        side: Side,
    },
    /// The client asks to close a channel whose agent has not shown in this run of the process what it knows: if the database is an old
    /// one, more was signed than it knows.
    Unproven {
        /// What is admitted.
        admitted: Amount,
    },
    /// Somebody else uses the client's key: the agent showed a voucher that was not signed here.
    KeyUsedElsewhere,
    /// The user alone moves the channel on.
    Waits {
        /// What is at stake: what an agent could still claim, or what is left of a client's deposit.
        at_stake: Amount,
        /// Whether the user has ordered that: the channel is paused, or its close was cancelled.
        by_order: bool,
    },
}

impl Concern {
    /// How much money is in danger; `None` while there is nothing to do. `now` is the chain's time, if it is known, and `challenge` how
    /// long a challenge takes.
    ///
    /// | | |
    /// | --- | --- |
    /// | a dispute without an answer | loss |
    /// | a dispute with one | loss in the last quarter of its challenge and after it, risk in the quarter before and where the time is not known |
    /// | damage | loss in a challenge, else risk |
    /// | a service that was not stopped | loss for a seller, risk for a buyer |
    /// | a close before the agent has shown what it knows | risk |
    /// | a key that somebody else uses | loss |
    /// | a wait for the user | loss with money at stake, risk without and by its own order |
    pub fn danger(&self, now: Option<ChainTime>, challenge: Period) -> Option<Danger> {
        match *self {
            Self::Unanswered { .. }
            | Self::Damaged { in_challenge: true, .. }
            | Self::KeyUsedElsewhere
            | Self::Unstopped { side: Side::Agent } => Some(Danger::Loss),
            Self::Damaged { in_challenge: false, .. }
            | Self::Unproven { .. }
            | Self::Unstopped { side: Side::Client } => Some(Danger::Risk),
            Self::Answered { ends_at, .. } => {
                let Some(now) = now else { return Some(Danger::Risk) };
                let (left, all) = (u64::from(ends_at.since(now).seconds()), u64::from(challenge.seconds()));
                if left.saturating_mul(4) < all {
                    Some(Danger::Loss)
                } else {
                    (left.saturating_mul(2) < all).then_some(Danger::Risk)
                }
            }
            Self::Waits { at_stake, by_order } => {
                Some(if by_order || at_stake.is_zero() { Danger::Risk } else { Danger::Loss })
            }
        }
    }
}

/// What of a channel's concerns the two sides know by different names.
pub(crate) struct Known {
    /// What is at stake while the user does nothing.
    pub(crate) at_stake: Amount,
    /// Why the next transaction waits.
    pub(crate) blocked: Option<Blocked>,
    /// The amount of the voucher that cannot be read, unless the user gave it up, another one took its place, or the channel is closed.
    pub(crate) damaged: Option<Amount>,
    /// Whether a challenge runs in which what is stored is needed.
    pub(crate) in_challenge: bool,
}

/// The concerns that both sides have.
pub(crate) fn common<P: Party>(state: &State<P>, env: &Env<'_, P>, known: &Known) -> Vec<Concern> {
    let mut concerns = Vec::new();
    concerns.extend(
        known
            .damaged
            .map(|voucher| Concern::Damaged { voucher: Some(voucher), in_challenge: known.in_challenge }),
    );
    let service = P::service(&state.own);
    if service.actual(env.instance) == Actual::Lost {
        concerns.push(Concern::Unstopped { side: P::SIDE });
    }
    let owners = P::owners(state, env);
    let is_users = |owner: &Owner| matches!(owner, Owner::User { .. });
    // While the adapter starts it is waited for, and no user.
    let alone = owners.first().is_some_and(is_users) && !env.adapter_starts;
    // The account's concern, which names the ether that is missing: closing the channel would be wrong advice.
    let lacks_gas = service.why == Some(Why::NoGas) && known.at_stake.is_zero();
    let blocks =
        matches!(known.blocked, Some(Blocked::Parked { .. } | Blocked::Failing { lasting: true, .. }));
    // What is damaged or was not stopped waits for the user as well, and is shown as that.
    if concerns.is_empty() && ((alone && !lacks_gas) || (blocks && owners.iter().any(is_users))) {
        let by_order = matches!(service.why, Some(Why::Held | Why::Paused))
            || matches!(known.blocked, Some(Blocked::Parked { .. }));
        concerns.push(Concern::Waits { at_stake: known.at_stake, by_order });
    }
    concerns
}
