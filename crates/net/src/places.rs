//! The places of a server's connections: what [`Visitors`] decides, made to happen.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::visitors::{Admitted, Full, NotIdentified, Visitor, VisitorLimits, Visitors};

/// Places for the connections of one server, or of several that share them. Clones are the same places.
///
/// ```
/// use privatix_net::{Places, VisitorLimits};
///
/// let limits = VisitorLimits { strangers: 1, strangers_per_group: 1, known: 1, known_per_owner: 1 };
/// let places: Places<&str, u64> = Places::new(limits);
/// let buyer = places.admit(Some("192.0.2.1")).unwrap();
/// buyer.identify(7).unwrap(); // it has logged in
/// let first = places.admit(Some("192.0.2.1")).unwrap();
/// let second = places.admit(Some("192.0.2.1")).unwrap();
/// assert!(first.is_dismissed()); // whoever serves it ends it: see `Place::dismissed`
/// assert!(!second.is_dismissed() && !buyer.is_dismissed());
/// ```
#[derive(Debug)]
pub struct Places<G, O>(Arc<Mutex<State<G, O>>>);

impl<G, O> Clone for Places<G, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct State<G, O> {
    visitors: Visitors<G, O>,
    present: HashMap<Visitor, Present>,
}

#[derive(Debug)]
struct Present {
    dismissed: CancellationToken,
    /// What it asked for and is being served.
    serving: usize,
}

impl<G: Clone + Eq + Hash, O: Copy + Eq + Hash> Places<G, O> {
    /// This many places, all free.
    pub fn new(limits: VisitorLimits) -> Self {
        Self(Arc::new(Mutex::new(State { visitors: Visitors::new(limits), present: HashMap::new() })))
    }

    /// A place for a new connection, if need be that of another, which is [dismissed](Place::dismissed).
    ///
    /// # Errors
    /// [`Full`].
    pub fn admit(&self, group: Option<G>) -> Result<Place<G, O>, Full> {
        let mut state = self.0.lock();
        let Admitted { visitor, dismissed } = state.visitors.admit(group)?;
        if let Some(token) = dismissed.and_then(|dismissed| state.present.get(&dismissed)) {
            token.dismissed.cancel();
        }
        let token = CancellationToken::new();
        state.present.insert(visitor, Present { dismissed: token.clone(), serving: 0 });
        let made_room = dismissed.is_some();
        Ok(Place { places: self.clone(), visitor, dismissed: token, made_room })
    }

    /// Strangers at present, and those that are known.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.visitors.strangers(), state.visitors.known())
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub struct Place<G: Clone + Eq + Hash, O: Copy + Eq + Hash> {
    places: Places<G, O>,
    visitor: Visitor,
    dismissed: CancellationToken,
    made_room: bool,
}

impl<G: Clone + Eq + Hash, O: Copy + Eq + Hash> Place<G, O> {
    /// Completes when the place was given to another connection: this one must end at once.
    pub async fn dismissed(&self) {
        self.dismissed.cancelled().await;
    }

    /// Whether the place was given to another connection.
    pub fn is_dismissed(&self) -> bool {
        self.dismissed.is_cancelled()
    }

    /// Whether another had to go for it.
    pub const fn made_room(&self) -> bool {
        self.made_room
    }

    /// Whether it is known whose it is.
    pub fn is_known(&self) -> bool {
        self.places.0.lock().visitors.is_known(self.visitor)
    }

    /// It belongs to `owner`. Again it does nothing.
    ///
    /// # Errors
    /// [`NotIdentified`]; it stays a stranger then.
    pub fn identify(&self, owner: O) -> Result<(), NotIdentified> {
        self.places.0.lock().visitors.identify(self.visitor, owner)
    }

    /// It asked for something, which is served until the result is dropped. Meanwhile it does not have to go.
    pub fn serve(self: &Arc<Self>) -> Serving<G, O> {
        self.change(|present| present.serving += 1);
        Serving(Arc::clone(self))
    }

    fn change(&self, change: impl FnOnce(&mut Present)) {
        let mut state = self.places.0.lock();
        let State { visitors, present } = &mut *state;
        if let Some(present) = present.get_mut(&self.visitor) {
            change(present);
            visitors.set_served(self.visitor, present.serving > 0);
        }
    }
}

impl<G: Clone + Eq + Hash, O: Copy + Eq + Hash> Drop for Place<G, O> {
    fn drop(&mut self) {
        let mut state = self.places.0.lock();
        state.visitors.leave(self.visitor);
        state.present.remove(&self.visitor);
    }
}

/// Something that a connection asked for and is being served.
#[derive(Debug)]
pub struct Serving<G: Clone + Eq + Hash, O: Copy + Eq + Hash>(Arc<Place<G, O>>);

impl<G: Clone + Eq + Hash, O: Copy + Eq + Hash> Drop for Serving<G, O> {
    fn drop(&mut self) {
        self.0.change(|present| present.serving -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(strangers: usize) -> Places<u8, u8> {
        Places::new(VisitorLimits { strangers, strangers_per_group: 9, known: 9, known_per_owner: 9 })
    }

    #[test]
    fn one_that_is_being_served_makes_no_room_until_all_is_served() {
        let places = places(1);
        let first = Arc::new(places.admit(Some(1)).unwrap());
        let (one, other) = (first.serve(), first.serve());
        drop(one);
        assert_eq!(places.admit(Some(2)).unwrap_err(), Full);
        drop(other);
        let second = places.admit(Some(2)).unwrap();
        assert!(second.made_room() && first.is_dismissed() && !second.is_dismissed());
        assert_eq!(first.identify(1), Err(NotIdentified::Gone));
        drop((first.serve(), first));
        assert_eq!(places.counts(), (1, 0));
        drop(second);
        assert_eq!(places.counts(), (0, 0));
        assert!(places.0.lock().present.is_empty());
    }

    #[tokio::test]
    async fn who_has_to_go_learns_it_and_who_is_known_does_not_have_to() {
        let places = places(1);
        let known = places.admit(Some(1)).unwrap();
        known.identify(3).unwrap();
        assert!(known.is_known());
        let stranger = places.admit(Some(1)).unwrap();
        let newcomer = tokio::spawn({
            let places = places.clone();
            async move { places.admit(Some(1)).unwrap() }
        });
        stranger.dismissed().await;
        assert!(!known.is_dismissed() && newcomer.await.unwrap().made_room());
        drop(known);
        assert_eq!(places.counts(), (0, 0));
    }
}
