//! What a sink is informed of after a commit.

/// Informs a sink of a commit. To be dropped where the transaction is rolled back.
pub(crate) type Inform = Box<dyn FnOnce() + Send>;
