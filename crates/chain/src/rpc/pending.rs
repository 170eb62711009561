use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Fault;

/// Whether an endpoint serves the block tag `pending`: some chains have no such block, some gateways refuse the tag, for
/// one method or for all. What it means there is then asked with `latest`.
///
/// Learned by trying, for each method, and kept as long as the endpoint is.
#[derive(Debug, Clone, Default)]
pub(super) struct PendingTag {
    estimates: Arc<Learned>,
    nonces: Arc<Learned>,
}

/// A method that is asked with the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tagged {
    /// `eth_estimateGas`
    Estimate,
    /// `eth_getTransactionCount`
    Nonce,
}

impl PendingTag {
    pub(super) fn of(&self, method: Tagged) -> &Learned {
        match method {
            Tagged::Estimate => &self.estimates,
            Tagged::Nonce => &self.nonces,
        }
    }
}

/// What is known of one method: how often in a row it was not served with the tag, or one of the following.
#[derive(Debug, Default)]
pub(super) struct Learned(AtomicU8);

const SERVED: u8 = u8::MAX;
const REFUSED: u8 = u8::MAX - 1;
/// Times in a row that silence or a lost connection must meet the tag before it is to blame for them.
const SURE: u8 = 3;

impl Learned {
    /// Whether there is no use in asking with `pending`.
    pub(super) fn is_refused(&self) -> bool {
        self.0.load(Ordering::Relaxed) == REFUSED
    }

    /// It was answered with `pending`.
    pub(super) fn served(&self) {
        self.0.store(SERVED, Ordering::Relaxed);
    }

    /// It failed with `pending` and was answered with `latest`. Whether it counts as refused since this time. A tag that was
    /// served before is tried again the next time: then the endpoint was in trouble for a moment.
    pub(super) fn failed(&self, fault: &Fault) -> bool {
        let said = matches!(fault, Fault::Refused { .. } | Fault::Garbage(_));
        let learn = |known| match known {
            SERVED | REFUSED => None,
            times if said || times + 1 >= SURE => Some(REFUSED),
            times => Some(times + 1),
        };
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, learn);
        before.is_ok() && self.is_refused()
    }
}

/// Whether a fault may be about the tag, so that the same is worth asking with `latest`. Words are no guide: endpoints
/// refuse the tag with any error, with null, with a page, or by not answering at all.
pub(super) fn may_be_about_the_tag(fault: &Fault) -> bool {
    match fault {
        Fault::Refused { .. } => !fault.is_about_the_call(),
        Fault::Garbage(_) | Fault::Unreachable(_) | Fault::Timeout(_) => true,
        Fault::RateLimited { .. }
        | Fault::TooLarge(_)
        | Fault::Unauthorised(_)
        | Fault::Redirected { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_was_served_once_is_not_given_up() {
        let tag = PendingTag::default();
        let (nonces, estimates) = (tag.of(Tagged::Nonce), tag.of(Tagged::Estimate));
        let no = Fault::of_response(-32_602, "unknown block tag", None);
        nonces.served();
        assert!(!nonces.failed(&no) && !nonces.is_refused());
        assert!(estimates.failed(&no), "the first refusal is news");
        assert!(!estimates.failed(&no) && estimates.is_refused());
        assert!(tag.clone().of(Tagged::Estimate).is_refused(), "known to all who use the endpoint");
    }

    #[test]
    fn a_moment_of_trouble_is_not_blamed_on_the_tag_but_lasting_trouble_is() {
        let tag = PendingTag::default();
        let silence = Fault::Timeout(std::time::Duration::from_secs(1));
        let learned = tag.of(Tagged::Nonce);
        assert_eq!([(); 3].map(|()| learned.failed(&silence)), [false, false, true]);
        assert!(learned.is_refused());
    }

    #[test]
    fn answers_about_the_call_are_not_taken_for_answers_about_the_tag() {
        let refused = |code, message: &str| Fault::of_response(code, message, None);
        for about_the_call in [
            refused(3, "execution reverted: too early"),
            refused(-32_000, "VM Exception while processing transaction: revert"),
            refused(-32_000, "insufficient funds for gas * price + value"),
            refused(-32_000, "gas required exceeds allowance (21000)"),
            refused(-32_005, "rate limit"),
            Fault::Unauthorised(401),
        ] {
            assert!(!may_be_about_the_tag(&about_the_call), "{about_the_call}");
        }
        for about_the_tag in [
            refused(-32_000, "pending block is not available"),
            refused(-32_602, "invalid params"),
            refused(-32_603, "Internal error"),
            Fault::Garbage("null where a value was due".into()),
            Fault::Unreachable("HTTP 500: ".into()),
            Fault::Timeout(std::time::Duration::from_secs(1)),
        ] {
            assert!(may_be_about_the_tag(&about_the_tag), "{about_the_tag}");
        }
    }
}
