//! What is sent for an account in a pass: what is urgent before anything is asked about the others.

use std::collections::BTreeSet;

use super::account::{Account, Item, Push};
use super::memory::{AccountMemory, Now};
use super::phase::{Phase, Round, resume};
use super::rank::rank;
use super::signing::Draft;
use super::work::Trouble;
use super::{Attempt, Inner, TxRecord};
use crate::ChainError;

/// What is to be sent.
#[derive(Default)]
pub(super) struct Plan {
    /// Bytes that go out again.
    resend: Vec<(TxRecord, Attempt)>,
    /// What is to be signed first.
    pub(super) drafts: Vec<Draft>,
    /// What went wrong meanwhile.
    pub(super) trouble: Trouble,
}

impl Inner {
    /// Pushes what is in flight, sends what can be sent, fills what nobody wants. What is urgent is sent before anything is asked about
    /// the others.
    pub(super) async fn advance(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        items: Vec<Item>,
    ) -> Trouble {
        let mut trouble = Trouble::default();
        let (mut drafted, mut displaced) = (false, BTreeSet::new());
        for round in Round::ALL {
            let is_of_round = |item: &&Item| {
                Round::of(item.record.intent.priority) == round && !displaced.contains(&item.record.id)
            };
            let of_round: Vec<&Item> = items.iter().filter(is_of_round).collect();
            if of_round.is_empty() {
                continue;
            }
            let Plan { resend, drafts, trouble: planning } =
                self.plan(memory, now, account, round, of_round).await;
            trouble.join(planning);
            drafted |= !drafts.is_empty();
            displaced.extend(drafts.iter().filter_map(|draft| draft.displaces));
            let sent = self.sign_and_send(memory, now, account.latest, drafts, resend).await;
            sent.unwrap_or_else(|error| trouble.note(error));
        }
        if !drafted {
            let filled = match self.fillers(memory, now, account, &items).await {
                Ok(fillers) => self.sign_and_send(memory, now, account.latest, fillers, Vec::new()).await,
                Err(error) => Err(error),
            };
            filled.unwrap_or_else(|error| trouble.note(error));
        }
        trouble
    }

    /// What is to be sent for these intents now. What goes wrong with one of them holds up no other.
    async fn plan(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        account: &mut Account,
        round: Round,
        items: Vec<&Item>,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut phase = Phase::begin(self.options.phase);
        let mut sent: Vec<&Item> =
            items.iter().copied().filter(|item| item.record.nonce >= Some(account.latest)).collect();
        sent.sort_by_key(|item| item.record.nonce);
        resume(&mut sent, memory.places.of(round).pushed.take(), |item| item.record.id);
        for item in sent {
            if !phase.begins() {
                memory.places.of(round).pushed = Some(item.record.id);
                self.wake.notify_one();
                break;
            }
            match self.push(memory, now, account, item).await {
                Ok(Push::Nothing) => {}
                Ok(Push::Resend(attempt)) => plan.resend.push((item.record.clone(), attempt)),
                Ok(Push::Replace(replacement)) => {
                    account.fly(&replacement, rank(&item.record, now.time));
                    plan.drafts.push(*replacement);
                }
                Err(error) => plan.trouble.note(error),
            }
        }
        self.sign_ready(memory, now, account, (round, phase.also()), &items, &mut plan).await;
        plan
    }

    /// Has drafts signed, stores what is signed, and sends it with what goes out again.
    async fn sign_and_send(
        &self,
        memory: &mut AccountMemory,
        now: Now,
        latest: u64,
        drafts: Vec<Draft>,
        mut resend: Vec<(TxRecord, Attempt)>,
    ) -> Result<(), ChainError> {
        let signed = self.sign_all(memory, now, latest, drafts).await?;
        resend.extend(self.store(signed).await?);
        self.broadcast(memory, now, resend).await
    }
}
