//! Quotations, one for each connection: `<username> <password>` is asked, a quotation is answered, and the connection ends.
//!
//! A service needs three things to be sold: an adapter for the seller ([`QuoteSeller`]) and one for the buyer
//! ([`QuoteBuyer`]), each with a meter of its own, and [`templates`] that say what its messages look like.

mod buyer;
mod meter;
mod seller;

pub use buyer::{QuoteBuyer, QuoteError};
pub use seller::QuoteSeller;

use std::time::Duration;

use privatix_adapter::{About, ProductId, Role};
use privatix_agent::OfferingDraft;
use privatix_billing::{Billing, Measure, TermsDraft, Unit};
use privatix_channel::Amount;
use privatix_offering::{Country, Template, TemplateError};
use uuid::{Uuid, uuid};

/// The product's id, the same in the adapters and in the templates.
pub const PRODUCT: Uuid = uuid!("c0ffee00-5e11-4a1d-8b0e-71a6e5c1e0d5");

/// Price of a quote in the token's base units.
pub const PRICE: Amount = Amount::new(100);

/// The quote for a buyer's so-and-so-many-th request.
fn quote(number: u64) -> &'static str {
    match number % 4 {
        0 => "Trust, but verify.",
        1 => "A small leak will sink a great ship.",
        2 => "Short reckonings make long friends.",
        _ => "He that goes a-borrowing goes a-sorrowing.",
    }
}

/// What offerings of this product and access to them look like.
///
/// # Errors
/// None, as long as the files beside this one are sound.
pub fn templates() -> Result<[Template; 2], TemplateError> {
    Ok([Template::parse(include_bytes!("offering.json"))?, Template::parse(include_bytes!("access.json"))?])
}

/// Quotes at [`PRICE`] each, paid after every second one; the fifth unpaid one is not given. Who has not asked for
/// 20 seconds is taken to be gone: the seller then closes the channel, and the buyer has its deposit's rest back.
pub fn offering(country: Country, supply: u32) -> OfferingDraft {
    let terms = TermsDraft {
        unit: Unit { name: "quote".into(), measure: Measure::Requests, size: 1 },
        billing: Billing::Postpaid,
        setup_price: Amount::ZERO,
        unit_price: PRICE,
        free_units: 0,
        min_units: 25,
        max_units: None,
        billing_interval: 2,
        max_billing_unit_lag: 4,
        max_suspend: Duration::from_mins(10),
        max_inactive: Duration::from_secs(20),
        max_first_use: None,
    };
    OfferingDraft::new("Quotations", country, supply, terms)
}

fn about(role: Role) -> About {
    About {
        product: ProductId(PRODUCT),
        name: format!("quotes-{role}"),
        version: env!("CARGO_PKG_VERSION").into(),
        roles: vec![role],
    }
}
