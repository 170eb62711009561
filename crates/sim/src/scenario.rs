//! What happens in a run: the world, and what somebody does or what fails at which time. Made from a seed, or read from a file.

use std::time::Duration;

use privatix_billing::{
    Billing, Measure, Percent, Terms, TermsDraft, TermsError, TopUpAmount, TopUpPolicy, Unit,
};
use privatix_channel::{Amount, Fee, Period};
use privatix_market::{AgentPolicy, ClientPolicy};
use serde::{Deserialize, Serialize};

use crate::choice::{Dice, hash};

/// A run, complete: the same scenario always gives the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Decides everything that the steps leave open: delays, the order of transactions, what clients use.
    #[serde(default)]
    pub seed: u64,
    /// What does not change.
    #[serde(default)]
    pub world: World,
    /// What happens, beside what follows by itself.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    /// What must be true at the end, beside the invariants.
    #[serde(default)]
    pub expect: Expect,
}

/// What does not change in a run. Amounts are base units, times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the names of terms and policies are theirs")]
pub struct World {
    /// How long faults and clients go on. Then all faults cease, and everything must come to its end.
    pub duration: u64,
    /// Who opens a channel, one each.
    pub clients: Vec<Kind>,
    /// Between two blocks.
    pub block_time: u64,
    /// Blocks after which the node takes an event for real.
    pub confirmations: u64,
    /// Blocks after which an outcome is final. No reorganisation is deeper.
    pub final_depth: u64,
    /// In percent: how often the last 1 to 4 blocks are replaced when a block comes.
    pub reorgs: u64,
    /// The challenge's length.
    pub challenge: u32,
    pub billing: Billing,
    pub measure: Measure,
    pub setup_price: u64,
    pub unit_price: u64,
    pub free_units: u64,
    pub min_units: u64,
    pub max_units: Option<u64>,
    pub interval: u64,
    pub lag: u64,
    pub max_suspend: u64,
    pub max_inactive: u64,
    pub max_first_use: Option<u64>,
    pub deposit: u64,
    /// What a base unit is worth, in hundredths of what a close costs at the everyday price of gas; none: no rate is configured.
    pub rate: Option<u64>,
    pub min_gain: u64,
    /// The least claim that is answered in a challenge; 0: the price of one unit.
    pub dispute_min: u64,
    pub free_after: Option<u64>,
    pub max_delay: u64,
    /// Between two batches.
    pub batch_every: u64,
    /// How much a buyer adds when 70 percent of its deposit are used; 0: nothing.
    pub auto_top_up: u64,
    /// How many top-ups of a buyer may be under way.
    pub top_ups: usize,
    /// Whether the users of buyers use, pause and end the service of their own, beside what the steps say.
    pub users: bool,
    /// The network fee, in 1/100,000, and the highest that the agent and the buyers accept.
    pub fee: u16,
    pub accept_fee: u16,
    pub buyers_accept_fee: u16,
    /// Whether the channels name a signer.
    pub names_signer: bool,
    /// The claim from which on a voucher of a channel that is served is offered to a batch of settlements; none: never.
    pub at_risk: Option<u64>,
    /// What a buyer may spend on deposits in all; none: what it has.
    pub budget: Option<u64>,
    /// Whether the buyers' lists of allowed agents hold the agent.
    pub allowed: bool,
    /// What the agent's account holds, in closes at the everyday price of gas; none: always enough.
    pub ether: Option<u64>,
    /// The buyers, by their numbers, that speak version 2 with their agent.
    pub speaks_2: Vec<usize>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            duration: 3_600,
            clients: vec![Kind::Honest],
            block_time: 12,
            confirmations: 2,
            final_depth: 8,
            reorgs: 0,
            challenge: 1_800,
            billing: Billing::Postpaid,
            measure: Measure::Requests,
            setup_price: 0,
            unit_price: 10,
            free_units: 0,
            min_units: 1,
            max_units: None,
            interval: 2,
            lag: 5,
            max_suspend: 900,
            max_inactive: 900,
            max_first_use: None,
            deposit: 1_000,
            rate: None,
            min_gain: 1,
            dispute_min: 1,
            free_after: None,
            max_delay: 1_800,
            batch_every: 1_800,
            auto_top_up: 0,
            top_ups: ClientPolicy::default().top_ups,
            users: true,
            fee: 0,
            accept_fee: Fee::MAX.get(),
            buyers_accept_fee: Fee::MAX.get(),
            names_signer: true,
            at_risk: None,
            budget: None,
            allowed: true,
            ether: None,
            speaks_2: Vec::new(),
        }
    }
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Uses the service, and pays what its own meter shows as soon as it is due.
    Honest,
    /// Uses the service, and pays late or never.
    Lazy,
    /// Uses what it gets, pays as little as possible, and asks to close for less than it has paid.
    Hostile,
    /// Does only what the steps say.
    Scripted,
    /// Decides by `market`, on a node of its own.
    Buyer,
    /// The same, and its agent is hostile.
    Cheated,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Milliseconds after the start; in files, seconds.
    #[serde(with = "seconds")]
    pub at: u64,
    /// The number of the client whose channel it is about, from 0.
    #[serde(default)]
    pub who: usize,
    /// What happens.
    #[serde(flatten)]
    pub what: What,
}

/// Milliseconds are written as seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(milliseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(Duration::from_millis(*milliseconds).as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let time = Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)?;
        // To the nearest millisecond: a fraction of a second is not exact in binary.
        let rounded = time.saturating_add(Duration::from_micros(500));
        u64::try_from(rounded.as_millis()).map_err(D::Error::custom)
    }
}

/// A move or a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Somebody does something.
    Do(Move),
    /// Something fails.
    Fault(Fault),
    /// Something fails at the client's node, if it has one.
    ClientFault(Fault),
}

/// What a client or the operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Move {
    /// The client uses this much of the service, as far as it gets it.
    Use(u64),
    /// The client signs and sends a voucher over this much more than the last.
    Pay(u64),
    /// The client sends its voucher number `n` modulo how many it signed.
    Replay(u64),
    /// The client sends a voucher that is not signed by its key.
    Forge(u64),
    /// The client adds to its deposit.
    TopUp(u64),
    /// The client asks to close, and admits this much.
    RequestClose(u64),
    /// The client takes its request to close back.
    CancelClose,
    /// Anybody ends a close whose challenge is over.
    Finalize,
    /// Anybody cashes the client's voucher number `n` modulo how many it signed.
    Settle(u64),
    /// The operator ends the service.
    End,
    /// The operator orders the close.
    Close,
    /// The operator suspends the service.
    Hold,
    /// The operator resumes it.
    Resume,
    /// The operator gives up what is claimable.
    Abandon,
    /// The operator cancels the channel's newest transaction.
    CancelTransaction,
    /// A batch takes what was collected.
    Batch,
    /// The buyer's user ends the service.
    Leave,
    /// The buyer's user suspends the service.
    Pause,
    /// The buyer's user resumes it.
    Continue,
    /// The buyer's user cancels the channel's newest transaction.
    CancelOfClient,
    /// Somebody on the wire answers a buyer's request in the agent's place: a lie that the number chooses.
    ForgeAnswer(u64),
}

/// What fails. Durations are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The last blocks are replaced by others.
    Reorg(u64),
    /// The last blocks are replaced by others, this many of them final.
    DeepReorg(u64),
    /// The process dies beside one of its next commits: before number `n / 2`, or after it when `n` is odd. It starts again
    /// after 5 to 600 seconds.
    Crash(u64),
    /// The node's database is copied.
    BackUp,
    /// The node's database is lost, and the last copy takes its place.
    Restore,
    /// The same, and nobody notes it: the node takes the copy for what it always had.
    RestoreUnnoted,
    /// The agent's adapter counts this much too much from now on.
    Overcount(u64),
    /// The node sees no new block.
    Stale(u64),
    /// The node sees an older head than there is, not so old that its view is stale.
    Lag(u64),
    /// The node sees all blocks, and none of their events. It notices after some minutes that they are missing, and finds them in the
    /// end.
    Hide(u64),
    /// The node's endpoints show some of its transactions as mined, with success, that are in no block.
    Lie(u64),
    /// The contract holds something that no event explains.
    Unexplained(u64),
    /// Gas costs 1,000 times as much.
    GasSpike(u64),
    /// The account has no ether.
    NoEther(u64),
    /// The adapter answers nothing. What it was asked is done late.
    Hang(u64),
    /// The adapter refuses everything but to stop.
    Refuse(u64),
    /// The adapter starts again and has forgotten its services.
    AdapterCrash,
    /// The adapter reports a total that is lower than before.
    Drift(u64),
    /// The adapter stops a service by itself.
    Drop,
    /// The oldest transaction that waits fails; lastingly if the number is odd.
    FailTransaction(u64),
    /// No message arrives.
    Offline(u64),
    /// The client's key signs nothing.
    NoKey(u64),
    /// The client's requests for access and its pings wait behind other work, until nobody waits for their answers any more.
    Queued(u64),
    /// The process dies, and starts again after this time.
    Down(u64),
    /// The machine sleeps: its processes stand still, and so does their uptime. What comes meanwhile is lost.
    Sleep(u64),
    /// The wall clock moves on by this much, or back. The uptime and the chain's clock do not.
    ClockJump(i64),
    /// The disk is full: each commit fails, and nothing of it is stored.
    FullDisk(u64),
}

/// What must be true at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// What the agent was paid, for each channel, in base units.
    pub paid: Vec<u64>,
    /// The notices that were shown of any channel, by the name of their variant; for an end also with its reason: `Ends(NeverUsed)`.
    pub notices: Vec<String>,
    /// Whether every channel is closed on chain as soon as the world's duration is over.
    pub closed: bool,
    /// What the agent was paid when the world's duration was over, for each channel, in base units.
    pub paid_in_time: Vec<u64>,
    /// What was truly used of each channel's service, in the measure of the terms.
    pub used: Vec<u64>,
    /// What must not be shown of any channel, by the name of its variant.
    pub never: Vec<String>,
    /// What the buyers' nodes refused, by the name of the variant of `Refused`, each of which must have been.
    pub refused: Vec<String>,
    /// How many batches the agent submitted.
    pub batches: Option<usize>,
}

impl World {
    /// The offering's terms.
    ///
    /// # Errors
    /// A rule that the terms break.
    pub fn terms(&self) -> Result<Terms, TermsError> {
        TermsDraft {
            unit: Unit { name: "unit".to_owned(), measure: self.measure, size: 1 },
            billing: self.billing,
            setup_price: amount(self.setup_price),
            unit_price: amount(self.unit_price),
            free_units: self.free_units,
            min_units: self.min_units,
            max_units: self.max_units,
            billing_interval: self.interval,
            max_billing_unit_lag: self.lag,
            max_suspend: Duration::from_secs(self.max_suspend),
            max_inactive: Duration::from_secs(self.max_inactive),
            max_first_use: self.max_first_use.map(Duration::from_secs),
        }
        .validate()
    }

    /// The agent's policy.
    pub fn policy(&self) -> AgentPolicy {
        let mut policy = AgentPolicy::default();
        policy.min_gain = amount(self.min_gain);
        policy.dispute_min = (self.dispute_min > 0).then(|| amount(self.dispute_min));
        policy.free_after = self.free_after.map(Duration::from_secs);
        policy.max_delay = Duration::from_secs(self.max_delay);
        policy.accept_fee = fee(self.accept_fee);
        policy.at_risk = self.at_risk.map(amount);
        policy
    }

    /// The policy of the clients that decide by `market`.
    pub fn client_policy(&self) -> ClientPolicy {
        let mut policy = ClientPolicy::default();
        let amount = TopUpAmount::Fixed(amount(self.auto_top_up));
        let top_up = |percent| TopUpPolicy { percent, amount, max_deposit: None };
        policy.billing.top_up = Percent::try_from(70).ok().filter(|_| self.auto_top_up > 0).map(top_up);
        policy.top_ups = self.top_ups;
        policy.accept_fee = fee(self.buyers_accept_fee);
        policy.allowed = (!self.allowed).then(Vec::new);
        // Within the time in which everything must come to its end.
        policy.abandon_after = Duration::from_hours(24);
        policy
    }

    pub(crate) const fn challenge(&self) -> Period {
        Period::new(self.challenge)
    }

    fn random(dice: &mut Dice) -> Self {
        let kinds = [
            Kind::Honest,
            Kind::Lazy,
            Kind::Hostile,
            Kind::Hostile,
            Kind::Scripted,
            Kind::Buyer,
            Kind::Buyer,
            Kind::Buyer,
            Kind::Cheated,
        ];
        let interval = dice.between(1, 4);
        let mut world = Self {
            duration: dice.between(20, 180) * 60,
            clients: (0..dice.between(1, 3)).map(|_| dice.pick(&kinds)).collect(),
            block_time: dice.pick(&[2, 12, 12, 30, 60]),
            confirmations: dice.between(0, 3),
            final_depth: dice.between(5, 12),
            reorgs: dice.pick(&[0, 0, 0, 5]),
            challenge: u32::try_from(dice.pick(&[1_200, 1_800, 3_600, 7_200])).unwrap_or(1_200),
            billing: dice.pick(&[Billing::Prepaid, Billing::Postpaid]),
            measure: dice.pick(&[Measure::Requests, Measure::Requests, Measure::Seconds]),
            setup_price: dice.pick(&[0, 0, 7]),
            unit_price: dice.between(1, 10),
            free_units: dice.pick(&[0, 0, 3]),
            max_units: dice.pick(&[None, None, Some(40)]),
            interval,
            lag: interval + dice.between(0, 5),
            max_suspend: dice.pick(&[120, 600, 1_800]),
            max_inactive: dice.pick(&[300, 900, 3_600]),
            deposit: dice.between(50, 1_000),
            rate: dice.pick(&[None, Some(1), Some(1_000)]),
            min_gain: dice.pick(&[1, 1, 20]),
            dispute_min: dice.pick(&[1, 1, 10]),
            free_after: dice.pick(&[None, Some(600), Some(1_800)]),
            max_delay: dice.pick(&[600, 1_800]),
            batch_every: dice.pick(&[1_800, 1_800, 20_000]),
            auto_top_up: dice.pick(&[0, 40, 150]),
            top_ups: dice.pick(&[8, 8, 2, 1]),
            users: true,
            // The last of them: what seeds draw otherwise stays.
            max_first_use: dice.pick(&[None, None, Some(900)]),
            min_units: dice.pick(&[1, 1, 4]),
            fee: dice.pick(&[0, 0, 1_000]),
            accept_fee: dice.pick(&[10_000, 10_000, 10_000, 500]),
            at_risk: dice.pick(&[None, None, Some(20), Some(100)]),
            budget: dice.pick(&[None, None, Some(1_100), Some(1_500)]),
            ether: dice.pick(&[None, None, Some(3), Some(2_000)]),
            ..Self::default()
        };
        let is_buyer = |who: &usize| matches!(world.clients[*who], Kind::Buyer | Kind::Cheated);
        world.speaks_2 = (0..world.clients.len()).filter(|who| is_buyer(who) && dice.chance(60)).collect();
        // Least units from which a tolerance follows.
        if !world.speaks_2.is_empty() && dice.chance(50) {
            world.min_units = dice.pick(&[100, 400]);
            world.max_units = world.max_units.map(|_| world.min_units + 40);
            world.deposit += world.setup_price + world.min_units * world.unit_price;
        }
        world
    }
}

/// A fee of 1/100,000, at most the highest that the contract accepts.
pub(crate) fn fee(hundred_thousandths: u16) -> Fee {
    Fee::new(hundred_thousandths).unwrap_or(Fee::MAX)
}

pub(crate) fn amount(units: u64) -> Amount {
    Amount::new(units.into())
}

impl Scenario {
    /// The scenario of a seed.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed, 1);
        let world = World::random(&mut dice);
        // Some runs have no faults at all, most a few, some very many.
        let count = dice.pick(&[0, 4, 12, 12, 40, 120]);
        let steps = (0..count).map(|n| Step::random(&world, hash(seed, 2, n))).collect();
        Self { seed, world, steps, expect: Expect::default() }
    }
}

impl Step {
    fn random(world: &World, seed: u64) -> Self {
        let mut dice = Dice::new(seed, 3);
        let at = dice.below(world.duration * 1_000);
        let who = usize::try_from(dice.below(world.clients.len() as u64)).unwrap_or(0);
        let is_buyer = matches!(world.clients[who], Kind::Buyer | Kind::Cheated);
        let what = if dice.chance(45) {
            What::Do(if is_buyer && dice.chance(70) {
                Move::of_buyer(&mut dice)
            } else {
                Move::random(&mut dice)
            })
        } else if is_buyer && dice.chance(50) {
            What::ClientFault(Fault::random(&mut dice))
        } else {
            What::Fault(Fault::random(&mut dice))
        };
        // The last to be drawn: what seeds draw otherwise stays.
        let what = match dice.below(40) {
            0 => What::Fault(Fault::of_node(&mut dice)),
            1 if is_buyer => What::ClientFault(Fault::of_node(&mut dice)),
            n @ 2..=8 if world.speaks_2.contains(&who) => Fault::of_pair(n, &mut dice),
            _ => what,
        };
        Self { at, who, what }
    }
}

impl Move {
    fn random(dice: &mut Dice) -> Self {
        let small = dice.below(60);
        match dice.below(34) {
            0..=5 => Self::Use(small),
            6..=11 => Self::Pay(small),
            12 | 13 => Self::Replay(small),
            14 => Self::Forge(small * 10),
            15 | 16 => Self::TopUp(small + 1),
            17..=19 => Self::RequestClose(small),
            20 => Self::CancelClose,
            21 | 22 => Self::Finalize,
            23 => Self::Settle(small),
            24 => Self::End,
            25 => Self::Close,
            26 => Self::Hold,
            27 => Self::Resume,
            28 if small < 15 => Self::Abandon,
            29 => Self::CancelTransaction,
            _ => Self::Batch,
        }
    }
}

impl Move {
    /// A move of a buyer's user, or of somebody on its wire.
    fn of_buyer(dice: &mut Dice) -> Self {
        let small = dice.below(60);
        match dice.below(24) {
            0..=4 => Self::Use(small),
            5..=8 => Self::TopUp(small + 1),
            9..=11 => Self::Pause,
            12..=14 => Self::Continue,
            15 | 16 => Self::Leave,
            17 => Self::RequestClose(small),
            18..=20 => Self::CancelOfClient,
            21 => Self::ForgeAnswer(small),
            _ => Self::Replay(small),
        }
    }
}

impl Fault {
    /// Of a pair that speaks version 2: copies that come back, and meters that differ.
    fn of_pair(n: u64, dice: &mut Dice) -> What {
        match n {
            2 => What::Fault(Self::BackUp),
            3 | 4 => What::ClientFault(Self::BackUp),
            5 => What::Fault(Self::RestoreUnnoted),
            6 | 7 => What::ClientFault(Self::RestoreUnnoted),
            _ => What::Fault(Self::Overcount(dice.below(6))),
        }
    }

    /// Of the machine on which a node runs.
    fn of_node(dice: &mut Dice) -> Self {
        let seconds = dice.pick(&[60, 300, 1_000, 8_000]);
        let jump = dice.pick(&[-90_000, -600, 600, 4_000, 90_000]);
        match dice.below(5) {
            4 => Self::Queued(seconds),
            0 => Self::Down(seconds),
            1 => Self::Sleep(seconds),
            2 => Self::ClockJump(jump),
            _ => Self::FullDisk(seconds),
        }
    }

    fn random(dice: &mut Dice) -> Self {
        let seconds = dice.pick(&[10, 70, 300, 1_000, 4_000]);
        match dice.below(36) {
            34 => Self::BackUp,
            35 => Self::Restore,
            30 | 31 => Self::Hide(seconds),
            32 => Self::Lag(seconds),
            33 if dice.chance(60) => Self::DeepReorg(dice.between(1, 20)),
            0..=5 => Self::Reorg(dice.between(1, 11)),
            6..=12 => Self::Crash(dice.below(12)),
            13 | 14 => Self::Stale(seconds),
            15 => Self::Unexplained(seconds),
            16 => Self::GasSpike(seconds),
            17 => Self::NoEther(seconds),
            18..=20 => Self::Hang(seconds),
            21 => Self::Refuse(seconds),
            22 | 23 => Self::AdapterCrash,
            24 => Self::Drift(dice.below(20)),
            25 => Self::Drop,
            26 | 27 => Self::FailTransaction(dice.below(4)),
            28 if dice.chance(30) => Self::NoKey(seconds),
            29 => Self::Lie(seconds),
            _ => Self::Offline(seconds),
        }
    }
}
