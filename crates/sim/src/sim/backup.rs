//! A copy of the agent's database, and the day on which it is all that is left.

use privatix_channel::Amount;
use privatix_market::Uptime;

use super::Sim;
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
    pub(super) fn restore(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        let Backup { disk, transactions, promised } = *backup;
        self.die();
        self.disk = disk;
        let until = Uptime::new(self.disk.uptime.milliseconds() + RECOVERY);
        for stored in &mut self.disk.channels {
            stored.recovers = Some((until, stored.state.book.best));
        }
        self.transactor.restore(&transactions, |_| true);
        for (ledger, promised) in self.ledgers.iter_mut().zip(promised) {
            ledger.restore(promised);
        }
        self.restart_adapter();
        self.back_up();
    }

    /// Until when a channel is kept open: no voucher came that is newer than the backup.
    pub(super) fn kept_open(&self, channel: usize, best: Amount, uptime: Uptime) -> Option<Uptime> {
        let (until, known) = self.disk.channels[channel].recovers?;
        (until > uptime && best <= known).then_some(until)
    }
}
