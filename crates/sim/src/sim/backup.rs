//! A copy of the agent's database, and the day on which it is all that is left.

use privatix_channel::Amount;
use privatix_market::Uptime;

use super::Sim;
use crate::buyer::Buyer;
use crate::check::Promised;
use crate::node::Disk;
use crate::transactor::Recorded;

/// How long a node that came back from a backup waits for better vouchers before it closes a channel, in milliseconds of its uptime.
const RECOVERY: u64 = 1_800_000;

/// The copy.
#[derive(Debug)]
pub(crate) struct Backup {
    disk: Disk,
    transactions: Vec<Recorded>,
    /// What was promised until then, by channel.
    promised: Vec<Promised>,
}

impl Sim<'_> {
    pub(super) fn back_up(&mut self) {
        let promised = self.ledgers.iter().map(|ledger| ledger.promised).collect();
        let (disk, transactions) = (self.disk.clone(), self.transactor.record());
        self.backup = Some(Box::new(Backup { disk, transactions, promised }));
    }

    /// The database is lost, and the copy takes its place. What was promised since is forgotten.
    pub(super) fn restore(&mut self, is_noted: bool) {
        let Some(backup) = self.backup.take() else { return };
        let Backup { disk, transactions, promised } = *backup;
        self.die();
        self.disk = disk;
        let until = Uptime::new(self.disk.uptime.milliseconds() + RECOVERY);
        for stored in &mut self.disk.channels {
            stored.recovers = is_noted.then_some((until, stored.state.book.best));
        }
        self.transactor.restore(&transactions, |_| true);
        for (ledger, promised) in self.ledgers.iter_mut().zip(promised) {
            ledger.restore(promised);
        }
        self.lose_reports();
        self.restart_adapter();
        self.back_up();
    }

    /// The database of a client is lost, and its copy takes its place. What was to be paid for is dropped.
    pub(super) fn restore_buyer(&mut self, channel: usize, buyer: &mut Buyer, is_noted: bool) {
        if !buyer.restore(is_noted) {
            return;
        }
        if self.speaks_2(channel) {
            // Its reports go with it. With version 1 nothing brings them back, so its adapter counts on.
            let counted = self.adapter.services[channel].used.saturating_sub(buyer.drift);
            buyer.lost = counted.saturating_sub(buyer.state.meter.used.get());
            buyer.reported = (0, false);
        }
        self.ledgers[channel].was_restored_at_client = true;
        buyer.crash = None;
        buyer.is_up = false;
        buyer.adapter += 1;
        buyer.actual = privatix_market::Actual::Absent;
        self.end_session(channel);
        self.start_buyer(channel, buyer);
        buyer.back_up();
    }

    /// The reports go with the database. With version 1 nothing brings them back, so the adapter counts on.
    fn lose_reports(&mut self) {
        for channel in 0..self.clients.len() {
            if self.speaks_2(channel) {
                let known = self.disk.channels[channel].state.meter.used.get();
                let service = &mut self.adapter.services[channel];
                service.lost = (service.used + service.ahead).saturating_sub(service.drift + known);
                service.most_lost = service.most_lost.max(service.lost);
                service.reported = (0, false);
            }
        }
    }

    /// Until when a channel is kept open: no voucher came that is newer than the backup.
    pub(super) fn kept_open(&self, channel: usize, best: Amount, uptime: Uptime) -> Option<Uptime> {
        let (until, known) = self.disk.channels[channel].recovers?;
        (until > uptime && best <= known).then_some(until)
    }
}
