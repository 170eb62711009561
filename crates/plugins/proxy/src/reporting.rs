//! When usage is reported: after a number of bytes, at once where they are counted; after a time, from one task for all
//! channels, whose work grows with the channels in use and not with those that are open.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use privatix_adapter::{Session, UsageReporter};
use privatix_channel::ChannelId;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Live};
use crate::settings::Reports;

pub(crate) struct Reporting {
    reporter: UsageReporter,
    settings: Reports,
    /// Sessions with bytes that were not reported yet.
    due: Mutex<Vec<Weak<Live>>>,
    due_arrived: Notify,
    /// Channels that lost a connection: their session may end in a while. Each is there at most once.
    idle: mpsc::UnboundedSender<(Instant, Weak<Channel>)>,
}

impl Reporting {
    /// Returns also the task that reports; it ends when `stop` is cancelled.
    pub(crate) fn new(
        reporter: UsageReporter,
        settings: Reports,
        stop: CancellationToken,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (idle, idle_queue) = mpsc::unbounded_channel();
        let reporting =
            Arc::new(Self { reporter, settings, due: Mutex::default(), due_arrived: Notify::new(), idle });
        let task = {
            let reporting = Arc::clone(&reporting);
            async move {
                stop.run_until_cancelled(async {
                    tokio::join!(reporting.report_by_time(), reporting.end_idle_sessions(idle_queue))
                })
                .await;
            }
        };
        (reporting, task)
    }

    pub(crate) const fn every_bytes(&self) -> u64 {
        self.settings.every_bytes.get()
    }

    pub(crate) fn open(&self, channel: ChannelId, peer: SocketAddr) -> Session {
        self.reporter.open(channel, Some(peer))
    }

    /// Has a session reported before long.
    pub(crate) fn queue(&self, live: &Arc<Live>) {
        if !live.queued.swap(true, Ordering::AcqRel) {
            self.due.lock().push(Arc::downgrade(live));
            self.due_arrived.notify_one();
        }
    }

    /// Has a channel's session ended if it is not used again for a while.
    pub(crate) fn queue_idle(&self, channel: &Arc<Channel>) {
        if !channel.idle_queued.swap(true, Ordering::AcqRel) {
            let due = Instant::now() + self.settings.session_idle;
            let _ = self.idle.send((due, Arc::downgrade(channel))); // fails after shutdown only
        }
    }

    async fn report_by_time(&self) {
        loop {
            self.due_arrived.notified().await;
            tokio::time::sleep(self.settings.every).await;
            for live in std::mem::take(&mut *self.due.lock()) {
                if let Some(live) = live.upgrade() {
                    live.queued.store(false, Ordering::Release); // before reading: later bytes queue it again
                    live.report();
                }
            }
        }
    }

    async fn end_idle_sessions(&self, mut queue: mpsc::UnboundedReceiver<(Instant, Weak<Channel>)>) {
        // All wait equally long, so the first in the queue is the first due.
        while let Some((due, channel)) = queue.recv().await {
            tokio::time::sleep_until(due.into()).await;
            let Some(channel) = channel.upgrade() else { continue };
            channel.idle_queued.store(false, Ordering::Release);
            if let Some(later) = channel.end_idle_session(self.settings.session_idle)
                && !channel.idle_queued.swap(true, Ordering::AcqRel)
            {
                let _ = self.idle.send((later, Arc::downgrade(&channel)));
            }
        }
    }
}
