//! An optional fee as a text in percent.

use privatix_channel::Fee;
use serde::{Deserialize as _, Deserializer, Serializer, de};

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
pub(super) fn serialize<S: Serializer>(fee: &Option<Fee>, serializer: S) -> Result<S::Ok, S::Error> {
    match fee {
        Some(fee) => serializer.collect_str(fee),
        None => serializer.serialize_none(),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Fee>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
}
