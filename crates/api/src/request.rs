use serde::Serialize;
use serde::de::DeserializeOwned;

/// A request of the control API: its fields are the parameters, by name.
///
/// Server and client share these types, so a method cannot mean two things. Amounts are decimal strings of base units, times
/// RFC 3339 in UTC.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// The method's name.
    const METHOD: &'static str;
    /// What a success is answered with.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// Declares requests: `Name { field: Type } => "method" -> Answer`.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    } => $method:literal -> $answer:ty;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            impl $crate::Request for $name {
                const METHOD: &'static str = $method;
                type Answer = $answer;
            }
        )+
        /// The methods of this module.
        pub const METHODS: &[&str] = &[$($method),+];
    };
}

pub(crate) use requests;
