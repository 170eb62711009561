//! What all tests of this kind stand on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use alloy::primitives::{Address, B256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use privatix_billing::{Billing, Measure, Terms, TermsDraft, Unit};
use privatix_channel::{Amount, ChainTime, ChannelDescriptor, ChannelId, Domain};
use privatix_market::{ChainView, Gas, RecoveryId, Uptime};
use privatix_node::Outlook;
use tokio::sync::watch;

pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const AGENT: Address = Address::repeat_byte(0xa9);

pub(crate) const fn a(units: u128) -> Amount {
    Amount::new(units)
}

/// The client's.
pub(crate) fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256("client")).unwrap()
}

pub(crate) fn domain() -> Domain {
    Domain::new(CHAIN, Address::repeat_byte(0xc0), Address::repeat_byte(0x70))
}

/// The channel of this number.
pub(crate) fn channel(nonce: u64) -> (ChannelId, ChannelDescriptor) {
    let offering = B256::repeat_byte(3).into();
    let client = key().address();
    let descriptor = ChannelDescriptor { client, agent: AGENT, offering, nonce, signer: client };
    (descriptor.id(&domain()), descriptor)
}

pub(crate) fn id(nonce: u64) -> ChannelId {
    channel(nonce).0
}

/// A base unit for each unit, at most 40 unpaid.
pub(crate) fn terms(measure: Measure) -> Arc<Terms> {
    let draft = TermsDraft {
        unit: Unit { name: "unit".into(), measure, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: a(1),
        free_units: 0,
        min_units: 1,
        max_units: None,
        billing_interval: 1,
        max_billing_unit_lag: 40,
        max_suspend: Duration::from_hours(10),
        max_inactive: Duration::from_hours(10),
        max_first_use: None,
    };
    Arc::new(draft.validate().unwrap())
}

/// Surroundings in which nothing is wrong but for what the test sets.
pub(crate) struct Sky {
    uptime: Mutex<u64>,
    pub(crate) now: Mutex<ChainTime>,
    pub(crate) gas: Mutex<Gas>,
    /// Until when channels are kept open, if the database came back from a backup and vouchers may be missing.
    pub(crate) kept_open: Mutex<Option<Uptime>>,
    instance: watch::Receiver<u64>,
}

impl Sky {
    pub(crate) fn new(instance: watch::Receiver<u64>) -> Self {
        let (uptime, now) = (Mutex::new(1_000), Mutex::new(ChainTime::new(1_000)));
        Self { uptime, now, gas: Mutex::default(), kept_open: Mutex::default(), instance }
    }

    pub(crate) fn at(&self, uptime: u64) {
        *self.uptime.lock().unwrap() = uptime;
    }

    pub(crate) fn wait(&self, pause: Duration) {
        *self.uptime.lock().unwrap() += u64::try_from(pause.as_millis()).unwrap();
    }
}

impl Default for Sky {
    /// With one life of the plug-in.
    fn default() -> Self {
        Self::new(watch::channel(1).1)
    }
}

impl Outlook for Sky {
    fn uptime(&self) -> Uptime {
        Uptime::new(*self.uptime.lock().unwrap())
    }

    fn chain(&self) -> ChainView {
        let mut chain = ChainView::default();
        chain.now = Some(*self.now.lock().unwrap());
        chain
    }

    fn unexplained(&self) -> BTreeSet<ChannelId> {
        BTreeSet::new()
    }

    fn gas(&self) -> Gas {
        *self.gas.lock().unwrap()
    }

    fn kept_open(&self, _: Option<SystemTime>) -> Option<Uptime> {
        *self.kept_open.lock().unwrap()
    }

    fn recovery(&self) -> Option<RecoveryId> {
        self.kept_open.lock().unwrap().map(|_| RecoveryId::new(1))
    }

    fn run(&self) -> u64 {
        1
    }

    fn instance(&self) -> u64 {
        *self.instance.borrow()
    }

    fn is_reachable(&self) -> bool {
        true
    }
}
