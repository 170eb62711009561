//! Opening a channel: what may be accepted, and what becomes of an opening.

use std::sync::Arc;

use privatix_billing::{Terms, min_deposit};
use privatix_channel::{Amount, ChannelDescriptor, ChannelId, Fee, Phase};

use super::{Client, ClientEffect, ClientEnd, ClientPurpose, ClientState, Outcome};
use crate::flight::next;
use crate::{AtStake, Decision, Effect, Env, Flight, Purpose, Refused, Stage};

/// What the user accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The terms of the offering.
    pub terms: Arc<Terms>,
    /// What is to be locked, in base units.
    pub deposit: Amount,
    /// The network fee that the channel will have, as the contract sets it now.
    pub fee: Fee,
}

impl ClientState {
    /// How the order that opens the channel ended: it is carried out while the chain shows the channel. `None` while it is under way,
    /// and again while a reorganisation has taken the opening back and it may still come.
    pub fn opened(&self) -> Option<Outcome> {
        if self.chain.phase() != Phase::Unopened {
            return Some(Outcome::Done);
        }
        let may_come = |flight: &Flight<ClientPurpose>| {
            matches!(flight.purpose, ClientPurpose::Open { .. }) && flight.stage != Stage::Reverted
        };
        match self.own.ending?.why {
            ClientEnd::NotOpened(trouble) if !self.own.flights.iter().any(may_come) => {
                Some(Outcome::Failed(trouble))
            }
            _ => None,
        }
    }

    /// Accepts an offering: the state of a new channel, and the effect that provides the money for its opening.
    ///
    /// # Errors
    /// [`Refused`], by the first rule that it breaks: the view of the chain, the clocks, the allowed agents, the fee, the deposit, the budget.
    pub fn accept(
        id: ChannelId,
        descriptor: ChannelDescriptor,
        opening: &Opening,
        env: &Env<'_, Client>,
    ) -> Result<Decision<Client>, Refused> {
        let Opening { terms, deposit, fee } = opening;
        let (needed, left) = (*deposit, env.budget.left());
        if !env.chain.fresh || !env.chain.explained {
            return Err(Refused::StaleView);
        }
        if let Some(skew) = env.chain.skew {
            return Err(Refused::Clock(skew));
        }
        let agent = descriptor.agent;
        if env.policy.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&agent)) {
            return Err(Refused::NotAllowed { agent });
        }
        if *fee > env.policy.accept_fee {
            return Err(Refused::Fee { fee: *fee, accepted: env.policy.accept_fee });
        }
        let least = min_deposit(terms);
        if needed < least || !needed.fits_on_chain() {
            return Err(Refused::Deposit { deposit: needed, least });
        }
        if needed > left {
            return Err(Refused::Budget { needed, left });
        }
        let mut state = Self::new(id, descriptor);
        state.terms = Some(Arc::clone(terms));
        super::restored::note(&mut state, env); // nothing of it came back with a backup
        state.own.proven_in_run = Some(env.run); // nothing was signed for it before
        let mut effects = Vec::new();
        fund(&mut state, ClientPurpose::Open { deposit: needed }, &mut effects);
        Ok(Decision { state, effects })
    }
}

/// Provides the money for a transaction, which is submitted once it is there.
pub(super) fn fund(state: &mut ClientState, purpose: ClientPurpose, effects: &mut Vec<Effect<Client>>) {
    let seq = next(&mut state.own.seq);
    let bid = Purpose::from(purpose).bid(&AtStake::default());
    state.own.flights.push(Flight { seq, purpose, bid, stage: Stage::Funding });
    effects.push(Effect::Own(ClientEffect::Fund { seq, purpose }));
}

/// Whether the channel's opening is on its way, or has succeeded without an event that shows it.
pub(super) fn is_opening(state: &ClientState) -> bool {
    let opens = |flight: &Flight<ClientPurpose>| matches!(flight.purpose, ClientPurpose::Open { .. });
    let ended = |flight: &Flight<ClientPurpose>| match flight.stage {
        Stage::Reverted => true,
        Stage::Mined { seen: true, .. } | Stage::Unseen { .. } => !flight.is_hidden(&state.chain),
        _ => false,
    };
    state.own.flights.iter().any(|flight| opens(flight) && !ended(flight))
}
