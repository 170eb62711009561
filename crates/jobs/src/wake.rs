use std::sync::Arc;

use tokio::sync::Notify;

/// Informs a processor that there may be something to do: a transaction that pushed, cancelled or reactivated a job has
/// been committed. Cheap to clone; any number of wake-ups before the processor looks count as one, and none is lost.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// A handle for [`ProcessorBuilder::wake`](crate::ProcessorBuilder::wake), where what wakes is made before what is
    /// woken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the processor. Call it after the commit.
    pub fn wake(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}
