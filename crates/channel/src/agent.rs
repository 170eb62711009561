//! The agent's view of a channel.

use crate::{
    Amount, ChainTime, ChannelDescriptor, ChannelEvent, ChannelId, CloseAuthorization, ConsentRefused,
    Consents, Domain, FinalView, LONGEST_CONSENT, LogPosition, NewConsent, OnChain, SignedVoucher,
    VoucherError, VoucherVerifier,
};

/// A channel as its agent sees it: what the chain shows, the best voucher, and the consents to close that may still count.
///
/// A voucher is a ceiling: it is worth the lesser of its amount and the deposit. So a voucher above the deposit is taken, and
/// grows with a top-up; and when a reorganisation removes a top-up, the best voucher still brings the deposit that is left.
///
/// A payment goes in three steps, and the types lead through them: [`accept`](Self::accept) judges and changes nothing; the
/// caller stores the [`NewBest`] durably; [`commit`](Self::commit) takes it in and gives the [`Receipt`] to answer with. An
/// agent that dies between the steps has acknowledged nothing that it does not have.
#[derive(Clone, Debug)]
pub struct AgentChannel {
    descriptor: ChannelDescriptor,
    on_chain: OnChain,
    best: Option<SignedVoucher>,
    consents: Consents,
    verifier: VoucherVerifier,
}

/// What an acceptable voucher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an accepted voucher counts only once it is stored and committed"]
pub enum Accepted {
    /// Higher than all before: store it, then [`commit`](AgentChannel::commit) it. Above the deposit it may gain nothing now;
    /// after a top-up it does.
    New(NewBest),
    /// Exactly what is already proven, for example a repeated message: nothing to store, and it buys nothing. Answer with
    /// this receipt.
    Same(Receipt),
}

/// A verified voucher that is higher than all committed before. Made by [`AgentChannel::accept`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "store the voucher, then commit it"]
pub struct NewBest {
    voucher: SignedVoucher,
    gained: Amount,
}

impl NewBest {
    /// What to store durably before it is committed. A store that several tasks write must keep the higher of two.
    pub const fn voucher(&self) -> &SignedVoucher {
        &self.voucher
    }

    /// How much more than before it proves, with the deposit as it is.
    pub const fn gained(&self) -> Amount {
        self.gained
    }
}

/// What the agent acknowledges: everything up to `cumulative` is proven, covered by the deposit, and stored. Only committed vouchers give one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    channel: ChannelId,
    cumulative: Amount,
}

impl Receipt {
    /// The paying channel.
    pub const fn channel(&self) -> ChannelId {
        self.channel
    }

    /// What is proven in all.
    pub const fn cumulative(&self) -> Amount {
        self.cumulative
    }
}

/// What came of several queued vouchers of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// The best acceptable one and its place in the queue.
    pub accepted: Option<(usize, Accepted)>,
    /// Those that were looked at and refused, with their places. Those in neither group were not looked at: they are lower
    /// than the accepted one and buy nothing beyond it.
    pub refused: Vec<(usize, VoucherError)>,
}

impl AgentChannel {
    /// The view of a channel that nothing is known of yet.
    pub fn new(domain: Domain, descriptor: ChannelDescriptor) -> Self {
        let verifier = VoucherVerifier::new(domain, &descriptor);
        Self { descriptor, on_chain: OnChain::default(), best: None, consents: Consents::default(), verifier }
    }

    /// The view rebuilt from what was stored: the best voucher, and the consents to close that may still count (none where
    /// the agent signs none).
    ///
    /// # Errors
    /// The stored voucher is verified again: an error here means that the store is damaged or belongs to another channel,
    /// contract or chain.
    pub fn restore(
        domain: Domain,
        descriptor: ChannelDescriptor,
        on_chain: OnChain,
        best: Option<SignedVoucher>,
        consents: Consents,
    ) -> Result<Self, VoucherError> {
        let verifier = VoucherVerifier::new(domain, &descriptor);
        if let Some(voucher) = &best {
            verifier.verify(voucher)?;
        }
        Ok(Self { descriptor, on_chain, best, consents, verifier })
    }

    /// The channel's id.
    pub const fn id(&self) -> ChannelId {
        self.verifier.channel()
    }

    /// What identifies the channel.
    pub const fn descriptor(&self) -> &ChannelDescriptor {
        &self.descriptor
    }

    /// What the chain shows.
    pub const fn on_chain(&self) -> &OnChain {
        &self.on_chain
    }

    /// The best committed voucher.
    pub const fn best(&self) -> Option<&SignedVoucher> {
        self.best.as_ref()
    }

    /// Everything that the client has paid beyond dispute: by voucher, as far as the deposit covers it, or on chain.
    pub fn proven(&self) -> Amount {
        self.worth(self.signed()).max(self.on_chain.paid)
    }

    /// What the best voucher would still bring on chain, fee included; nothing once the channel is closed.
    pub fn claimable(&self) -> Amount {
        if !self.on_chain.phase().is_open() {
            return Amount::ZERO;
        }
        self.worth(self.signed()).saturating_sub(self.on_chain.paid)
    }

    /// The amount of the best voucher, whether the deposit covers it or not.
    fn signed(&self) -> Amount {
        self.best.map_or(Amount::ZERO, |best| best.cumulative())
    }

    /// What a voucher over this amount brings in all.
    fn worth(&self, cumulative: Amount) -> Amount {
        cumulative.min(self.on_chain.deposit)
    }

    /// The consents to close that may still count.
    pub const fn consents(&self) -> &Consents {
        &self.consents
    }

    /// Whether to agree to close at `cumulative`, and how: a consent that counts for 15 minutes of the chain's clock from
    /// `now`. Changes nothing; while a consent counts, no voucher above its amount is taken.
    ///
    /// Both must sign the same amount, so a client asks for the amount of its best voucher. `nonce` is the agent's in the
    /// contract, `nonceOf(agent)`; `now` is the time of the newest block.
    ///
    /// # Errors
    /// [`ConsentRefused::BelowSigned`] and [`ConsentRefused::NotOpen`].
    pub fn consent(
        &self,
        cumulative: Amount,
        nonce: u64,
        now: ChainTime,
    ) -> Result<NewConsent, ConsentRefused> {
        let phase = self.on_chain.phase();
        if !phase.is_open() {
            return Err(ConsentRefused::NotOpen { phase });
        }
        // Not only what the deposit covers now: it may be less than a voucher only until a top-up is in a block again.
        let signed = self.signed().max(self.on_chain.paid);
        if cumulative < signed {
            return Err(ConsentRefused::BelowSigned { cumulative, signed });
        }
        let deadline = now.plus(LONGEST_CONSENT);
        Ok(NewConsent { consent: CloseAuthorization { channel: self.id(), cumulative, nonce, deadline } })
    }

    /// Takes in a consent that is stored durably, and gives what to sign.
    ///
    /// # Errors
    /// [`ConsentRefused::BelowSigned`] when a higher voucher was committed meanwhile, and [`ConsentRefused::WrongChannel`].
    pub fn commit_consent(&mut self, stored: NewConsent) -> Result<CloseAuthorization, ConsentRefused> {
        let consent = stored.consent;
        if consent.channel != self.id() {
            return Err(ConsentRefused::WrongChannel { expected: self.id(), found: consent.channel });
        }
        let (cumulative, signed) = (consent.cumulative, self.signed().max(self.on_chain.paid));
        if cumulative < signed {
            return Err(ConsentRefused::BelowSigned { cumulative, signed });
        }
        self.consents.add(consent);
        Ok(consent)
    }

    /// Drops the consents that a final block has voided; whether there were any.
    pub fn void_consents(&mut self, view: &FinalView) -> bool {
        self.consents.prune(view)
    }

    /// Whether to serve at all: the channel is open and its client has not asked to close. Whether enough is paid is
    /// billing's question.
    pub fn may_serve(&self) -> bool {
        self.on_chain.phase() == crate::Phase::Open
    }

    /// Takes in an event of the chain; whether it changed anything.
    pub fn apply(&mut self, at: LogPosition, event: ChannelEvent) -> bool {
        self.on_chain.apply(at, event)
    }

    /// Replaces what the chain shows: after a reorganisation, folded again from the events that remain.
    pub fn reset_chain(&mut self, on_chain: OnChain) {
        self.on_chain = on_chain;
    }

    /// Judges a voucher and changes nothing.
    ///
    /// The signature is checked whatever the amount: no shortcut for stale or zero vouchers. Vouchers are taken while the
    /// channel is open on chain, during a challenge too, since they can be cashed; service is another matter
    /// ([`may_serve`](Self::may_serve)). None is taken above a consent that may still count.
    ///
    /// # Errors
    /// [`VoucherError::WrongChannel`], [`NotOpen`](VoucherError::NotOpen), [`WrongSigner`](VoucherError::WrongSigner),
    /// [`AboveConsent`](VoucherError::AboveConsent), [`Stale`](VoucherError::Stale), in this order.
    pub fn accept(&self, voucher: &SignedVoucher) -> Result<Accepted, VoucherError> {
        let phase = self.on_chain.phase();
        if voucher.channel() != self.id() {
            return Err(VoucherError::WrongChannel { expected: self.id(), found: voucher.channel() });
        }
        if !phase.is_open() {
            return Err(VoucherError::NotOpen { phase });
        }
        let cumulative = voucher.cumulative();
        // The very bytes that were verified before need no second verification.
        if self.best.as_ref() != Some(voucher) {
            self.verifier.verify(voucher)?;
        }
        let best = self.signed().max(self.on_chain.paid);
        // Whatever the answer, it acknowledges what was stored: of a voucher that was stored while a lower consent was
        // committed nobody may hear.
        self.permit(cumulative)?;
        if cumulative < best {
            return Err(VoucherError::Stale { cumulative, best });
        }
        if cumulative == self.signed() {
            return Ok(Accepted::Same(self.receipt()));
        }
        // One over what the chain shows as paid is kept, too: a reorganisation may take the payment back.
        let gained = self.worth(cumulative).saturating_sub(self.proven());
        Ok(Accepted::New(NewBest { voucher: *voucher, gained }))
    }

    /// Judges several queued vouchers, the highest first, and stops at the first acceptable one: a voucher replaces all lower
    /// ones, so a burst costs one verification. The answer to those not looked at is the receipt of the accepted one.
    pub fn accept_newest(&self, queue: &[SignedVoucher]) -> Queued {
        let mut order: Vec<usize> = (0..queue.len()).collect();
        order.sort_by_key(|&place| std::cmp::Reverse(queue[place].cumulative()));
        let mut queued = Queued::default();
        for place in order {
            match self.accept(&queue[place]) {
                Ok(accepted) => {
                    queued.accepted = Some((place, accepted));
                    break;
                }
                Err(error) => queued.refused.push((place, error)),
            }
        }
        queued
    }

    /// Takes in a voucher that is stored durably, and gives the receipt to answer with.
    ///
    /// Two vouchers may have been accepted side by side: the higher one stays, in whichever order they are committed.
    ///
    /// # Errors
    /// [`VoucherError::WrongChannel`] when another channel accepted it, and [`VoucherError::AboveConsent`] when a lower consent
    /// was committed meanwhile: then it must not be acknowledged.
    pub fn commit(&mut self, stored: NewBest) -> Result<Receipt, VoucherError> {
        let voucher = stored.voucher;
        if voucher.channel() != self.id() {
            return Err(VoucherError::WrongChannel { expected: self.id(), found: voucher.channel() });
        }
        self.permit(voucher.cumulative())?;
        if self.best.is_none_or(|best| best.cumulative() < voucher.cumulative()) {
            self.best = Some(voucher);
        }
        Ok(self.receipt())
    }

    /// Whether acknowledging a voucher over this amount, and with it the best one, is safe from the consents that may still
    /// count. What the chain shows as paid is safe from those below it.
    fn permit(&self, cumulative: Amount) -> Result<(), VoucherError> {
        let acknowledged = cumulative.max(self.signed());
        if acknowledged <= self.on_chain.paid { Ok(()) } else { self.consents.permit(acknowledged) }
    }

    /// The receipt for everything proven so far.
    pub fn receipt(&self) -> Receipt {
        Receipt { channel: self.id(), cumulative: self.proven() }
    }
}
