//! From new to configured to shut down: the same for both adapters.

use std::sync::Arc;

use parking_lot::RwLock;
use privatix_adapter::AdapterRefusal;

/// What an adapter is at present. `S` are the settings, `R` is what runs once configured.
pub(crate) struct Lifecycle<S, R> {
    phase: RwLock<Phase<S, R>>,
    configuring: tokio::sync::Mutex<()>,
}

enum Phase<S, R> {
    New,
    Running(S, Arc<R>),
    ShutDown,
}

impl<S, R> Default for Lifecycle<S, R> {
    fn default() -> Self {
        Self { phase: RwLock::new(Phase::New), configuring: tokio::sync::Mutex::new(()) }
    }
}

impl<S: Clone + PartialEq, R> Lifecycle<S, R> {
    /// Starts with these settings; with the same once more does nothing.
    pub(crate) async fn configure(
        &self,
        settings: S,
        start: impl AsyncFnOnce(S) -> Result<R, AdapterRefusal>,
    ) -> Result<(), AdapterRefusal> {
        let _one_at_a_time = self.configuring.lock().await;
        match &*self.phase.read() {
            Phase::ShutDown => return Err(AdapterRefusal::ShutDown),
            Phase::Running(present, _) if *present == settings => return Ok(()),
            Phase::Running(..) => {
                return Err(AdapterRefusal::Settings {
                    field: ".".to_owned(),
                    reason: "cannot be changed while the adapter runs: restart it".to_owned(),
                });
            }
            Phase::New => {}
        }
        let running = Arc::new(start(settings.clone()).await?);
        let mut phase = self.phase.write();
        if matches!(*phase, Phase::ShutDown) {
            return Err(AdapterRefusal::ShutDown); // meanwhile; dropping what was started ends it
        }
        *phase = Phase::Running(settings, running);
        Ok(())
    }

    /// What runs.
    pub(crate) fn running(&self) -> Result<Arc<R>, AdapterRefusal> {
        match &*self.phase.read() {
            Phase::New => Err(AdapterRefusal::NotConfigured),
            Phase::Running(_, running) => Ok(Arc::clone(running)),
            Phase::ShutDown => Err(AdapterRefusal::ShutDown),
        }
    }

    /// Gives out what ran, the first time.
    pub(crate) fn shut_down(&self) -> Option<Arc<R>> {
        match std::mem::replace(&mut *self.phase.write(), Phase::ShutDown) {
            Phase::Running(_, running) => Some(running),
            Phase::New | Phase::ShutDown => None,
        }
    }
}
