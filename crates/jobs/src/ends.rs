//! Who waits for the end of a job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::JobId;

/// Notifies those who wait for jobs whose run has ended. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends(Arc<Mutex<HashMap<JobId, Arc<Notify>>>>);

impl Ends {
    /// Waits for this job until the guard is dropped.
    pub(crate) fn watch(&self, id: JobId) -> Watched {
        let notify = Arc::clone(self.lock().entry(id).or_default());
        Watched { ends: self.clone(), id, notify }
    }

    pub(crate) fn notify<'a>(&self, ids: impl IntoIterator<Item = &'a JobId>) {
        let watched = self.lock();
        if watched.is_empty() {
            return;
        }
        for notify in ids.into_iter().filter_map(|id| watched.get(id)) {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Notify>>> {
        // Poisoned only if memory ran out; the map is still sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Watched {
    ends: Ends,
    id: JobId,
    pub(crate) notify: Arc<Notify>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut watched = self.ends.lock();
        // The map's and this one.
        if Arc::strong_count(&self.notify) <= 2 {
            watched.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_notified_and_nothing_is_left_behind() {
        let ends = Ends::default();
        let (one, two) = (ends.watch(JobId(1)), ends.watch(JobId(1)));
        let (first, second) = (one.notify.notified(), two.notify.notified());
        ends.notify(&[JobId(2), JobId(1)]);
        tokio::join!(first, second);
        drop(one);
        assert_eq!(ends.lock().len(), 1);
        drop(two);
        assert_eq!(ends.lock().len(), 0);
    }
}
