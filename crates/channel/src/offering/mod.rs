//! An offering as its events show it.

mod fold;
mod joining;
mod on_chain;
mod places;
mod status;

pub use self::{
    fold::OfferingFold,
    joining::{Joining, KeptOffering},
    on_chain::OfferingOnChain,
    status::{OfferingStatus, OfferingUnderWay},
};
