//! Transactions of versions that did not record what they are for. This is the last place that reads it in their calldata, their
//! text subjects and their keys.

use std::collections::{BTreeSet, HashMap};

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolInterface as _;
use privatix_chain::{ChainError, Intent, TxId};
use privatix_channel::{Amount, ChannelId, OfferingHash};
use privatix_contracts::PSC::PSCCalls;
use privatix_contracts::PTC::PTCCalls;
use privatix_contracts::call;
use privatix_db::Conn;
use privatix_jobs::JobId;
use privatix_market::{EffectId, OrderId, Purpose, Subject};
use privatix_store::purposes::{self, Recorded, TxNumber};

use crate::{ACCOUNT, Node, NodeError};

impl Node {
    /// Records what each transaction is for that is open or whose outcome may be taken back, and of which nothing is recorded
    /// yet. All of them in one transaction: there are as many as the transactor keeps in memory.
    pub(crate) async fn adopt_transactions(&self) -> Result<(), NodeError> {
        let transactor = self.transactor()?;
        let mut conn = self.db.read().await?;
        let watched = match transactor.watched_intents(&mut conn).await {
            Err(ChainError::Db(error)) if error.is_damage() => {
                tracing::error!(%error, "what open transactions are for is not known");
                return Ok(());
            }
            watched => watched?,
        };
        let ours: Vec<TxNumber> = watched
            .iter()
            .filter(|record| !record.is_internal())
            .map(|record| TxNumber(record.id.0))
            .collect();
        let known = purposes::outlines(&mut conn, &ours).await?;
        let known: BTreeSet<TxNumber> = known.into_iter().map(|outline| outline.tx).collect();
        drop(conn);
        let unknown: Vec<(TxId, &Intent)> = watched
            .iter()
            .filter(|record| !record.is_internal() && !known.contains(&TxNumber(record.id.0)))
            .map(|record| (record.id, &record.intent))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let later: HashMap<TxId, TxId> =
            watched.iter().filter_map(|record| Some((record.intent.after?, record.id))).collect();
        let mut tx = self.db.begin().await?;
        let mut adopted = 0_usize;
        // Payments first: approvals name them.
        for (id, intent) in unknown.iter().filter(|(_, intent)| intent.to != self.domain.token()) {
            match payment(intent, *id, self.account()) {
                Some((subject, purpose)) => {
                    let effect = purposes::next_effect(&mut tx, subject).await?;
                    adopt(&mut tx, *id, intent, effect, purpose).await?;
                    adopted = adopted.saturating_add(1);
                }
                None => {
                    tracing::warn!(
                        tx = id.0,
                        kind = intent.kind,
                        "what the transaction is for is not known; its outcome leads to nothing"
                    );
                }
            }
        }
        for (id, intent) in unknown.iter().filter(|(_, intent)| is_approval(intent, self.domain.token())) {
            let Some(subject) = subject_of_money(intent, self.account()) else { continue };
            let waiting = std::iter::successors(later.get(id), |id| later.get(*id)).last();
            let waiting = match waiting {
                Some(waiting) => purposes::of_tx(&mut tx, TxNumber(waiting.0)).await?,
                None => Vec::new(),
            };
            let effect = purposes::next_effect(&mut tx, subject).await?;
            // One whose payment is over allows what nothing takes any more.
            let waiting = waiting.into_iter().next().transpose().map_err(|damaged| damaged.error)?;
            let purpose = Purpose::Approve { effect: waiting.map_or(effect, |waiting| waiting.effect) };
            adopt(&mut tx, *id, intent, effect, purpose).await?;
            adopted = adopted.saturating_add(1);
        }
        tx.commit().await?;
        if adopted > 0 {
            tracing::info!(
                transactions = adopted,
                "recorded what transactions of an earlier version are for"
            );
        }
        Ok(())
    }
}

async fn adopt(
    conn: &mut Conn,
    id: TxId,
    intent: &Intent,
    effect: EffectId,
    purpose: Purpose,
) -> Result<(), NodeError> {
    let from_wallet = matches!(purpose, Purpose::Approve { .. }) || call::takes_from_wallet(&intent.input);
    let job = job(intent, &purpose).map(|job| purposes::JobNumber(job.number()));
    Ok(purposes::record(
        conn,
        &Recorded { tx: TxNumber(id.0), effect, purpose, from_wallet, job, in_batch: false },
    )
    .await?)
}

fn is_approval(intent: &Intent, token: Address) -> bool {
    intent.to == token && matches!(PTCCalls::abi_decode(&intent.input), Ok(PTCCalls::approve(_)))
}

/// A channel, or else the account.
fn subject_of_money(intent: &Intent, account: Address) -> Option<Subject> {
    if intent.subject == ACCOUNT {
        return Some(Subject::Account(account));
    }
    intent.subject.parse().ok().map(Subject::Channel)
}

/// What a call of the service contract is for; `None` for one that no version made.
fn payment(intent: &Intent, id: TxId, account: Address) -> Option<(Subject, Purpose)> {
    let amount = |amount: U256| Amount::new(amount.saturating_to());
    let channel = || Some(Subject::Channel(intent.subject.parse::<ChannelId>().ok()?));
    let offering = || Some(Subject::Offering(account, intent.subject.parse::<OfferingHash>().ok()?));
    let account_itself = || Some(Subject::Account(account));
    // Two top-ups over the same amount are two, also where the key names no job.
    let order = || {
        let job = job(intent, &Purpose::FinalizeClose).map_or(id.0, JobId::number);
        OrderId(job.unsigned_abs())
    };
    let top_up = |added: U256| Purpose::TopUp { order: order(), amount: amount(added) };
    let open = |deposit: U256| Purpose::Open { deposit: amount(deposit) };
    let (subject, purpose) = match PSCCalls::abi_decode(&intent.input).ok()? {
        PSCCalls::open(call) => (channel()?, open(call.amount.to())),
        PSCCalls::openWithPermit(call) => (channel()?, open(call.amount.to())),
        PSCCalls::topUp(call) => (channel()?, top_up(call.amount.to())),
        PSCCalls::topUpWithPermit(call) => (channel()?, top_up(call.amount.to())),
        PSCCalls::close(call) => {
            (channel()?, Purpose::Close { cumulative: Amount::new(call.cumulativeAmount) })
        }
        PSCCalls::settle(call) => {
            (channel()?, Purpose::Settle { cumulative: Amount::new(call.cumulativeAmount) })
        }
        PSCCalls::requestClose(call) => {
            (channel()?, Purpose::RequestClose { admitted: Amount::new(call.admitted) })
        }
        PSCCalls::finalizeClose(_) => (channel()?, Purpose::FinalizeClose),
        PSCCalls::registerOffering(_) | PSCCalls::registerOfferingFor(_) => (offering()?, Purpose::Publish),
        PSCCalls::popUpOffering(_) | PSCCalls::popUpOfferingFor(_) => (offering()?, Purpose::PopUp),
        PSCCalls::removeOffering(_) | PSCCalls::removeOfferingFor(_) => (offering()?, Purpose::Remove),
        PSCCalls::deposit(call) => (account_itself()?, Purpose::Deposit { amount: amount(call.amount) }),
        PSCCalls::depositWithPermit(call) => {
            (account_itself()?, Purpose::Deposit { amount: amount(call.amount) })
        }
        PSCCalls::withdraw(call) => {
            (account_itself()?, Purpose::Withdraw { amount: amount(call.amount), to: account })
        }
        PSCCalls::withdrawTo(call) => {
            (account_itself()?, Purpose::Withdraw { amount: amount(call.amount), to: call.to })
        }
        PSCCalls::setOperator(call) => {
            let operator = Some(call.operator).filter(|operator| !operator.is_zero());
            (account_itself()?, Purpose::Appoint { operator })
        }
        _ => return None,
    };
    Some((subject, purpose))
}

/// The job that made a transaction, where its key names one: `"<kind> <subject> <job>"`, or `"<kind> <job>"` of the account's own,
/// with `"approve for "` or `"reset for "` before it. A settlement's key ends with a transaction instead.
fn job(intent: &Intent, purpose: &Purpose) -> Option<JobId> {
    let key = intent.key.strip_prefix("approve for ").or_else(|| intent.key.strip_prefix("reset for "));
    let words: Vec<&str> = key.unwrap_or(&intent.key).split(' ').collect();
    match (words.as_slice(), purpose) {
        (_, Purpose::Settle { .. }) => None,
        ([_, job] | [_, _, job], _) => job.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes};
    use alloy::sol_types::SolCall;
    use privatix_channel::{ChannelDescriptor, SignedVoucher, Voucher, VoucherSignature};
    use privatix_contracts::IPSC::Permit;

    use super::*;

    const ACCOUNT_ADDRESS: Address = Address::repeat_byte(1);

    fn intent(key: &str, subject: &str, input: impl Into<Bytes>) -> Intent {
        Intent::new(key, ACCOUNT_ADDRESS, Address::repeat_byte(2), input).subject(subject)
    }

    #[test]
    fn the_calls_of_earlier_versions_are_recognised() {
        let id = ChannelId::new(B256::repeat_byte(7));
        let (channel, account) = (Subject::Channel(id), Subject::Account(ACCOUNT_ADDRESS));
        let hash = OfferingHash::new(B256::repeat_byte(8));
        let offering = Subject::Offering(ACCOUNT_ADDRESS, hash);
        let to = Address::repeat_byte(9);
        let descriptor = ChannelDescriptor {
            client: ACCOUNT_ADDRESS,
            agent: to,
            offering: hash,
            nonce: 1,
            signer: ACCOUNT_ADDRESS,
        };
        let amount = Amount::new(600);
        let signature = VoucherSignature::try_from([27; 65].as_slice()).unwrap();
        let voucher = SignedVoucher { voucher: Voucher { channel: id, cumulative: amount }, signature };
        let open = Purpose::Open { deposit: amount };
        let top_up = Purpose::TopUp { order: OrderId(12), amount };
        let calls = [
            (channel, open, call::open(&descriptor, amount).unwrap().abi_encode()),
            (
                channel,
                open,
                call::open_with_permit(&descriptor, amount, Permit::default()).unwrap().abi_encode(),
            ),
            (channel, top_up, call::top_up(&descriptor, amount).unwrap().abi_encode()),
            (
                channel,
                top_up,
                call::top_up_with_permit(&descriptor, amount, Permit::default()).unwrap().abi_encode(),
            ),
            (
                channel,
                Purpose::Close { cumulative: amount },
                call::close(&descriptor, Some(&voucher)).abi_encode(),
            ),
            (
                channel,
                Purpose::Close { cumulative: Amount::ZERO },
                call::close(&descriptor, None).abi_encode(),
            ),
            (
                channel,
                Purpose::Settle { cumulative: amount },
                call::settle(&descriptor, &voucher).abi_encode(),
            ),
            (
                channel,
                Purpose::RequestClose { admitted: amount },
                call::request_close(&descriptor, amount).abi_encode(),
            ),
            (channel, Purpose::FinalizeClose, call::finalize_close(&descriptor).abi_encode()),
            (
                offering,
                Purpose::Publish,
                call::register_offering(hash, amount, 1, 1, String::new()).unwrap().abi_encode(),
            ),
            (
                offering,
                Purpose::Publish,
                call::register_offering_for(to, hash, amount, 1, 1, String::new()).unwrap().abi_encode(),
            ),
            (offering, Purpose::PopUp, call::pop_up_offering(hash, 1, String::new()).abi_encode()),
            (offering, Purpose::PopUp, call::pop_up_offering_for(to, hash, 1, String::new()).abi_encode()),
            (offering, Purpose::Remove, call::remove_offering(hash).abi_encode()),
            (offering, Purpose::Remove, call::remove_offering_for(to, hash).abi_encode()),
            (account, Purpose::Deposit { amount }, call::deposit(amount).abi_encode()),
            (
                account,
                Purpose::Deposit { amount },
                call::deposit_with_permit(amount, Permit::default()).abi_encode(),
            ),
            (account, Purpose::Withdraw { amount, to: ACCOUNT_ADDRESS }, call::withdraw(amount).abi_encode()),
            (account, Purpose::Withdraw { amount, to }, call::withdraw_to(to, amount).abi_encode()),
            (account, Purpose::Appoint { operator: Some(to) }, call::set_operator(Some(to)).abi_encode()),
            (account, Purpose::Appoint { operator: None }, call::set_operator(None).abi_encode()),
        ];
        for (subject, purpose, input) in calls {
            let text = match subject {
                Subject::Channel(id) => id.to_string(),
                Subject::Offering(_, hash) => hash.to_string(),
                _ => ACCOUNT.to_owned(),
            };
            let made = intent(&format!("kind {text} 12"), &text, input.clone());
            assert_eq!(payment(&made, TxId(3), ACCOUNT_ADDRESS), Some((subject, purpose)), "{purpose:?}");
            if !matches!(subject, Subject::Account(_)) {
                let strange = intent("kind x 12", "x", input);
                assert_eq!(payment(&strange, TxId(3), ACCOUNT_ADDRESS), None, "{purpose:?}");
            }
        }
        let strange = intent("kind 12", ACCOUNT, call::withdraw_all(to).abi_encode());
        assert_eq!(payment(&strange, TxId(3), ACCOUNT_ADDRESS), None);
        let token = Address::repeat_byte(2);
        let approve = |input: Vec<u8>| is_approval(&intent("approve for x", ACCOUNT, input), token);
        assert!(approve(call::approve(to, amount).abi_encode()));
        assert!(!approve(call::transfer(to, amount).abi_encode()));
    }

    #[test]
    fn a_job_is_read_from_keys_that_name_one() {
        let settle = Purpose::Settle { cumulative: Amount::ZERO };
        for (key, purpose, expected) in [
            ("close_channel 0x07 12", Purpose::FinalizeClose, Some("12")),
            ("deposit 12", Purpose::FinalizeClose, Some("12")),
            ("approve for deposit 12", Purpose::FinalizeClose, Some("12")),
            ("reset for top_up 0x07 12", Purpose::FinalizeClose, Some("12")),
            ("open_channel 0x07", Purpose::FinalizeClose, None),
            ("approve for open_channel 0x07", Purpose::FinalizeClose, None),
            ("close_channel 0x07 before 100 with 12", Purpose::FinalizeClose, None),
            ("settle_channel 0x07 12", settle, None),
        ] {
            let found = job(&intent(key, "", Bytes::new()), &purpose).map(|job| job.to_string());
            assert_eq!(found.as_deref(), expected, "{key}");
        }
    }
}
