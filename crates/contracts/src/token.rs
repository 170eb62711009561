//! Tokens as they are found: what they say of themselves, read with care, and how they can be deposited.
//!
//! A service contract takes any ERC-20. Some have EIP-2612 permits under a domain of their own, some have permits of another
//! form, some none. Whoever moves tokens first asks the token; nothing about it is assumed. Everything here is a function
//! from answers to decisions; asking is the caller's part.

mod approval;
mod domain;
mod name;
mod way;

pub use self::{
    approval::{Approvals, TokenRefusal, TrialTransfer, approvals, returned_true},
    domain::{DomainClaims, PermitDomain, eip5267_domain},
    name::{decimals, printable, text},
    way::{DepositWay, NoPermit},
};
