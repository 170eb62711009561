//! What a submitter asks for beside the call, as it is stored.

use serde::{Deserialize, Serialize};

use super::{Deadline, Fallback, Intent, Priority, TxId, Wei};

/// The part of an [`Intent`] that only the transactor's decisions read. Names that are not stored have their defaults, so
/// that an intent of an earlier version reads as one without a deadline.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Terms {
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Deadline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stake: Option<Wei>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<TxId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    repeatable: bool,
    #[serde(skip_serializing_if = "is_zero")]
    extra_gas: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<Fallback>,
}

impl Terms {
    pub(super) fn of(intent: &Intent) -> Self {
        Self {
            priority: intent.priority,
            deadline: intent.deadline,
            stake: intent.stake,
            after: intent.after,
            repeatable: intent.repeatable,
            extra_gas: intent.extra_gas,
            fallback: intent.fallback.clone(),
        }
    }

    pub(super) fn onto(self, intent: Intent) -> Intent {
        let Self { priority, deadline, stake, after, repeatable, extra_gas, fallback } = self;
        Intent { priority, deadline, stake, after, repeatable, extra_gas, fallback, ..intent }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(gas: &u64) -> bool {
    *gas == 0
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_an_earlier_intent_has_the_usual_terms() {
        let plain = Intent::new("key", Address::ZERO, Address::ZERO, Vec::new());
        let asked = plain
            .clone()
            .priority(Priority::Urgent)
            .deadline(Deadline::new(10, 5))
            .stake(u128::MAX)
            .after(TxId(3))
            .fallback(Address::repeat_byte(7), vec![1, 2])
            .extra_gas(9)
            .repeatable();
        let stored = serde_json::to_string(&Terms::of(&asked)).unwrap();
        assert_eq!(serde_json::from_str::<Terms>(&stored).unwrap().onto(plain.clone()), asked);
        assert_eq!(serde_json::from_str::<Terms>("{}").unwrap().onto(plain.clone()), plain);
    }
}
