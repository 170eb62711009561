use std::time::SystemTime;

use alloy::consensus::{TxEip1559, TxLegacy};
use alloy::primitives::{TxKind, U256};

use super::fees::Waited;
use super::price::{Bid, Price, price};
use super::revert::{self, BroadcastRefusal};
use super::work::{Memory, Now};
use super::{Attempt, Fees, Inner, Obstacle, Raise, TxRecord, TxStatus, Wei, table};
use crate::ChainError;
use crate::rpc::{Call, Fault, says_insufficient_funds};

/// What became of a broadcast.
pub(super) enum Broadcast {
    /// The endpoint has it, now or already.
    Accepted,
    /// The nonce is taken on the chain: by an earlier transaction of ours, or by a foreign one.
    NonceUsed,
    /// It is not taken now.
    Refused(Obstacle),
}

impl Inner {
    /// Estimates, signs, stores and broadcasts an unsent intent. The record if it is on its way. `earlier` tells
    /// whether the account has open intents that were submitted before it.
    pub(super) async fn send(
        &self,
        memory: &mut Memory,
        now: Now,
        record: TxRecord,
        in_flight: &[TxRecord],
        earlier: bool,
    ) -> Result<Option<TxRecord>, ChainError> {
        let account = record.intent.from;
        if !self.keys.holds(account) {
            self.obstruct(&record, Some(Obstacle::NoKey { account })).await?;
            return Ok(None);
        }
        let Some(gas_limit) = self.gas_limit(&record, earlier).await? else { return Ok(None) };
        let bid = bid(&record, gas_limit);
        let fees = match price(&self.options.fees, &now.market, &bid, now.time) {
            Price::Offer(fees) => fees,
            Price::Keep => return Ok(None), // nothing is held
            Price::Wait { needed, cap } => {
                self.obstruct(&record, Some(fee_cap(needed, cap))).await?;
                return Ok(None);
            }
            Price::Poor { .. } => return Ok(None), // nothing limits it to the balance yet
        };
        if let Some(obstacle) = self.shortfall(&record, gas_limit, fees, in_flight).await? {
            self.obstruct(&record, Some(obstacle)).await?;
            return Ok(None);
        }
        let nonce = if let Some(reserved) = record.nonce {
            reserved
        } else {
            // Not below what the pool holds: a wallet of the same account may have transactions waiting there.
            let pending = self.rpc.pending_nonce(account).await?;
            let ours = table::next_nonce(&mut *self.db.read().await?, self.chain_id, account).await?;
            pending.max(ours)
        };
        let attempt = self.sign_and_store(now, &record, nonce, gas_limit, fees).await?;
        tracing::info!(tx = %record.id, kind = %record.intent.kind, hash = %attempt.hash, nonce, "transaction sent");
        match self.broadcast(&record, &attempt).await? {
            Broadcast::Accepted => {}
            Broadcast::Refused(obstacle) => {
                memory.refused.insert(record.id);
                let record = self.reload(record.id).await?;
                self.obstruct(&record, Some(obstacle)).await?;
            }
            // By a foreign transaction, or by this very one if something between us and the node sent it twice. Only
            // the chain can tell: `settle` asks it, and gives another nonce once it is certain that this one is lost.
            Broadcast::NonceUsed => drop(memory.refused.insert(record.id)),
        }
        let record = self.reload(record.id).await?;
        self.announce(&record);
        Ok(Some(record))
    }

    /// Replaces a transaction by one that offers more, if the market or the operator demands it and the cap allows it.
    pub(super) async fn bump(
        &self,
        memory: &mut Memory,
        now: Now,
        record: &TxRecord,
        previous: &Attempt,
        waited: Waited,
    ) -> Result<bool, ChainError> {
        let (Some(nonce), Some(gas_limit)) = (record.nonce, record.gas_limit) else { return Ok(false) };
        let raise = record.raise.is_some();
        let bid = Bid { held: Some(previous.fees), waited, raise, ..bid(record, gas_limit) };
        let offer = match record.raise {
            Some(Raise::To { max_fee, priority_fee }) => Price::Offer(Fees::new(max_fee.0, priority_fee.0)),
            _ => price(&self.options.fees, &now.market, &bid, now.time),
        };
        match offer {
            Price::Keep | Price::Poor { .. } => Ok(false),
            Price::Wait { needed, cap } => {
                if raise {
                    let mut tx = self.db.begin().await?;
                    table::set_raise(&mut tx, record.id, None).await?;
                    tx.commit().await?;
                }
                self.obstruct(record, Some(fee_cap(needed, cap))).await?;
                Ok(false)
            }
            Price::Offer(fees) => {
                let attempt = self.sign_and_store(now, record, nonce, gas_limit, fees).await?;
                tracing::info!(tx = %record.id, hash = %attempt.hash, max_fee = fees.max_fee, "fee raised");
                let record = self.reload(record.id).await?;
                match self.broadcast(&record, &attempt).await? {
                    Broadcast::Accepted => {
                        memory.refused.remove(&record.id);
                        self.announce(&record);
                    }
                    // Taken by an older one of ours, most likely; the next pass finds its receipt.
                    Broadcast::NonceUsed => self.announce(&record),
                    Broadcast::Refused(obstacle) => self.obstruct(&record, Some(obstacle)).await?,
                }
                Ok(true)
            }
        }
    }

    /// The gas limit; none if the call cannot go out now, for a reason that is stored.
    async fn gas_limit(&self, record: &TxRecord, earlier: bool) -> Result<Option<u64>, ChainError> {
        let fault = match self.rpc.estimate(call(record)).await {
            Ok(estimate) => return Ok(Some(self.options.fees.gas_limit(estimate))),
            Err(error) => match error.fault {
                Fault::Refused { .. } | Fault::TooLarge(_) => error.fault,
                _ => return Err(error.into()),
            },
        };
        let account = record.intent.from;
        let message = fault.to_string();
        // Reverts first: a contract may speak of insufficient funds, too.
        if let Some(reason) = revert::reason(&fault, self.options.decode.as_ref()) {
            if earlier {
                self.obstruct(record, Some(Obstacle::WaitsForEarlier { reason })).await?;
            } else {
                self.finish(record.id, TxStatus::Failed, Some(&reason)).await?;
            }
        } else if says_insufficient_funds(&message) {
            let available = Wei(u128::try_from(self.rpc.balance(account).await?).unwrap_or(u128::MAX));
            let needed = Wei(record.intent.value.max(available.0.saturating_add(1)));
            self.obstruct(record, Some(Obstacle::InsufficientFunds { account, needed, available })).await?;
        } else {
            self.obstruct(record, Some(Obstacle::Refused { reason: message })).await?;
        }
        Ok(None)
    }

    /// Whether the account cannot pay for this one on top of those under way.
    async fn shortfall(
        &self,
        record: &TxRecord,
        gas_limit: u64,
        fees: Fees,
        in_flight: &[TxRecord],
    ) -> Result<Option<Obstacle>, ChainError> {
        let account = record.intent.from;
        let cost = |value: u128, gas: u64, fee: u128| U256::from(value) + U256::from(gas) * U256::from(fee);
        let mut reserved = U256::ZERO;
        for earlier in in_flight.iter().filter(|earlier| earlier.inclusion.is_none()) {
            let attempts = table::attempts(&mut *self.db.read().await?, earlier.id).await?;
            let fee = attempts.iter().map(|attempt| attempt.fees.max_fee).max().unwrap_or(0);
            reserved += cost(earlier.intent.value, earlier.gas_limit.unwrap_or(0), fee);
        }
        let needed = cost(record.intent.value, gas_limit, fees.max_fee);
        let free = self.rpc.balance(account).await?.saturating_sub(reserved);
        if free >= needed {
            return Ok(None);
        }
        let wei = |value: U256| Wei(u128::try_from(value).unwrap_or(u128::MAX));
        Ok(Some(Obstacle::InsufficientFunds { account, needed: wei(needed), available: wei(free) }))
    }

    /// Signs and makes it durable: from here on, whatever happens, this very transaction is known to be ours.
    async fn sign_and_store(
        &self,
        now: Now,
        record: &TxRecord,
        nonce: u64,
        gas_limit: u64,
        fees: Fees,
    ) -> Result<Attempt, ChainError> {
        let intent = &record.intent;
        let (to, value, input) = (TxKind::Call(intent.to), U256::from(intent.value), intent.input.clone());
        let (raw, hash) = if now.market.base_fee.is_some() {
            let unsigned = TxEip1559 {
                chain_id: self.chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: fees.max_fee,
                max_priority_fee_per_gas: fees.priority_fee,
                to,
                value,
                input,
                ..Default::default()
            };
            self.keys.sign(intent.from, unsigned)?
        } else {
            // A chain without base fees does not know the transactions that offer to pay them (EIP-1559).
            let (chain_id, gas_price) = (Some(self.chain_id), fees.max_fee);
            let unsigned = TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input };
            self.keys.sign(intent.from, unsigned)?
        };
        let attempt = Attempt { hash, nonce, fees, at: SystemTime::now(), raw, head: now.head };
        let mut tx = self.db.begin().await?;
        table::store_attempt(&mut tx, record, gas_limit, &attempt).await?;
        tx.commit().await?;
        Ok(attempt)
    }

    pub(super) async fn broadcast(
        &self,
        record: &TxRecord,
        attempt: &Attempt,
    ) -> Result<Broadcast, ChainError> {
        let fault = match self.rpc.send_raw(&attempt.raw).await {
            Ok(()) => return Ok(Broadcast::Accepted),
            Err(error) => match error.fault {
                Fault::Refused { .. } | Fault::TooLarge(_) => error.fault,
                // Unknown whether it arrived: it is looked for, and sent again, at the next pass.
                _ => return Err(error.into()),
            },
        };
        let message = fault.to_string();
        let account = record.intent.from;
        Ok(match revert::broadcast_refusal(&message) {
            BroadcastRefusal::Known => Broadcast::Accepted,
            BroadcastRefusal::NonceUsed => Broadcast::NonceUsed,
            BroadcastRefusal::InsufficientFunds => {
                let available = Wei(u128::try_from(self.rpc.balance(account).await?).unwrap_or(u128::MAX));
                let gas = u128::from(record.gas_limit.unwrap_or(0)).saturating_mul(attempt.fees.max_fee);
                let needed = Wei(record.intent.value.saturating_add(gas));
                Broadcast::Refused(Obstacle::InsufficientFunds { account, needed, available })
            }
            BroadcastRefusal::Underpriced | BroadcastRefusal::Other => {
                Broadcast::Refused(Obstacle::Refused { reason: message })
            }
        })
    }
}

pub(super) fn call(record: &TxRecord) -> Call<'_> {
    let intent = &record.intent;
    Call { from: intent.from, to: intent.to, value: intent.value, input: &intent.input }
}

/// What an offer for it is wanted for, if nothing is held.
fn bid(record: &TxRecord, gas_limit: u64) -> Bid {
    let intent = &record.intent;
    Bid {
        gas: gas_limit,
        priority: intent.priority,
        deadline: intent.deadline,
        stake: intent.stake.map(|stake| stake.0),
        elsewhere: 0,
        balance: u128::MAX,
        held: None,
        waited: Waited::default(),
        raise: false,
    }
}

fn fee_cap(needed: u128, cap: u128) -> Obstacle {
    Obstacle::FeeCap { needed: Wei(needed), cap: Wei(cap) }
}
