//! What an operator should know although everything works.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

/// Restrictions under which a node works, by the part that has them: health shows them as warnings. Clones share them.
#[derive(Clone, Default, Debug)]
pub struct Notices(Arc<RwLock<BTreeMap<&'static str, String>>>);

impl Notices {
    /// What there is to say of `part` from now on; `None` takes back what was said.
    pub fn set(&self, part: &'static str, message: Option<String>) {
        let mut notices = self.0.write();
        match message {
            Some(message) => notices.insert(part, message),
            None => notices.remove(part),
        };
    }

    /// All there is to say, by part.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        self.0.read().iter().map(|(part, message)| (*part, message.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_a_part_stays_until_it_is_taken_back() {
        let notices = Notices::default();
        let shared = notices.clone();
        shared.set("b", Some("one".into()));
        shared.set("a", Some("two".into()));
        shared.set("b", Some("three".into()));
        assert_eq!(notices.all(), [("a", "two".to_owned()), ("b", "three".to_owned())]);
        notices.set("b", None);
        notices.set("c", None);
        assert_eq!(shared.all(), [("a", "two".to_owned())]);
    }
}
