//! From an action to a call: which channel it means, which amount, whose signature.

use alloy::{
    primitives::{Address, B256, U256, uint},
    signers::SignerSync as _,
};
use privatix_channel::{
    Amount, ChainTime, ChannelDescriptor, ChannelId, CloseAuthorization, Domain, RequestClose,
    TransferAuthorization, Voucher,
    model::{Authorization, Call, Claim, Consent, Contract},
};

use crate::action::{Approval, By, Cast, Cumulative, Forgery, Pick, Proof, Recipient, Validity, offering};

/// What is needed to make an action into a call.
pub(crate) struct Scene<'a> {
    pub(crate) cast: &'a Cast,
    pub(crate) contract: &'a Contract,
    /// Every channel that was opened.
    pub(crate) descriptors: &'a [ChannelDescriptor],
}

impl Scene<'_> {
    pub(crate) fn channel(&self, pick: Pick) -> ChannelDescriptor {
        self.channel_of(None, pick)
    }

    /// A channel; an open one is this agent's.
    pub(crate) fn channel_of(&self, agent: Option<Address>, pick: Pick) -> ChannelDescriptor {
        let unheard = ChannelDescriptor {
            client: self.cast.clients[0].address(),
            agent: self.cast.agents[0].address(),
            offering: offering(0),
            nonce: u64::MAX,
            signer: Address::ZERO,
        };
        let is_open = |descriptor: &ChannelDescriptor| {
            let channel = self.contract.channel(descriptor.id(self.contract.domain()));
            agent.is_none_or(|agent| descriptor.agent == agent) && channel.is_some_and(|channel| channel.open)
        };
        let is_closing = |descriptor: &ChannelDescriptor| {
            let channel = self.contract.channel(descriptor.id(self.contract.domain()));
            channel.is_some_and(|channel| channel.challenge_ends_at.is_some())
        };
        let (known, index): (Vec<_>, _) = match pick {
            Pick::Open(index) => (self.descriptors.iter().filter(|known| is_open(known)).collect(), index),
            Pick::Closing(index) => {
                (self.descriptors.iter().filter(|known| is_open(known) && is_closing(known)).collect(), index)
            }
            Pick::Any(index) => (self.descriptors.iter().collect(), index),
            Pick::Unheard => (Vec::new(), 0),
        };
        index.checked_rem(known.len()).map_or(unheard, |index| *known[index])
    }

    pub(crate) fn cumulative(&self, descriptor: &ChannelDescriptor, cumulative: Cumulative) -> Amount {
        let channel = self.contract.channel(descriptor.id(self.contract.domain()));
        let (deposit, paid) = channel.map_or((100, 0), |channel| (channel.deposit.get(), channel.paid.get()));
        Amount::new(match cumulative {
            Cumulative::Percent(percent) => deposit * u128::from(percent) / 100,
            Cumulative::Paid => paid,
            Cumulative::AbovePaid => paid + 1,
            Cumulative::AboveDeposit => deposit + 1,
            Cumulative::Maximum => u128::MAX,
        })
    }

    pub(crate) fn prove(&self, descriptor: &ChannelDescriptor, proof: Proof) -> (Amount, Vec<u8>) {
        let cumulative = self.cumulative(descriptor, proof.cumulative);
        let (signer, other) = (descriptor.voucher_signer(), descriptor.agent);
        let other = if descriptor.signer == self.cast.hot_key.address() { descriptor.client } else { other };
        let signature = self.signature(
            descriptor,
            cumulative,
            proof.forgery,
            [signer, other],
            &|channel, domain, cumulative, right| {
                if right {
                    Voucher { channel, cumulative }.digest(domain)
                } else {
                    let (nonce, deadline) = (0, ChainTime::MAX);
                    CloseAuthorization { channel, cumulative, nonce, deadline }.digest(domain)
                }
            },
        );
        (cumulative, signature)
    }

    /// Nonce and deadline of a message about closing.
    pub(crate) fn terms_of(&self, account: Address, approval: Approval) -> (u64, ChainTime) {
        let nonce = self.contract.nonce_of(account);
        let nonce = if approval.stale { nonce.wrapping_sub(1) } else { nonce };
        let now = self.contract.time().seconds();
        (nonce, ChainTime::new(now.saturating_add_signed(approval.deadline)))
    }

    pub(crate) fn consent(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        approval: Approval,
    ) -> Consent {
        let (nonce, deadline) = self.terms_of(descriptor.agent, approval);
        let operator = self.contract.operator_of(descriptor.agent);
        let right = if approval.by_operator && !operator.is_zero() { operator } else { descriptor.agent };
        let signature = self.signature(
            descriptor,
            cumulative,
            approval.forgery,
            [right, descriptor.client],
            &|channel, domain, cumulative, right| {
                if right {
                    CloseAuthorization { channel, cumulative, nonce, deadline }.digest(domain)
                } else {
                    RequestClose { channel, admitted: cumulative, nonce, deadline }.digest(domain)
                }
            },
        );
        Consent { nonce, deadline, signature }
    }

    /// An authorisation of the channel's client, made by `make` over the amount.
    pub(crate) fn authorize(
        &self,
        descriptor: &ChannelDescriptor,
        forgery: Forgery,
        validity: Validity,
        make: impl Fn(&Domain, Amount, (ChainTime, ChainTime)) -> TransferAuthorization,
        amount: Amount,
    ) -> Authorization {
        let now = self.contract.time();
        let (valid_after, valid_before) = match validity {
            Validity::Always => (ChainTime::new(now.seconds() - 1), ChainTime::new(now.seconds() + 1)),
            Validity::NotYet => (now, ChainTime::MAX),
            Validity::NoLonger => (ChainTime::new(0), now),
        };
        let separator = self.contract.token_separator();
        let signature = self.signature(
            descriptor,
            amount,
            forgery,
            [descriptor.client, descriptor.agent],
            &|_, domain, amount, right| {
                let made = make(domain, amount, (valid_after, valid_before));
                made.digest(if right { separator } else { domain.separator() })
            },
        );
        // The call takes three words: whatever is missing is zero, whatever is too long is cut.
        let mut words = [0; 65];
        let length = signature.len().min(65);
        words[..length].copy_from_slice(&signature[..length]);
        Authorization { valid_after, valid_before, signature: words }
    }

    pub(crate) fn recipient(&self, recipient: Recipient) -> Address {
        let everybody = self.cast.everybody();
        match recipient {
            Recipient::Somebody(index) => everybody[index % everybody.len()].address(),
            Recipient::Nobody => Address::ZERO,
            Recipient::Contract => self.contract.domain().contract(),
        }
    }

    /// The call with whoever should make it: the agent's operator, if it has one.
    pub(crate) fn by(&self, by: By, agent: Address, call: Call) -> (Address, Call) {
        let operator = self.contract.operator_of(agent);
        match by {
            By::Operator if operator.is_zero() => (self.cast.hot_key.address(), call),
            By::Operator => (operator, call),
            By::Agent | By::AgentFor => (agent, call),
        }
    }

    pub(crate) fn signature(
        &self,
        descriptor: &ChannelDescriptor,
        cumulative: Amount,
        forgery: Forgery,
        [right, other]: [Address; 2],
        digest: &dyn Fn(ChannelId, &Domain, Amount, bool) -> B256,
    ) -> Vec<u8> {
        let domain = *self.contract.domain();
        let (chain, token) = (domain.chain_id(), domain.token());
        let channel = descriptor.id(&domain);
        let sign = |account: Address, domain: Domain, cumulative: Amount, right: bool| {
            let key = self.cast.key_of(account);
            let signed = key.sign_hash_sync(&digest(channel, &domain, cumulative, right)).unwrap();
            signed.as_bytes().to_vec()
        };
        let mut genuine = sign(right, domain, cumulative, true);
        match forgery {
            Forgery::Genuine => {}
            Forgery::Stranger => return sign(self.cast.stranger.address(), domain, cumulative, true),
            Forgery::OtherParty => return sign(other, domain, cumulative, true),
            Forgery::OtherAmount => {
                return sign(right, domain, cumulative.saturating_sub(Amount::new(1)), true);
            }
            Forgery::OtherChain => {
                return sign(right, domain.on_chain(chain + 1), cumulative, true);
            }
            Forgery::OtherContract => {
                return sign(right, Domain::new(chain, contract_of(&domain), token), cumulative, true);
            }
            Forgery::OtherType => return sign(right, domain, cumulative, false),
            Forgery::FlippedV => genuine[64] = 27 + 28 - genuine[64],
            Forgery::SmallV => genuine[64] -= 27,
            Forgery::HighS => {
                let s = U256::from_be_slice(&genuine[32..64]);
                genuine[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
                genuine[64] = 27 + 28 - genuine[64];
            }
            Forgery::ZeroR => genuine[..32].fill(0),
            Forgery::Garbage => genuine[..64].fill(0x11),
            Forgery::Empty => genuine.clear(),
            Forgery::Compact => {
                genuine[32] |= (genuine[64] - 27) << 7;
                genuine.truncate(64);
            }
            Forgery::TooLong => genuine.push(0),
        }
        genuine
    }

    pub(crate) fn claims(&self, agent: Address, picks: &[(Pick, Proof)]) -> Vec<Claim> {
        let claim = |&(pick, proof): &(Pick, Proof)| {
            let descriptor = self.channel_of(Some(agent), pick);
            let (cumulative, signature) = self.prove(&descriptor, proof);
            let ChannelDescriptor { client, offering, nonce, signer, .. } = descriptor;
            Claim { client, offering, nonce, signer, cumulative, signature }
        };
        picks.iter().map(claim).collect()
    }
}

/// Another contract's address.
fn contract_of(domain: &Domain) -> Address {
    domain.token()
}

/// Order of secp256k1.
const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
