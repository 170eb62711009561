//! What is known in memory of the channels that pay: [`Views`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use privatix_channel::{ChannelId, Domain, Phase, Usage, VoucherVerifier};
use privatix_market::{Agent, AgentState, Book};
use privatix_node::shell::Applied;
use privatix_offering::SignedReceipt;
use privatix_store::states::Stored;

/// The views of channels that have paid in this run, each under a lock of its own.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<HashMap<ChannelId, Arc<Slot>>>);

impl Views {
    /// The place of a channel's view, if it has one.
    pub(crate) fn slot(&self, channel: ChannelId) -> Option<Arc<Slot>> {
        self.0.lock().get(&channel).cloned()
    }

    /// The place of a channel's view, made if there is none. Only for channels that there are, or strangers could fill the memory.
    pub(crate) fn make_slot(&self, channel: ChannelId) -> Arc<Slot> {
        Arc::clone(self.0.lock().entry(channel).or_default())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// A decision was committed: the view of its channel takes it in before it is used again. It waits for nothing.
    pub(crate) fn committed(&self, applied: &Applied<Agent>) {
        let state = &applied.state;
        let mut slots = self.0.lock();
        let Some(slot) = slots.get(&state.id) else { return };
        slot.news.lock().take_in(applied);
        if is_closed(state) {
            slots.remove(&state.id);
        }
    }

    /// What is stored of these channels may differ from their views: they are loaded again before they are used.
    pub(crate) fn outdated(&self, channels: &[ChannelId]) {
        let slots = self.0.lock();
        for slot in channels.iter().filter_map(|channel| slots.get(channel)) {
            slot.news.lock().is_outdated = true;
        }
    }
}

/// The place of a channel's view. A change that is committed while the view loads, or while a payment is under way, finds it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Held during a payment, so that those of one channel are taken in turn.
    pub(crate) view: tokio::sync::Mutex<Option<View>>,
    news: Mutex<News>,
    /// The client's meter, as it said last. A payment alone does not store it.
    client_used: Mutex<Option<Usage>>,
    /// The last receipt that was signed, and when.
    pub(crate) receipt: Mutex<Option<(Instant, SignedReceipt)>>,
}

impl Slot {
    /// A place of its own, which no change finds.
    pub(crate) fn with(view: View) -> Self {
        Self { view: tokio::sync::Mutex::new(Some(view)), ..Self::default() }
    }

    /// The client's meter, as it said last in this run.
    pub(crate) fn client_used(&self) -> Option<Usage> {
        *self.client_used.lock()
    }

    pub(crate) fn note_client_used(&self, used: Option<Usage>) {
        if used.is_some() {
            *self.client_used.lock() = used;
        }
    }

    /// Whether the view is to be loaded again.
    pub(crate) fn take_outdated(&self) -> bool {
        std::mem::take(&mut self.news.lock().is_outdated)
    }

    /// Brings a view that is loaded up to date.
    pub(crate) fn bring_up(&self, view: &mut View) {
        let newest = self.news.lock().newest.take();
        if let Some((state, revision)) = newest {
            view.take_in(state, revision);
        }
    }
}

/// What was committed since the view was used.
#[derive(Debug, Default)]
struct News {
    newest: Option<(AgentState, u64)>,
    is_outdated: bool,
}

impl News {
    fn take_in(&mut self, applied: &Applied<Agent>) {
        let (state, revision) = (&applied.state, applied.revision);
        // What the book is worth then, only a load finds out.
        self.is_outdated |= applied.damaged_voucher;
        match &mut self.newest {
            Some((newest, known)) if *known > revision => newest.book = better(newest.book, state.book),
            newest => {
                let before = newest.take().map_or_else(Book::default, |(before, _)| before.book);
                let mut state = state.clone();
                state.book = better(before, state.book);
                *newest = Some((state, revision));
            }
        }
    }
}

/// A channel as its agent decides about its payments: what was stored, with all that was committed since.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) stored: Stored<Agent>,
    pub(crate) verifier: VoucherVerifier,
}

impl View {
    pub(crate) fn new(stored: Stored<Agent>, domain: Domain) -> Self {
        let verifier = VoucherVerifier::new(domain, &stored.state.descriptor);
        Self { stored, verifier }
    }

    /// Takes in a state unless it is older. Of a payment that was stored meanwhile it may not know.
    fn take_in(&mut self, mut state: AgentState, revision: u64) {
        if revision >= self.stored.revision {
            state.book = better(self.stored.state.book, state.book);
            (self.stored.state, self.stored.revision) = (state, revision);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        is_closed(&self.stored.state)
    }
}

fn is_closed(state: &AgentState) -> bool {
    matches!(state.chain.phase(), Phase::Closed { .. })
}

/// What both know: a book only grows.
fn better(one: Book, other: Book) -> Book {
    Book { best: one.best.max(other.best), acknowledged: one.acknowledged.max(other.acknowledged) }
}
