//! The reference: what must be true, without the crate's views, in plain numbers beside the contract's model.

use std::collections::BTreeSet;

use alloy::{primitives::Address, signers::local::PrivateKeySigner};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, CloseAuthorization, LogPosition, Period,
    RequestClose, SignedVoucher, Terms, Voucher,
    model::{Call, Channel, Claim, Consent, Contract, Source},
    sign_close, sign_request_close, sign_voucher,
};
use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use crate::common::{agent_key, amount, client_key, descriptor, domain, key};

/// Price of a unit.
pub(crate) const PRICE: u128 = 10;
/// Units that the agent serves unpaid.
pub(crate) const MAX_LAG: u64 = 6;
/// Units between two usage reports, at most.
pub(crate) const REPORT: u64 = 2;
/// Units that a client pays at once.
pub(crate) const INTERVAL: u64 = 3;
const TERMS: Terms = Terms::TEST;
/// How long a consent counts, in seconds.
const CONSENT: u64 = 15 * 60;
const FIRST_DEPOSIT: u128 = 200;
const FUNDS: u128 = 5_000;

/// Where the process dies while it handles one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Nowhere,
    BeforeStoring,
    AfterStoring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Agent,
    Client,
}

/// How a message is falsified on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Forgery {
    HigherAmount,
    LowerAmount,
    OtherChannel,
    CloseSignature,
    AgentsSignature,
}

/// A number that picks from a list which may be longer later.
pub(crate) type Pick = usize;

#[derive(Clone, Debug)]
pub(crate) enum Transition {
    /// The agent serves, if it does; each side's meter counts on its own.
    Use {
        agent: u64,
        client: u64,
    },
    /// The client pays what is due, if anything is.
    Pay(Crash),
    /// The client sends its highest voucher again.
    Resend,
    /// A message arrives: the oldest or the newest, again or never before.
    Deliver(Pick, Crash),
    /// Several arrive at once.
    DeliverBurst(Vec<Pick>),
    Forge(Pick, Forgery),
    /// One chain event is seen, in any order, again or for the first time.
    See(Party, Pick),
    /// All chain events are seen.
    CatchUp(Party),
    Restart(Party),
    /// Seconds go by on the chain.
    Wait(u32),
    TopUp {
        amount: u128,
        from_wallet: bool,
    },
    /// Anybody settles with any voucher that was sent.
    Settle(Pick),
    SettleBatch(Vec<Pick>),
    /// The agent closes with its best voucher.
    Close,
    /// The agent answers a close request if it sees one.
    Answer,
    /// The client asks for the agent's consent to close at the amount of a voucher that it sent.
    Consent(Pick, Crash),
    /// Anybody closes with a consent that the agent ever signed, and a voucher over the same amount.
    CloseWithBoth(Pick),
    /// The agent voids its consents on chain.
    Revoke,
    /// The newest block becomes final, and the agent sees it.
    Finality,
    /// The client asks to close and admits all that it signed, less this.
    RequestClose {
        withheld: u128,
        relayed: bool,
    },
    CancelClose,
    FinalizeClose,
    /// A stranger tries everything.
    Intrude(Pick),
    SetFee(u16),
}

/// What one side has seen and stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(BTreeSet<usize>);

#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) contract: Contract,
    pub(crate) descriptor: ChannelDescriptor,
    pub(crate) prepaid: bool,
    /// The channel's events on chain.
    pub(crate) log: Vec<(LogPosition, ChannelEvent)>,
    pub(crate) agent_sees: Seen,
    pub(crate) client_sees: Seen,
    pub(crate) agent_meter: u64,
    pub(crate) client_meter: u64,
    /// The highest amount that the client signed and stored.
    pub(crate) signed: u128,
    /// Every voucher ever sent. Messages stay: a lost one is never delivered, a late one late, a repeated one twice.
    pub(crate) sent: Vec<u128>,
    /// The best amount that the agent stored.
    pub(crate) best: u128,
    /// The highest amount that the agent acknowledged.
    pub(crate) acknowledged: u128,
    /// The consents that the agent stored and that no final block has voided.
    pub(crate) standing: Vec<CloseAuthorization>,
    /// Every consent that the agent ever signed, with the close by it.
    pub(crate) consents: Vec<(CloseAuthorization, Call)>,
}

impl Seen {
    fn events<'a>(&'a self, log: &'a [(LogPosition, ChannelEvent)]) -> impl Iterator<Item = ChannelEvent> {
        self.0.iter().map(|&place| log[place].1)
    }

    fn deposit(&self, log: &[(LogPosition, ChannelEvent)]) -> u128 {
        let deposits = self.events(log).filter_map(|event| match event {
            ChannelEvent::Opened { deposit, .. } | ChannelEvent::ToppedUp { deposit, .. } => {
                Some(deposit.get())
            }
            _ => None,
        });
        deposits.max().unwrap_or(0)
    }

    fn paid(&self, log: &[(LogPosition, ChannelEvent)]) -> u128 {
        let paid = self.events(log).filter_map(|event| match event {
            ChannelEvent::Settled { paid }
            | ChannelEvent::CloseRequested { paid, .. }
            | ChannelEvent::Closed { paid, .. } => Some(paid.get()),
            _ => None,
        });
        paid.max().unwrap_or(0)
    }

    fn is_open(&self, log: &[(LogPosition, ChannelEvent)]) -> bool {
        self.events(log).any(|event| matches!(event, ChannelEvent::Opened { .. }))
            && !self.events(log).any(|event| matches!(event, ChannelEvent::Closed { .. }))
    }

    fn close_requested(&self, log: &[(LogPosition, ChannelEvent)]) -> bool {
        let last = self.events(log).filter(|event| {
            matches!(
                event,
                ChannelEvent::CloseRequested { .. }
                    | ChannelEvent::ToppedUp { .. }
                    | ChannelEvent::CloseCancelled
            )
        });
        matches!(last.last(), Some(ChannelEvent::CloseRequested { .. }))
    }
}

pub(crate) fn price(units: u64) -> u128 {
    u128::from(units) * PRICE
}

impl Truth {
    pub(crate) fn id(&self) -> ChannelId {
        self.descriptor.id(&domain())
    }

    pub(crate) fn channel(&self) -> Channel {
        *self.contract.channel(self.id()).unwrap()
    }

    pub(crate) fn voucher(&self, base_units: u128) -> SignedVoucher {
        let voucher = Voucher { channel: self.id(), cumulative: amount(base_units) };
        sign_voucher(&self.signer(), &domain(), voucher).unwrap()
    }

    fn signer(&self) -> PrivateKeySigner {
        if self.descriptor.signer.is_zero() { client_key() } else { key(0x77) }
    }

    /// What the agent holds for proven: covered by the deposit that it sees.
    pub(crate) fn proven(&self) -> u128 {
        self.best.min(self.agent_sees.deposit(&self.log)).max(self.agent_sees.paid(&self.log))
    }

    /// The highest amount that the agent has a voucher over, or that it sees paid.
    fn held(&self) -> u128 {
        self.best.max(self.agent_sees.paid(&self.log))
    }

    /// What the client holds for promised.
    pub(crate) fn promised(&self) -> u128 {
        self.signed.max(self.client_sees.paid(&self.log))
    }

    /// The lag rule in its simplest form: serve while what is unpaid is within the lag, and below the deposit.
    pub(crate) fn serves(&self) -> bool {
        let (sees, log) = (&self.agent_sees, &self.log);
        sees.is_open(log)
            && !sees.close_requested(log)
            && price(self.agent_meter) < sees.deposit(log)
            && price(self.agent_meter).saturating_sub(self.proven()) < price(MAX_LAG)
    }

    /// The client's due by its own meter: at interval's end, or an interval ahead.
    pub(crate) fn due(&self) -> u128 {
        let units = if self.prepaid { self.client_meter + INTERVAL } else { self.client_meter };
        price(units).min(self.client_sees.deposit(&self.log))
    }

    pub(crate) fn client_pays(&self) -> bool {
        let (sees, log) = (&self.client_sees, &self.log);
        sees.is_open(log) && !sees.close_requested(log) && self.due() > self.promised()
    }

    /// Whether the agent takes a voucher over this amount, and if so, whether it is new.
    pub(crate) fn takes(&self, base_units: u128) -> Option<bool> {
        let held = self.held();
        let consented = self.standing.iter().map(|consent| consent.cumulative.get()).min();
        let above_consent = base_units > held && consented.is_some_and(|lowest| base_units > lowest);
        let takes = self.agent_sees.is_open(&self.log) && base_units >= held && !above_consent;
        takes.then_some(base_units > self.best)
    }

    pub(crate) fn pick(&self, pick: Pick) -> Option<u128> {
        self.sent.get(pick.checked_rem(self.sent.len())?).copied()
    }

    fn take(&mut self, base_units: u128, crash: Crash) {
        let Some(new) = self.takes(base_units) else { return };
        if new {
            if crash == Crash::BeforeStoring {
                return;
            }
            self.best = base_units;
        }
        if crash == Crash::Nowhere {
            self.acknowledged = self.acknowledged.max(self.proven());
        }
    }

    fn call(&mut self, sender: Address, call: &Call) {
        let Ok(outcome) = self.contract.call(sender, call) else { return };
        for event in outcome.events {
            if let Some((channel, event)) = event.channel_event() {
                assert_eq!(channel, self.id());
                self.log.push((LogPosition::new(self.log.len() as u64, 0), event));
            }
        }
    }

    fn signature(&self, base_units: u128) -> Vec<u8> {
        self.voucher(base_units).signature.as_bytes().to_vec()
    }

    fn claims(&self, picks: &[Pick]) -> Vec<Claim> {
        let claim = |base_units| Claim {
            client: self.descriptor.client,
            offering: self.descriptor.offering,
            nonce: self.descriptor.nonce,
            signer: self.descriptor.signer,
            cumulative: amount(base_units),
            signature: self.signature(base_units),
        };
        picks.iter().filter_map(|&pick| self.pick(pick)).map(claim).collect()
    }

    pub(crate) fn close_call(&self) -> Call {
        let (descriptor, cumulative) = (self.descriptor, amount(self.best));
        let signature = if self.best == 0 { Vec::new() } else { self.signature(self.best) };
        Call::Close { descriptor, cumulative, signature }
    }

    /// A close by whoever has this consent and the client's voucher over its amount.
    fn close_with_both(&self, authorization: CloseAuthorization) -> Call {
        let CloseAuthorization { cumulative, nonce, deadline, .. } = authorization;
        let signature = sign_close(&agent_key(), &domain(), authorization).unwrap().signature;
        let consent = Consent { nonce, deadline, signature: signature.as_bytes().to_vec() };
        let voucher = self.signature(cumulative.get());
        Call::CloseWithBoth { descriptor: self.descriptor, cumulative, voucher, consent }
    }

    /// The consent that the agent would store now.
    fn next_consent(&self, base_units: u128) -> CloseAuthorization {
        CloseAuthorization {
            channel: self.id(),
            cumulative: amount(base_units),
            nonce: self.contract.nonce_of(self.descriptor.agent),
            deadline: ChainTime::new(self.contract.time().seconds() + CONSENT),
        }
    }

    fn intrude(&mut self, pick: Pick) {
        let (descriptor, stranger) = (self.descriptor, key(0x66).address());
        let cumulative = amount(self.pick(pick).unwrap_or(0));
        let signature = self.signature(cumulative.get());
        for call in [
            Call::Close { descriptor, cumulative, signature: signature.clone() },
            Call::CloseBatch { claims: self.claims(&[pick]) },
            Call::CloseWithBoth {
                descriptor,
                cumulative,
                voucher: signature.clone(),
                consent: Consent { nonce: 0, deadline: ChainTime::MAX, signature },
            },
            Call::RequestClose { descriptor, admitted: Amount::ZERO },
            Call::CancelClose { descriptor },
            Call::FinalizeClose { descriptor },
            Call::RevokeConsents { account: descriptor.agent },
            Call::CloseBatchFor { agent: descriptor.agent, claims: self.claims(&[pick]) },
            Call::TopUp { descriptor, amount: amount(1) },
            Call::Withdraw { amount: amount(1) },
            Call::WithdrawAll { to: stranger },
            Call::SetFee { fee: 10_000 },
        ] {
            self.call(stranger, &call);
        }
    }
}

fn open_channel(fee: u16, prepaid: bool, hot_key: bool) -> Truth {
    let (client, agent, owner) = (client_key().address(), agent_key().address(), key(1).address());
    let mut contract = Contract::new(domain(), owner, TERMS);
    for account in [client, agent] {
        contract.fund(account, amount(2 * FUNDS));
        contract.call(account, &Call::Deposit { amount: amount(FUNDS) }).unwrap();
    }
    contract.call(owner, &Call::SetFee { fee }).unwrap();
    contract.set_time(contract.time().plus(TERMS.fee_delay));
    let offering = descriptor().offering;
    let min_deposit = amount(FIRST_DEPOSIT);
    let register = Call::RegisterOffering { offering, min_deposit, supply: 2, source: Source::default() };
    contract.call(agent, &register).unwrap();

    let signer = if hot_key { key(0x77).address() } else { Address::ZERO };
    let descriptor = ChannelDescriptor { signer, ..descriptor() };
    let mut truth = Truth {
        contract,
        descriptor,
        prepaid,
        log: Vec::new(),
        agent_sees: Seen::default(),
        client_sees: Seen::default(),
        agent_meter: 0,
        client_meter: 0,
        signed: 0,
        sent: Vec::new(),
        best: 0,
        acknowledged: 0,
        standing: Vec::new(),
        consents: Vec::new(),
    };
    let open = Call::Open { agent, offering, nonce: descriptor.nonce, signer, amount: min_deposit };
    truth.call(client, &open);
    assert_eq!(truth.log.len(), 1, "the channel is open");
    truth
}

fn crash() -> impl Strategy<Value = Crash> {
    prop_oneof![
        6 => Just(Crash::Nowhere),
        1 => Just(Crash::BeforeStoring),
        1 => Just(Crash::AfterStoring),
    ]
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![Just(Party::Agent), Just(Party::Client)]
}

fn forgery() -> impl Strategy<Value = Forgery> {
    prop_oneof![
        Just(Forgery::HigherAmount),
        Just(Forgery::LowerAmount),
        Just(Forgery::OtherChannel),
        Just(Forgery::CloseSignature),
        Just(Forgery::AgentsSignature),
    ]
}

/// Any message, the last few more often.
fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![any::<Pick>(), Just(usize::MAX)]
}

impl ReferenceStateMachine for Truth {
    type State = Self;
    type Transition = Transition;

    fn init_state() -> BoxedStrategy<Self> {
        (prop_oneof![Just(0), Just(1_234), Just(10_000)], any::<bool>(), any::<bool>())
            .prop_map(|(fee, prepaid, hot_key)| open_channel(fee, prepaid, hot_key))
            .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Transition> {
        let last = state.sent.len().saturating_sub(1);
        let pick = move || pick().prop_map(move |pick| if pick == usize::MAX { last } else { pick });
        prop_oneof![
            12 => (0..=REPORT, 0..=REPORT).prop_map(|(agent, client)| Transition::Use { agent, client }),
            8 => crash().prop_map(Transition::Pay),
            1 => Just(Transition::Resend),
            10 => (pick(), crash()).prop_map(|(pick, crash)| Transition::Deliver(pick, crash)),
            2 => prop::collection::vec(pick(), 1..5).prop_map(Transition::DeliverBurst),
            2 => (pick(), forgery()).prop_map(|(pick, forgery)| Transition::Forge(pick, forgery)),
            4 => (party(), any::<Pick>()).prop_map(|(party, pick)| Transition::See(party, pick)),
            4 => party().prop_map(Transition::CatchUp),
            2 => party().prop_map(Transition::Restart),
            3 => (1..TERMS.challenge.seconds()).prop_map(Transition::Wait),
            2 => (1..80_u128, any::<bool>())
                .prop_map(|(amount, from_wallet)| Transition::TopUp { amount, from_wallet }),
            2 => pick().prop_map(Transition::Settle),
            1 => prop::collection::vec(pick(), 0..4).prop_map(Transition::SettleBatch),
            1 => Just(Transition::Close),
            2 => Just(Transition::Answer),
            3 => (pick(), crash()).prop_map(|(pick, crash)| Transition::Consent(pick, crash)),
            1 => any::<Pick>().prop_map(Transition::CloseWithBoth),
            1 => Just(Transition::Revoke),
            3 => Just(Transition::Finality),
            2 => (prop_oneof![Just(0), 0..100_u128], any::<bool>())
                .prop_map(|(withheld, relayed)| Transition::RequestClose { withheld, relayed }),
            1 => Just(Transition::CancelClose),
            2 => Just(Transition::FinalizeClose),
            1 => pick().prop_map(Transition::Intrude),
            1 => (0..=10_000_u16).prop_map(Transition::SetFee),
        ]
        .boxed()
    }

    fn apply(mut state: Self, transition: &Transition) -> Self {
        let (descriptor, client, agent) = (state.descriptor, state.descriptor.client, state.descriptor.agent);
        match *transition {
            Transition::Use { agent, client } => {
                if state.serves() {
                    state.agent_meter += agent;
                    state.client_meter += client;
                }
            }
            Transition::Pay(crash) => {
                if state.client_pays() && crash != Crash::BeforeStoring {
                    state.signed = state.due();
                    if crash == Crash::Nowhere {
                        state.sent.push(state.signed);
                    }
                }
            }
            Transition::Resend => {
                if state.signed > 0 {
                    state.sent.push(state.signed);
                }
            }
            Transition::Deliver(pick, crash) => {
                if let Some(base_units) = state.pick(pick) {
                    state.take(base_units, crash);
                }
            }
            Transition::DeliverBurst(ref picks) => {
                let mut queue: Vec<_> = picks.iter().filter_map(|&pick| state.pick(pick)).collect();
                queue.sort_unstable();
                // The highest that is taken decides: the rest is not above it.
                if let Some(&highest) =
                    queue.iter().rev().find(|&&base_units| state.takes(base_units).is_some())
                {
                    state.take(highest, Crash::Nowhere);
                }
            }
            Transition::Forge(..) | Transition::Restart(_) => {}
            Transition::See(party, pick) => {
                let place = pick % state.log.len();
                state.sees(party).0.insert(place);
            }
            Transition::CatchUp(party) => {
                let all = 0..state.log.len();
                state.sees(party).0.extend(all);
            }
            Transition::Wait(seconds) => {
                let time = state.contract.time().plus(Period::new(seconds));
                state.contract.set_time(time);
            }
            Transition::TopUp { amount: base_units, from_wallet } => {
                let amount = amount(base_units);
                let call = if from_wallet {
                    Call::TopUpFromWallet { descriptor, amount }
                } else {
                    Call::TopUp { descriptor, amount }
                };
                state.call(client, &call);
            }
            Transition::Settle(pick) => {
                if let Some(base_units) = state.pick(pick) {
                    let signature = state.signature(base_units);
                    let call = Call::Settle { descriptor, cumulative: amount(base_units), signature };
                    state.call(key(0x66).address(), &call);
                }
            }
            Transition::SettleBatch(ref picks) => {
                let claims = state.claims(picks);
                state.call(key(0x66).address(), &Call::SettleBatch { agent, claims });
            }
            Transition::Close => {
                let call = state.close_call();
                state.call(agent, &call);
            }
            Transition::Answer => {
                let (sees, log) = (&state.agent_sees, &state.log);
                if sees.is_open(log) && sees.close_requested(log) && state.best > sees.paid(log) {
                    let call = state.close_call();
                    state.call(agent, &call);
                }
            }
            Transition::Consent(pick, crash) => {
                if let Some(base_units) = state.pick(pick)
                    && state.agent_sees.is_open(&state.log)
                    && base_units >= state.held()
                    && crash != Crash::BeforeStoring
                {
                    let consent = state.next_consent(base_units);
                    if !state.standing.contains(&consent) {
                        state.standing.push(consent);
                    }
                    if crash == Crash::Nowhere {
                        state.consents.push((consent, state.close_with_both(consent)));
                    }
                }
            }
            Transition::CloseWithBoth(pick) => {
                if let Some(place) = pick.checked_rem(state.consents.len()) {
                    let call = state.consents[place].1.clone();
                    state.call(key(0x66).address(), &call);
                }
            }
            Transition::Revoke => state.call(agent, &Call::RevokeConsents { account: agent }),
            Transition::Finality => {
                let (time, nonce) = (state.contract.time(), state.contract.nonce_of(agent));
                let paid = state.channel().paid;
                state.standing.retain(|consent| {
                    consent.deadline >= time && consent.nonce == nonce && consent.cumulative >= paid
                });
            }
            Transition::RequestClose { withheld, relayed } => {
                let admitted = amount(state.promised().saturating_sub(withheld));
                if relayed {
                    let (nonce, deadline) = (state.contract.nonce_of(client), state.contract.time());
                    let request = RequestClose { channel: state.id(), admitted, nonce, deadline };
                    let signed = sign_request_close(&state.signer(), &domain(), request).unwrap();
                    let signature = signed.signature.as_bytes().to_vec();
                    let call = Call::RequestCloseFor { descriptor, admitted, nonce, deadline, signature };
                    state.call(key(0x66).address(), &call);
                } else {
                    state.call(client, &Call::RequestClose { descriptor, admitted });
                }
            }
            Transition::CancelClose => state.call(client, &Call::CancelClose { descriptor }),
            Transition::FinalizeClose => {
                state.call(key(0x66).address(), &Call::FinalizeClose { descriptor });
            }
            Transition::Intrude(pick) => state.intrude(pick),
            Transition::SetFee(fee) => state.call(key(1).address(), &Call::SetFee { fee }),
        }
        state
    }
}

impl Truth {
    fn sees(&mut self, party: Party) -> &mut Seen {
        match party {
            Party::Agent => &mut self.agent_sees,
            Party::Client => &mut self.client_sees,
        }
    }
}
