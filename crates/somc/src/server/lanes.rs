//! Payments of one channel one after the other, and of those that wait only the highest.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use privatix_channel::{ChannelId, SignedVoucher, Usage};

use crate::Refusal;

/// A payment with what is needed to answer it.
#[derive(Debug)]
pub(super) struct Pending<T> {
    pub(super) voucher: SignedVoucher,
    /// The client's own meter, if it named it.
    pub(super) used: Option<Usage>,
    pub(super) reply: T,
}

/// One connection's channels with a payment under way, and what waits behind it. The waiting are bounded by the
/// connection's limit on requests in flight.
pub(super) struct Lanes<T>(Arc<Mutex<HashMap<ChannelId, Vec<Pending<T>>>>>);

impl<T> Clone for Lanes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Lanes<T> {
    /// Puts a payment behind its channel's others, or gives it back to be started when there are none. Whoever starts it
    /// must go on with [`next`](Self::next) until that is `None`.
    pub(super) fn enter(&self, pending: Pending<T>) -> Option<Pending<T>> {
        let mut lanes = self.0.lock();
        if let Some(waiting) = lanes.get_mut(&pending.voucher.channel()) {
            waiting.push(pending);
            None
        } else {
            lanes.insert(pending.voucher.channel(), Vec::new());
            Some(pending)
        }
    }

    /// All that came for `channel` meanwhile, or `None` when the lane is empty and has been closed.
    pub(super) fn next(&self, channel: ChannelId) -> Option<Vec<Pending<T>>> {
        let mut lanes = self.0.lock();
        let waiting = lanes.get_mut(&channel).map(std::mem::take).unwrap_or_default();
        if waiting.is_empty() {
            lanes.remove(&channel);
            return None;
        }
        Some(waiting)
    }
}

/// One channel's payments that are settled together, with as few calls as it takes.
pub(super) struct Batch<T>(Vec<Pending<T>>);

impl<T> Batch<T> {
    /// Payments of one channel in the order in which they came.
    pub(super) fn new(mut payments: Vec<Pending<T>>) -> Self {
        // Of equal amounts the one that came first is taken first.
        payments.reverse();
        payments.sort_by_key(|pending| pending.voucher.cumulative());
        Self(payments)
    }

    /// The highest total of the client's meter: a total counts whatever becomes of the voucher with which it came.
    pub(super) fn used(&self) -> Option<Usage> {
        self.0.iter().filter_map(|pending| pending.used).max()
    }

    /// The highest that is left: the next to be passed on.
    pub(super) fn take_highest(&mut self) -> Option<Pending<T>> {
        self.0.pop()
    }

    /// The payments that the outcome of the highest answers too: all the rest, unless it blames that one voucher.
    pub(super) fn take_answered_by<A>(&mut self, outcome: &Result<A, Refusal>) -> Vec<Pending<T>> {
        match outcome {
            Err(refusal) if !refusal.holds_for_lower_vouchers() => Vec::new(),
            _ => std::mem::take(&mut self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use privatix_channel::{Amount, Voucher, VoucherSignature};

    use super::*;

    fn voucher(channel: u8, cumulative: u128) -> SignedVoucher {
        let mut signature = [1; 65];
        signature[64] = 27;
        SignedVoucher {
            voucher: Voucher {
                channel: ChannelId::new(B256::repeat_byte(channel)),
                cumulative: Amount::new(cumulative),
            },
            signature: VoucherSignature::from_bytes(&signature).unwrap(),
        }
    }

    fn batch(amounts: &[u128]) -> Vec<Pending<usize>> {
        let numbered = amounts.iter().enumerate();
        numbered.map(|(reply, amount)| Pending { voucher: voucher(1, *amount), used: None, reply }).collect()
    }

    /// Settles `amounts`, where `service` answers; gives the amounts passed on, and the answers in order of arrival.
    fn settled(
        amounts: &[u128],
        mut service: impl FnMut(u128) -> Result<u128, Refusal>,
    ) -> (Vec<u128>, Vec<Result<u128, Refusal>>) {
        let mut batch = Batch::new(batch(amounts));
        let (mut calls, mut answers) = (Vec::new(), vec![None; amounts.len()]);
        while let Some(highest) = batch.take_highest() {
            let amount = highest.voucher.cumulative().get();
            calls.push(amount);
            let outcome = service(amount);
            for answered in batch.take_answered_by(&outcome).into_iter().chain([highest]) {
                assert!(answers[answered.reply].replace(outcome.clone()).is_none(), "answered twice");
            }
        }
        (calls, answers.into_iter().map(|answer| answer.expect("answered")).collect())
    }

    #[test]
    fn the_highest_acknowledges_all() {
        let (calls, answers) = settled(&[10, 40, 30, 40, 20], Ok);
        assert_eq!(calls, [40]);
        assert_eq!(answers, vec![Ok(40); 5]);
    }

    #[test]
    fn the_highest_total_counts_with_whichever_voucher_it_came() {
        let used = [None, Some(7), Some(9), None, Some(8)];
        let mut payments = batch(&[10, 40, 30, 40, 20]);
        for (pending, used) in payments.iter_mut().zip(used) {
            pending.used = used.map(Usage::new);
        }
        assert_eq!(Batch::new(payments).used(), Some(Usage::new(9)));
        assert_eq!(Batch::new(batch(&[10])).used(), None);
    }

    #[test]
    fn a_forged_higher_voucher_takes_no_honest_one_down() {
        let service = |amount| if amount > 30 { Err(Refusal::WrongSigner) } else { Ok(amount) };
        let (calls, answers) = settled(&[10, 99, 30, 50, 20], service);
        assert_eq!(calls, [99, 50, 30]);
        let forged = Err(Refusal::WrongSigner);
        assert_eq!(answers, [Ok(30), forged.clone(), Ok(30), forged, Ok(30)]);
    }

    #[test]
    fn a_refusal_that_holds_for_the_channel_is_asked_for_once() {
        for refusal in
            [Refusal::ServiceTerminated, Refusal::ChannelClosing, Refusal::Internal, Refusal::Timeout]
        {
            let (calls, answers) = settled(&[10, 20, 30], |_| Err(refusal.clone()));
            assert_eq!(calls, [30]);
            assert_eq!(answers, vec![Err(refusal); 3]);
        }
    }

    #[test]
    fn of_equal_amounts_a_forged_one_does_not_hide_the_honest_one() {
        let mut forged = [Err(Refusal::WrongSigner), Ok(10)].into_iter();
        let (_, answers) = settled(&[10, 10], |_| forged.next().expect("two calls"));
        assert_eq!(answers, [Err(Refusal::WrongSigner), Ok(10)]);
    }

    #[test]
    fn one_payment_per_channel_is_under_way() {
        let lanes = Lanes::default();
        let pending =
            |channel, amount| Pending { voucher: voucher(channel, amount), used: None, reply: amount };
        assert!(lanes.enter(pending(1, 10)).is_some());
        assert!(lanes.enter(pending(2, 10)).is_some());
        assert!(lanes.enter(pending(1, 20)).is_none());
        assert!(lanes.enter(pending(1, 30)).is_none());
        let channel = ChannelId::new(B256::repeat_byte(1));
        let waiting = lanes.next(channel).unwrap();
        assert_eq!(waiting.iter().map(|pending| pending.reply).collect::<Vec<_>>(), [20, 30]);
        assert!(lanes.enter(pending(1, 40)).is_none(), "the lane stays open until it was found empty");
        assert_eq!(lanes.next(channel).unwrap().len(), 1);
        assert!(lanes.next(channel).is_none());
        assert!(lanes.enter(pending(1, 50)).is_some());
    }
}
