//! The built-in templates of the proxy service (SOCKS5 and HTTP CONNECT).

use std::sync::{Arc, LazyLock};

use alloy::primitives::B256;
use uuid::{Uuid, uuid};

use crate::Template;

/// The proxy's product id, which its templates and its adapter share.
pub const PRODUCT: Uuid = uuid!("4b0ad8f5-4e0d-4a4c-9a3f-5c1c5e8d2a11");

static OFFERING: LazyLock<Arc<Template>> =
    LazyLock::new(|| own(include_bytes!("../templates/proxy-offering.json")));
static ACCESS: LazyLock<Arc<Template>> =
    LazyLock::new(|| own(include_bytes!("../templates/proxy-access.json")));

#[expect(clippy::expect_used, reason = "the template is part of this crate and a test reads it")]
fn own(bytes: &[u8]) -> Arc<Template> {
    Arc::new(Template::parse(bytes).expect("a template of this crate is valid"))
}

/// The hash of the template of proxy offerings.
pub fn offering_template() -> B256 {
    OFFERING.hash()
}

/// The hash of the template of access to a proxy. The endpoint is `{"host": name or address,
/// "port": number, "protocols": ["socks5", "http"]}`.
pub fn access_template() -> B256 {
    ACCESS.hash()
}

pub(crate) fn templates() -> [Arc<Template>; 2] {
    [Arc::clone(&OFFERING), Arc::clone(&ACCESS)]
}
