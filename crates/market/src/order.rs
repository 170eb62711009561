//! What becomes of orders.

use crate::Outcome;

/// What is new of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderChange {
    /// It has ended.
    Ended(Outcome),
    /// A reorganisation has taken back what carried it out, and it is carried out again.
    UnderWay,
}
