//! What the `seller` and `buyer` examples share, so that each of them shows only what it is about.
//!
//! - [`quotes`]: a service of one's own, in full: quotations over TCP, one line each, sold by the quote;
//! - [`setup`]: the command line's settings, and what both programs are made of.
//!
//! How the sold service plugs into the marketplace:
//!
//! ```
//! use privatix_adapter::Adapter;
//! use privatix_examples::quotes::{self, QuoteSeller};
//!
//! let seller = QuoteSeller::new("127.0.0.1:9501".parse()?);
//! assert_eq!(seller.about().product.0, quotes::PRODUCT);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

pub mod quotes;
pub mod setup;
